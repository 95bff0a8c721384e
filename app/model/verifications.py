"""Verifications: their levels and states, what a record says, and what a policy plans."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final
from uuid import UUID

from app.errors import InvalidInput
from app.model.runs import Requester, RunError
from app.model.texts import check_command

SHORTEST_EVERY: Final = timedelta(days=1)
LONGEST_EVERY: Final = timedelta(days=3_650)


class VerificationLevel(StrEnum):
    """What is proven, from the least to the most."""

    STORED = "STORED"
    READABLE = "READABLE"
    RESTORABLE = "RESTORABLE"


class VerificationState(StrEnum):
    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    PASSED = "PASSED"
    FAILED = "FAILED"
    CANCELED = "CANCELED"


_S = VerificationState
MOVES: dict[VerificationState, frozenset[VerificationState]] = {
    _S.QUEUED: frozenset({_S.RUNNING, _S.FAILED, _S.CANCELED}),
    _S.RUNNING: frozenset({_S.PASSED, _S.QUEUED, _S.FAILED, _S.CANCELED}),
    _S.PASSED: frozenset(),
    _S.FAILED: frozenset(),
    _S.CANCELED: frozenset(),
}
"""RUNNING to QUEUED only where no byte had reached a restore command."""


def check_move(old: VerificationState, new: VerificationState) -> None:
    """Raise ValueError where no verification may ever move like this: the caller is wrong."""
    if new not in MOVES[old]:
        raise ValueError(f"{old} to {new} is no move of a verification")


ENDED = frozenset({_S.PASSED, _S.FAILED, _S.CANCELED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """A record, with what its run says of it."""

    id: UUID
    hub_id: UUID
    container_id: UUID
    instance_id: UUID | None
    """None where no command runs: the level is STORED."""
    backup_id: UUID
    level: VerificationLevel
    state: VerificationState
    bytes_total: int
    bytes_checked: int
    bytes_per_second: int | None
    progress_at: datetime | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    exit_code: int | None
    error: RunError | None
    log_bytes: int
    log_truncated: bool
    requested_by: Requester


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationFilter:
    levels: tuple[VerificationLevel, ...] | None = None
    states: tuple[VerificationState, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationPlan:
    """When backups are verified by themselves, and how far."""

    level: VerificationLevel
    every: timedelta | None = None
    """None: not by the calendar."""
    after_each: bool = False
    check: str | None = None
    """The command that judges the stream (READABLE) or the scratch instance (RESTORABLE)."""


def check_verification_plan(plan: VerificationPlan, *, path: tuple[str, ...]) -> None:
    """Raise InvalidInput where nothing would ever be verified, or not as it is meant."""
    if plan.every is None and not plan.after_each:
        raise InvalidInput("Say when to verify: `every`, `afterEach`, or both.", path=path)
    if plan.every is not None and not SHORTEST_EVERY <= plan.every <= LONGEST_EVERY:
        raise InvalidInput(
            f"every must be between 1 day and {LONGEST_EVERY.days} days.", path=(*path, "every")
        )
    if plan.check is not None:
        check_command(plan.check, what="The verification's check", path=(*path, "check"))
    elif plan.level is VerificationLevel.READABLE:
        raise InvalidInput(
            "READABLE needs a `check`: the command that reads the backup and judges it.",
            path=(*path, "check"),
        )


def levels_from(level: VerificationLevel) -> tuple[VerificationLevel, ...]:
    """The levels that prove at least this much."""
    every = tuple(VerificationLevel)
    return every[every.index(level) :]


CONCLUSIVE: Final = frozenset(
    {
        "OBJECT_MISSING",
        "OBJECT_MISMATCH",
        "CHECK_FAILED",
        "COMMAND_FAILED",
        "COMMAND_KILLED",
        "INPUT_NOT_READ",
        "TIMED_OUT",
    }
)
"""Codes that say something of the backup; after all others the same one is tried again soon."""
TRY_AGAIN_AFTER: Final = timedelta(hours=1)
LOOK_AT_LEAST_EVERY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """The last verification of a backup on the plan's level or above, cancelled ones left out."""

    at: datetime
    state: VerificationState
    error_code: str | None

    @property
    def decides(self) -> bool:
        """Whether it has said or may still say something of the backup."""
        return self.state is not VerificationState.FAILED or self.error_code in CONCLUSIVE

    @property
    def is_bad(self) -> bool:
        return self.state is VerificationState.FAILED and self.error_code in CONCLUSIVE


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A LIVE backup whose object is not known to be lost, and no copy from before a restore."""

    backup_id: UUID
    hostname: str
    live_at: datetime
    attempt: Attempt | None


def choose_due(
    plan: VerificationPlan, candidates: Sequence[Candidate], *, since: datetime, now: datetime
) -> tuple[list[UUID], datetime]:
    """What is to be verified now, oldest first, and when to look again at the latest.

    `candidates`: a container's, newest first. `since`: when the plan was set; backups from before
    are verified only as far as they are the newest of their instance.
    """
    due: dict[UUID, datetime] = {}
    by_hostname: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        by_hostname.setdefault(candidate.hostname, []).append(candidate)
    for ones in by_hostname.values():
        if plan.after_each:
            each = [c for c in ones if c is ones[0] or c.live_at >= since]
            due |= {c.backup_id: _retried_at(c) for c in each if not _is_decided(c)}
        good = next((c for c in ones if c.attempt is None or not c.attempt.is_bad), None)
        if plan.every is not None and good is not None:
            at = max(
                (c.attempt.at + plan.every for c in ones if _is_decided(c) and c.attempt),
                default=good.live_at,
            )
            at = max(at, _retried_at(good))
            due[good.backup_id] = min(at, due.get(good.backup_id, at))
    chosen = [c.backup_id for c in reversed(candidates) if due.get(c.backup_id, now) < now]
    later = [at for id, at in due.items() if id not in chosen]
    return chosen, min([*later, now + LOOK_AT_LEAST_EVERY])


def _is_decided(candidate: Candidate) -> bool:
    return candidate.attempt is not None and candidate.attempt.decides


def _retried_at(candidate: Candidate) -> datetime:
    """From when on it may be tried; at once where it never was."""
    attempt = candidate.attempt
    if attempt is None or attempt.decides:
        return candidate.live_at
    return attempt.at + TRY_AGAIN_AFTER
