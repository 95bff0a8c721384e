"""A container's backup policy: what is run to save and to restore, and how long it may take."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from app.errors import InvalidInput
from app.model.texts import check_command

DEFAULT_TIMEOUT = timedelta(hours=12)
MIN_TIMEOUT = timedelta(seconds=1)
MAX_TIMEOUT = timedelta(days=7)
MOST_MIN_BYTES: Final = 2**53 - 1
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


def check_policy(new: NewPolicy) -> None:
    """Raise InvalidInput where a policy cannot be carried out like this."""
    check_command(
        new.backup_command, what="The backup command", path=("policy", "backup", "command")
    )
    _check_timeout(
        new.backup_timeout, what="The backup's timeout", path=("policy", "backup", "timeout")
    )
    if not 0 <= new.min_bytes <= MOST_MIN_BYTES:
        raise InvalidInput(
            f"The smallest number of bytes is {new.min_bytes};"
            f" it must be between 0 and {MOST_MIN_BYTES}.",
            path=("policy", "backup", "minBytes"),
        )
    if new.restore_command is not None:
        check_command(
            new.restore_command, what="The restore command", path=("policy", "restore", "command")
        )
    _check_timeout(
        new.restore_timeout, what="The restore's timeout", path=("policy", "restore", "timeout")
    )


def _check_timeout(timeout: timedelta, *, what: str, path: tuple[str, ...]) -> None:
    if not MIN_TIMEOUT <= timeout <= MAX_TIMEOUT:
        raise InvalidInput(f"{what} must be between 1 second and 7 days.", path=path)
