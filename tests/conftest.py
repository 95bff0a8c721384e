"""What every folder's tests may ask for: a PostgreSQL per process and a fresh database per test."""

import asyncio
import itertools
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import asyncpg
import pytest

from app.postgres.embedded import EmbeddedPostgres
from app.postgres.migrate import migrate
from app.postgres.pool import Database

pytest_plugins = ["tests.programs", "tests.engines", "tests.recipe_boxes", "tests.product_fixtures"]

GATEWAY_ROLE = "backup_gateway_gateway"
WORKER_ROLE = "backup_gateway_worker"

# Nothing here outlives the tests, so nothing has to reach a disk.
LEAN = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "shared_buffers": "32MB",
    "max_connections": "200",
}

ROOM = 2 * 1024**3

T = TypeVar("T")


SLOW_SHARE = 0.75


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Order())


class Order:
    """Slow tests come among the others in the first part of a run: it does not end with one."""

    @pytest.hookimpl(trylast=True)  # after pytest-randomly, whose order is kept otherwise
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [items[place] for place in spread([find_patience(item) for item in items])]


def spread(patience: Sequence[float]) -> list[int]:
    """The order of tests with such timeouts, where 0 is a quick one: the slowest first.

    They are spread evenly over the first three quarters, since together they crowd a machine.
    """
    quick = [place for place, seconds in enumerate(patience) if not seconds]
    slow = [place for place, seconds in enumerate(patience) if seconds]
    slow.sort(key=lambda place: -patience[place])
    keys = {place: SLOW_SHARE * number / len(slow) for number, place in enumerate(slow)}
    keys |= {place: number / len(quick) for number, place in enumerate(quick)}
    return sorted(keys, key=lambda place: keys[place])


def find_patience(item: pytest.Item) -> float:
    """The seconds of a test's own timeout; 0: it is as quick as most."""
    mark = item.get_closest_marker("timeout")
    return float(mark.args[0]) if mark is not None and mark.args else 0.0


def choose_fast_folder() -> str | None:
    """Memory, where there is enough of it: a database is copied there in 10 ms instead of 270."""
    memory = Path("/dev/shm")
    return str(memory) if memory.is_dir() and shutil.disk_usage(memory).free > ROOM else None


def run_apart(work: Coroutine[Any, Any, T]) -> T:
    """Run something async from a fixture of the session, beside the loops of the tests."""
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(work)
    finally:
        loop.close()


def name_database(dsn: str, name: str) -> str:
    """The same server's DSN with another database."""
    return urlsplit(dsn)._replace(path=f"/{name}").geturl()


@pytest.fixture(scope="session")
def server_dsn() -> Iterator[str]:
    """A superuser's DSN of a server for this process; TEST_DATABASE_URL names one that is there."""
    if given := os.environ.get("TEST_DATABASE_URL"):
        yield given
        return
    # Not tmp_path: pytest closes it, and as root PostgreSQL runs as somebody else.
    home = Path(tempfile.mkdtemp(prefix="pg-", dir=choose_fast_folder()))
    pg_bin = os.environ.get("PG_BIN")
    server = EmbeddedPostgres(home, pg_bin=Path(pg_bin) if pg_bin else None, settings=LEAN)
    try:
        run_apart(server.start())
        yield name_database(server.dsn, "postgres")
    finally:
        run_apart(server.stop())
        shutil.rmtree(home)


@pytest.fixture(scope="session")
def database_names() -> Iterator[str]:
    """Names that no other process uses."""
    return (f"test_{os.getpid()}_{number}" for number in itertools.count())


@pytest.fixture(scope="session")
def template(server_dsn: str, database_names: Iterator[str]) -> Iterator[str]:
    """The name of a migrated database that nobody is connected to."""
    name = next(database_names)
    run_apart(execute(server_dsn, f'create database "{name}"'))
    dsn = name_database(server_dsn, name)
    run_apart(migrate(dsn, gateway_role=GATEWAY_ROLE, worker_role=WORKER_ROLE))
    yield name
    run_apart(execute(server_dsn, f'drop database "{name}" with (force)'))


async def execute(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@pytest.fixture
async def empty_dsn(server_dsn: str, database_names: Iterator[str]) -> AsyncIterator[str]:
    """The DSN of a new database without anything in it."""
    name = next(database_names)
    await execute(server_dsn, f'create database "{name}"')
    yield name_database(server_dsn, name)
    await execute(server_dsn, f'drop database "{name}" with (force)')


@pytest.fixture
async def dsn(server_dsn: str, template: str, database_names: Iterator[str]) -> AsyncIterator[str]:
    """The DSN of a new migrated database, as the server's superuser."""
    name = next(database_names)
    copy = f'create database "{name}" template "{template}" strategy file_copy'
    await execute(server_dsn, copy)
    yield name_database(server_dsn, name)
    await execute(server_dsn, f'drop database "{name}" with (force)')


@pytest.fixture
async def owner(dsn: str) -> AsyncIterator[Database]:
    """The test's database as its owner, whom no policy holds back."""
    async with Database.open(dsn, role=None, application_name="owner", min_size=0) as database:
        yield database


@pytest.fixture
async def gateway_database(dsn: str) -> AsyncIterator[Database]:
    """The test's database in the role of the gateway: bind it to a hub."""
    async with Database.open(
        dsn, role=GATEWAY_ROLE, application_name="gateway", min_size=0
    ) as database:
        yield database


@pytest.fixture
async def worker_database(dsn: str) -> AsyncIterator[Database]:
    """The test's database in the role of the worker, which sees every hub."""
    async with Database.open(
        dsn, role=WORKER_ROLE, application_name="worker", min_size=0
    ) as database:
        yield database
