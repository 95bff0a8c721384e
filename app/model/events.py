"""Events: what people are told of, in words that programs can go by."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Final
from uuid import UUID

from app.errors import InvalidInput


class EventKind(StrEnum):
    """A string of the API, not an enum of it: new words may come."""

    BACKUP_FAILED = "BACKUP_FAILED"
    BACKUP_SKIPPED = "BACKUP_SKIPPED"
    BACKUP_OVERDUE = "BACKUP_OVERDUE"
    BACKUP_SIZE_DROPPED = "BACKUP_SIZE_DROPPED"
    RESTORE_FAILED = "RESTORE_FAILED"
    VERIFICATION_FAILED = "VERIFICATION_FAILED"
    DRIFT_FOUND = "DRIFT_FOUND"
    SUSPECT_LISTING = "SUSPECT_LISTING"
    NOT_THE_OWNER = "NOT_THE_OWNER"
    OWNER_AGAIN = "OWNER_AGAIN"
    INTEGRATION_FAILED = "INTEGRATION_FAILED"
    INTEGRATION_RECOVERED = "INTEGRATION_RECOVERED"
    RECLAIM_STUCK = "RECLAIM_STUCK"
    RECLAIM_SETTLED = "RECLAIM_SETTLED"
    WEBHOOK_DISABLED = "WEBHOOK_DISABLED"


MEANINGS: Final[Mapping[EventKind, str]] = MappingProxyType(
    {
        EventKind.BACKUP_FAILED: "a backup failed",
        EventKind.BACKUP_SKIPPED: "a due time was passed over",
        EventKind.BACKUP_OVERDUE: "no backup came by the time it was expected",
        EventKind.BACKUP_SIZE_DROPPED: "a backup is much smaller than those before it",
        EventKind.RESTORE_FAILED: "a restore failed",
        EventKind.VERIFICATION_FAILED: "a backup could not be proven",
        EventKind.DRIFT_FOUND: "bucket and records disagree",
        EventKind.SUSPECT_LISTING: "a listing of a bucket was not believed; nothing was changed",
        EventKind.NOT_THE_OWNER: "another database owns the bucket; nothing is deleted there",
        EventKind.OWNER_AGAIN: "the bucket is this database's again; what waited is deleted",
        EventKind.INTEGRATION_FAILED: (
            "a connection to Backblaze B2 does not work, or was not reached for 10 minutes"
        ),
        EventKind.INTEGRATION_RECOVERED: "a connection to Backblaze B2 works again",
        EventKind.RECLAIM_STUCK: "an object could not be removed for a long time",
        EventKind.RECLAIM_SETTLED: "an object that was stuck is gone at last",
        EventKind.WEBHOOK_DISABLED: "a webhook was switched off: its receiver took nothing",
    }
)
"""One phrase for each kind, for descriptions."""

Value = str | int | float | bool | None


def write_value(value: Value) -> str:
    """A text as it is, anything else as JSON writes it."""
    return value if isinstance(value, str) else json.dumps(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEvent:
    """Something to tell people of.

    Every key with READ sees it and webhooks carry it out of the house: no command, no path and no
    secret belongs into `message` or `data`.
    """

    kind: EventKind
    message: str
    """One sentence for a person."""
    container_id: UUID | None = None
    instance_id: UUID | None = None
    backup_id: UUID | None = None
    restore_id: UUID | None = None
    verification_id: UUID | None = None
    integration_id: UUID | None = None
    data: Mapping[str, Value] = field(default_factory=dict)
    """What a program may want beside the message: camelCase names, plain values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What was told. Its subjects may be gone since."""

    id: UUID
    hub_id: UUID
    kind: str
    """A word of EventKind, or one of a newer program."""
    message: str
    container_id: UUID | None
    instance_id: UUID | None
    backup_id: UUID | None
    restore_id: UUID | None
    verification_id: UUID | None
    integration_id: UUID | None
    data: Mapping[str, Value]
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFilter:
    kinds: tuple[str, ...] | None = None
    """None: all."""
    container_id: UUID | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None


def read_kinds(words: Sequence[str], *, path: tuple[str, ...]) -> tuple[EventKind, ...]:
    """The kinds of these words, each once, in order. Raises InvalidInput for any other word."""
    if not set(words) <= set(EventKind):
        known = ", ".join(EventKind)
        raise InvalidInput(f"A kind of event is one of {known}; look for a slip.", path=path)
    return tuple(kind for kind in EventKind if kind in set(words))
