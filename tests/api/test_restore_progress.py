"""The subscription restoreProgress: the state now, every change, the end, and then completion."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from starlette.applications import Starlette

from app.model.access import Role
from app.model.ids import encode_id
from app.model.orders import RestoreOrder, RunProgress
from app.model.restores import RestorePhase
from app.postgres.listen import ListenHub
from app.postgres.pool import Database
from app.service.endings import finish_restore
from app.service.runs import record_progress, set_phase
from tests.builders import Stage, a_live_backup, a_queued_restore, a_stage, a_started_restore
from tests.graphql_server import Client, ClientAs, serve
from tests.graphql_socket import Socket, open_socket

FOLLOW = """subscription($id: ID!) { restoreProgress(restoreId: $id) {
  id state phase progress { bytesDelivered fraction } backup { id } container { storedBytes }
} }"""


@pytest.fixture
async def stage(
    admin: Client, owner: Database, gateway_database: Database, worker_database: Database
) -> Stage:
    return await a_stage(owner, gateway_database, worker_database, admin=admin.principal)


@pytest.fixture
async def order(
    stage: Stage, gateway_database: Database, worker_database: Database
) -> RestoreOrder:
    backup = await a_live_backup(gateway_database, worker_database, stage, size=1000)
    return await a_started_restore(gateway_database, worker_database, stage, backup)


@pytest.fixture
async def client(
    app: Starlette, listening: ListenHub, client_as: ClientAs
) -> AsyncIterator[Socket]:
    del listening
    viewer = await client_as(Role.VIEWER)
    async with serve(app) as place, open_socket(place) as opened:
        await opened.init(viewer.token)
        yield opened


async def tell(worker: Database, order: RestoreOrder, delivered: int) -> None:
    progress = RunProgress(
        run_id=order.run.id,
        epoch=order.run.epoch,
        bytes_read=0,
        bytes_stored=0,
        bytes_delivered=delivered,
        bytes_per_second=100,
    )
    await record_progress(worker, [progress])


async def read_restore(client: Socket) -> dict:
    message = await client.read()
    assert message["type"] == "next", message
    return message["payload"]["data"]["restoreProgress"]


async def test_the_state_now_comes_first_then_each_change_then_the_end(
    client: Socket, order: RestoreOrder, worker_database: Database
) -> None:
    id = encode_id("Restore", order.run.id)
    await client.subscribe("1", FOLLOW, id=id)
    assert await read_restore(client) == {
        "id": id,
        "state": "RUNNING",
        "phase": "PREPARING",
        "progress": {"bytesDelivered": 0, "fraction": 0.0},
        "backup": {"id": encode_id("Backup", order.backup.id)},
        "container": {"storedBytes": 1000},
    }
    await set_phase(worker_database, order.run.id, order.run.epoch, RestorePhase.TRANSFERRING)
    assert (await read_restore(client))["phase"] == "TRANSFERRING"
    await tell(worker_database, order, 500)
    assert (await read_restore(client))["progress"] == {"bytesDelivered": 500, "fraction": 0.5}
    await tell(worker_database, order, 1000)
    assert (await read_restore(client))["progress"] == {"bytesDelivered": 1000, "fraction": 1.0}
    await finish_restore(worker_database, order, 0)
    last = await read_restore(client)
    assert (last["state"], last["progress"]["bytesDelivered"]) == ("SUCCEEDED", 1000)
    assert await client.read() == {"type": "complete", "id": "1"}


async def test_the_newest_wins_where_changes_come_fast(
    client: Socket, order: RestoreOrder, worker_database: Database
) -> None:
    """100 changes within a fraction of a second: a few are shown, and always the last."""
    await client.subscribe("1", FOLLOW, id=encode_id("Restore", order.run.id))
    loop = asyncio.get_running_loop()
    begun = loop.time()
    seen = [await read_restore(client)]
    for delivered in range(1, 101):
        await tell(worker_database, order, delivered)
    await finish_restore(worker_database, order, 0)
    while seen[-1]["state"] == "RUNNING":
        seen.append(await read_restore(client))
    seconds = loop.time() - begun
    assert await client.read() == {"type": "complete", "id": "1"}
    delivered = [restore["progress"]["bytesDelivered"] for restore in seen]
    assert delivered == sorted(delivered)
    assert (delivered[-1], seen[-1]["state"]) == (100, "SUCCEEDED")
    assert len(seen) <= 2 + seconds * 4


async def test_a_change_that_shows_in_no_chosen_field_is_not_told(
    client: Socket, order: RestoreOrder, worker_database: Database
) -> None:
    """A second subscription, which chose more, says when the change was seen."""
    id = encode_id("Restore", order.run.id)
    few = "subscription($id: ID!) { restoreProgress(restoreId: $id) { id phase } }"
    await client.subscribe("few", few, id=id)
    assert (await read_restore(client))["phase"] == "PREPARING"
    await client.subscribe("all", FOLLOW, id=id)
    assert (await read_restore(client))["progress"]["bytesDelivered"] == 0
    for delivered in (300, 600):
        await tell(worker_database, order, delivered)
        message = await client.read()
        told = message["payload"]["data"]["restoreProgress"]
        assert (message["id"], told["progress"]["bytesDelivered"]) == ("all", delivered)
    await set_phase(worker_database, order.run.id, order.run.epoch, RestorePhase.TRANSFERRING)
    assert sorted([(await client.read())["id"] for _ in range(2)]) == ["all", "few"]
    # The fields of few are the same at the end: it comes all the same.
    await finish_restore(worker_database, order, 0)
    last = [await client.read() for _ in range(4)]
    assert [message["type"] for message in last if message["id"] == "few"] == ["next", "complete"]
    told = next(message["payload"]["data"] for message in last if message["id"] == "few")
    assert told == {"restoreProgress": {"id": id, "phase": "TRANSFERRING"}}


async def test_one_that_has_ended_is_shown_once(
    client: Socket, order: RestoreOrder, worker_database: Database
) -> None:
    await finish_restore(worker_database, order, 0)
    await client.subscribe("1", FOLLOW, id=encode_id("Restore", order.run.id))
    assert (await read_restore(client))["state"] == "SUCCEEDED"
    assert await client.read() == {"type": "complete", "id": "1"}


async def test_two_watchers_see_the_same_end(
    client: Socket, order: RestoreOrder, worker_database: Database
) -> None:
    for name in ("1", "2"):
        await client.subscribe(name, FOLLOW, id=encode_id("Restore", order.run.id))
        assert (await read_restore(client))["state"] == "RUNNING"
    await finish_restore(worker_database, order, 0)
    messages = [await client.read() for _ in range(4)]
    assert sorted((message["id"], message["type"]) for message in messages) == [
        ("1", "complete"),
        ("1", "next"),
        ("2", "complete"),
        ("2", "next"),
    ]


async def test_another_hubs_restore_is_not_there(
    app: Starlette,
    stranger: Client,
    stage: Stage,
    gateway_database: Database,
    worker_database: Database,
) -> None:
    backup = await a_live_backup(gateway_database, worker_database, stage)
    restore = await a_queued_restore(gateway_database, stage, backup)
    async with serve(app) as place, open_socket(place) as client:
        await client.init(stranger.token)
        for id in (encode_id("Restore", restore.id), encode_id("Backup", backup.id), "rubbish"):
            await client.subscribe("1", FOLLOW, id=id)
            answer = await client.read()
            assert (answer["type"], answer["payload"][0]["extensions"]["code"]) == (
                "error",
                "NOT_FOUND",
            )


async def test_a_watcher_that_goes_leaves_nothing_behind(
    client: Socket, listen: ListenHub, order: RestoreOrder, worker_database: Database
) -> None:
    await client.subscribe("1", FOLLOW, id=encode_id("Restore", order.run.id))
    await read_restore(client)
    topic = f"run:{order.run.id}"
    assert topic in listen._mailboxes
    await client.send({"type": "complete", "id": "1"})
    assert await client.exchange({"type": "ping"}) == {"type": "pong"}
    while topic in listen._mailboxes:
        await asyncio.sleep(0.01)
    await tell(worker_database, order, 500)
    assert await client.exchange({"type": "ping"}) == {"type": "pong"}
