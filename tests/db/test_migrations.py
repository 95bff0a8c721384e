"""Migrations: applied once, in order, unchanged; their result is the snapshot and the library's."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest
from pgqueuer.adapters.persistence.qb import QueryBuilderEnvironment

from app.errors import StartError
from app.postgres.migrate import MIGRATIONS, list_migrations, migrate
from app.postgres.pool import Database

ROLES = {"gateway_role": "backup_gateway_gateway", "worker_role": "backup_gateway_worker"}
SNAPSHOT = Path(__file__).with_name("snapshot.txt")

CATALOGUE = """
select format('%s: %s %s%s%s', attrelid::regclass, attname, format_type(atttypid, atttypmod),
    case when attnotnull then ' not null' else '' end,
    coalesce(' default ' || pg_get_expr(adbin, adrelid), '')
        || case when attidentity = '' then '' else ' identity ' || attidentity::text end)
from pg_attribute
inner join pg_class on pg_class.oid = attrelid
left join pg_attrdef on adrelid = attrelid and adnum = attnum
where relnamespace = 'public'::regnamespace and relkind = 'r' and attnum > 0 and not attisdropped
union all
select format('%s: %s', tablename, indexdef) from pg_indexes where schemaname = 'public'
union all
select format('%s: %s %s', conrelid::regclass, conname, pg_get_constraintdef(oid))
from pg_constraint
where connamespace = 'public'::regnamespace and contype <> 'n' and conrelid <> 0
union all
select format('%s: policy %s %s to %s using %s check %s',
    tablename, policyname, cmd, roles, qual, with_check)
from pg_policies
union all
select format('%s: %s may %s', relname, grantee::regrole, privilege_type)
from pg_class, lateral aclexplode(relacl)
where relnamespace = 'public'::regnamespace and grantee <> relowner
union all
select format('%s %s', oid::regprocedure, regexp_replace(prosrc, '\\s+', ' ', 'g'))
from pg_proc where pronamespace = 'public'::regnamespace
union all
select format('%s: %s', tgrelid::regclass, pg_get_triggerdef(oid))
from pg_trigger where not tgisinternal
union all
select format('%s %s', enumtypid::regtype, string_agg(enumlabel, ' ' order by enumsortorder))
from pg_enum group by enumtypid
order by 1
"""


async def read_catalogue(dsn: str) -> list[str]:
    connection = await asyncpg.connect(dsn)
    try:
        return [row[0] for row in await connection.fetch(CATALOGUE)]
    finally:
        await connection.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the migrations, to be changed."""
    copy = tmp_path / "migrations"
    shutil.copytree(MIGRATIONS, copy)
    return copy


@pytest.fixture
def add(folder: Path) -> Callable[[str, str], None]:
    def write(name: str, sql: str) -> None:
        (folder / f"{name}.sql").write_text(sql)

    return write


async def test_a_second_run_applies_nothing(empty_dsn: str):
    assert await migrate(empty_dsn, **ROLES) == list(list_migrations())
    assert await migrate(empty_dsn, **ROLES) == []


def test_files_are_numbered_without_a_gap_and_say_why_and_what_they_lock():
    names = list(list_migrations())
    assert [name[:4] for name in names] == [f"{n:04}" for n in range(1, len(names) + 1)]
    for path in list_migrations().values():
        head = path.read_text()[:600]
        assert head.startswith(("-- Why: ", "-- no-transaction\n-- Why: ")), path.name
        assert "\n-- Locks: " in head, path.name
        assert " Old code: " in head, path.name


async def test_many_processes_may_migrate_at_once(empty_dsn: str):
    applied = await asyncio.gather(*(migrate(empty_dsn, **ROLES) for _ in range(4)))
    assert sorted(applied) == [[], [], [], list(list_migrations())]


async def test_the_result_is_the_committed_snapshot(dsn: str):
    """After a deliberate change, `WRITE_SNAPSHOT=1` writes it anew: commit what it shows."""
    catalogue = "\n".join(await read_catalogue(dsn)) + "\n"
    if os.environ.get("WRITE_SNAPSHOT"):
        SNAPSHOT.write_text(catalogue)
    assert catalogue == SNAPSHOT.read_text()


async def test_the_queue_is_what_the_library_would_install(
    dsn: str, empty_dsn: str, owner: Database
):
    connection = await asyncpg.connect(empty_dsn)
    try:
        await connection.execute(QueryBuilderEnvironment().build_install_query())
    finally:
        await connection.close()
    ours = [
        line for line in await read_catalogue(dsn) if "pgqueuer" in line and " may " not in line
    ]
    assert ours == await read_catalogue(empty_dsn)
    async with owner.connection() as database:
        unlogged = await database.fetch("select from pg_class where relpersistence = 'u'")
    assert unlogged == []


async def test_a_changed_file_is_refused(dsn: str, folder: Path, add: Callable[[str, str], None]):
    name = "0002_queue"
    add(name, (folder / f"{name}.sql").read_text() + "\n")
    with pytest.raises(StartError, match=r"0002_queue\.sql was changed after it was applied"):
        await migrate(dsn, **ROLES, folder=folder)


async def test_a_database_that_knows_more_is_refused(dsn: str, folder: Path):
    (folder / "0002_queue.sql").unlink()
    with pytest.raises(StartError, match=r"migrated by a newer program \(it knows 0002_queue\)"):
        await migrate(dsn, **ROLES, folder=folder)


async def test_a_file_that_comes_in_between_is_refused(
    dsn: str, folder: Path, add: Callable[[str, str], None]
):
    add("0001_z_late", "select 1;")
    with pytest.raises(StartError, match="0001_z_late comes before what this database already has"):
        await migrate(dsn, **ROLES, folder=folder)


async def test_a_file_that_fails_leaves_nothing(
    dsn: str, folder: Path, add: Callable[[str, str], None], owner: Database
):
    add("0900_good", "create table good ();")
    add("0901_bad", "create table bad (); select 1 / 0;")
    with pytest.raises(StartError, match="cannot be migrated: division by zero"):
        await migrate(dsn, **ROLES, folder=folder)
    async with owner.connection() as connection:
        there = await connection.fetchrow("select to_regclass('good'), to_regclass('bad')")
        names = await connection.fetch("select name from migrations order by name")
    assert there == ("good", None)
    assert [row["name"] for row in names] == [*list_migrations(), "0900_good"]


async def test_an_index_can_be_made_concurrently_beside_other_processes(
    dsn: str, folder: Path, add: Callable[[str, str], None], owner: Database
):
    """Whoever waits for the lock must hold no snapshot, on which the index would wait in turn."""
    add(
        "0900_index",
        "-- no-transaction\ncreate index concurrently extra on hubs (created_at);\n"
        "create index concurrently other on hubs (created_at, id);\n",
    )
    applied = await asyncio.gather(*(migrate(dsn, **ROLES, folder=folder) for _ in range(3)))
    assert sorted(applied) == [[], [], ["0900_index"]]
    async with owner.connection() as connection:
        valid = "select indisvalid from pg_index where indexrelid = any($1::regclass[])"
        assert [row[0] for row in await connection.fetch(valid, ["extra", "other"])] == [True, True]


async def test_a_lock_that_is_never_free_is_named(dsn: str, owner: Database):
    async with owner.connection() as connection:
        await connection.execute("select pg_advisory_lock(x'6261636B75702D67'::bigint)")
        with pytest.raises(StartError, match="Another process has been migrating"):
            await migrate(dsn, **ROLES, lock_seconds=0)
        await connection.execute("select pg_advisory_unlock_all()")


@pytest.mark.parametrize("role", ["Gateway", "", "a-b", "a'b", 'a"b', "a%b", "a" * 64, "1a"])
async def test_a_strange_role_name_is_refused(empty_dsn: str, role: str):
    with pytest.raises(StartError, match="cannot be a role's name"):
        await migrate(empty_dsn, gateway_role=role, worker_role="w")


async def test_one_role_for_both_is_refused(empty_dsn: str):
    with pytest.raises(StartError, match="must be two different ones"):
        await migrate(empty_dsn, gateway_role="same", worker_role="same")


async def test_a_role_that_skips_policies_is_refused(empty_dsn: str):
    with pytest.raises(StartError, match="The role postgres skips row-level security"):
        await migrate(empty_dsn, gateway_role="postgres", worker_role=ROLES["worker_role"])


@asynccontextmanager
async def plain_user(owner: Database, dsn: str, rights: str) -> AsyncIterator[tuple[str, str]]:
    """An ordinary login role to whom an empty schema was handed; yields its DSN and its name."""
    async with owner.connection() as connection:
        name = await connection.fetchval("select current_database() || '_user'")
        roles = name, f"{name}_g", f"{name}_w"
        await connection.execute(f'create role "{name}" login {rights}')
        await connection.execute("drop schema public cascade")
        await connection.execute(f'create schema public authorization "{name}"')
        yield dsn.replace("postgres@", f"{name}@"), name
        await connection.execute(f'reassign owned by "{name}" to postgres')
        for role in reversed(roles):
            await connection.execute(f'drop owned by "{role}"')
            await connection.execute(f'drop role "{role}"')


async def check_role_of(dsn: str, role: str) -> None:
    async with (
        Database.open(dsn, role=role) as database,
        database.connection() as connection,
    ):
        assert await connection.fetchval("select current_user") == role


async def test_a_user_who_may_not_make_roles_is_told_what_to_run(dsn: str, owner: Database):
    async with plain_user(owner, dsn, "") as (plain, name):
        roles = {"gateway_role": f"{name}_g", "worker_role": f"{name}_w"}
        with pytest.raises(StartError, match="Run this as a superuser:\n") as refused:
            await migrate(plain, **roles)
        async with owner.connection() as connection:
            await connection.execute(refused.value.message.partition("\n")[2])
        assert await migrate(plain, **roles) == list(list_migrations())
        for role in roles.values():
            await check_role_of(plain, role)


async def test_a_user_who_may_make_roles_needs_nobody(dsn: str, owner: Database):
    async with plain_user(owner, dsn, "createrole") as (plain, name):
        roles = {"gateway_role": f"{name}_g", "worker_role": f"{name}_w"}
        assert await migrate(plain, **roles) == list(list_migrations())
        for role in roles.values():
            await check_role_of(plain, role)
