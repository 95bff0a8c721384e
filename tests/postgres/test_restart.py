"""PostgreSQL restarted in mid-run: pool, queue and listeners recover, and what runs goes on."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from app.errors import DatabaseUnavailable
from app.postgres.embedded import EmbeddedPostgres
from app.postgres.listen import RESYNC, ListenHub, Wake, notify
from app.postgres.migrate import migrate
from app.postgres.pool import Database
from app.postgres.queue import Queue, enqueue

GATEWAY, WORKER = "backup_gateway_gateway", "backup_gateway_worker"
LEAN = {"fsync": "off", "shared_buffers": "16MB", "max_connections": "20"}


@pytest.fixture
async def server() -> AsyncIterator[EmbeddedPostgres]:
    """A server of the test's own, which may be stopped."""
    home = Path(tempfile.mkdtemp(prefix="pg-"))
    try:
        async with EmbeddedPostgres(home, settings=LEAN) as server:
            await migrate(server.dsn, gateway_role=GATEWAY, worker_role=WORKER)
            yield server
    finally:
        shutil.rmtree(home)


async def read_one(database: Database) -> int | None:
    try:
        async with database.connection() as connection:
            one: int = await connection.fetchval("select 1")
            return one
    except DatabaseUnavailable:
        return None


@pytest.mark.timeout(60)  # a server is made, stopped and started
async def test_a_restart_of_the_server_touches_no_run(server: EmbeddedPostgres):
    first, second = uuid4(), uuid4()
    started: list[UUID] = []
    ended: asyncio.Queue[UUID] = asyncio.Queue()
    began, go, stopping = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def handle(run: UUID) -> None:
        started.append(run)
        began.set()
        if run == first:
            await go.wait()
        await ended.put(run)

    hub = ListenHub(server.dsn, role=GATEWAY)
    queue = Queue(server.dsn, role=WORKER)
    async with (
        Database.open(server.dsn, role=WORKER) as database,
        asyncio.TaskGroup() as tasks,
    ):
        listening = tasks.create_task(hub.run())
        tasks.create_task(queue.consume(["here"], handle, concurrency=2, stopping=stopping))
        await hub.wait_until_listening()
        with hub.subscribe("a") as mailbox:
            async with database.transaction() as connection:
                await enqueue(connection, "here", first)
            await began.wait()

            await server.stop()
            assert await read_one(database) is None
            await server.start()

            assert await read_one(database) == 1
            assert await anext(mailbox) is RESYNC
            async with database.transaction() as connection:
                await enqueue(connection, "here", second)
                await notify(connection, ["a"])
            assert await anext(mailbox) == Wake("a")
            assert await ended.get() == second
            go.set()
            assert await ended.get() == first
        assert started == [first, second]
        stopping.set()
        listening.cancel()


async def test_a_connection_that_the_server_has_given_up_is_called_unavailable(owner: Database):
    """What a server that stops says arrives before the end of the connection does."""
    fields = b"SFATAL\0VFATAL\0C57P01\0Mterminating connection\0\0"
    farewell = b"E" + (len(fields) + 4).to_bytes(4) + fields
    async with owner.connection() as connection:
        given_up = connection
    given_up._protocol.data_received(farewell)
    assert await read_one(owner) is None
    assert given_up.is_closed()
    assert await read_one(owner) == 1
