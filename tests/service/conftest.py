"""What the tests of decisions ask for beside the databases."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from app.postgres.pool import Database

BLOCKED = """
select count(*)
from pg_stat_activity
where datname = current_database() and cardinality(pg_blocking_pids(pid)) > 0
"""


@pytest.fixture
def until_blocked(owner: Database) -> Callable[[], Awaitable[None]]:
    """Wait until a statement waits for another transaction: then a race is on."""

    async def wait() -> None:
        async with owner.connection(None) as connection:
            for _ in range(1000):
                if await connection.fetchval(BLOCKED):
                    return
                await asyncio.sleep(0.01)
        pytest.fail("nothing waits for another transaction")

    return wait
