"""A run: a backup, restore or verification being carried out, with owner, epoch, deadline, log."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from app.model.ids import encode_id

MAX_ATTEMPTS = 3


class RunKind(StrEnum):
    BACKUP = "BACKUP"
    RESTORE = "RESTORE"
    VERIFICATION = "VERIFICATION"


class LogStream(StrEnum):
    STDERR = "STDERR"
    STDOUT_TAIL = "STDOUT_TAIL"


@dataclass(frozen=True, slots=True, kw_only=True)
class Requester:
    """Who asked for a run. kind: API_KEY, SCHEDULE or GATEWAY."""

    kind: str
    id: UUID | None
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenRun:
    """One that waits or is going: nothing else is begun in its instance."""

    id: UUID
    kind: RunKind

    def __str__(self) -> str:
        """As users know it: `the restore ID`."""
        return f"the {self.kind.lower()} {encode_id(self.kind.capitalize(), self.id)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    id: UUID
    hub_id: UUID
    kind: RunKind
    container_id: UUID
    instance_id: UUID | None
    """None: it needs none, or it is carried out under the lease of `carried_by`."""
    place: str
    command: str
    timeout: timedelta
    epoch: int
    attempt: int
    owner: str | None
    cancel: bool
    touched: bool
    """A byte reached the restore command: it is never run again by itself."""
    trace: dict[str, Any] | None
    start_by: datetime
    deadline_at: datetime | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    carried_by: UUID | None


def run_mark(run_id: UUID, epoch: int) -> str:
    """What the processes of one try of a run carry in their environment, so that they are found."""
    return f"{run_id}-{epoch}"


ANYWHERE = "anywhere"
CARRIED = "carried"
"""No worker claims such a run by itself: it goes with the one that carries it."""


_HOST = "host:"


def host_of(place: str) -> str:
    """The host of a place that is not ANYWHERE."""
    return place.removeprefix(_HOST)


def place_of(host: str | None) -> str:
    """Where an instance's runs are carried out: only workers that reach the place claim them.

    `host`: the only one from where it is reached; None: it is an engine that any worker reaches.
    """
    return f"host:{host}" if host else ANYWHERE


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEntry:
    sequence: int
    at: datetime
    stream: LogStream
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LogTail:
    """What follows a place of a run's log."""

    kind: RunKind
    attempt: int
    """Rises with each try; with a new one the log begins anew."""
    is_ended: bool
    """Nothing follows the entries, unless they are as many as were asked for."""
    total_bytes: int
    truncated: bool
    entries: Sequence[LogEntry]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunError:
    code: str
    message: str
