"""The second lock between hubs, for every table that the catalogue knows, the new ones included."""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import asyncpg
import pytest

from app.postgres.pool import Connection, Database

# Tables without rows of hubs, and who may read them.
SHARED = {"installation", "migrations", "pgqueuer", "pgqueuer_log", "pgqueuer_schedules"} | {
    "pgqueuer_statistics",
    "workers",
}
# Tenant tables whose rows belong to a hub by another column than hub_id.
BY_OTHER = {"hubs", "leases"}

# Where a check spans columns.
FIXED: Mapping[str, Mapping[str, object]] = {
    "api_keys": {"role": "VIEWER"},
    "reclaims": {"kind": "NAME"},
}
VALUES: Mapping[str, Callable[[], object]] = {
    "text": lambda: uuid4().hex,
    "uuid": uuid4,
    "bytea": lambda: uuid4().bytes,
    "bigint": lambda: 1,
    "boolean": lambda: True,
    "interval": lambda: timedelta(hours=1),
    "timestamp with time zone": lambda: datetime(2026, 1, 1, tzinfo=UTC),
}
NEEDED = """
select attname as name, format_type(atttypid, null) as type
from pg_attribute
where attrelid = $1::regclass and attnum > 0 and not attisdropped and attnotnull and not atthasdef
"""
WORDS = """
select attribute.attname as name, pg_get_constraintdef(checks.oid) as definition
from pg_constraint as checks
inner join pg_attribute as attribute
    on attribute.attrelid = checks.conrelid and checks.conkey = array[attribute.attnum]
where checks.contype = 'c' and checks.conrelid = $1::regclass
"""
HELD = {
    "hubs": "select id = $1 from hubs",
    "leases": """
        select exists (select from instances where id = leases.instance_id and hub_id = $1)
        from leases
    """,
}


async def list_tables(connection: Connection) -> set[str]:
    rows = await connection.fetch(
        "select relname from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r'"
    )
    return {row["relname"] for row in rows}


async def insert_row(connection: Connection, table: str, given: Mapping[str, object]) -> None:
    """Insert a row with the given columns and something valid in each other that needs a value."""
    checks = await connection.fetch(WORDS, table)
    words = {row["name"]: re.findall(r"'(\w+)'::text", row["definition"]) for row in checks}
    row = {**FIXED.get(table, {}), **given}
    for column in await connection.fetch(NEEDED, table):
        name = column["name"]
        if name not in row:
            row[name] = words[name][0] if words.get(name) else VALUES[column["type"]]()
    marks = ", ".join(f"${number}" for number in range(1, len(row) + 1))
    await connection.execute(
        f"insert into {table} ({', '.join(row)}) values ({marks})", *row.values()
    )


@pytest.fixture
async def tables(owner: Database) -> set[str]:
    async with owner.connection() as connection:
        return await list_tables(connection) - SHARED


@pytest.fixture
async def hubs(owner: Database, tables: set[str]) -> tuple[UUID, UUID]:
    """Two hubs with a row each in every tenant table. References are not checked meanwhile."""
    one, two = uuid4(), uuid4()
    async with owner.transaction() as connection:
        await connection.execute("set local session_replication_role = replica")
        for hub in (one, two):
            await insert_row(connection, "hubs", {"id": hub})
            for table in tables - BY_OTHER:
                await insert_row(connection, table, {"hub_id": hub})
        await connection.execute("insert into leases (instance_id) select id from instances")
    return one, two


async def read_owners(connection: Connection, table: str, hub: UUID) -> list[bool]:
    """Say of each row that can be seen whether it is the hub's."""
    rows = await connection.fetch(HELD.get(table, f"select hub_id = $1 from {table}"), hub)
    return [row[0] for row in rows]


async def test_every_table_is_a_tenants_or_known_to_be_shared(owner: Database):
    async with owner.connection() as connection:
        tables = await list_tables(connection)
        with_hub = await connection.fetch(
            """
            select attrelid::regclass::text as name from pg_attribute
            inner join pg_class on pg_class.oid = attrelid
            where attname = 'hub_id' and relkind = 'r' and attnotnull
            """
        )
        locked = await connection.fetch(
            "select relname from pg_class where relrowsecurity and relkind = 'r'"
        )
    assert {row["name"] for row in with_hub} == tables - SHARED - BY_OTHER
    assert {row["relname"] for row in locked} == tables - SHARED


async def test_the_gateway_sees_nothing_without_a_hub(
    gateway_database: Database, hubs: tuple[UUID, UUID], tables: set[str]
):
    for hub in (None, uuid4()):
        async with gateway_database.connection(hub) as connection:
            for table in tables:
                assert await read_owners(connection, table, hubs[0]) == [], table


async def test_the_gateway_sees_the_rows_of_its_hub_and_no_others(
    gateway_database: Database, hubs: tuple[UUID, UUID], tables: set[str]
):
    for hub in hubs:
        async with gateway_database.connection(hub) as connection:
            for table in tables:
                assert await read_owners(connection, table, hub) == [True], table


async def test_a_binding_never_leaks_into_the_next_request(
    gateway_database: Database, hubs: tuple[UUID, UUID]
):
    for hub in (hubs[0], None, hubs[1], hubs[0], None):
        async with gateway_database.connection(hub) as connection:
            seen = await connection.fetch("select id from hubs")
            assert [row["id"] for row in seen] == ([hub] if hub else [])


async def test_the_worker_sees_every_hub(
    worker_database: Database, hubs: tuple[UUID, UUID], tables: set[str]
):
    async with worker_database.connection() as connection:
        for table in tables:
            assert sorted(await read_owners(connection, table, hubs[0])) == [False, True], table


async def test_the_gateway_cannot_write_a_row_of_another_hub(
    owner: Database, gateway_database: Database, hubs: tuple[UUID, UUID], tables: set[str]
):
    mine, other = hubs
    for table in tables - BY_OTHER:
        for hub in (mine, None):
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
                async with gateway_database.transaction(hub) as connection:
                    await insert_row(connection, table, {"hub_id": other})
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
            async with gateway_database.transaction(mine) as connection:
                await connection.execute(f"update {table} set hub_id = $1", other)
        async with gateway_database.transaction(mine) as connection:
            done = await connection.execute(
                f"update {table} set hub_id = hub_id where hub_id = $1", other
            )
        assert done == "UPDATE 0"
    async with owner.connection() as connection:
        for table in tables - BY_OTHER:
            assert sorted(await read_owners(connection, table, mine)) == [False, True], table


async def test_the_gateway_cannot_lease_an_instance_of_another_hub(
    owner: Database, gateway_database: Database, hubs: tuple[UUID, UUID]
):
    async with owner.connection() as connection:
        theirs = await connection.fetchval("select id from instances where hub_id = $1", hubs[1])
        await connection.execute("delete from leases")
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
        async with gateway_database.connection(hubs[0]) as connection:
            await connection.execute("insert into leases (instance_id) values ($1)", theirs)


async def test_a_row_cannot_point_into_another_hub(owner: Database, hubs: tuple[UUID, UUID]):
    """Checks of foreign keys do not see policies: the reference itself must name the hub."""
    async with owner.connection() as connection:
        references = await connection.fetch(
            """
            select conrelid::regclass::text as child, confrelid::regclass::text as parent,
                (
                    select array_agg(attname::text order by attname) from pg_attribute
                    where attrelid = conrelid and attnum = any(conkey)
                ) as columns
            from pg_constraint
            where contype = 'f' and confrelid <> 'hubs'::regclass and conrelid <> 'leases'::regclass
            """
        )
        assert len(references) == 18
        for child, parent, columns in references:
            assert "hub_id" in columns, f"{child} -> {parent}"
        theirs = await connection.fetchval("select id from containers where hub_id = $1", hubs[1])
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        async with owner.connection() as connection:
            await insert_row(connection, "instances", {"hub_id": hubs[0], "container_id": theirs})


@pytest.mark.parametrize("statement", ["insert into hubs (name) values ('x')", "delete from hubs"])
async def test_only_the_owner_makes_and_removes_hubs(
    gateway_database: Database, worker_database: Database, hubs: tuple[UUID, UUID], statement: str
):
    for database, hub in ((gateway_database, hubs[0]), (worker_database, None)):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with database.connection(hub) as connection:
                await connection.execute(statement)


async def test_neither_role_skips_policies_or_owns_anything(owner: Database):
    async with owner.connection() as connection:
        roles = await connection.fetch(
            """
            select rolsuper, rolbypassrls, rolcreaterole, rolcanlogin,
                exists (select from pg_class where relowner = pg_roles.oid) as owns
            from pg_roles where rolname = any($1)
            """,
            ["backup_gateway_gateway", "backup_gateway_worker"],
        )
    assert [tuple(role) for role in roles] == [(False,) * 5] * 2


async def test_a_key_is_found_by_its_hash_before_its_hub_is_known(
    owner: Database, gateway_database: Database, hubs: tuple[UUID, UUID]
):
    async with owner.connection() as connection:
        key = await connection.fetchrow("select id, hash from api_keys where hub_id = $1", hubs[1])
    assert key is not None
    async with gateway_database.connection() as connection:
        ask = "select key_id, hub_id from authenticate($1)"
        assert await connection.fetchrow(ask, key["hash"]) == (key["id"], hubs[1])
        assert await connection.fetchrow(ask, b"wrong") is None
    for column in ("revoked_at", "expires_at"):
        async with owner.connection() as connection:
            await connection.execute("update api_keys set revoked_at = null, expires_at = null")
            await connection.execute(f"update api_keys set {column} = now()")
        async with gateway_database.connection() as connection:
            assert await connection.fetchrow(ask, key["hash"]) is None
