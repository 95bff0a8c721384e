"""A large SQLite database that is written to all the time: saved and restored as the demo does."""

import contextlib
import os
import signal
import sqlite3
import subprocess

import pytest

from app.demo.instances import find_python, make_instances

ROWS = 110_000
MEMO_BYTES = 2_000
LARGE = 200_000_000

WRITER = """
import itertools, sqlite3
database = sqlite3.connect("ledger.db", timeout=60)
for n in itertools.count():
    with database:
        database.execute("insert into entries (account, cents, memo) values ('writer', 1, 'new')")
    print(n, flush=True)
"""
FILL = """
with recursive numbers (n) as (select 1 union all select n + 1 from numbers where n < ?)
insert into entries (account, cents, memo)
select 'account', n, hex(randomblob(?)) from numbers
"""


def _open(folder):
    return contextlib.closing(sqlite3.connect(folder / "ledger.db", timeout=60))


def _last(folder):
    with _open(folder) as database:
        return database.execute("select max(id) from entries").fetchone()[0]


def _fill(product, load, tmp_path):
    """Both folders as the demo has them, the first with a large database."""
    make_instances(tmp_path / "demo")
    for number in (1, 2):
        folder = load.folder(number)
        for path in (tmp_path / "demo" / f"{number}.ledger").iterdir():
            path.rename(folder / path.name)
        if number == 1:
            with _open(folder) as database, database:
                database.execute(FILL, (ROWS, MEMO_BYTES // 2))
        for path in folder.iterdir():
            product.give(path)
    assert (load.folder(1) / "ledger.db").stat().st_size > LARGE


@contextlib.contextmanager
def _writing(product, folder):
    """A process of the instance that goes on to insert."""
    owner = product.root.stat()
    account = {"user": owner.st_uid, "group": owner.st_gid} if os.geteuid() == 0 else {}
    with subprocess.Popen(
        [find_python(), "-c", WRITER], cwd=folder, stdout=subprocess.PIPE, text=True, **account
    ) as process:
        try:
            assert process.stdout.readline() == "0\n"
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            # Nothing may be left in the pipe that it waits to write into.
            process.stdout.read()


@pytest.mark.timeout(180)  # hundreds of megabytes, on a loaded machine
async def test_a_large_database_is_restored_whole_from_under_a_writer(product, tmp_path):
    python = find_python()
    load = await product.workload("ledger", backup=f"{python} dump.py", restore=f"{python} load.py")
    _fill(product, load, tmp_path)
    async with product.working():
        with _writing(product, load.folder(1)) as writer:
            before = _last(load.folder(1))
            backup = await product.back_up(load)
            assert backup["state"] == "LIVE", backup
            assert writer.poll() is None
        assert _last(load.folder(1)) > before
        restore = await product.put_back(backup["id"], load.instance(2))
    assert restore["state"] == "SUCCEEDED", restore
    assert backup["sizeBytes"] > LARGE
    with _open(load.folder(2)) as copy:
        assert copy.execute("pragma integrity_check").fetchall() == [("ok",)]
        copy.execute("attach ? as source", (str(load.folder(1) / "ledger.db"),))
        query = """select count(*) from main.entries as copied
            join source.entries as written using (id, account, cents, memo) where id <= ?"""
        assert copy.execute(query, (before,)).fetchone() == (before,)
