"""The subscription runLogs: what a command prints, each piece once, to the end."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from starlette.applications import Starlette

from app.api import log_tails
from app.model.access import Role
from app.model.ids import encode_id
from app.model.orders import NewLogEntry, SaveOrder
from app.model.runs import LogStream
from app.postgres.listen import ListenHub
from app.postgres.pool import Database
from app.service.endings import finish_backup, requeue_run
from app.service.runs import append_log, start_run
from tests.builders import SEALER, Stage, a_claim, a_save, a_stage, stored_bytes
from tests.graphql_server import Client, ClientAs, serve
from tests.graphql_socket import Socket, open_socket

FOLLOW = """subscription($id: ID!, $after: BigInt) { runLogs(runId: $id, after: $after) {
  attempt truncated totalBytes entries { sequence stream text }
} }"""


@pytest.fixture
async def stage(
    admin: Client, owner: Database, gateway_database: Database, worker_database: Database
) -> Stage:
    return await a_stage(owner, gateway_database, worker_database, admin=admin.principal)


@pytest.fixture
async def order(stage: Stage, gateway_database: Database, worker_database: Database) -> SaveOrder:
    return await a_save(gateway_database, worker_database, stage)


@pytest.fixture
async def client(
    app: Starlette, listening: ListenHub, client_as: ClientAs
) -> AsyncIterator[Socket]:
    del listening
    viewer = await client_as(Role.VIEWER)
    async with serve(app) as place, open_socket(place) as opened:
        await opened.init(viewer.token)
        yield opened


async def print_lines(worker: Database, order: SaveOrder, first: int, *lines: str) -> None:
    """Each line is a piece of its own; `first` is where the first one begins."""
    entries, sequence = [], first
    for line in lines:
        entries.append(NewLogEntry(sequence=sequence, stream=LogStream.STDERR, data=line.encode()))
        sequence += len(line)
    await append_log(
        worker,
        order.run.id,
        order.run.epoch,
        entries,
        drop_before=None,
        total_bytes=sequence,
        truncated=False,
    )


async def read(client: Socket) -> dict[str, Any]:
    message = await client.read()
    assert message["type"] == "next", message
    assert "errors" not in message["payload"], message
    found: dict[str, Any] = message["payload"]["data"]["runLogs"]
    return found


def texts(tail: dict[str, Any]) -> Sequence[str]:
    return [entry["text"] for entry in tail["entries"]]


async def test_what_is_printed_comes_once_each_and_then_the_end(
    client: Socket, order: SaveOrder, worker_database: Database
) -> None:
    await print_lines(worker_database, order, 0, "a\n", "b\n")
    await client.subscribe("1", FOLLOW, id=encode_id("Backup", order.run.id))
    first = await read(client)
    assert first == {
        "attempt": first["attempt"],
        "truncated": False,
        "totalBytes": 4,
        "entries": [
            {"sequence": 0, "stream": "STDERR", "text": "a\n"},
            {"sequence": 2, "stream": "STDERR", "text": "b\n"},
        ],
    }
    await print_lines(worker_database, order, 4, "c\n")
    assert texts(await read(client)) == ["c\n"]
    await print_lines(worker_database, order, 6, "d\n")
    await finish_backup(worker_database, order, stored_bytes())
    assert texts(await read(client)) == ["d\n"]
    assert await client.read() == {"type": "complete", "id": "1"}


async def test_a_log_without_anything_begins_with_an_empty_message(
    client: Socket, order: SaveOrder, worker_database: Database
) -> None:
    await client.subscribe("1", FOLLOW, id=encode_id("Backup", order.run.id))
    assert texts(await read(client)) == []
    await finish_backup(worker_database, order, stored_bytes())
    assert await client.read() == {"type": "complete", "id": "1"}


async def test_a_client_that_comes_again_gets_what_it_has_not_had(
    client: Socket, order: SaveOrder, worker_database: Database
) -> None:
    id = encode_id("Backup", order.run.id)
    await print_lines(worker_database, order, 0, "a\n", "b\n")
    await client.subscribe("1", FOLLOW, id=id)
    last = (await read(client))["entries"][-1]["sequence"]
    await client.send({"type": "complete", "id": "1"})
    await print_lines(worker_database, order, 4, "c\n")
    await finish_backup(worker_database, order, stored_bytes())
    await client.subscribe("2", FOLLOW, id=id, after=last)
    assert texts(await read(client)) == ["c\n"]
    assert await client.read() == {"type": "complete", "id": "2"}


async def test_a_long_log_comes_in_several_messages_without_a_pause(
    client: Socket,
    order: SaveOrder,
    worker_database: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(log_tails, "LARGEST_TAIL", 2)
    monkeypatch.setattr(log_tails, "INTERVAL_SECONDS", 3600)
    await print_lines(worker_database, order, 0, *"abcd")
    await finish_backup(worker_database, order, stored_bytes())
    await client.subscribe("1", FOLLOW, id=encode_id("Backup", order.run.id))
    assert texts(await read(client)) == ["a", "b"]
    assert texts(await read(client)) == ["c", "d"]
    assert await client.read() == {"type": "complete", "id": "1"}


async def test_a_new_try_begins_its_log_anew(
    client: Socket, order: SaveOrder, worker_database: Database
) -> None:
    await print_lines(worker_database, order, 0, "old\n")
    await client.subscribe("1", FOLLOW, id=encode_id("Backup", order.run.id))
    first = await read(client)
    assert texts(first) == ["old\n"]
    await requeue_run(worker_database, order.run.id, order.run.epoch)
    claimed = await a_claim(worker_database, order.run.id)
    again = await start_run(worker_database, claimed, sealer=SEALER)
    assert isinstance(again, SaveOrder)
    await print_lines(worker_database, again, 0, "new\n")
    tail = await read(client)
    while not tail["entries"]:
        # The beginning of the try may be seen before its first line.
        tail = await read(client)
    assert tail["attempt"] > first["attempt"]
    assert texts(tail) == ["new\n"]


async def test_only_ids_of_runs_of_the_hub_are_taken(
    app: Starlette, admin: Client, stranger: Client, order: SaveOrder
) -> None:
    right = encode_id("Backup", order.run.id)
    wrong = {
        stranger.token: [right],
        admin.token: [encode_id("Restore", order.run.id), encode_id("Hub", order.run.id), "x"],
    }
    async with serve(app) as place:
        for token, ids in wrong.items():
            async with open_socket(place) as client:
                await client.init(token)
                for id in ids:
                    await client.subscribe("1", FOLLOW, id=id)
                    answer = await client.read()
                    assert answer["type"] == "error", answer
                    assert answer["payload"][0]["extensions"]["code"] == "NOT_FOUND"
