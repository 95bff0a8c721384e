"""Statements about one-time addresses of backups."""

from datetime import timedelta
from uuid import UUID

import asyncpg

from app.model.downloads import Download
from app.postgres.pool import Connection
from app.postgres.statements import load

_SQL = load("downloads")
_CROSSING = load("workers_downloads")


async def create(
    connection: Connection,
    hub_id: UUID,
    *,
    backup_id: UUID,
    hash: bytes,
    requested_by_id: UUID,
    valid_for: timedelta,
) -> Download:
    row = await connection.fetchrow(
        _SQL["create"], hub_id, backup_id, hash, requested_by_id, valid_for
    )
    assert row is not None
    return _read(row)


async def get(connection: Connection, hub_id: UUID, id: UUID) -> Download | None:
    row = await connection.fetchrow(_SQL["get"], hub_id, id)
    return None if row is None else _read(row)


async def redeem(connection: Connection, hash: bytes) -> tuple[UUID, UUID] | None:
    """Spend an address: its hub and backup. None: there is none that can still be opened."""
    row = await connection.fetchrow(_CROSSING["redeem"], hash)
    return None if row is None else (row["hub_id"], row["backup_id"])


async def prune(connection: Connection) -> None:
    await connection.execute(_CROSSING["prune"])


def _read(row: asyncpg.Record) -> Download:
    return Download(id=row["id"], backup_id=row["backup_id"], expires_at=row["expires_at"])
