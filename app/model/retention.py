"""Retention: which backups of a container stay, which go, and why."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from enum import StrEnum
from typing import Final
from uuid import UUID

from app.errors import InvalidInput
from app.model.backups import BackupTrigger, StorageStatus

DEFAULT_MAX_AGE: Final = timedelta(days=365)
DEFAULT_PRE_RESTORE_MAX_AGE: Final = timedelta(days=30)
SHORTEST_AGE: Final = timedelta(days=1)
LONGEST_AGE: Final = timedelta(days=36_500)
MOST_KEPT: Final = 10_000
YOUNG: Final = timedelta(hours=24)
"""Nothing goes before it has been there for so long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """What a policy keeps. None: that kind of slot does not exist; without any, age alone rules."""

    max_age: timedelta = DEFAULT_MAX_AGE
    keep_last: int | None = None
    keep_hourly: int | None = None
    keep_daily: int | None = None
    keep_weekly: int | None = None
    keep_monthly: int | None = None
    keep_yearly: int | None = None
    pre_restore_max_age: timedelta = DEFAULT_PRE_RESTORE_MAX_AGE


def check_retention(retention: Retention, *, path: tuple[str, ...]) -> None:
    """Raise InvalidInput for ages and counts that cannot be meant."""
    for name, age in (
        ("maxAge", retention.max_age),
        ("preRestoreMaxAge", retention.pre_restore_max_age),
    ):
        if not SHORTEST_AGE <= age <= LONGEST_AGE:
            raise InvalidInput(
                f"{name} must be between 1 day and {LONGEST_AGE.days} days.", path=(*path, name)
            )
    for name, count in (
        ("keepLast", retention.keep_last),
        ("keepHourly", retention.keep_hourly),
        ("keepDaily", retention.keep_daily),
        ("keepWeekly", retention.keep_weekly),
        ("keepMonthly", retention.keep_monthly),
        ("keepYearly", retention.keep_yearly),
    ):
        if count is not None and not 1 <= count <= MOST_KEPT:
            raise InvalidInput(
                f"{name} is {count}; it must be between 1 and {MOST_KEPT}, or be left out.",
                path=(*path, name),
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionRule:
    """A policy's retention, and the time zone in which its hours, days, weeks... begin."""

    retention: Retention
    zone: tzinfo


class RetentionCode(StrEnum):
    """Why a backup stays or goes; the values are part of the contract."""

    FILLS_SLOT = "FILLS_SLOT"
    WITHIN_MAX_AGE = "WITHIN_MAX_AGE"
    PINNED = "PINNED"
    LAST_GOOD = "LAST_GOOD"
    BEING_READ = "BEING_READ"
    YOUNG = "YOUNG"
    PLAN_REFUSED = "PLAN_REFUSED"
    NO_POLICY = "NO_POLICY"
    POLICY_OFF = "POLICY_OFF"
    FILLS_NO_SLOT = "FILLS_NO_SLOT"
    OLDER_THAN_MAX_AGE = "OLDER_THAN_MAX_AGE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A LIVE backup, with all that decides whether it may go."""

    id: UUID
    container_id: UUID
    hostname: str
    """With the container it says which instance it is of, also after the instance is gone."""
    trigger: BackupTrigger
    created_at: datetime
    """What its age and its slots are counted from."""
    live_at: datetime
    """When it became LIVE."""
    pinned: bool
    storage_status: StorageStatus
    verification_failed: bool
    """The last verification that came to a verdict failed."""
    in_doubt: bool
    """Taken after a restore into its instance failed, and before that was made good."""
    is_read: bool
    """A run reads it, or is to read it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    keep: bool
    code: RetentionCode
    reason: str
    """One sentence for people."""
    expires_at: datetime | None
    """When the rule takes it if nothing else changes. None: nothing takes it as things stand."""


_LOST: Final = {
    StorageStatus.MISSING: "its object is missing",
    StorageStatus.MISMATCH: "its object differs from what was saved",
    StorageStatus.LOSS_ACCEPTED: "its object is lost",
}


def find_faults(backup: Candidate) -> list[str]:
    """Why a LIVE backup is not good, each as half a sentence; empty: it is good."""
    faults = []
    if backup.trigger is BackupTrigger.PRE_RESTORE:
        faults.append("it is a copy from before a restore")
    if backup.storage_status in _LOST:
        faults.append(_LOST[backup.storage_status])
    if backup.verification_failed:
        faults.append("its last verification failed")
    if backup.in_doubt:
        faults.append("it was taken after a restore into its instance had failed")
    return faults


def is_good(backup: Candidate) -> bool:
    """The one definition of a good backup, for retention and for deletions by people."""
    return not find_faults(backup)


def find_last_good(backups: Iterable[Candidate]) -> dict[tuple[UUID, str], UUID]:
    """The newest good backup of each instance that has one, by container and hostname."""
    last: dict[tuple[UUID, str], Candidate] = {}
    for backup in backups:
        if is_good(backup):
            instance = (backup.container_id, backup.hostname)
            if instance not in last or _age_order(backup) > _age_order(last[instance]):
                last[instance] = backup
    return {instance: backup.id for instance, backup in last.items()}


def plan(
    backups: Sequence[Candidate], rule: RetentionRule | RetentionCode, now: datetime
) -> dict[UUID, Verdict]:
    """What becomes of each LIVE backup of one container, all of which are given.

    `rule`: the policy's, or the code that says why there is none that takes anything.
    """
    if isinstance(rule, RetentionCode):
        return {backup.id: _keep(rule, _WITHOUT_RULE[rule]) for backup in backups}
    last_good = set(find_last_good(backups).values())
    slots = _fill_slots(backups, rule)
    verdicts = {
        backup.id: _judge(
            backup,
            rule.retention,
            slots.get(backup.id, []),
            is_last_good=backup.id in last_good,
            now=now,
        )
        for backup in backups
    }
    if verdicts and not any(verdict.keep for verdict in verdicts.values()):
        return {id: _keep(RetentionCode.PLAN_REFUSED, _REFUSED) for id in verdicts}
    return verdicts


_WITHOUT_RULE: Final = {
    RetentionCode.NO_POLICY: "Its container has no backup policy: nothing is removed by itself.",
    RetentionCode.POLICY_OFF: "The backup policy is off: nothing is removed by itself.",
}
_REFUSED: Final = (
    "The rule would remove every backup of the container, and none of them is good:"
    " all stay until somebody deletes them."
)


def has_slots(retention: Retention) -> bool:
    """Whether any `keep*` is set."""
    return any(_wanted(retention).values())


def _wanted(retention: Retention) -> dict[str, int]:
    return {
        "keepLast": retention.keep_last or 0,
        "keepHourly": retention.keep_hourly or 0,
        "keepDaily": retention.keep_daily or 0,
        "keepWeekly": retention.keep_weekly or 0,
        "keepMonthly": retention.keep_monthly or 0,
        "keepYearly": retention.keep_yearly or 0,
    }


# An hour that a clock goes through twice is two hours: their offsets differ.
_PERIODS: Final[dict[str, Callable[[datetime], object]]] = {
    "keepHourly": lambda at: (at.date(), at.hour, at.utcoffset()),
    "keepDaily": lambda at: at.date(),
    "keepWeekly": lambda at: at.isocalendar()[:2],
    "keepMonthly": lambda at: (at.year, at.month),
    "keepYearly": lambda at: at.year,
}


def _age_order(backup: Candidate) -> tuple[datetime, UUID]:
    return backup.created_at, backup.id


def _fill_slots(backups: Sequence[Candidate], rule: RetentionRule) -> dict[UUID, list[str]]:
    """Which slots each good backup fills.

    Of each instance's newest periods that have a good backup at all, the newest one in each.
    """
    wanted = {name: count for name, count in _wanted(rule.retention).items() if count}
    filled: dict[UUID, list[str]] = {}
    taken: dict[tuple[UUID, str, str], set[object]] = {}
    if not wanted:
        return filled
    for backup in sorted(filter(is_good, backups), key=_age_order, reverse=True):
        local = backup.created_at.astimezone(rule.zone)
        for name, count in wanted.items():
            periods = taken.setdefault((backup.container_id, backup.hostname, name), set())
            period = backup.id if name == "keepLast" else _PERIODS[name](local)
            if len(periods) < count and period not in periods:
                periods.add(period)
                filled.setdefault(backup.id, []).append(name)
    return filled


def _judge(
    backup: Candidate,
    retention: Retention,
    slots: Sequence[str],
    *,
    is_last_good: bool,
    now: datetime,
) -> Verdict:
    """What becomes of one backup, by the rule and then by what protects it from the rule."""
    limit, name = retention.max_age, "maxAge"
    if backup.trigger is BackupTrigger.PRE_RESTORE:
        limit, name = retention.pre_restore_max_age, "preRestoreMaxAge"
    aged_at = backup.created_at + limit
    grown_at = backup.live_at + YOUNG
    lacks_slot = has_slots(retention) and is_good(backup) and not slots
    goes_at = grown_at if lacks_slot else max(aged_at, grown_at)
    stays = backup.pinned or is_last_good
    expires_at = None if stays else goes_at
    if not lacks_slot and now <= aged_at:
        if slots:
            return _keep(RetentionCode.FILLS_SLOT, _say_slots(slots), expires_at)
        return _keep(
            RetentionCode.WITHIN_MAX_AGE,
            _say_age(backup, f"It is not older than {name}, {_say(limit)}", retention),
            expires_at,
        )
    protection = _protect(backup, is_last_good=is_last_good, is_young=now <= grown_at)
    if protection is not None:
        return _keep(protection, _PROTECTIONS[protection], expires_at)
    if now > aged_at:
        code = RetentionCode.OLDER_THAN_MAX_AGE
        reason = f"It is older than {name}, {_say(limit)}."
    else:
        code = RetentionCode.FILLS_NO_SLOT
        reason = f"Newer good backups of {backup.hostname} fill every slot: {_say_rule(retention)}."
    return Verdict(keep=False, code=code, reason=reason, expires_at=expires_at)


_PROTECTIONS: Final = {
    RetentionCode.PINNED: "It is pinned.",
    RetentionCode.LAST_GOOD: "It is the last good backup of its instance.",
    RetentionCode.BEING_READ: "A run reads it; it goes when that has ended.",
    RetentionCode.YOUNG: "It is younger than 24 hours.",
}


def _protect(backup: Candidate, *, is_last_good: bool, is_young: bool) -> RetentionCode | None:
    if backup.pinned:
        return RetentionCode.PINNED
    if is_last_good:
        return RetentionCode.LAST_GOOD
    if backup.is_read:
        return RetentionCode.BEING_READ
    return RetentionCode.YOUNG if is_young else None


def _keep(code: RetentionCode, reason: str, expires_at: datetime | None = None) -> Verdict:
    return Verdict(keep=True, code=code, reason=reason, expires_at=expires_at)


def _say_slots(slots: Sequence[str]) -> str:
    return f"It fills a slot of {', '.join(slots)}."


def _say_rule(retention: Retention) -> str:
    return ", ".join(f"{name} {count}" for name, count in _wanted(retention).items() if count)


def _say_age(backup: Candidate, sentence: str, retention: Retention) -> str:
    faults = find_faults(backup)
    if faults and has_slots(retention):
        return f"{sentence}; only its age counts, since {' and '.join(faults)}."
    return f"{sentence}."


def _say(span: timedelta) -> str:
    """A span as people say it, down to seconds."""
    hours, rest = divmod(span.seconds, 3600)
    minutes, seconds = divmod(rest, 60)
    counts = {"day": span.days, "hour": hours, "minute": minutes, "second": seconds}
    said = [f"{n} {word}{'' if n == 1 else 's'}" for word, n in counts.items() if n]
    return " ".join(said) or "0 seconds"
