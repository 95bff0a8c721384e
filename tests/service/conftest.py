"""What the tests of decisions ask for beside the databases."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from app.postgres.pool import Database
from tests.builders import a_live_backup, a_stage, read_backup
from tests.service.aged_backups import age, keep

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


@pytest.fixture
async def stage(owner, gateway_database, worker_database):
    """A container whose policy keeps the two last good backups of each instance."""
    stage = await a_stage(owner, gateway_database, worker_database)
    await keep(gateway_database, stage, keep_last=2)
    return stage


@pytest.fixture
def a_backup_of_days(owner, gateway_database, worker_database, stage):
    """Make a LIVE backup that is so many days old."""

    async def make(days, *, instance=None):
        made = await a_live_backup(gateway_database, worker_database, stage, instance=instance)
        await age(owner, made, days)
        return made

    return make


@pytest.fixture
def states(gateway_database, stage):
    async def read(backups):
        return [(await read_backup(gateway_database, stage, one.id)).state for one in backups]

    return read
