"""The retention plan by examples: each kind of slot, each protection, and clocks that change."""

import random
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from app.model.backups import BackupTrigger, StorageStatus
from app.model.retention import RetentionCode, RetentionRule, is_good, plan
from tests.model.test_retention import DAY, NOW, a_backup, a_rule, removed


def at(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)


LATER = at(2028, 1, 1)


def kept_of(times: list[datetime], rule: RetentionRule, now: datetime = LATER) -> set[int]:
    """The places in the list of what stays by its slot; the rest goes."""
    backups = [a_backup(number, created_at) for number, created_at in enumerate(times)]
    verdicts = plan(backups, rule, now)
    return {id.int for id, verdict in verdicts.items() if verdict.keep}


SEVEN_HOURS = [at(2026, 5, 1, hour) for hour in range(7)]
LONG = timedelta(days=3650)


@pytest.mark.parametrize(
    ("times", "zone", "keep", "kept"),
    [
        # The newest of each period, of the newest periods that have any.
        (SEVEN_HOURS, "UTC", {"keep_last": 3}, {4, 5, 6}),
        (SEVEN_HOURS, "UTC", {"keep_daily": 3}, {6}),
        ([at(2026, 5, d, h) for d in (1, 2, 9) for h in (1, 23)], "UTC", {"keep_daily": 2}, {3, 5}),
        # One backup may fill slots of several kinds.
        (
            [at(2026, 5, d) for d in range(1, 9)],
            "UTC",
            {"keep_daily": 2, "keep_last": 3},
            {5, 6, 7},
        ),
        # Midnight is the policy's: 23:30 UTC is the next day in Berlin, the same one in St John's.
        ([at(2026, 5, 1, 21), at(2026, 5, 1, 23, 30)], "UTC", {"keep_daily": 9}, {1}),
        ([at(2026, 5, 1, 21), at(2026, 5, 1, 23, 30)], "Europe/Berlin", {"keep_daily": 9}, {0, 1}),
        ([at(2026, 5, 1, 21), at(2026, 5, 1, 23, 30)], "America/St_Johns", {"keep_daily": 9}, {1}),
        # The autumn hour that comes twice is two hours: 00:30 and 01:30 UTC are both 02:30.
        (
            [at(2026, 10, 25, 0, 30), at(2026, 10, 25, 1, 30)],
            "Europe/Berlin",
            {"keep_hourly": 9},
            {0, 1},
        ),
        # A half hour back: 15:10 UTC is 01:40 for the second time.
        (
            [at(2026, 4, 4, 14, 40), at(2026, 4, 4, 15, 10)],
            "Australia/Lord_Howe",
            {"keep_hourly": 9},
            {0, 1},
        ),
        # The spring day of 23 hours, the autumn day of 25: each is one day.
        ([at(2026, 3, 28, 23), at(2026, 3, 29, 21, 59)], "Europe/Berlin", {"keep_daily": 9}, {1}),
        ([at(2026, 3, 28, 23), at(2026, 3, 29, 22)], "Europe/Berlin", {"keep_daily": 9}, {0, 1}),
        ([at(2026, 10, 24, 22), at(2026, 10, 25, 22, 59)], "Europe/Berlin", {"keep_daily": 9}, {1}),
        # Samoa had no 30 December 2011.
        (
            [at(2011, 12, 30, 9, 59), at(2011, 12, 30, 10, 1)],
            "Pacific/Apia",
            {"keep_daily": 9},
            {0, 1},
        ),
        # A week is the ISO one, from Monday: 1 January 2027 is in the last week of 2026.
        ([at(2026, 12, 28), at(2027, 1, 1), at(2027, 1, 4)], "UTC", {"keep_weekly": 9}, {1, 2}),
        ([at(2026, 12, 27), at(2026, 12, 28)], "UTC", {"keep_weekly": 9}, {0, 1}),
        # Months and years begin at the zone's midnight: still December, 2026, on 1 January UTC.
        (
            [at(2026, 12, 31), at(2027, 1, 1, 3)],
            "America/St_Johns",
            {"keep_monthly": 9},
            {1},
        ),
        (
            [at(2026, 12, 31), at(2027, 1, 1, 4)],
            "America/St_Johns",
            {"keep_yearly": 9},
            {0, 1},
        ),
    ],
)
def test_slots_are_filled_by_the_newest_of_each_period(times, zone, keep, kept):
    assert kept_of(times, a_rule(zone, max_age=LONG * 2, **keep)) == kept


def codes_of(backups, rule, now=NOW):
    verdicts = plan(backups, rule, now)
    return [verdicts[backup.id].code.value for backup in backups]


def test_age_alone_rules_without_slots():
    backups = [a_backup(n, NOW - n * DAY) for n in (1, 9, 10, 11, 12)]
    verdicts = plan(backups, a_rule(max_age=10 * DAY), NOW)
    assert removed(verdicts) == {11, 12}
    assert verdicts[UUID(int=12)].reason == "It is older than maxAge, 10 days."
    assert verdicts[UUID(int=9)].reason == "It is not older than maxAge, 10 days."
    assert verdicts[UUID(int=9)].expires_at == NOW + DAY
    assert verdicts[UUID(int=1)].expires_at is None


def test_a_slot_does_not_save_what_is_older_than_max_age():
    backups = [a_backup(n, NOW - n * DAY) for n in (2, 40)]
    rule = a_rule(max_age=30 * DAY, keep_last=5)
    assert codes_of(backups, rule) == ["FILLS_SLOT", "OLDER_THAN_MAX_AGE"]


@pytest.mark.parametrize(
    ("marks", "told"),
    [
        ({"storage_status": StorageStatus.MISSING}, "its object is missing"),
        ({"storage_status": StorageStatus.MISMATCH}, "its object differs from what was saved"),
        ({"storage_status": StorageStatus.LOSS_ACCEPTED}, "its object is lost"),
        ({"verification_failed": True}, "its last verification failed"),
        ({"in_doubt": True}, "it was taken after a restore into its instance had failed"),
    ],
)
def test_what_is_not_good_fills_no_slot_and_goes_by_age_alone(marks, told):
    bad = a_backup(1, NOW - 2 * DAY, **marks)
    older = [a_backup(n, NOW - n * DAY) for n in (3, 4, 5)]
    rule = a_rule(max_age=10 * DAY, keep_last=2)
    assert not is_good(bad)
    verdicts = plan([bad, *older], rule, NOW)
    assert verdicts[bad.id].keep
    assert told in verdicts[bad.id].reason
    # The two newest good ones fill the slots as if the bad one were not there.
    assert removed(verdicts) == {5}
    late = replace(bad, created_at=NOW - 11 * DAY, live_at=NOW - 11 * DAY)
    assert codes_of([late, *older], rule)[0] == "OLDER_THAN_MAX_AGE"


def test_copies_from_before_a_restore_have_an_age_of_their_own():
    copies = [
        a_backup(n, NOW - n * DAY, trigger=BackupTrigger.PRE_RESTORE, live_at=NOW - n * DAY)
        for n in (6, 8)
    ]
    rule = a_rule(max_age=3 * DAY, keep_last=1, pre_restore_max_age=7 * DAY)
    good = a_backup(2, NOW - 2 * DAY)
    assert codes_of([*copies, good], rule) == ["WITHIN_MAX_AGE", "OLDER_THAN_MAX_AGE", "FILLS_SLOT"]


def test_the_last_good_one_of_each_instance_stays_though_it_is_too_old():
    rule = a_rule(max_age=DAY)
    first = [a_backup(n, NOW - n * DAY) for n in (5, 6)]
    second = [
        a_backup(7, NOW - 7 * DAY, hostname="2.db", in_doubt=True),
        a_backup(8, NOW - 8 * DAY, hostname="2.db"),
        a_backup(9, NOW - 9 * DAY, hostname="2.db"),
    ]
    assert codes_of([*first, *second], rule) == [
        "LAST_GOOD",
        "OLDER_THAN_MAX_AGE",
        "OLDER_THAN_MAX_AGE",
        "LAST_GOOD",
        "OLDER_THAN_MAX_AGE",
    ]


def test_pinned_young_and_read_ones_stay():
    rule = a_rule(keep_last=1)
    backups = [
        a_backup(1, NOW - 2 * DAY),
        a_backup(2, NOW - 3 * DAY, pinned=True),
        a_backup(3, NOW - 3 * DAY, is_read=True),
        a_backup(4, NOW - 3 * DAY, live_at=NOW - timedelta(hours=23)),
        a_backup(5, NOW - 3 * DAY),
    ]
    assert codes_of(backups, rule) == [
        "FILLS_SLOT",
        "PINNED",
        "BEING_READ",
        "YOUNG",
        "FILLS_NO_SLOT",
    ]
    verdicts = plan(backups, rule, NOW)
    assert verdicts[UUID(int=4)].expires_at == NOW + timedelta(hours=1)
    assert verdicts[UUID(int=2)].expires_at is None
    assert verdicts[UUID(int=5)].reason == "Newer good backups of 1.db fill every slot: keepLast 1."


def test_a_plan_that_would_remove_everything_is_refused():
    rule = a_rule(max_age=DAY)
    lost = {"storage_status": StorageStatus.MISSING}
    backups = [a_backup(n, NOW - n * DAY, **lost) for n in (3, 4)]
    assert codes_of(backups, rule) == ["PLAN_REFUSED", "PLAN_REFUSED"]
    good = a_backup(9, NOW - 9 * DAY)
    assert codes_of([*backups, good], rule) == ["OLDER_THAN_MAX_AGE"] * 2 + ["LAST_GOOD"]


@pytest.mark.parametrize("code", [RetentionCode.NO_POLICY, RetentionCode.POLICY_OFF])
def test_nothing_goes_without_a_rule(code):
    backups = [a_backup(n, NOW - n * 1000 * DAY, in_doubt=True) for n in range(1, 5)]
    verdicts = plan(backups, code, NOW)
    assert Counter(verdict.code for verdict in verdicts.values()) == {code: 4}
    assert removed(verdicts) == set()


def test_ten_thousand_backups_are_planned_in_one_pass():
    """Twice as many cost about twice as much, counted in comparisons of time and not in seconds."""
    chance = random.Random(5)
    rule = a_rule("Europe/Berlin", keep_hourly=24, keep_daily=30, keep_yearly=9)
    looked: Counter[int] = Counter()

    class Zone(ZoneInfo):
        def utcoffset(self, at):
            looked[size] += 1
            return super().utcoffset(at)

    rule = replace(rule, zone=Zone("Europe/Berlin"))
    for size in (5_000, 10_000):
        backups = [
            a_backup(n, NOW - timedelta(minutes=chance.randrange(600_000))) for n in range(size)
        ]
        assert len(plan(backups, rule, NOW)) == size
    assert looked[10_000] <= 2.05 * looked[5_000]
