"""The embedded PostgreSQL: one owner, nothing left behind, clear words when it cannot start."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from app.errors import StartError
from app.postgres.embedded import EmbeddedPostgres, find_binaries

LEAN = {"fsync": "off", "shared_buffers": "16MB", "max_connections": "20"}
CHECKOUT = Path(__file__).parents[2]

# Runs an owner that says its dsn and server pid, and then waits to be killed.
OWNER = """
import asyncio, sys
from pathlib import Path
from app.postgres.embedded import EmbeddedPostgres

async def main():
    async with EmbeddedPostgres(Path(sys.argv[1]), settings={"fsync": "off"}) as server:
        print(server.dsn, server.pid, server.is_owner, flush=True)
        sys.stdin.read()

asyncio.run(main())
"""


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder that is reachable for the account that PostgreSQL runs as; tmp_path is not."""
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


def make(home: Path) -> EmbeddedPostgres:
    return EmbeddedPostgres(home, settings=LEAN)


def start_owner(home: Path) -> tuple[subprocess.Popen[str], str, int]:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(home)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=CHECKOUT,
    )
    assert owner.stdout is not None
    dsn, pid, is_owner = owner.stdout.readline().split()
    assert is_owner == "True"
    return owner, dsn, int(pid)


async def ask(dsn: str, question: str) -> object:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(question)
    finally:
        await connection.close()


def is_alive(pid: int | None) -> bool:
    assert pid is not None
    return Path(f"/proc/{pid}").exists()


def read_mode(folder: Path) -> int:
    return folder.stat().st_mode & 0o777


async def until_gone(pid: int) -> None:
    while is_alive(pid):
        await asyncio.sleep(0.01)


async def test_data_survives_a_stop_and_the_second_start_finds_it(home: Path):
    async with make(home) as server:
        await ask(server.dsn, "create table kept as select 42 as answer")
        pid = server.pid
    assert not is_alive(pid)
    async with make(home) as server:
        assert await ask(server.dsn, "select answer from kept") == 42


async def test_it_listens_on_a_socket_in_a_closed_folder_and_nowhere_else(home: Path):
    async with make(home) as server:
        assert await ask(server.dsn, "select current_setting('listen_addresses')") == ""
        assert [read_mode(f) for f in (home, server.socket, server.data)] == [0o711, 0o700, 0o700]


async def test_a_killed_server_is_started_again_with_its_data(home: Path):
    async with make(home) as server:
        watch = asyncio.create_task(server.watch())
        await ask(server.dsn, "create table kept as select 42 as answer")
        killed = server.pid
        assert killed is not None
        os.kill(killed, signal.SIGKILL)
        while server.pid == killed:
            await asyncio.sleep(0.01)
        answer = None
        while answer is None:
            try:
                answer = await ask(server.dsn, "select answer from kept")
            except (OSError, asyncpg.PostgresError):
                await asyncio.sleep(0.05)
        assert answer == 42
        watch.cancel()


async def test_a_server_does_not_outlive_an_owner_that_was_killed(home: Path):
    owner, dsn, pid = start_owner(home)
    await ask(dsn, "create table kept as select 42 as answer")
    owner.kill()
    owner.communicate()
    await until_gone(pid)
    async with make(home) as server:
        assert await ask(server.dsn, "select answer from kept") == 42


async def test_a_leftover_server_is_stopped_before_a_new_one_starts(home: Path):
    """As after a kill where the system sends no death signal."""
    async with make(home) as server:
        leftover = server._process
        assert leftover is not None
        server._process = None  # The owner forgets it and frees the lock.
        await server.stop()
        reaper = asyncio.create_task(asyncio.to_thread(leftover.wait))
        async with make(home) as second:
            assert second.is_owner
            assert second.pid != leftover.pid
            assert await ask(second.dsn, "select 1") == 1
            assert leftover.poll() is not None
        await reaper


async def test_a_pid_file_that_names_somebody_else_is_no_server(home: Path):
    async with make(home):
        pass
    pid_file = home / "data" / "postmaster.pid"
    pid_file.write_text(f"{os.getpid()}\n{home / 'data'}\n")
    async with make(home) as server:
        assert await ask(server.dsn, "select 1") == 1


async def test_a_second_process_uses_the_server_and_leaves_it_running(home: Path):
    async with make(home) as first:
        async with make(home) as second:
            assert (first.is_owner, second.is_owner) == (True, False)
            assert second.dsn == first.dsn
            assert second.pid is None
            assert await ask(second.dsn, "select 1") == 1
        assert await ask(first.dsn, "select 1") == 1


async def test_a_broken_data_folder_is_refused_and_left_as_it_is(home: Path):
    async with make(home):
        pass
    control = home / "data" / "global" / "pg_control"
    control.unlink()
    with pytest.raises(StartError, match="is not a whole PostgreSQL data folder"):
        await make(home).start()
    assert (home / "data" / "PG_VERSION").exists()


async def test_a_server_that_ends_at_once_shows_its_log(home: Path):
    server = EmbeddedPostgres(home, settings={**LEAN, "no_such_setting": "on"})
    with pytest.raises(StartError, match='unrecognized configuration parameter "no_such_setting"'):
        await server.start()


async def test_a_data_folder_of_another_version_is_refused(home: Path):
    async with make(home):
        pass
    (home / "data" / "PG_VERSION").write_text("12\n")
    with pytest.raises(StartError, match=r"was made by PostgreSQL 12, but .* by PG_BIN"):
        await make(home).start()


async def test_a_half_made_cluster_is_made_anew(home: Path):
    new = home / "data.new"
    new.mkdir()
    (new / "PG_VERSION").write_text("18\n")
    async with make(home) as server:
        assert await ask(server.dsn, "select 1") == 1
    assert not new.exists()


def test_a_wrong_folder_of_programs_is_named(tmp_path: Path):
    with pytest.raises(StartError, match=f"PG_BIN is {tmp_path}, but no initdb"):
        find_binaries(tmp_path)


async def test_a_deep_home_gets_a_short_socket(home: Path):
    deep = home / ("x" * 90)
    async with make(deep) as server:
        assert await ask(server.dsn, "select 1") == 1
        assert deep not in server.socket.parents
    shutil.rmtree(server.socket)


@pytest.mark.needs("root")
async def test_a_closed_home_is_refused_as_root(tmp_path: Path):
    """PostgreSQL runs as an ordinary account, which cannot pass through a closed folder."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(StartError, match=r"cannot reach .* by BACKUP_GATEWAY_HOME"):
        await make(closed / "home").start()
