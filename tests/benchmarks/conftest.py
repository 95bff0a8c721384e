"""What the measurements share: how much is measured, a B2 of its own process, and tables."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from app.postgres.embedded import EmbeddedPostgres
from tests.conftest import LEAN, name_database, run_apart
from tests.fakes.local_b2_server import LocalB2Server

ROOMY = LEAN | {
    "shared_buffers": "512MB",
    "maintenance_work_mem": "256MB",
    "max_wal_size": "8GB",
}


def pytest_addoption(parser):
    parser.addoption("--quick", action="store_true", help="smaller sizes, one round")


@pytest.fixture
def quick(pytestconfig):
    return bool(pytestconfig.getoption("--quick"))


@pytest.fixture(scope="session")
def server_dsn():
    """On the disk: millions of rows have no room in memory. It is not waited for."""
    home = Path(tempfile.mkdtemp(prefix="pg-"))
    pg_bin = os.environ.get("PG_BIN")
    server = EmbeddedPostgres(home, pg_bin=Path(pg_bin) if pg_bin else None, settings=ROOMY)
    try:
        run_apart(server.start())
        yield name_database(server.dsn, "postgres")
    finally:
        run_apart(server.stop())
        shutil.rmtree(home)


@pytest.fixture
def b2(tmp_path):
    """As `up` runs it, but without waiting for the disk."""
    with LocalB2Server(
        tmp_path / "b2",
        part_size=100_000_000,
        minimum_part_size=5_000_000,
        child=True,
        with_faults=False,
    ) as server:
        yield server


@pytest.fixture
def show():
    """Print a table."""

    def show(title, columns, rows):
        table = Table(title=title, title_justify="left")
        for column in columns:
            table.add_column(column, justify="left" if column == columns[0] else "right")
        for row in rows:
            table.add_row(*map(str, row))
        Console(width=120).print("", table)

    return show
