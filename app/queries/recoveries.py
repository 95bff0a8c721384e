"""Statements that rebuild the records of backups from what is in the bucket."""

from dataclasses import dataclass
from typing import Final
from uuid import UUID

from app.model.objects import Manifest
from app.postgres.pool import Connection
from app.postgres.statements import load

_SQL = load("recoveries")
RECOVERY: Final = "recovery"
"""Who asked for the run of a backup whose record was rebuilt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoveredBackup:
    """A backup of which only object and manifest were left, and where its record belongs."""

    container_id: UUID
    integration_id: UUID
    manifest: Manifest
    manifest_file_id: str


async def recover_backup(connection: Connection, hub_id: UUID, backup: RecoveredBackup) -> bool:
    """Make the record of a backup that is in the bucket. False: its id is taken."""
    manifest = backup.manifest
    policy = manifest.policy
    id = manifest.place.backup_id
    made = await connection.fetchval(
        _SQL["recover_run"],
        hub_id,
        id,
        backup.container_id,
        policy.backup_command,
        policy.backup_timeout,
        manifest.place.epoch,
        manifest.created_at,
        manifest.started_at,
        manifest.finished_at,
        manifest.size,
        RECOVERY,
    )
    if made is None:
        return False
    await connection.execute(
        _SQL["recover_backup"],
        hub_id,
        id,
        backup.container_id,
        manifest.instance_hostname,
        backup.integration_id,
        manifest.trigger,
        manifest.created_at,
        policy.backup_command,
        policy.restore_command,
        policy.min_bytes,
        manifest.object_name,
        manifest.file_id,
        backup.manifest_file_id,
        manifest.size,
        manifest.sha256,
        manifest.chunk_hashes,
    )
    return True
