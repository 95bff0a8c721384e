"""A copy of a test's database, as a dump would make it or as a snapshot of the disk would."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from urllib.parse import urlsplit

import asyncpg

from app.postgres.pool import Database
from app.wiring.parts import make_worker_parts
from app.worker.parts import Parts
from tests.conftest import execute, name_database
from tests.product import Product


@contextlib.asynccontextmanager
async def copied(product: Product, *, as_snapshot: bool = False) -> AsyncIterator[Product]:
    """The product over a copy of its database: its workers, but the gateway stays the first one's.

    `as_snapshot`: what tells databases apart was copied too, as with a snapshot of the disk.
    """
    source = urlsplit(product.owner.dsn).path.removeprefix("/")
    name = f"{source}_copy"
    server = name_database(product.owner.dsn, "postgres")
    await _copy(server, source, name)
    try:
        dsn = name_database(product.owner.dsn, name)
        async with Database.open(dsn, role=None, min_size=0) as owner:
            if as_snapshot:
                async with owner.connection() as connection:
                    await connection.execute("update integration_owners set place = this_place()")
            yield replace(product, owner=owner)
    finally:
        await execute(server, f'drop database "{name}" with (force)')


@contextlib.asynccontextmanager
async def parts_of(product: Product) -> AsyncIterator[Parts]:
    """What a worker works with, without its loops."""
    async with make_worker_parts(
        product.settings,
        product.owner.dsn,
        sealer=product.sealer,
        embedded_realm=None,
        demo=None,
    ) as parts:
        yield parts


async def _copy(server: str, source: str, name: str) -> None:
    """A template must have no connection: those that are there are cut, and come again."""
    async with asyncio.timeout(20):
        connection = await asyncpg.connect(server)
        try:
            while True:
                await connection.fetch(
                    "select pg_terminate_backend(pid) from pg_stat_activity where datname = $1",
                    source,
                )
                try:
                    await connection.execute(
                        f'create database "{name}" template "{source}" strategy file_copy'
                    )
                except asyncpg.ObjectInUseError:
                    await asyncio.sleep(0.05)
                else:
                    return
        finally:
            await connection.close()
