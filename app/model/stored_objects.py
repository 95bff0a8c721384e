"""Objects in B2 as the records know them, and what was seen of them."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from app.model.backups import StorageStatus
from app.model.integrations import StorageAccess
from app.model.runs import RunError

_ADVICE = {
    StorageStatus.MISMATCH: "Where it was put right since, download the backup (`createDownload`): "
    "every byte is checked then, and if all are right it can be restored again.",
    StorageStatus.MISSING: "Where it was put back since, ask for its `storage(live: true)`:"
    " if it is found there, it can be restored again.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedObject:
    """What a LIVE backup must have in its bucket, and how to reach it."""

    backup_id: UUID
    name: str
    file_id: str
    size_bytes: int
    sha256: bytes
    access: StorageAccess


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What is known of a backup's object. `error`: why B2 could not be asked just now."""

    status: StorageStatus
    checked_at: datetime | None
    error: RunError | None = None


def advise(status: StorageStatus) -> str | None:
    """What somebody can do about what was found; None: nothing."""
    return _ADVICE.get(status)
