"""Statements about backup policies."""

from collections.abc import Collection
from uuid import UUID

import asyncpg

from app.model.policies import BackupPolicy, NewPolicy
from app.postgres.pool import Connection
from app.postgres.statements import load

_QUERIES = load("policies")


async def by_containers(
    connection: Connection, hub_id: UUID, container_ids: Collection[UUID]
) -> dict[UUID, BackupPolicy]:
    """The policies of those containers that have one."""
    rows = await connection.fetch(_QUERIES["by_containers"], hub_id, list(container_ids))
    return {row["container_id"]: _read(row) for row in rows}


async def put(
    connection: Connection, hub_id: UUID, container_id: UUID, new: NewPolicy
) -> BackupPolicy:
    """Replace the whole policy."""
    row = await connection.fetchrow(
        _QUERIES["put"],
        hub_id,
        container_id,
        new.integration_id,
        new.backup_command,
        new.backup_timeout,
        new.min_bytes,
        new.restore_command,
        new.restore_timeout,
    )
    assert row is not None
    return _read(row)


async def remove(connection: Connection, hub_id: UUID, container_id: UUID) -> None:
    await connection.execute(_QUERIES["remove"], hub_id, container_id)


def _read(row: asyncpg.Record) -> BackupPolicy:
    return BackupPolicy(
        container_id=row["container_id"],
        hub_id=row["hub_id"],
        integration_id=row["integration_id"],
        backup_command=row["backup_command"],
        backup_timeout=row["backup_timeout"],
        min_bytes=row["min_bytes"],
        restore_command=row["restore_command"],
        restore_timeout=row["restore_timeout"],
        updated_at=row["updated_at"],
    )
