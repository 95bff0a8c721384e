"""Objects in B2 as the records know them, and what was seen of them."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from app.model.backups import StorageStatus
from app.model.integrations import StorageAccess
from app.model.runs import RunError


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
