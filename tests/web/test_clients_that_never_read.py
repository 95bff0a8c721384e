"""Clients that never read: a real gateway lets them go in time, and takes no memory for them."""

import asyncio
import contextlib
import itertools
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import orjson
import pytest
from websockets.asyncio.client import connect

from app.model.ids import encode_id
from app.model.orders import RestoreOrder, RunProgress
from app.postgres.pool import Database
from app.service.runs import record_progress
from tests.builders import a_live_backup, a_stage, a_started_restore
from tests.gateway_process import Gateway, RunGateway
from tests.graphql_server import Client
from tests.graphql_socket import PROTOCOL, open_socket

SOCKETS = 3
OPERATIONS = 10
"""Of each socket."""
STREAMS = 12
ALL = SOCKETS * OPERATIONS + STREAMS
MOST_BYTES = 180_000_000
"""What two crowds of them may add, one after the other: of each connection a message of 1.5 MB that
is not taken and one that waits for it, of each operation the answer that it made of that, and the
gaps between them. Queued, and kept, it would be over 1 GB."""
ENDED_SECONDS = 2.0
"""For the connection to end with its operation."""
PATIENCE_SECONDS = 90
"""A bound for hangs: how long a send may take is tested apart, with short times."""

LOGS = "subscription($id: ID!) { runLogs(runId: $id) { entries { sequence text } } }"
FOLLOW = "subscription($id: ID!) { restoreProgress(restoreId: $id) { id } }"
PROGRESS = """subscription($id: ID!) { restoreProgress(restoreId: $id) {
  state progress { bytesDelivered } logs(last: 100) { nodes { text } } } }"""


@dataclass(frozen=True, kw_only=True)
class Started:
    id: str
    order: RestoreOrder


@pytest.fixture
async def started(
    admin: Client, owner: Database, gateway_database: Database, worker_database: Database
) -> Started:
    """A restore under way whose log is as long as logs get, and six times that in JSON."""
    stage = await a_stage(owner, gateway_database, worker_database, admin=admin.principal)
    backup = await a_live_backup(gateway_database, worker_database, stage)
    order = await a_started_restore(gateway_database, worker_database, stage, backup)
    async with owner.connection() as connection:
        await connection.execute(
            """insert into run_logs (hub_id, run_id, sequence, at, stream, bytes)
            select $1, $2, n, now(), 'STDERR', decode(repeat('01', 16384), 'hex')
            from generate_series(0, 15) as n""",
            admin.hub.id,
            order.run.id,
        )
    return Started(id=encode_id("Restore", order.run.id), order=order)


def resident(gateway: Gateway) -> int:
    status = Path(f"/proc/{gateway.process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024


async def a_narrow_socket(gateway: Gateway) -> socket.socket:
    host, port = gateway.place.split(":")
    narrow = socket.socket()
    narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    narrow.setblocking(False)  # noqa: FBT003
    await asyncio.get_running_loop().sock_connect(narrow, (host, int(port)))
    return narrow


@contextlib.asynccontextmanager
async def sockets(gateway: Gateway, client: Client, query: str, id: str) -> AsyncIterator[None]:
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(SOCKETS):
            narrow = await a_narrow_socket(gateway)
            opened = await stack.enter_async_context(
                connect(
                    f"ws://{gateway.place}/graphql",
                    subprotocols=[PROTOCOL],
                    sock=narrow,
                    proxy=None,
                    ping_interval=None,
                    # These messages would shrink to a thousandth, and fit into any buffer.
                    compression=None,
                    close_timeout=0,
                    max_queue=1,
                )
            )
            init = {"authorization": f"Bearer {client.token}"}
            await opened.send(orjson.dumps({"type": "connection_init", "payload": init}).decode())
            await opened.recv()
            opened.transport.pause_reading()
            payload = {"query": query, "variables": {"id": id}}
            for number in range(OPERATIONS):
                message = {"type": "subscribe", "id": str(number), "payload": payload}
                await opened.send(orjson.dumps(message).decode())
            stack.callback(opened.transport.abort)
        yield


@contextlib.asynccontextmanager
async def streams(gateway: Gateway, client: Client, query: str, id: str) -> AsyncIterator[None]:
    body = orjson.dumps({"query": query, "variables": {"id": id}})
    head = (
        f"POST /graphql HTTP/1.1\r\nhost: {gateway.place}\r\naccept: text/event-stream\r\n"
        f"authorization: Bearer {client.token}\r\ncontent-type: application/json\r\n"
        # One that finds no room any more is answered, and is not to be taken for one that stays.
        f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
    ).encode()
    with contextlib.ExitStack() as stack:
        for _ in range(STREAMS):
            narrow = stack.enter_context(await a_narrow_socket(gateway))
            await asyncio.get_running_loop().sock_sendall(narrow, head + body)
        yield


def connections(gateway: Gateway) -> int:
    """How many of clients it has open."""
    port = int(gateway.place.split(":")[1])
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    mine = [row for row in rows if int(row[1].split(":")[1], 16) == port]
    listens, nobodys = "0A", "0"
    return len([row for row in mine if row[3] != listens and row[9] != nobodys])


async def is_there_room(gateway: Gateway, client: Client, id: str) -> bool:
    """Whether one client may follow as much as the key is allowed at all: nothing else is open."""
    async with open_socket(gateway.place) as opened:
        await opened.init(client.token)
        for number in range(ALL):
            await opened.subscribe(str(number), FOLLOW, id=id)
        first: dict[str, str] = {}
        while len(first) < ALL:
            answer = await opened.read()
            first.setdefault(answer["id"], answer["type"])
    return set(first.values()) == {"next"}


async def outlast(gateway: Gateway, client: Client, query: str, id: str) -> int:
    """Let a crowd come that never reads, until all of it was let go; the most memory meanwhile."""
    peak = 0
    async with (
        sockets(gateway, client, query, id),
        streams(gateway, client, query, id),
    ):
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not await is_there_room(gateway, client, id):
                peak = max(peak, resident(gateway))
                await asyncio.sleep(0.2)
        # They are still there, and have not closed anything.
        async with asyncio.timeout(ENDED_SECONDS):
            while connections(gateway):
                await asyncio.sleep(0.05)
    return max(peak, resident(gateway))


@pytest.mark.timeout(180)  # a gateway starts, and a hundred large messages are made
@pytest.mark.parametrize("query", [LOGS, PROGRESS], ids=["logs", "progress"])
async def test_clients_that_never_read_are_let_go_and_take_no_memory(
    run_gateway: RunGateway,
    admin: Client,
    started: Started,
    worker_database: Database,
    query: str,
) -> None:
    """They take all subscriptions of their key; once all are let go there is room for as many."""
    order = started.order
    limits = f"subscriptions={ALL}"

    async def go_on() -> None:
        """Progress, four times a second: each time there is a new state to send."""
        for delivered in itertools.count(1):
            progress = RunProgress(
                run_id=order.run.id,
                epoch=order.run.epoch,
                bytes_read=0,
                bytes_stored=0,
                bytes_delivered=delivered,
                bytes_per_second=1,
            )
            await record_progress(worker_database, [progress])
            await asyncio.sleep(0.25)

    async with (
        run_gateway(BACKUP_GATEWAY_LIMITS=limits) as gateway,
        asyncio.TaskGroup() as tasks,
    ):
        before = resident(gateway)
        going_on = tasks.create_task(go_on())
        first = await outlast(gateway, admin, query, started.id)
        second = await outlast(gateway, admin, query, started.id)
        going_on.cancel()
    assert max(first, second) - before < MOST_BYTES
