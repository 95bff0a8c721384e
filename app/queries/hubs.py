"""Statements about hubs."""

from uuid import UUID

import asyncpg

from app.model.hubs import Hub
from app.postgres.pool import Connection
from app.postgres.statements import load

_QUERIES = load("hubs")
_OPERATOR = load("workers_hubs")


async def get(connection: Connection, hub_id: UUID) -> Hub | None:
    row = await connection.fetchrow(_QUERIES["get"], hub_id)
    return None if row is None else _read(row)


async def create(connection: Connection, name: str) -> Hub | None:
    """None where the name is taken. The owner's role alone may do this."""
    row = await connection.fetchrow(_OPERATOR["create"], name)
    return None if row is None else _read(row)


async def find(connection: Connection, name: str, hub_id: UUID | None) -> Hub | None:
    row = await connection.fetchrow(_OPERATOR["find"], name, hub_id)
    return None if row is None else _read(row)


async def begin_deletion(connection: Connection, hub_id: UUID) -> bool:
    """False: it goes already."""
    return await connection.fetchrow(_QUERIES["begin_deletion"], hub_id) is not None


async def ending(connection: Connection, limit: int) -> list[UUID]:
    """For workers: hubs in deletion."""
    rows = await connection.fetch(_OPERATOR["ending"], limit)
    return [row["id"] for row in rows]


async def forget(connection: Connection, hub_id: UUID, most: int) -> bool:
    """For workers: remove what is left of a hub of which everything is settled.

    False: there is more than `most` rows of something, or it is too early.
    """
    return bool(await connection.fetchval(_OPERATOR["forget"], hub_id, most))


def _read(row: asyncpg.Record) -> Hub:
    return Hub(id=row["id"], name=row["name"], created_at=row["created_at"])
