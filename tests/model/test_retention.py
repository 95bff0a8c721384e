"""The retention plan: against a slow and obvious model, by its promises, and by examples."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from uuid import UUID
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from app.model.backups import BackupTrigger, StorageStatus
from app.model.retention import (
    Candidate,
    Retention,
    RetentionCode,
    RetentionRule,
    find_last_good,
    plan,
)

CONTAINER = UUID(int=7)
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
DAY = timedelta(days=1)
ZONES = ["UTC", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "Pacific/Apia"]
MOMENT = timedelta(microseconds=1)


def a_backup(
    id: int,
    created_at: datetime,
    *,
    hostname: str = "1.db",
    live_at: datetime | None = None,
    **marks: object,
) -> Candidate:
    return replace(
        Candidate(
            id=UUID(int=id),
            container_id=CONTAINER,
            hostname=hostname,
            trigger=BackupTrigger.SCHEDULE,
            created_at=created_at,
            live_at=live_at or created_at,
            pinned=False,
            storage_status=StorageStatus.UNCHECKED,
            verification_failed=False,
            in_doubt=False,
            is_read=False,
        ),
        **marks,
    )


def a_rule(zone: str = "UTC", **retention: object) -> RetentionRule:
    return RetentionRule(retention=Retention(**retention), zone=ZoneInfo(zone))


def removed(verdicts: dict[UUID, object]) -> set[int]:
    return {id.int for id, verdict in verdicts.items() if not verdict.keep}


# --- against the sentences of the product, one by one and in quadratic time -------------------

FORMATS = {
    "keep_hourly": "%Y-%m-%d %H %z",
    "keep_daily": "%Y-%m-%d",
    "keep_weekly": "%G-W%V",
    "keep_monthly": "%Y-%m",
    "keep_yearly": "%Y",
}


def slow_is_good(backup):
    if backup.storage_status in {
        StorageStatus.MISSING,
        StorageStatus.MISMATCH,
        StorageStatus.LOSS_ACCEPTED,
    }:
        return False
    if backup.verification_failed or backup.in_doubt:
        return False
    return backup.trigger != BackupTrigger.PRE_RESTORE


def slow_newer(backup, backups):
    """Good ones of the same instance that were made after it."""
    return [
        other
        for other in backups
        if other.hostname == backup.hostname
        and slow_is_good(other)
        and (other.created_at, other.id) > (backup.created_at, backup.id)
    ]


def slow_fills_a_slot(backup, backups, rule):
    newer = slow_newer(backup, backups)
    if rule.retention.keep_last is not None and len(newer) < rule.retention.keep_last:
        return True
    for name, format in FORMATS.items():
        wanted = getattr(rule.retention, name)
        if wanted is None:
            continue
        period = backup.created_at.astimezone(rule.zone).strftime(format)
        periods = {other.created_at.astimezone(rule.zone).strftime(format) for other in newer}
        if period not in periods and len(periods) < wanted:
            return True
    return False


def slow_removed(backups, rule, now):
    retention = rule.retention
    slotted = any(getattr(retention, name) for name in ("keep_last", *FORMATS))
    gone = set()
    for backup in backups:
        age = now - backup.created_at
        if backup.trigger == BackupTrigger.PRE_RESTORE:
            goes = age > retention.pre_restore_max_age
        elif slotted and slow_is_good(backup):
            goes = age > retention.max_age or not slow_fills_a_slot(backup, backups, rule)
        else:
            goes = age > retention.max_age
        is_last_good = slow_is_good(backup) and not slow_newer(backup, backups)
        young = now - backup.live_at <= timedelta(hours=24)
        if goes and not (backup.pinned or is_last_good or young or backup.is_read):
            gone.add(backup.id.int)
    return set() if len(gone) == len(backups) else gone


ages = st.one_of(
    st.integers(0, 3 * 24 * 60),
    st.integers(0, 60 * 24).map(lambda hours: hours * 60),
    st.integers(0, 1200).map(lambda days: days * 24 * 60),
).map(lambda minutes: timedelta(minutes=minutes))
spans = st.sampled_from([timedelta(hours=1), DAY, 2 * DAY, 7 * DAY, 30 * DAY, 365 * DAY])
counts = st.one_of(st.none(), st.integers(1, 4))
nows = st.sampled_from(
    [
        NOW,
        datetime(2026, 3, 29, 14, 7, tzinfo=UTC),
        datetime(2026, 10, 25, 5, tzinfo=UTC),
        datetime(2026, 4, 5, 1, 30, tzinfo=UTC),
    ]
)


@st.composite
def some_backups(draw):
    now = draw(nows)
    ids = count(1)
    backups = []
    for age in draw(st.lists(ages, max_size=14)):
        created_at = now - age
        # Most are good and unprotected, or nothing would ever be decided by the slots.
        odd = draw(st.integers(0, 3)) == 0
        backups.append(
            a_backup(
                next(ids),
                created_at,
                hostname=draw(st.sampled_from(["1.db", "1.db", "2.db"])),
                live_at=min(now, created_at + draw(st.sampled_from([0, 1, 30])) * DAY / 24),
                trigger=draw(
                    st.sampled_from(BackupTrigger) if odd else st.just(BackupTrigger.SCHEDULE)
                ),
                storage_status=draw(
                    st.sampled_from(StorageStatus) if odd else st.just(StorageStatus.PRESENT)
                ),
                pinned=odd and draw(st.booleans()),
                verification_failed=odd and draw(st.booleans()),
                in_doubt=odd and draw(st.booleans()),
                is_read=odd and draw(st.booleans()),
            )
        )
    return backups, now


rules = st.builds(
    RetentionRule,
    retention=st.one_of(
        st.builds(Retention, max_age=spans, pre_restore_max_age=spans),
        st.builds(
            Retention,
            max_age=spans,
            pre_restore_max_age=spans,
            keep_last=counts,
            keep_hourly=counts,
            keep_daily=counts,
            keep_weekly=counts,
            keep_monthly=counts,
            keep_yearly=counts,
        ),
    ),
    zone=st.sampled_from(ZONES).map(ZoneInfo),
)


@settings(max_examples=400, deadline=None)
@given(some_backups(), rules)
def test_the_plan_is_what_the_sentences_of_the_product_say(scene, rule):
    backups, now = scene
    assert removed(plan(backups, rule, now)) == slow_removed(backups, rule, now)


@settings(deadline=None)
@given(some_backups(), rules)
def test_what_must_stay_stays_whatever_the_rule(scene, rule):
    backups, now = scene
    gone = removed(plan(backups, rule, now))
    for backup in backups:
        if backup.pinned or backup.is_read or now - backup.live_at < timedelta(hours=24):
            assert backup.id.int not in gone
    assert len(gone) < len(backups) or not backups
    # Each instance that had a good backup has one, and the newest of those that it had.
    left = [backup for backup in backups if backup.id.int not in gone]
    assert find_last_good(left) == find_last_good(backups)


@settings(deadline=None)
@given(some_backups(), rules, st.randoms(use_true_random=False))
def test_a_plan_carried_out_in_part_or_twice_ends_the_same(scene, rule, chance):
    backups, now = scene
    gone = removed(plan(backups, rule, now))
    some = set(chance.sample(sorted(gone), len(gone) // 2))
    left = [backup for backup in backups if backup.id.int not in some]
    chance.shuffle(left)
    assert removed(plan(left, rule, now)) == gone - some
    left = [backup for backup in left if backup.id.int not in gone]
    assert removed(plan(left, rule, now)) == set()


@settings(deadline=None)
@given(some_backups(), rules)
def test_a_backup_goes_when_it_is_said_to_expire_and_not_before(scene, rule):
    backups, now = scene
    verdicts = plan(backups, rule, now)
    for backup in backups:
        at = verdicts[backup.id].expires_at
        if at is None:
            late = plan(backups, rule, now + timedelta(days=36_500))
            assert late[backup.id].keep
            continue
        assert plan(backups, rule, at)[backup.id].keep
        after = plan(backups, rule, at + MOMENT)[backup.id]
        refused = after.code in {RetentionCode.PLAN_REFUSED, RetentionCode.BEING_READ}
        assert refused or not after.keep
        assert verdicts[backup.id].keep is (now <= at) or backup.is_read


@settings(deadline=None)
@given(some_backups(), rules)
def test_every_verdict_has_a_reason_of_its_kind(scene, rule):
    backups, now = scene
    takes = {RetentionCode.FILLS_NO_SLOT, RetentionCode.OLDER_THAN_MAX_AGE}
    for verdict in plan(backups, rule, now).values():
        assert verdict.keep is (verdict.code not in takes)
        assert verdict.reason[0].isupper()
        assert verdict.reason.endswith(".")
