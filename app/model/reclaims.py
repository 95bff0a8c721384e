"""Reclaims: promises to remove something from B2, as people see them."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Reclaim:
    """Something that is still to be removed from an integration's bucket."""

    id: UUID
    integration_id: UUID
    backup_id: UUID | None
    kind: str
    """OBJECT: a version by id. UPLOAD: an unfinished large file by id. NAME: all so named."""
    name: str
    created_at: datetime
    age: timedelta
    attempts: int
    error_code: str | None
    error_message: str | None
    next_attempt_at: datetime
    confirmed_at: datetime | None
    stuck_at: datetime | None
