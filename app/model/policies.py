"""A container's backup policy: what is run to save and to restore, when, and what is kept."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from app.errors import InvalidInput
from app.model.retention import Retention, check_retention
from app.model.schedules import InstanceSelection, Schedule, check_schedule
from app.model.sources import Sources
from app.model.texts import check_command
from app.model.verifications import VerificationPlan, check_verification_plan

DEFAULT_TIMEOUT = timedelta(hours=12)
MIN_TIMEOUT = timedelta(seconds=1)
MAX_TIMEOUT = timedelta(days=7)
MOST_MIN_BYTES: Final = 2**53 - 1
DEFAULT_MIN_BYTES = 1
DEFAULT_TIME_ZONE: Final = "UTC"
DEFAULT_OVERDUE_AFTER: Final = timedelta(hours=1)
MIN_OVERDUE_AFTER: Final = timedelta(minutes=1)
MAX_OVERDUE_AFTER: Final = timedelta(days=30)


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
    restore_check: str | None
    restore_safety_backup: bool
    enabled: bool
    """Backups are made by the schedule; those that are asked for are made all the same."""
    schedule: Schedule | None
    """None: backups are made only when asked for."""
    time_zone: str
    """Of the schedule, and of the days and weeks of the retention."""
    instances: InstanceSelection
    overdue_after: timedelta
    retention: Retention
    verification: VerificationPlan | None
    updated_at: datetime
    sources: Sources = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPolicy:
    """What `configureBackups` asks for."""

    integration_id: UUID
    backup_command: str
    backup_timeout: timedelta = DEFAULT_TIMEOUT
    min_bytes: int = DEFAULT_MIN_BYTES
    restore_command: str | None = None
    restore_timeout: timedelta = DEFAULT_TIMEOUT
    restore_check: str | None = None
    restore_safety_backup: bool = False
    enabled: bool = True
    cron: str | None = None
    time_zone: str = DEFAULT_TIME_ZONE
    instances: InstanceSelection = InstanceSelection.EACH
    overdue_after: timedelta = DEFAULT_OVERDUE_AFTER
    retention: Retention = field(default_factory=Retention)
    verification: VerificationPlan | None = None


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
    check_schedule(new.cron, new.time_zone, path=("policy", "backup"))
    _check_restore(new)
    check_retention(new.retention, path=("policy", "retention"))
    if new.verification is not None:
        check_verification_plan(new.verification, path=("policy", "verification"))
    if not MIN_OVERDUE_AFTER <= new.overdue_after <= MAX_OVERDUE_AFTER:
        raise InvalidInput(
            "overdueAfter must be between 1 minute and 30 days.", path=("policy", "overdueAfter")
        )


def _check_restore(new: NewPolicy) -> None:
    if new.restore_command is not None:
        check_command(
            new.restore_command, what="The restore command", path=("policy", "restore", "command")
        )
    _check_timeout(
        new.restore_timeout, what="The restore's timeout", path=("policy", "restore", "timeout")
    )
    if new.restore_check is not None:
        check_command(
            new.restore_check, what="The restore's check", path=("policy", "restore", "check")
        )


def _check_timeout(timeout: timedelta, *, what: str, path: tuple[str, ...]) -> None:
    if not MIN_TIMEOUT <= timeout <= MAX_TIMEOUT:
        raise InvalidInput(f"{what} must be between 1 second and 7 days.", path=path)
