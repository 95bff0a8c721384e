"""Recipes with real servers: saved from one container, restored into another one, whole or not.

A writer keeps two numbers equal while a backup is made; what is restored has them equal, too. A
dump that breaks in the middle is no backup, and one that was cut is no restore.
"""

import asyncio
import contextlib
import os
import sqlite3
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from app.model.recipes import RECIPES, Recipe
from tests.product import Product, Workload
from tests.recipe_boxes import NOBODY, Boxes
from tests.worker.test_engines import allow, find_engine, make_engine, make_load

pytestmark = pytest.mark.timeout(120)  # servers and engines take seconds on a busy machine
engines = pytest.mark.parametrize(
    "kind", ["docker", pytest.param("podman", marks=pytest.mark.matrix)]
)
PATIENCE = 60


async def until(works: Callable[[], Awaitable[Any]], *failures: type[BaseException]) -> Any:
    """Its answer, once there is one."""
    async with asyncio.timeout(PATIENCE):
        while True:
            with contextlib.suppress(*failures):
                return await works()
            await asyncio.sleep(0.1)


@contextlib.asynccontextmanager
async def writing(write: Callable[[], Awaitable[Any]]) -> AsyncIterator[None]:
    """A writer that writes all the time, and has written before and after what is within."""
    written = asyncio.Event()

    async def run() -> None:
        while True:
            await write()
            written.set()

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(run())
        await written.wait()
        try:
            yield
            written.clear()
            await written.wait()
        finally:
            task.cancel()


@contextlib.asynccontextmanager
async def loaded(
    product: Product, boxes: Boxes, recipe: Recipe, *names: str
) -> AsyncIterator[Workload]:
    """A container of the product whose instances are these containers, saved by the recipe."""
    async with product.working(**allow(product, boxes.engine.address)):
        id = await make_engine(product, boxes.engine.address)
        await find_engine(product, id, until={"LIVE"})
        yield await make_load(
            product,
            "db",
            id,
            names,
            backup=recipe.backup_command,
            restore=recipe.restore_command,
        )


async def save(product: Product, load: Workload) -> str:
    backup = await product.back_up(load)
    assert (backup["state"], backup["error"]) == ("LIVE", None), backup["logs"]
    return str(backup["id"])


async def restore(product: Product, load: Workload, backup: str) -> None:
    done = await product.put_back(backup, load.instance(2))
    assert (done["state"], done["error"]) == ("SUCCEEDED", None), done["logs"]


async def save_cut(product: Product, load: Workload, recipe: Recipe, *, bytes_off: int = 0) -> str:
    """A backup of the first half of what the recipe would save."""
    size = (
        f"$(($(wc -c </data/cut) - {bytes_off}))" if bytes_off else "$(($(wc -c </data/cut) / 2))"
    )
    await product.configure(
        load,
        backup=f"( {recipe.backup_command}\n) >/data/cut && head -c {size} /data/cut",
        restore=recipe.restore_command,
    )
    return await save(product, load)


async def fail_to_save(product: Product, load: Workload) -> None:
    backup = await product.back_up(load)
    assert backup["state"] == "FAILED", backup
    assert backup["error"]["code"] in {"COMMAND_FAILED", "COMMAND_KILLED"}, backup


async def fail_to_restore(product: Product, load: Workload, backup: str) -> dict[str, Any]:
    done = await product.put_back(backup, load.instance(2))
    assert (done["state"], done["error"]["code"]) == ("FAILED", "COMMAND_FAILED"), done
    return done


async def call(*words: str, input: bytes = b"") -> str:
    """What a program on this machine says. Raises CalledProcessError."""
    process = await asyncio.create_subprocess_exec(
        *words,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate(input)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, words, said)
    return said.decode(errors="backslashreplace")


# --- PostgreSQL -----------------------------------------------------------------------------------

POSTGRES = (
    "[ -e /data/pg/PG_VERSION ] ||"
    " initdb -D /data/pg -U postgres -A trust --no-sync --no-locale -E UTF8 >/data/log 2>&1;"
    " exec postgres -D /data/pg -k /data -c listen_addresses= -c fsync=off -c shared_buffers=16MB"
    " >>/data/log 2>&1"
)
POSTGRES_NAMES = {"PGHOST": "/data", "PGDATA": "/data/pg"}
FILL = """create table first (id int primary key, n int, filling text);
create table second (id int primary key, n int);
insert into first select i, 0, md5(i::text) from generate_series(1, 20000) i;
insert into second select i, 0 from generate_series(1, 20000) i;"""


async def connect(folder: Path) -> asyncpg.Connection:
    return await until(
        lambda: asyncpg.connect(host=str(folder), user="postgres", database="postgres"),
        OSError,
        asyncpg.PostgresError,
    )


async def count_up(connection: asyncpg.Connection) -> None:
    async with connection.transaction():
        await connection.execute("update first set n = n + 1 where id = 20000")
        await connection.execute("update second set n = n + 1 where id = 1")


async def read_rows(connection: asyncpg.Connection) -> tuple[str, int, int]:
    """All that does not change, and the two numbers."""
    row = await connection.fetchrow(
        """select (select md5(string_agg(id::text || filling, ',' order by id)) from first) as all,
          (select n from first where id = 20000) as one,
          (select n from second where id = 1) as two"""
    )
    return tuple(row)


@engines
async def test_postgresql(product, recipe_boxes, kind):
    there, recipe = recipe_boxes(kind), RECIPES["postgresql"]
    names = [there.start(name, POSTGRES, **POSTGRES_NAMES) for name in ("one", "two")]
    one, two = await connect(there.folder("one")), await connect(there.folder("two"))
    await one.execute(FILL)
    async with loaded(product, there, recipe, *names) as load:
        async with writing(lambda: count_up(one)):
            backup = await save(product, load)
        await restore(product, load, backup)
        kept, first, second = await read_rows(two)
        assert (kept, first) == ((await read_rows(one))[0], second)
        assert 0 < first < (await read_rows(one))[1]
        # What is cut changes nothing, not even the tables that arrived whole.
        cut = await save_cut(product, load, recipe)
        await two.execute("update first set n = 77; update second set n = 77")
        await fail_to_restore(product, load, cut)
        assert await read_rows(two) == (kept, 77, 77)
        assert await two.fetchval("select sum(n) from second") == 77 * 20000
        await product.configure(load, backup=recipe.backup_command, restore=recipe.restore_command)
        there.break_program("one", "pg_dump")
        await fail_to_save(product, load)
    await one.close()
    await two.close()


@engines
async def test_postgresql_base(product, recipe_boxes, kind):
    there, recipe = recipe_boxes(kind), RECIPES["postgresql-base"]
    names = [
        there.start("one", POSTGRES, **POSTGRES_NAMES),
        there.start("two", "mkdir -m 700 /data/pg; exec sleep infinity", **POSTGRES_NAMES),
    ]
    one = await connect(there.folder("one"))
    await one.execute(FILL)
    target = there.folder("two") / "pg"
    async with loaded(product, there, recipe, *names) as load:
        async with writing(lambda: count_up(one)):
            backup = await save(product, load)
        kept = (await read_rows(one))[0]
        cut = await save_cut(product, load, recipe)
        (target / "old").write_text("old")
        await fail_to_restore(product, load, cut)
        assert [path.name for path in target.iterdir()] == ["old"]
        await product.configure(load, backup=recipe.backup_command, restore=recipe.restore_command)
        await restore(product, load, backup)
        assert not (target / "old").exists()
        there.start("two", POSTGRES, **POSTGRES_NAMES)
        two = await connect(there.folder("two"))
        again, first, second = await read_rows(two)
        assert (again, first) == (kept, second)
        assert first > 0
        there.break_program("one", "pg_basebackup")
        await fail_to_save(product, load)
        await two.close()
    await one.close()


# --- MariaDB --------------------------------------------------------------------------------------

MARIADB = (
    "mariadb-install-db --no-defaults --datadir=/data/my --auth-root-authentication-method=normal"
    " --skip-test-db >/data/log 2>&1;"
    " exec mariadbd --no-defaults --datadir=/data/my --socket=/data/my.sock --skip-networking"
    " --innodb-flush-log-at-trx-commit=0 --innodb-buffer-pool-size=16M >>/data/log 2>&1"
)
MARIADB_NAMES = {"MARIADB_DATABASE": "shop", "MYSQL_UNIX_PORT": "/data/my.sock"}


async def mariadb(folder: Path, statements: str) -> str:
    return await call(
        "mariadb",
        "--no-defaults",
        "-N",
        "-S",
        str(folder / "my.sock"),
        "-u",
        "root",
        input=statements.encode(),
    )


@engines
async def test_mariadb(product, recipe_boxes, kind):
    there, recipe = recipe_boxes(kind, "mariadbd"), RECIPES["mariadb"]
    names = [there.start(name, MARIADB, **MARIADB_NAMES) for name in ("one", "two")]
    one, two = there.folder("one"), there.folder("two")
    for folder in (one, two):
        await until(
            lambda folder=folder: mariadb(folder, "create database shop"),
            subprocess.CalledProcessError,
        )
    await mariadb(
        one,
        """use shop; create table first (id int primary key, n int, filling text) engine=innodb;
        create table second (id int primary key, n int, raw blob) engine=innodb;
        insert into first select seq, 0, md5(seq) from seq_1_to_20000;
        insert into second select seq, 0, unhex(md5(seq)) from seq_1_to_20000;
        create function twice(a int) returns int deterministic return 2 * a;""",
    )
    read = """use shop; select md5(group_concat(id, filling order by id)) from first;
    select md5(group_concat(id, hex(raw) order by id)) from second;
    select twice(n) from first where id = 20000; select twice(n) from second where id = 1;"""
    read = f"set session group_concat_max_len = 100000000; {read}"
    count = """use shop; begin; update first set n = n + 1 where id = 20000;
    update second set n = n + 1 where id = 1; commit;"""
    async with loaded(product, there, recipe, *names) as load:
        async with writing(lambda: mariadb(one, count)):
            backup = await save(product, load)
        await restore(product, load, backup)
        *kept, first, second = (await mariadb(two, read)).split()
        assert (kept, first) == ((await mariadb(one, read)).split()[:2], second)
        assert int(first) > 0
        # Only the very last statement is missing: all of it ran, and yet it was not whole.
        cut = await save_cut(product, load, recipe, bytes_off=53)
        await fail_to_restore(product, load, cut)
        await fail_to_restore(product, load, await save_cut(product, load, recipe))
        await product.configure(load, backup=recipe.backup_command, restore=recipe.restore_command)
        await restore(product, load, backup)
        assert (await mariadb(two, read)).split() == [*kept, first, second]
        assert (await mariadb(two, "use shop; show tables")).split() == ["first", "second"]
        there.break_program("one", "mariadb-dump")
        await fail_to_save(product, load)


# --- Redis ----------------------------------------------------------------------------------------

REDIS = (
    "exec redis-server --port 6379 --bind 127.0.0.1 --unixsocket /data/redis.sock"
    " --unixsocketperm 777 --save '' --dir /data >/data/log 2>&1"
)


async def redis(folder: Path, *words: str, input: bytes = b"") -> str:
    said = await call("redis-cli", "-e", "-s", str(folder / "redis.sock"), *words, input=input)
    return said.strip()


async def read_redis(folder: Path) -> dict[str, str]:
    """What the server answers for each kind of value."""
    return {
        "text": await redis(folder, "GET", "text"),
        "list": await redis(folder, "LRANGE", "a list", "0", "-1"),
        "hash": await redis(folder, "HGETALL", "hash"),
        "sorted": await redis(folder, "ZRANGE", "sorted", "0", "-1", "WITHSCORES"),
        "stream": await redis(folder, "XRANGE", "stream", "-", "+"),
        "ends": await redis(folder, "PEXPIRETIME", "short"),
        "many": await redis(folder, "HGET", "many", "1999"),
    }


@engines
async def test_redis(product, recipe_boxes, kind):
    there, recipe = recipe_boxes(kind, "redis-server"), RECIPES["redis"]
    names = [there.start(name, REDIS, REDIS_PIPE_TIMEOUT="2") for name in ("one", "two")]
    one, two = there.folder("one"), there.folder("two")
    for folder in (one, two):
        await until(lambda folder=folder: redis(folder, "PING"), subprocess.CalledProcessError)
    await redis(one, "-x", "SET", "text", input=b"a\r\nb\0c\xff")
    await redis(one, "RPUSH", "a list", "x", "", "$3\r\n")
    await redis(one, "HSET", "hash", "name", "value")
    await redis(one, "ZADD", "sorted", "1.5", "m")
    await redis(one, "XADD", "stream", "1-1", "k", "v")
    await redis(one, "SET", "short", "lived", "EX", "1000000")
    fill = 'for i = 1, 2000 do redis.call("HSET", "many", i, string.rep(i, 50)) end'
    await redis(one, "EVAL", fill, "0")
    count = 'redis.call("INCR", "aa") redis.call("INCR", "zz")'
    async with loaded(product, there, recipe, *names) as load:
        async with writing(lambda: redis(one, "EVAL", count, "0")):
            backup = await save(product, load)
        await redis(two, "SET", "old", "goes")
        await restore(product, load, backup)
        kept = await read_redis(two)
        assert kept == await read_redis(one)
        assert await redis(two, "GET", "aa") == await redis(two, "GET", "zz")
        assert int(await redis(two, "GET", "aa")) > 0
        assert await redis(two, "DBSIZE") == await redis(one, "DBSIZE")
        # What is cut, in a value or before the last command, changes nothing and leaves nothing.
        await redis(two, "SET", "text", "newer")
        newer = await read_redis(two)
        for off in (0, 53):
            cut = await save_cut(product, load, recipe, bytes_off=off)
            await fail_to_restore(product, load, cut)
            assert await read_redis(two) == newer
            assert await redis(two, "-n", "15", "DBSIZE") == "0"
        await product.configure(load, backup=recipe.backup_command, restore=recipe.restore_command)
        # Nobody's data is in the way.
        await redis(two, "-n", "15", "SET", "mine", "1")
        await fail_to_restore(product, load, backup)
        assert await redis(two, "-n", "15", "GET", "mine") == "1"
        there.break_program("one", "redis-cli")
        await fail_to_save(product, load)
        # The program says no, too, where the server does.
        there.mend("one")
        await redis(one, "CONFIG", "SET", "requirepass", "sesame")
        await fail_to_save(product, load)


# --- SQLite and volumes ---------------------------------------------------------------------------


@engines
async def test_sqlite(product, recipe_boxes, kind):
    there, recipe = recipe_boxes(kind, "sqlite3"), RECIPES["sqlite"]
    names = [there.start(name, SQLITE_DATABASE="/data/shop.db") for name in ("one", "two")]
    files = [there.folder(name) / "shop.db" for name in ("one", "two")]
    one, two = (sqlite3.connect(file, isolation_level=None) for file in files)
    for connection, file in zip((one, two), files, strict=True):
        connection.execute("pragma journal_mode = wal")
        connection.execute("create table t (id integer primary key, n int, filling text)")
        for path in file.parent.glob("shop.db*"):
            path.chmod(0o666)
    numbers = "with recursive c(i) as (select 1 union all select i + 1 from c where i < 20000)"
    one.execute(f"insert into t {numbers} select i, 0, hex(i) from c")

    async def count_up() -> None:
        one.execute("update t set n = n + 1 where id in (1, 20000)")
        await asyncio.sleep(0)

    read = "select count(*), sum(length(filling)), max(n), sum(n) from t"
    async with loaded(product, there, recipe, *names) as load:
        async with writing(count_up):
            backup = await save(product, load)
        await restore(product, load, backup)
        rows, filling, most, total = two.execute(read).fetchone()
        assert (rows, filling) == one.execute(read).fetchone()[:2]
        assert (total, most > 0) == (2 * most, True)
        two.execute("update t set n = 7")
        cut = await save_cut(product, load, recipe)
        await fail_to_restore(product, load, cut)
        assert two.execute(read).fetchone() == (rows, filling, 7, 140_000)
        await product.configure(load, backup=recipe.backup_command, restore=recipe.restore_command)
        there.break_program("one", "sqlite3")
        await fail_to_save(product, load)
    assert not [path for file in files for path in file.parent.glob("*ing")]
    one.close()
    two.close()


@engines
async def test_volume(product, recipe_boxes, kind):
    there, recipe = recipe_boxes(kind, "tar"), RECIPES["volume"]
    names = [
        there.start(
            name, "mkdir -p /data/v; chmod 777 /data/v; exec sleep infinity", VOLUME="/data/v"
        )
        for name in ("one", "two")
    ]
    one, two = (there.folder(name) / "v" for name in ("one", "two"))
    await until(lambda: asyncio.to_thread(list, two.iterdir()), OSError)
    await until(lambda: asyncio.to_thread(list, one.iterdir()), OSError)
    (one / "a folder").mkdir()
    (one / "a folder" / "-file").write_bytes(os.urandom(300_000))
    (one / ".hidden").symlink_to("a folder/-file")
    (one / "program").write_text("#!/bin/sh\n")
    (one / "program").chmod(0o754)
    (two / "old").mkdir()
    (two / "old" / "file").write_text("old")
    for path in (two / "old", two / "old" / "file", two):
        os.chown(path, int(NOBODY), int(NOBODY))
    async with loaded(product, there, recipe, *names) as load:
        backup = await save(product, load)
        cut = await save_cut(product, load, recipe)
        await fail_to_restore(product, load, cut)
        assert [path.name for path in two.rglob("*")] == ["old", "file"]
        await product.configure(load, backup=recipe.backup_command, restore=recipe.restore_command)
        await restore(product, load, backup)
        found = sorted(str(path.relative_to(two)) for path in two.rglob("*"))
        assert found == [".hidden", "a folder", "a folder/-file", "program"]
        assert (two / ".hidden").read_bytes() == (one / "a folder" / "-file").read_bytes()
        assert (two / "program").stat().st_mode == (one / "program").stat().st_mode
        there.break_program("one", "tar")
        await fail_to_save(product, load)
