"""Statements about reclaims, the durable promises to remove something from B2."""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from app.model.backups import BackupState
from app.postgres.pool import Connection
from app.postgres.statements import load

_SQL = load("workers_reclaims")


@dataclass(frozen=True, slots=True, kw_only=True)
class DueReclaim:
    """A reclaim that was taken: it is due again later unless it is settled."""

    id: UUID
    hub_id: UUID
    integration_id: UUID
    backup_id: UUID | None
    kind: str
    name: str
    file_id: str | None
    attempts: int
    age: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class ReclaimedBackup:
    """A backup whose reclaims nobody else settles until the transaction ends."""

    container_id: UUID
    state: BackupState


async def take_due(connection: Connection, limit: int) -> list[DueReclaim]:
    """Take reclaims that are due and that nobody else takes at this moment."""
    rows = await connection.fetch(_SQL["take_due"], limit)
    return [
        DueReclaim(
            id=row["id"],
            hub_id=row["hub_id"],
            integration_id=row["integration_id"],
            backup_id=row["backup_id"],
            kind=row["kind"],
            name=row["name"],
            file_id=row["file_id"],
            attempts=row["attempts"],
            age=row["age"],
        )
        for row in rows
    ]


async def find(connection: Connection, id: UUID) -> tuple[UUID, UUID | None] | None:
    """The reclaim's hub and backup."""
    row = await connection.fetchrow(_SQL["find"], id)
    return None if row is None else (row["hub_id"], row["backup_id"])


async def lock_backup(connection: Connection, backup_id: UUID) -> ReclaimedBackup | None:
    row = await connection.fetchrow(_SQL["lock_backup"], backup_id)
    if row is None:
        return None
    return ReclaimedBackup(container_id=row["container_id"], state=BackupState(row["state"]))


async def settle(connection: Connection, id: UUID, again_at: timedelta | None) -> None:
    """B2 has confirmed; it is settled now, or once it was asked again after that time."""
    await connection.execute(_SQL["settle"], id, again_at)


async def put_off(
    connection: Connection,
    id: UUID,
    *,
    code: str,
    message: str,
    again_in: timedelta | None = None,
) -> None:
    await connection.execute(_SQL["put_off"], id, code, message, again_in)
