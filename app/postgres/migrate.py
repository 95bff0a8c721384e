"""The migration runner: brings a database to the files of `db/migrations`, each applied once."""

import asyncio
import contextlib
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

import asyncpg

from app.errors import StartError
from app.postgres.pool import Connection, Database, connect_patiently
from app.postgres.statements import DB

MIGRATIONS = DB / "migrations"

# "backup-g" as a number: any constant that no other program locks on.
_LOCK = 0x6261636B75702D67
_ROLE = re.compile(r"[a-z_][a-z0-9_]{0,62}")
# A quoted identifier, so that the files stay SQL for linters and editors.
_PLACEHOLDER = re.compile(r'"\{(gateway|worker)\}"')

_FIRST_WITH_SET = 16

_HISTORY = """
create table if not exists migrations (
    name text primary key,
    sha256 bytea not null,
    applied_at timestamptz not null default now()
)
"""


async def migrate(
    dsn: str,
    *,
    gateway_role: str,
    worker_role: str,
    folder: Path = MIGRATIONS,
    wait_seconds: float = 30,
    lock_seconds: float = 60,
) -> list[str]:
    """Make the roles, apply what is missing, and return the names of what was applied.

    Safe to run from many processes at once. Raises StartError where the database cannot be
    reached, was migrated by a newer program or from changed files, or lacks a privilege.
    """
    roles = {"gateway": gateway_role, "worker": worker_role}
    _check_roles(roles)
    files = list_migrations(folder)
    connection = await connect_patiently(
        dsn, role=None, application_name="backup-gateway migrate", wait_seconds=wait_seconds
    )
    try:
        await _lock(connection, lock_seconds)
        await _make_roles(connection, roles)
        return await _apply_missing(connection, files, roles)
    except asyncpg.PostgresError as error:
        raise StartError(f"The database cannot be migrated: {error}") from error
    finally:
        await connection.close()


async def check_migrated(database: Database) -> None:
    """Raise StartError where the database lacks our tables, or what was added to them last."""
    async with database.connection() as connection:
        if await connection.fetchval("select to_regclass('migrations')") is None:
            raise StartError("The database has no tables yet: run `backup-gateway migrate` first.")
        # Owners may read what was applied; the roles of programs need not.
        if not await connection.fetchval("select has_table_privilege('migrations', 'select')"):
            return
        done = {row["name"] for row in await connection.fetch("select name from migrations")}
    if missing := list_migrations().keys() - done:
        raise StartError(
            f"The database lacks {len(missing)} migrations of this program, {min(missing)} first:"
            " run `backup-gateway migrate`."
        )


def list_migrations(folder: Path = MIGRATIONS) -> dict[str, Path]:
    """The files by name, in the order in which they are applied."""
    return {path.stem: path for path in sorted(folder.glob("*.sql"))}


def read_migration(path: Path, roles: Mapping[str, str]) -> str:
    """The file's SQL, with the roles' quoted names in place of `"{gateway}"` and `"{worker}"`."""
    return _PLACEHOLDER.sub(lambda match: f'"{roles[match[1]]}"', path.read_text(encoding="utf-8"))


def _check_roles(roles: Mapping[str, str]) -> None:
    # The names go into SQL, also into literals there: no character of theirs may mean anything.
    for role in roles.values():
        if not _ROLE.fullmatch(role):
            raise StartError(
                f"{role!r} cannot be a role's name: use lower case letters, digits and underscores."
            )
    if roles["gateway"] == roles["worker"]:
        raise StartError("The roles of the gateway and of the worker must be two different ones.")


async def _lock(connection: Connection, lock_seconds: float) -> None:
    # Polled: waiting inside pg_advisory_lock() keeps a snapshot, on which another process's
    # `create index concurrently` waits in turn.
    loop = asyncio.get_running_loop()
    end = loop.time() + lock_seconds
    while not await connection.fetchval("select pg_try_advisory_lock($1)", _LOCK):
        if loop.time() > end:
            raise StartError(f"Another process has been migrating for {lock_seconds:.0f} seconds.")
        await asyncio.sleep(0.05)


async def _make_roles(connection: Connection, roles: Mapping[str, str]) -> None:
    """Create the roles where missing and let the login user take them."""
    for role in roles.values():
        try:
            await _make_role(connection, role)
        except asyncpg.InsufficientPrivilegeError as error:
            user = await connection.fetchval("select quote_ident(session_user)")
            raise StartError(
                f"The user {user} may not make the role {role}. Run this as a superuser:\n"
                + "".join(
                    f'create role "{name}" nologin;\ngrant "{name}" to {user};\n'
                    for name in roles.values()
                )
            ) from error
        risky = await connection.fetchval(
            "select rolsuper or rolbypassrls from pg_roles where rolname = $1", role
        )
        if risky:
            raise StartError(
                f"The role {role} skips row-level security (superuser or bypassrls): "
                "hubs would see each other. Use another role."
            )


async def _make_role(connection: Connection, role: str) -> None:
    exists = "select exists (select from pg_roles where rolname = $1)"
    if not await connection.fetchval(exists, role):
        # Roles belong to the whole server: another database's migration may be first.
        with contextlib.suppress(asyncpg.DuplicateObjectError, asyncpg.UniqueViolationError):
            await connection.execute(f'create role "{role}" nologin')
    # Since 16 a member may be one that cannot take the role.
    taking = "set" if connection.get_server_version().major >= _FIRST_WITH_SET else "member"
    if not await connection.fetchval("select pg_has_role(session_user, $1, $2)", role, taking):
        await connection.execute(f'grant "{role}" to session_user')


async def _apply_missing(
    connection: Connection, files: Mapping[str, Path], roles: Mapping[str, str]
) -> list[str]:
    await connection.execute(_HISTORY)
    rows = await connection.fetch("select name, sha256 from migrations order by name")
    done = {row["name"]: row["sha256"] for row in rows}
    if unknown := sorted(done.keys() - files.keys()):
        raise StartError(
            f"The database was migrated by a newer program (it knows {', '.join(unknown)}): "
            "update this one."
        )
    applied = []
    for name, path in files.items():
        digest = hashlib.sha256(path.read_bytes()).digest()
        if name not in done:
            if any(later > name for later in done):
                raise StartError(f"{name} comes before what this database already has.")
            await _apply(connection, name, read_migration(path, roles), digest)
            applied.append(name)
        elif done[name] != digest:
            raise StartError(f"{path.name} was changed after it was applied to this database.")
    return applied


async def _apply(connection: Connection, name: str, sql: str, digest: bytes) -> None:
    record = "insert into migrations (name, sha256) values ($1, $2)"
    if sql.startswith("-- no-transaction"):
        # Each statement by itself: several in one message are one implicit transaction.
        await connection.execute("set lock_timeout = '10s'; set statement_timeout = '1h'")
        for statement in filter(str.strip, re.split(r";\s*$", sql, flags=re.MULTILINE)):
            await connection.execute(statement, timeout=3600)
        await connection.execute(record, name, digest)
        return
    async with connection.transaction():
        await connection.execute("set local lock_timeout = '10s'")
        await connection.execute("set local statement_timeout = '10min'")
        await connection.execute(sql, timeout=600)
        await connection.execute(record, name, digest)
