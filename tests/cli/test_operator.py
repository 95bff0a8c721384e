"""The operator's commands on a database that is not ready: told what to do, never a trace."""

import asyncio
import sys
from pathlib import Path

import asyncpg
import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.timeout(60)  # each starts a program, on a busy machine
SECRET = "a:" + "A" * 43 + "="
COMMANDS = (
    ("hub", "create", "acme"),
    ("key", "create", "acme"),
    ("claim", "b2"),
    ("claim", "--all"),
    ("serve", "--port", "0"),
    ("worker",),
)


async def run(dsn: str, *words: str) -> tuple[int | None, str]:
    """The exit code, and what was said on stderr."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "app", *words),
        cwd=ROOT,
        env={"DATABASE_URL": dsn, "BACKUP_GATEWAY_SECRET_KEY": SECRET, "HOME": "/"},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await process.communicate()
    return process.returncode, said.decode()


@pytest.mark.usefixtures("template")  # Its roles belong to the whole server.
async def test_a_database_without_tables_is_told_as_such(empty_dsn: str) -> None:
    told = await asyncio.gather(*(run(empty_dsn, *words) for words in COMMANDS))
    sentence = "Error: The database has no tables yet: run `backup-gateway migrate` first.\n"
    assert told == [(2, sentence)] * len(COMMANDS)


async def test_a_database_that_is_behind_is_told_as_such(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute("delete from migrations where name like '0001%'")
    await connection.close()
    code, said = await run(dsn, "hub", "create", "acme")
    assert code == 2
    assert said.startswith("Error: The database lacks 1 migrations of this program, 0001_")
    assert said.endswith(": run `backup-gateway migrate`.\n")
