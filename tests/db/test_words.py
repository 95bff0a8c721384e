"""One word for one thing: what the check constraints allow is what the model's enums say."""

import re
from enum import StrEnum

from app.model.access import Role
from app.model.backups import BackupState, BackupTrigger, StorageStatus
from app.model.containers import ContainerState, InstanceState
from app.model.drifts import DriftDetail, DriftKind, DriftResolution
from app.model.engines import EngineState
from app.model.integrations import IntegrationState, Realm
from app.model.restores import RestorePhase, RestoreState, RestoreTrigger
from app.model.runs import LogStream, RunKind
from app.model.scans import ScanKind, ScanPhase
from app.model.schedules import InstanceSelection
from app.model.verifications import VerificationLevel, VerificationState
from app.postgres.pool import Database

ENUMS: dict[str, type[StrEnum]] = {
    "api_keys.role": Role,
    "backup_policies.instances": InstanceSelection,
    "backup_policies.verification_level": VerificationLevel,
    "backups.state": BackupState,
    "backups.trigger": BackupTrigger,
    "backups.storage_status": StorageStatus,
    "containers.state": ContainerState,
    "drifts.detail": DriftDetail,
    "drifts.kind": DriftKind,
    "drifts.resolution": DriftResolution,
    "engines.state": EngineState,
    "instances.state": InstanceState,
    "integrations.realm": Realm,
    "integrations.state": IntegrationState,
    "restores.phase": RestorePhase,
    "restores.state": RestoreState,
    "restores.trigger": RestoreTrigger,
    "run_logs.stream": LogStream,
    "runs.kind": RunKind,
    "scans.kind": ScanKind,
    "scans.phase": ScanPhase,
    "verifications.level": VerificationLevel,
    "verifications.state": VerificationState,
}
# Words that never leave the database and the code beside it.
PRIVATE = {
    "backups.deleted_by": {"ITSELF", "CASCADE"},
    "instances.executor": {"process", "docker"},
    "reclaims.kind": {"OBJECT", "UPLOAD", "NAME"},
}


async def test_check_constraints_and_enums_hold_the_same_words(owner: Database):
    async with owner.connection() as connection:
        rows = await connection.fetch(
            """
            select conrelid::regclass || '.' || attname as place, pg_get_constraintdef(checks.oid)
            from pg_constraint as checks
            inner join pg_attribute on attrelid = conrelid and conkey = array[attnum]
            where contype = 'c'
            """
        )
    found = {place: set(re.findall(r"'(\w+)'::text", definition)) for place, definition in rows}
    words = {place: allowed for place, allowed in found.items() if allowed}
    assert words == {place: {*map(str, enum)} for place, enum in ENUMS.items()} | PRIVATE
