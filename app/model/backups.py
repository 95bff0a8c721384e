"""Backups: their states, the legal moves between them, and what a record says."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from app.errors import UserError
from app.model.runs import Requester, RunError
from app.model.texts import check_text

LONGEST_NOTE = 1000


class BackupState(StrEnum):
    QUEUED = "QUEUED"
    SAVING = "SAVING"
    LIVE = "LIVE"
    DELETING = "DELETING"
    DELETED = "DELETED"
    FAILED = "FAILED"
    CANCELED = "CANCELED"
    SKIPPED = "SKIPPED"


class BackupTrigger(StrEnum):
    SCHEDULE = "SCHEDULE"
    MANUAL = "MANUAL"
    PRE_RESTORE = "PRE_RESTORE"
    RECOVERED = "RECOVERED"


class StorageStatus(StrEnum):
    """What was seen of a backup's object when somebody looked last."""

    UNCHECKED = "UNCHECKED"
    PRESENT = "PRESENT"
    MISSING = "MISSING"
    MISMATCH = "MISMATCH"
    LOSS_ACCEPTED = "LOSS_ACCEPTED"


_S = BackupState
MOVES: dict[BackupState, frozenset[BackupState]] = {
    _S.QUEUED: frozenset({_S.SAVING, _S.FAILED, _S.CANCELED}),
    _S.SAVING: frozenset({_S.LIVE, _S.QUEUED, _S.FAILED, _S.CANCELED}),
    _S.LIVE: frozenset({_S.DELETING}),
    _S.DELETING: frozenset({_S.DELETED, _S.LIVE}),
    _S.DELETED: frozenset(),
    _S.FAILED: frozenset({_S.DELETED}),
    _S.CANCELED: frozenset({_S.DELETED}),
    _S.SKIPPED: frozenset({_S.DELETED}),
}
"""DELETING to LIVE is `undeleteContainer` within the grace."""


def check_move(old: BackupState, new: BackupState) -> None:
    """Raise ValueError where no backup may ever move like this: the caller is wrong."""
    if new not in MOVES[old]:
        raise ValueError(f"{old} to {new} is no move of a backup")


OPEN = frozenset({_S.QUEUED, _S.SAVING})
SETTLED = frozenset(_S) - OPEN - {_S.DELETING}
"""States that nothing leaves by itself."""


class ListChange(StrEnum):
    """What happened to a container's list of backups."""

    RESET = "RESET"
    ENTERED = "ENTERED"
    CHANGED = "CHANGED"
    LEFT = "LEFT"


GONE = frozenset({_S.DELETING, _S.DELETED})


def check_note(note: str) -> None:
    """Raise InvalidInput where a backup cannot have this note."""
    check_text(note, what="The note", path=("note",), longest=LONGEST_NOTE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """A record, with what its run says of it."""

    id: UUID
    hub_id: UUID
    container_id: UUID
    instance_id: UUID | None
    instance_hostname: str
    integration_id: UUID
    bucket: str
    state: BackupState
    trigger: BackupTrigger
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    backup_command: str
    restore_command: str | None
    object_name: str | None
    file_id: str | None
    size_bytes: int | None
    sha256: bytes | None
    size_dropped: bool
    pinned: bool
    note: str | None
    storage_status: StorageStatus
    storage_checked_at: datetime | None
    exit_code: int | None
    error: RunError | None
    bytes_read: int
    bytes_stored: int
    bytes_per_second: int | None
    progress_at: datetime | None
    log_bytes: int
    log_truncated: bool
    requested_by: Requester
    deletion_requested_by: Requester | None
    """None: nobody deleted it, or it goes with its container."""
    retention_code: str | None
    """Why a rule took it; None: none did."""
    retention_reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupFilter:
    container_id: UUID | None = None
    instance_id: UUID | None = None
    states: tuple[BackupState, ...] | None = None
    """None: all but DELETED."""
    trigger: BackupTrigger | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredBackup:
    """The proofs that LIVE needs: what B2 confirmed, and the hashes of exactly these bytes."""

    file_id: str
    manifest_file_id: str
    size_bytes: int
    sha256: bytes
    chunk_hashes: bytes
    """SHA-256 of each 4 MiB chunk, joined."""
    exit_code: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Deletion:
    """The answer of `deleteBackups` for one id; `refusal` is a catalogue error, None: accepted."""

    id: str
    backup: Backup | None
    refusal: UserError | None
