"""Statements of workers that make backups of orphaned objects."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from app.model.runs import RunError
from app.postgres.pool import Connection
from app.postgres.statements import load

_SQL = load("workers_drifts")


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenAdoption:
    id: UUID
    hub_id: UUID
    integration_id: UUID
    name: str
    file_id: str
    size: int
    uploaded_at: datetime
    container_id: UUID | None
    hostname: str | None
    epoch: int


async def take(connection: Connection, limit: int, lease: timedelta) -> list[TakenAdoption]:
    rows = await connection.fetch(_SQL["take_adoptions"], limit, lease)
    return [
        TakenAdoption(
            id=row["id"],
            hub_id=row["hub_id"],
            integration_id=row["integration_id"],
            name=row["name"],
            file_id=row["file_id"],
            size=row["size_bytes"],
            uploaded_at=row["uploaded_at"],
            container_id=row["adopt_container_id"],
            hostname=row["adopt_hostname"],
            epoch=row["adopt_epoch"],
        )
        for row in rows
    ]


async def renew(
    connection: Connection, id: UUID, epoch: int, bytes_read: int, lease: timedelta
) -> bool:
    """False: another worker has taken it."""
    renewed = await connection.fetchval(_SQL["renew_adoption"], id, epoch, bytes_read, lease)
    return renewed is not None


async def fence(connection: Connection, id: UUID, epoch: int) -> bool:
    """False: another worker has taken it. Nobody else takes it until the transaction ends."""
    return bool(await connection.fetchval(_SQL["fence_adoption"], id, epoch))


async def end(connection: Connection, id: UUID, backup_id: UUID) -> None:
    await connection.execute(_SQL["end_adoption"], id, backup_id)


async def end_manifest(
    connection: Connection, integration_id: UUID, name: str, file_id: str, backup_id: UUID
) -> None:
    """The orphan's manifest is no orphan any more."""
    await connection.execute(
        _SQL["end_adoption_of_manifest"], integration_id, name, file_id, backup_id
    )


async def fail(
    connection: Connection, id: UUID, epoch: int, error: RunError, again_in: timedelta | None
) -> None:
    await connection.execute(_SQL["fail_adoption"], id, epoch, error.code, again_in, error.message)
