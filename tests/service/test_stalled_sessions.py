"""Sessions that a paused process left in the middle of a statement, and the locks they hold."""

import asyncio
from contextlib import AsyncExitStack
from datetime import timedelta

import asyncpg
import pytest

from app.postgres.pool import Database
from app.service.sweeps import end_stalled_sessions

AT_ONCE = timedelta(0)
GONE = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
"""What it is told that a connection has ended depends on how far its end has come."""


async def log_in(stack: AsyncExitStack, dsn: str, name: str) -> asyncpg.Connection:
    connection = await asyncpg.connect(dsn, server_settings={"application_name": name})
    stack.callback(connection.terminate)
    return connection


async def test_what_a_paused_process_locked_is_free_again(
    dsn: str, worker_database: Database
) -> None:
    async with AsyncExitStack() as stack:
        ours, stranger, idle, other = [
            await log_in(stack, dsn, name)
            for name in ("backup-gateway worker", "psql", "backup-gateway", "backup-gateway")
        ]
        await other.execute("create table things (id bigint)")
        await ours.execute("begin; lock table things")
        await stranger.execute("begin")
        # Parsed, and nothing more is sent: the server waits within the statement.
        kept = [await paused.prepare("select 1") for paused in (ours, stranger)]
        assert len(kept) == 2
        await idle.execute("select 1")

        assert await end_stalled_sessions(worker_database, timedelta(minutes=1)) == 0
        assert await end_stalled_sessions(worker_database, AT_ONCE) == 1
        async with asyncio.timeout(10):
            await other.execute("select count(*) from things")
        with pytest.raises(GONE):
            await ours.fetchval("select 1")
        assert await stranger.fetchval("select 1") == 1
        assert await idle.fetchval("select 1") == 1
