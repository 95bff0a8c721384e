"""The operator's commands: migrations, the first hub and key, a local B2."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from app.errors import NotFound, StartError
from app.model.access import Role
from app.postgres.migrate import check_migrated
from app.postgres.migrate import migrate as apply_migrations
from app.postgres.pool import Database
from app.service import hubs, keys, ownership
from app.settings import Settings
from app.storage.local_server import run_local_b2


def need_database_url(settings: Settings) -> str:
    """Raise StartError where DATABASE_URL is not set."""
    if settings.database_url is None:
        raise StartError(
            "DATABASE_URL is not set: name the PostgreSQL to use, such as"
            " DATABASE_URL=postgresql://user@host/backup_gateway"
            " (without one there is only `backup-gateway up`, with an embedded server)."
        )
    return settings.database_url


@asynccontextmanager
async def open_migrated(settings: Settings) -> AsyncIterator[Database]:
    """The database as its owner. Raises StartError, also where `migrate` has to be run first."""
    async with Database.open(need_database_url(settings), role=None) as database:
        await check_migrated(database)
        yield database


def migrate(settings: Settings) -> list[str]:
    """Apply what is missing; returns the names of the migrations. Raises StartError."""
    return asyncio.run(
        apply_migrations(
            need_database_url(settings),
            gateway_role=settings.gateway_role,
            worker_role=settings.worker_role,
        )
    )


def create_hub(settings: Settings, name: str) -> str:
    """Make a hub; returns its id. Raises StartError, InvalidInput, Conflict."""

    async def create() -> str:
        async with open_migrated(settings) as database:
            return str((await hubs.create_hub(database, name)).id)

    return asyncio.run(create())


def create_key(settings: Settings, hub: str, *, role: str, name: str) -> str:
    """Make an API key of a hub; returns its token. Raises StartError, InvalidInput, NotFound."""

    async def create() -> str:
        async with open_migrated(settings) as database:
            found = await hubs.find_hub(database, hub)
            if found is None:
                raise NotFound(f"There is no hub {hub!r}.")
            _, token = await keys.create_key(database, hub_id=found.id, name=name, role=Role(role))
            return token

    return asyncio.run(create())


def claim(settings: Settings, integration: str) -> str:
    """Make this database the owner of an integration's bucket; returns the integration's name.

    A worker writes it into the bucket. Raises StartError, NameUnclear.
    """

    async def record() -> str:
        async with open_migrated(settings) as database:
            found = await ownership.find_integration(database, integration)
            await ownership.claim_integration(database, found)
            return f"{found.name} of {found.hub_name}"

    return asyncio.run(record())


def claim_all(settings: Settings) -> int:
    """Claim every integration in whose bucket this database is not the owner; returns how many.

    Raises StartError.
    """

    async def record() -> int:
        async with open_migrated(settings) as database:
            return await ownership.claim_all_stopped(database)

    return asyncio.run(record())


def local_b2(folder: Path, *, host: str, port: int) -> None:
    """Serve a local B2 until stopped. Raises StartError."""
    run_local_b2(folder, host=host, port=port)
