"""The pool: bindings never leak, broken connections are replaced, failures have one name."""

import asyncio
from uuid import uuid4

import asyncpg
import pytest

from app.errors import DatabaseUnavailable, StartError
from app.postgres.pool import Connection, Database


async def until(connection: Connection, question: str, *arguments: object) -> None:
    while not await connection.fetchval(question, *arguments):
        await asyncio.sleep(0.01)


async def kill(database: Database, connection: Connection) -> None:
    """End a connection's backend, as a restart of the server does."""
    async with database.connection() as killer:
        await killer.execute("select pg_terminate_backend($1, 5000)", connection.get_server_pid())


async def read_hub(connection: Connection) -> object:
    return await connection.fetchval("select current_hub()")


async def test_a_connection_is_bound_to_the_hub_it_was_asked_for(gateway_database: Database):
    first, second = uuid4(), uuid4()
    for hub in (first, second, None, first, first, None, second):
        async with gateway_database.connection(hub) as connection:
            assert await read_hub(connection) == hub
        async with gateway_database.transaction(hub) as connection:
            assert await read_hub(connection) == hub


async def test_a_hub_gets_the_connection_that_is_bound_to_it_already(gateway_database: Database):
    """Binding costs a round trip."""
    first, second = uuid4(), uuid4()
    async with (
        gateway_database.connection(first) as one,
        gateway_database.connection(second) as two,
        gateway_database.connection(None) as free,
    ):
        pass
    for hub, expected in ((first, one), (second, two), (None, free), (first, one), (uuid4(), free)):
        async with gateway_database.connection(hub) as connection:
            assert connection is expected


async def test_a_binding_survives_a_rollback(gateway_database: Database):
    hub = uuid4()
    with pytest.raises(ZeroDivisionError):
        async with gateway_database.transaction(hub):
            raise ZeroDivisionError
    async with gateway_database.connection(hub) as connection:
        assert await read_hub(connection) == hub


async def test_an_error_rolls_the_transaction_back(owner: Database):
    async def fail() -> None:
        async with owner.transaction() as connection:
            await connection.execute("create table kept ()")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    async with owner.connection() as connection:
        assert await connection.fetchval("select to_regclass('kept')") is None


async def test_an_error_of_the_server_keeps_its_name_and_the_connection(owner: Database):
    with pytest.raises(asyncpg.UndefinedTableError):
        async with owner.connection() as first:
            await first.execute("select from nowhere")
    async with owner.connection() as second:
        assert second is first


async def test_a_cancelled_transaction_is_rolled_back_and_leaves_nothing_behind(owner: Database):
    async def hold() -> None:
        async with owner.transaction() as connection:
            await connection.execute("create table kept ()")
            await connection.execute("select pg_sleep(60)")

    task = asyncio.create_task(hold())
    async with owner.connection() as connection:
        # A cancel that comes before the server began the statement is lost (and waits it out).
        sleeping = "select exists (select from pg_stat_activity where wait_event = 'PgSleep')"
        await until(connection, sleeping)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with owner.connection() as one, owner.connection() as two:
        for connection in (one, two):
            assert await connection.fetchval("select to_regclass('kept')") is None
            assert not connection.is_in_transaction()


async def test_a_connection_that_was_left_in_a_transaction_is_not_lent_again(owner: Database):
    async with owner.connection() as left:
        await left.execute("begin; create table kept ()")
    assert left.is_closed()
    async with owner.connection() as connection:
        assert await connection.fetchval("select to_regclass('kept')") is None


async def test_jsonb_is_python_both_ways(owner: Database):
    value = {"labels": ["ä", 1, 2.5, None, True], "nested": {"x": {}}}
    async with owner.connection() as connection:
        assert await connection.fetchval("select $1::jsonb", value) == value


async def test_a_killed_connection_is_called_unavailable_and_replaced(owner: Database):
    async with owner.connection() as killed:
        pass
    with pytest.raises(DatabaseUnavailable):
        async with owner.connection() as connection:
            await connection.execute("select pg_terminate_backend(pg_backend_pid())")
    assert connection is killed
    async with owner.connection() as connection:
        assert connection is not killed
        assert await connection.fetchval("select 1") == 1


async def test_an_idle_connection_that_was_killed_is_not_handed_out(owner: Database):
    async with owner.connection(), owner.connection() as victim:
        pass
    closed = asyncio.Event()
    victim.add_termination_listener(lambda _: closed.set())
    await kill(owner, victim)
    await closed.wait()
    async with owner.connection() as one, owner.connection() as two:
        for connection in (one, two):
            assert connection is not victim
            assert await connection.fetchval("select 1") == 1


async def test_a_killed_transaction_is_called_unavailable(owner: Database):
    async def lose() -> None:
        async with owner.transaction() as connection:
            await connection.execute("create table kept ()")
            await kill(owner, connection)
            await connection.execute("select 1")

    with pytest.raises(DatabaseUnavailable):
        await lose()
    async with owner.connection() as connection:
        assert await connection.fetchval("select to_regclass('kept')") is None


async def test_a_pool_has_a_bound(dsn: str):
    async with Database.open(dsn, role=None, max_size=2) as database:
        waiting = asyncio.Event()

        async def third() -> int:
            waiting.set()
            async with database.connection() as connection:
                return connection.get_server_pid()

        async with database.connection():
            async with database.connection() as second:
                task = asyncio.create_task(third())
                await waiting.wait()
                await asyncio.sleep(0)
                assert not task.done()
            assert await task == second.get_server_pid()


async def test_a_connection_works_in_the_role_and_in_utc(
    gateway_database: Database, worker_database: Database
):
    for database in (gateway_database, worker_database):
        async with database.connection() as connection:
            role, zone = await connection.fetchrow(
                "select current_user, current_setting('timezone')"
            )
            assert (role, zone) == (database.role, "UTC")


async def test_a_missing_role_says_to_migrate(dsn: str):
    with pytest.raises(
        StartError, match="has no role nobody_made_it: run `backup-gateway migrate`"
    ):
        async with Database.open(dsn, role="nobody_made_it"):
            pass


async def test_a_server_that_is_not_there_is_a_clear_error():
    with pytest.raises(StartError, match="The database cannot be reached"):
        async with Database.open("postgresql://postgres@localhost:1/x", role=None, wait_seconds=0):
            pass


async def test_a_wrong_database_is_a_clear_error(server_dsn: str):
    dsn = server_dsn.replace("/postgres?", "/nothing_here?")
    with pytest.raises(StartError, match='database "nothing_here" does not exist'):
        async with Database.open(dsn, role=None):
            pass


async def test_a_closed_pool_lends_nothing_more(dsn: str):
    async with Database.open(dsn, role=None) as database:
        pass
    with pytest.raises(DatabaseUnavailable):
        async with database.connection():
            pass


async def test_a_cancel_is_never_lost_while_a_connection_is_lent(gateway_database: Database):
    """`asyncio.wait_for` of Python 3.11 loses one that comes in the turn of its result."""
    async with gateway_database.connection():
        pass

    async def borrow(ended: asyncio.Event) -> None:
        while not ended.is_set():
            async with gateway_database.connection() as connection:
                await connection.fetchval("select 1")

    for turns in range(60):
        ended = asyncio.Event()
        task = asyncio.create_task(borrow(ended))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task}, timeout=1)
        ended.set()
        await asyncio.wait({task})
        assert task.cancelled(), turns


async def test_a_full_disk_is_as_good_as_no_database(owner: Database):
    """What needs the database waits for it, then, and does not end as if it had a defect."""
    full = "do $$ begin raise exception 'could not extend file' using errcode = '53100'; end $$"
    with pytest.raises(DatabaseUnavailable, match="has no room left: could not extend file"):
        async with owner.connection() as connection:
            await connection.execute(full)
    async with owner.connection() as connection:
        assert await connection.fetchval("select 1") == 1
