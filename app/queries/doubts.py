"""Statements about instances in doubt: a restore into them failed, and nothing made them well."""

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from app.postgres.pool import Connection
from app.postgres.statements import load

_SQL = load("doubts")


async def open_doubt(connection: Connection, hub_id: UUID, instance_id: UUID) -> None:
    """What is saved of the instance from now on is not good."""
    await connection.execute(_SQL["open"], hub_id, instance_id)


async def close(connection: Connection, hub_id: UUID, instance_id: UUID) -> None:
    """The instance is well from now on; what was saved of it meanwhile stays in doubt."""
    await connection.execute(_SQL["close"], hub_id, instance_id)


async def close_by_proof(connection: Connection, hub_id: UUID, backup_id: UUID) -> None:
    """The backup was proven: its instance was well when it was taken, and the backup is good."""
    await connection.execute(_SQL["close_by_proof"], hub_id, backup_id)


async def open_since(
    connection: Connection, hub_id: UUID, instance_ids: Collection[UUID]
) -> dict[UUID, datetime]:
    """Since when those instances are in doubt that are."""
    rows = await connection.fetch(_SQL["open_since"], hub_id, list(instance_ids))
    return {row["id"]: row["since"] for row in rows}
