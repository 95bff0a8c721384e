"""Scans: walks over an integration's bucket that outlive their worker, and what they counted."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from app.model.integrations import StorageAccess
from app.model.runs import RunError


class ScanKind(StrEnum):
    RECONCILE = "RECONCILE"
    RECOVER = "RECOVER"


class ScanPhase(StrEnum):
    """What a scan does; those of a reconcile first, then those of a recovery."""

    LISTING = "LISTING"
    WITNESSING = "WITNESSING"
    DISCARDING = "DISCARDING"
    MARKING = "MARKING"
    RESOLVING = "RESOLVING"
    SHOWING = "SHOWING"
    LOOKING = "LOOKING"
    READING = "READING"


FIRST_PHASES: dict[ScanKind, ScanPhase] = {
    ScanKind.RECONCILE: ScanPhase.LISTING,
    ScanKind.RECOVER: ScanPhase.LOOKING,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanCounts:
    """What a scan counted so far; JSON keeps it between two of its steps."""

    objects: int = 0
    """Versions in the bucket that were listed."""
    records: int = 0
    """LIVE backups that were looked for."""
    absent: int = 0
    """Of these, objects that the listing does not show."""
    contradicted: int = 0
    """Absent ones that B2 has all the same: the listing came short."""
    missing: int = 0
    mismatches: int = 0
    orphans: int = 0
    unfinished: int = 0
    foreign: int = 0
    found: int = 0
    """Drift that was not known before."""
    recovered: int = 0
    known: int = 0
    """Backups in the bucket whose records are there."""
    skipped: int = 0
    """Objects or manifests that no record can be made of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """A scan as people see it."""

    integration_id: UUID
    kind: ScanKind
    phase: ScanPhase | None
    """None: not under way."""
    is_due: bool
    """Asked for, or its day has come; it begins in a moment."""
    started_at: datetime | None
    finished_at: datetime | None
    """When it last came to its end."""
    counts: ScanCounts
    last_counts: ScanCounts | None
    error: RunError | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanStep:
    """A scan that a worker has taken for one step, with all that it needs to know of it."""

    hub_id: UUID
    integration_id: UUID
    kind: ScanKind
    number: int
    epoch: int
    phase: ScanPhase
    cursor: str | None
    counts: ScanCounts
    believed: bool
    started_at: datetime
    former_hub_id: UUID | None
    installation_id: UUID
    storage: StorageAccess = field(repr=False)
