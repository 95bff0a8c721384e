"""Orders: all that a worker needs to carry out one claimed run, and what it tells back."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

from app.model.backups import Backup
from app.model.containers import Container, Instance
from app.model.integrations import StorageAccess
from app.model.objects import BackupPlace
from app.model.policies import BackupPolicy
from app.model.restores import Restore
from app.model.runs import LogStream, Run
from app.model.verifications import Verification


@dataclass(frozen=True, slots=True, kw_only=True)
class Leftover:
    """What the former owner of a run may have left: its trace and the mark of its processes."""

    trace: Mapping[str, Any] | None
    run_mark: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftBehind:
    """What a lost owner may have left in an instance that no run has now."""

    instance: Instance
    leftover: Leftover


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedRun:
    """A run that this worker holds the lease of. `leftover` must be killed before it is started."""

    run: Run
    instance: Instance | None
    """None: the run needs none."""
    leftover: Leftover | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SaveOrder:
    run: Run
    backup: Backup
    container: Container
    instance: Instance
    policy: BackupPolicy | None
    """The policy as it is now, for the manifest; None where it was removed since."""
    variables: Mapping[str, str] = field(repr=False)
    storage: StorageAccess
    place: BackupPlace
    object_name: str
    min_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredObject:
    """What a LIVE backup has in its bucket, and the hashes of exactly these bytes."""

    name: str
    file_id: str
    size_bytes: int
    sha256: bytes
    chunk_hashes: bytes
    """SHA-256 of each 4 MiB chunk, joined."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreOrder:
    run: Run
    restore: Restore
    backup: Backup
    instance: Instance
    variables: Mapping[str, str] = field(repr=False)
    storage: StorageAccess
    object: StoredObject
    safety_timeout: timedelta
    """How long saving the target first may take; zero where it is not saved."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationOrder:
    """`run.command` reads the object: the check of a READABLE one, else the restore command."""

    run: Run
    verification: Verification
    backup: Backup
    instance: Instance | None
    """None: the level is STORED, and no command runs."""
    restore: Restore | None
    """The restore that proves a RESTORABLE one."""
    variables: Mapping[str, str] = field(repr=False)
    storage: StorageAccess
    object: StoredObject


Order = SaveOrder | RestoreOrder | VerificationOrder


@dataclass(frozen=True, slots=True, kw_only=True)
class RunProgress:
    """One worker's view of one run, written at most 4 times a second."""

    run_id: UUID
    epoch: int
    bytes_read: int
    bytes_stored: int
    bytes_delivered: int
    bytes_per_second: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What the row answered to a progress write; a run without an answer is fenced."""

    run_id: UUID
    cancel: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class NewLogEntry:
    sequence: int
    stream: LogStream
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ReclaimOrder:
    """One object or unfinished upload to remove, with access to its bucket."""

    id: UUID
    hub_id: UUID
    backup_id: UUID | None
    kind: str
    """OBJECT: a version by id. UPLOAD: an unfinished large file by id. NAME: all so named."""
    name: str
    file_id: str | None
    attempts: int
    age: timedelta
    storage: StorageAccess


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingRun:
    """A run that a worker can claim now."""

    id: UUID
    hub_id: UUID
