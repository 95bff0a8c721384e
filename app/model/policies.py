"""A container's backup policy: what is run to save and to restore, and how long it may take."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

DEFAULT_TIMEOUT = timedelta(hours=12)
MAX_TIMEOUT = timedelta(days=7)
DEFAULT_MIN_BYTES = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupPolicy:
    container_id: UUID
    hub_id: UUID
    integration_id: UUID
    backup_command: str
    backup_timeout: timedelta
    min_bytes: int
    restore_command: str | None
    restore_timeout: timedelta
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPolicy:
    """What `configureBackups` asks for."""

    integration_id: UUID
    backup_command: str
    backup_timeout: timedelta = DEFAULT_TIMEOUT
    min_bytes: int = DEFAULT_MIN_BYTES
    restore_command: str | None = None
    restore_timeout: timedelta = DEFAULT_TIMEOUT
