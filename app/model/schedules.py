"""Schedules: when backups are due, through every change of the clock; overdue; size drops."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from itertools import islice
from typing import Final
from uuid import UUID
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from app.errors import (
    GatewayError,
    InstanceNotRunning,
    IntegrationNotLive,
    InvalidInput,
    NoInstanceRunning,
    PreviousRunGoing,
)
from app.model.containers import InstanceState
from app.model.integrations import IntegrationState
from app.model.runs import ANYWHERE, RunKind, place_of

MOST_JITTER: Final = timedelta(minutes=5)
LONGEST_CRON: Final = 200
MOST_NEXT_RUNS: Final = 25
DEFAULT_NEXT_RUNS: Final = 5
FIELDS: Final = 5
WORDS: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}

_ZONE = re.compile(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+){0,3}")
_NOT_ZONES = re.compile(r"(posix|right)/.*|localtime|posixrules|Factory", re.IGNORECASE)
_DAY = timedelta(days=1)
_SECOND = timedelta(seconds=1)
_SOME_MOMENT = datetime(2024, 1, 1)  # noqa: DTZ001 - cron is about what clocks on the wall show


class InstanceSelection(StrEnum):
    EACH = "EACH"
    FIRST_RUNNING = "FIRST_RUNNING"


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A cron expression as it was written, and the IANA time zone whose clock it is read by."""

    cron: str
    time_zone: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleState:
    """A schedule that is enabled."""

    due_at: datetime
    """By the cron expression."""
    next_at: datetime
    """The same and its jitter: when backups are made. Past: no worker has taken it yet."""
    overdue_since: datetime | None

    def next_runs(self, schedule: Schedule, count: int) -> list[datetime]:
        """When backups are made next; the first one is `next_at`."""
        later = self.next_at - self.due_at
        following = next_dues(schedule, self.due_at, count - 1)
        return [self.next_at, *(due + later for due in following)]


@dataclass(frozen=True, slots=True, kw_only=True)
class DueSchedule:
    """A schedule whose time has come, with what decides about its backups."""

    container_id: UUID
    hub_id: UUID
    next_at: datetime
    last_duration: timedelta | None
    schedule: Schedule
    instances: InstanceSelection
    overdue_after: timedelta
    integration_name: str
    integration_state: IntegrationState
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """An instance that may be saved, and what goes on in it."""

    instance_id: UUID
    hostname: str
    state: InstanceState
    executor: str
    host: str | None
    open_kind: RunKind | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a due time makes for one instance: a run, or a record of why there is none."""

    id: UUID
    hub_id: UUID
    container_id: UUID
    target: Target | None
    """None: the container has no instance at all."""
    error: GatewayError | None
    """Why nothing is run: a PreviousRunGoing is SKIPPED, everything else FAILED."""

    @property
    def instance_id(self) -> UUID | None:
        return None if self.target is None else self.target.instance_id

    @property
    def hostname(self) -> str:
        return "" if self.target is None else self.target.hostname

    @property
    def place(self) -> str:
        target = self.target
        return ANYWHERE if target is None else place_of(target.host)


def check_schedule(cron: str | None, time_zone: str, *, path: tuple[str, ...]) -> None:
    """Raise InvalidInput, with the reason, for what cannot be read and for what is never due."""
    _zone(time_zone, path=(*path, "timeZone"))
    if cron is not None:
        place = (*path, "cron")
        try:
            next(CronSim(_expand(cron, path=place), _SOME_MOMENT))
        except CronSimError as error:
            raise InvalidInput(_explain(str(error)), path=place) from None
        except StopIteration:
            raise InvalidInput(
                "The cron expression is never due; give days that exist.", path=place
            ) from None


def check_next_runs(count: int) -> None:
    """Raise InvalidInput for more than are worth a look, and for none."""
    if not 1 <= count <= MOST_NEXT_RUNS:
        raise InvalidInput(
            f"`first` is {count}; it must be between 1 and {MOST_NEXT_RUNS}.", path=("first",)
        )


def due_after(schedule: Schedule, after: datetime) -> datetime:
    """The first moment later than `after` at which it is due, in UTC.

    Hours that are written out are read from the clock on the wall: a time that the clock jumps over
    in spring is due once, right after the jump; one that it shows twice in autumn is due once, the
    first time. Where the hour is `*` every real hour counts, whatever it is called.
    """
    zone = _zone(schedule.time_zone, path=())
    expression = _expand(schedule.cron, path=())
    if expression.split()[1] == "*":
        return _due_by_hours(expression, zone, after)
    return _due_by_clock(expression, zone, after)


def dues(schedule: Schedule, after: datetime) -> Iterator[datetime]:
    """All moments later than `after` at which it is due, in order."""
    while True:
        after = due_after(schedule, after)
        yield after


def next_dues(schedule: Schedule, after: datetime, count: int) -> list[datetime]:
    """The first ones of `dues`."""
    return list(islice(dues(schedule, after), count))


def jitter(container_id: UUID, most: timedelta = MOST_JITTER) -> timedelta:
    """How much later than due a container's backups are made: less than `most`, always the same.

    So that a thousand containers that are due at midnight do not begin in the same second.
    """
    if most < _SECOND:
        return timedelta(0)
    number = int.from_bytes(sha256(container_id.bytes).digest()[:8])
    return timedelta(seconds=number % (most // _SECOND))


def grace(overdue_after: timedelta, last_duration: timedelta | None) -> timedelta:
    """How long after its time a backup may be LIVE before it is overdue."""
    return max(overdue_after, 2 * (last_duration or timedelta(0)))


def is_size_drop(size: int, former: Sequence[int]) -> bool:
    """Whether a size is under half of the median of the former ones; never without any."""
    if not former:
        return False
    ordered, middle = sorted(former), len(former) // 2
    # Twice the median, so that nothing is rounded.
    twice = ordered[middle] + ordered[-middle - 1]
    return 4 * size < twice


def plan_due(
    due: DueSchedule, targets: Sequence[Target], new_id: Callable[[], UUID]
) -> list[Outcome]:
    """What a due time makes; never nothing. The targets are those of the container, by hostname.

    Stopped and paused instances are left out as long as another one runs: somebody wants them so.
    One that is UNREACHABLE should be saved and cannot be: that is a failed backup.
    """

    def outcome(target: Target | None, error: GatewayError | None) -> Outcome:
        return Outcome(
            id=new_id(),
            hub_id=due.hub_id,
            container_id=due.container_id,
            target=target,
            error=error,
        )

    running = [target for target in targets if target.state is InstanceState.RUNNING]
    wanted = running[:1]
    if due.instances is InstanceSelection.EACH:
        reachable = {InstanceState.RUNNING, InstanceState.UNREACHABLE}
        wanted = [target for target in targets if target.state in reachable]
    if not running and not wanted:
        return [outcome(next(iter(targets), None), NoInstanceRunning())]
    return [outcome(target, _obstacle(due, target)) for target in wanted]


def _expand(cron: str, *, path: tuple[str, ...]) -> str:
    """The five fields that it stands for. Raises InvalidInput."""
    if len(cron) > LONGEST_CRON or not cron.isascii():
        raise InvalidInput(
            f"A cron expression is at most {LONGEST_CRON} ASCII characters long.", path=path
        )
    text = cron.strip()
    if text.startswith("@"):
        if text.lower() not in WORDS:
            raise InvalidInput(
                f"There is no such word; use one of {', '.join(sorted(WORDS))}, or five fields.",
                path=path,
            )
        return WORDS[text.lower()]
    fields = text.split()
    if len(fields) != FIELDS:
        raise InvalidInput(
            "A cron expression has exactly five fields (minute, hour, day of the month, month, day"
            f" of the week), not {len(fields)}; or it is a word like @daily.",
            path=path,
        )
    return " ".join(fields)


def _obstacle(due: DueSchedule, target: Target) -> GatewayError | None:
    if due.integration_state is not IntegrationState.LIVE:
        return IntegrationNotLive(
            f"The integration {due.integration_name} is {due.integration_state}, not LIVE."
        )
    if target.state is not InstanceState.RUNNING:
        return InstanceNotRunning(f"The instance {target.hostname} is {target.state}, not RUNNING.")
    if target.open_kind is not None:
        return PreviousRunGoing(
            f"The previous {target.open_kind.lower()} in the instance has not ended yet."
        )
    return None


def _explain(fault: str) -> str:
    reason = fault.removeprefix("Bad ")
    if reason == "day-of-month":
        return "The day of the month cannot be read, or no such month has that day: never due."
    return f"The cron expression's field for {reason.replace('-of-', ' of the ')} cannot be read."


def _zone(name: str, *, path: tuple[str, ...]) -> ZoneInfo:
    if len(name) <= LONGEST_CRON and _ZONE.fullmatch(name) and not _NOT_ZONES.fullmatch(name):
        try:
            return ZoneInfo(name)
        except (KeyError, ValueError, OSError):
            pass
    raise InvalidInput(
        "There is no such time zone; name one of the IANA database, like Europe/Berlin.", path=path
    )


def _wall(zone: ZoneInfo, at: datetime) -> datetime:
    return at.astimezone(zone).replace(tzinfo=None, fold=0)


def _offset(zone: ZoneInfo, at: datetime) -> timedelta:
    offset = at.astimezone(zone).utcoffset()
    assert offset is not None
    return offset


def _due_by_clock(expression: str, zone: ZoneInfo, after: datetime) -> datetime:
    for wall in CronSim(expression, _wall(zone, after)):
        due = _first_moment(zone, wall)
        # In the second of two equal hours the clock shows what was due in the first one.
        if due > after:
            return due
    raise AssertionError("it was due when it was checked")


def _first_moment(zone: ZoneInfo, wall: datetime) -> datetime:
    """When a clock shows this for the first time; where it never does, when it has jumped over."""
    due = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if _wall(zone, due) == wall:
        return due
    # By the offset before the jump it is after it, by the one after the jump it is before.
    early = wall.replace(tzinfo=zone, fold=1).astimezone(UTC)
    return _change_between(zone, early, due)


def _due_by_hours(expression: str, zone: ZoneInfo, after: datetime) -> datetime:
    start, is_included = after.astimezone(UTC), False
    while True:
        offset = _offset(zone, start)
        wall = (start + offset).replace(tzinfo=None)
        # cronsim gives what is later than its start.
        before = wall - _SECOND if is_included else wall
        due = (next(CronSim(expression, before)) - offset).replace(tzinfo=UTC)
        # A look at tomorrow too, for hours that come twice just before midnight.
        for horizon in (min(due, start + _DAY), due):
            if _offset(zone, horizon) != offset:
                start, is_included = _change_between(zone, start, horizon), True
                break
        else:
            return due


def _change_between(zone: ZoneInfo, early: datetime, late: datetime) -> datetime:
    """The first second at which the clock has been set, between two moments that differ."""
    offset, low = _offset(zone, early), early.replace(microsecond=0)
    span = -(-(late - low) // _SECOND)
    bad, good = 0, span
    while good - bad > 1:
        middle = (bad + good) // 2
        if _offset(zone, low + middle * _SECOND) == offset:
            bad = middle
        else:
            good = middle
    return low + good * _SECOND
