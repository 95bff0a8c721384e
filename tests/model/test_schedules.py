# ruff: noqa: DTZ001 - the clock on the wall knows no offset
"""Schedules: what is refused, when something is due, the changes of the clock, and what is made."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from app.errors import InvalidInput
from app.model.schedules import (
    MOST_JITTER,
    WORDS,
    Schedule,
    ScheduleState,
    check_next_runs,
    check_schedule,
    due_after,
    grace,
    is_size_drop,
    jitter,
    next_dues,
)

HOUR, MINUTE, SECOND = timedelta(hours=1), timedelta(minutes=1), timedelta(seconds=1)
ZONES = (
    "UTC",
    "Europe/Berlin",
    "Europe/London",
    "America/New_York",
    "America/Sao_Paulo",
    "America/St_Johns",
    "Africa/Casablanca",
    "Asia/Kolkata",
    "Asia/Beirut",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Pacific/Chatham",
)
MOMENTS = st.datetimes(datetime(1995, 1, 1), datetime(2035, 1, 1), timezones=st.just(UTC))


def fields(low, high):
    number = st.integers(low, high)
    return st.one_of(
        st.just("*"),
        number.map(str),
        st.lists(number, min_size=1, max_size=3).map(lambda some: ",".join(map(str, some))),
        st.integers(1, 40).map(lambda step: f"*/{step}"),
        st.tuples(number, number).map(lambda two: f"{min(two)}-{max(two)}"),
    )


CRONS = st.tuples(fields(0, 59), fields(0, 23), fields(1, 28), fields(1, 12), fields(0, 7)).map(
    " ".join
)


def wall(zone, at):
    return at.astimezone(ZoneInfo(zone)).replace(tzinfo=None)


def utc(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def local_dues(cron, zone, start, count):
    """What is due after a moment on the wall's clock, as clocks show it with their offset."""
    found = next_dues(
        Schedule(cron=cron, time_zone=zone),
        datetime.fromisoformat(start).replace(tzinfo=ZoneInfo(zone)),
        count,
    )
    return [due.astimezone(ZoneInfo(zone)).strftime("%m-%d %H:%M %z") for due in found]


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cron", "words"),
    [
        ("", "exactly five fields"),
        ("* * * *", "exactly five fields"),
        ("0 3 * * * *", "not 6"),
        ("0 0 3 * * * *", "exactly five fields"),
        ("@reboot", "no such word"),
        ("@", "no such word"),
        ("60 * * * *", "field for minute"),
        ("0 24 * * *", "field for hour"),
        ("0 0 32 * *", "day of the month"),
        ("0 0 * 13 *", "field for month"),
        ("0 0 * * 8", "field for day of the week"),
        ("0 0 30 2 *", "no such month has that day: never due"),
        ("0 0 31 4,6,9,11 *", "never due"),
        ("x * * * *", "field for minute"),
        ("*/0 * * * *", "field for minute"),
        ("5-1 * * * *", "field for minute"),
        ("\u0660 * * * *", "ASCII"),
        ("* " * 101, "200"),
        ("1" * 190 + " * * * *", "field for minute"),
    ],
)
def test_what_cannot_be_read_or_is_never_due_is_refused_with_the_reason(cron, words):
    with pytest.raises(InvalidInput, match=words) as refusal:
        check_schedule(cron, "UTC", path=("policy", "backup"))
    assert refusal.value.path == ("policy", "backup", "cron")


@pytest.mark.parametrize(
    "name",
    [
        "",
        "Mars/Olympus",
        "Europe",
        "../etc/passwd",
        "/etc/localtime",
        "localtime",
        "posix/Europe/Berlin",
        "right/Europe/Berlin",
        "Europe/Berlin\0",
        "Europe/" + "x" * 300,
        "zone.tab",
    ],
)
def test_a_time_zone_is_one_of_the_iana_database(name):
    with pytest.raises(InvalidInput, match="no such time zone") as refusal:
        check_schedule(None, name, path=("policy", "backup"))
    assert refusal.value.path == ("policy", "backup", "timeZone")


@given(st.text(max_size=30), st.text(max_size=20))
def test_anything_else_than_a_schedule_is_refused_and_nothing_else_happens(cron, zone):
    for arguments in ((cron, "UTC"), ("@daily", zone)):
        try:
            check_schedule(*arguments, path=())
        except InvalidInput:
            continue
        assert due_after(Schedule(cron=arguments[0], time_zone=arguments[1]), utc("2026-01-01"))


@pytest.mark.parametrize("word", WORDS)
def test_a_word_is_the_five_fields_that_it_stands_for(word):
    check_schedule(word.upper(), "Europe/Berlin", path=())
    start = utc("2026-11-24T16:32:59")
    told, meant = (Schedule(cron=cron, time_zone="Europe/Berlin") for cron in (word, WORDS[word]))
    assert next_dues(told, start, 3) == next_dues(meant, start, 3)


# --- when something is due ----------------------------------------------------------------------


@given(CRONS, MOMENTS)
def test_without_changes_of_the_clock_it_is_what_the_library_says(cron, start):
    schedule = Schedule(cron=cron, time_zone="UTC")
    expected = next(CronSim(cron, start.replace(tzinfo=None)), None)
    assume(expected is not None)
    assert due_after(schedule, start) == expected.replace(tzinfo=UTC)


@given(CRONS, st.sampled_from(ZONES), MOMENTS)
def test_what_is_due_is_later_is_stable_and_leaves_nothing_out(cron, zone, start):
    """Asked from anywhere before the next due time, the answer is that due time."""
    schedule = Schedule(cron=cron, time_zone=zone)
    due = due_after(schedule, start)
    assert due > start
    assert due.microsecond == due.second == 0 or zone != "UTC"
    for moment in (due - SECOND, start + (due - start) / 2):
        if moment >= start:
            assert due_after(schedule, moment) == due
    assert due_after(schedule, due) > due


@settings(deadline=None, max_examples=25)
@given(
    st.integers(0, 59),
    st.integers(0, 23),
    st.sampled_from(ZONES),
    st.integers(1996, 2034),
)
def test_a_daily_time_comes_once_for_each_day_of_the_wall(minute, hour, zone, year):
    """Every day that the clock shows has it once, whatever was done to the clock."""
    schedule = Schedule(cron=f"{minute} {hour} * * *", time_zone=zone)
    first = datetime(year, 1, 1, tzinfo=ZoneInfo(zone)).astimezone(UTC)
    end = datetime(year + 1, 1, 1, tzinfo=ZoneInfo(zone)).astimezone(UTC)
    days, at = [], first - SECOND
    while (at := due_after(schedule, at)) < end:
        days.append(wall(zone, at))
    exact = [shown for shown in days if (shown.hour, shown.minute) == (hour, minute)]
    # Where the clock had jumped over the time, it comes right after the jump.
    assert len(days) - len(exact) <= 2
    start = datetime(year, 1, 1)
    length = (datetime(year + 1, 1, 1) - start).days
    # Apia has had no 30 December 2011: the time of that day comes with the one of the 31st.
    assert length - 1 <= len(days) <= length
    if zone != "Pacific/Apia":
        assert len({shown.date() for shown in days}) == len(days) == length


GAPS = [
    # zone, the clock jumps from .. to, a cron inside of the gap
    ("Europe/Berlin", "2026-03-28T12:00", "30 2 * * *", ["03-29 03:00 +0200", "03-30 02:30 +0200"]),
    ("Europe/Berlin", "2031-03-29T12:00", "0 2 * * *", ["03-30 03:00 +0200", "03-31 02:00 +0200"]),
    ("Europe/London", "2027-03-27T12:00", "59 1 * * *", ["03-28 02:00 +0100", "03-29 01:59 +0100"]),
    (
        "America/New_York",
        "2026-03-07T12:00",
        "15 2 * * *",
        ["03-08 03:00 -0400", "03-09 02:15 -0400"],
    ),
    (
        "America/Sao_Paulo",
        "2017-10-14T12:00",
        "30 0 * * *",
        ["10-15 01:00 -0200", "10-16 00:30 -0200"],
    ),
    (
        "Australia/Lord_Howe",
        "2026-10-03T12:00",
        "15 2 * * *",
        ["10-04 02:30 +1100", "10-05 02:15 +1100"],
    ),
    (
        "Pacific/Chatham",
        "2026-09-26T12:00",
        "0 3 * * *",
        ["09-27 03:45 +1345", "09-28 03:00 +1345"],
    ),
    ("Asia/Beirut", "2022-03-26T12:00", "0 0 * * *", ["03-27 01:00 +0300", "03-28 00:00 +0300"]),
    # Several times of one gap are one.
    (
        "Europe/Berlin",
        "2026-03-28T12:00",
        "*/10 2 * * *",
        ["03-29 03:00 +0200", "03-30 02:00 +0200"],
    ),
    (
        "Europe/Berlin",
        "2026-03-29T00:30",
        "0 2,3 * * *",
        ["03-29 03:00 +0200", "03-30 02:00 +0200"],
    ),
    # A whole day that never was.
    ("Pacific/Apia", "2011-12-29T12:00", "0 4 * * *", ["12-31 00:00 +1400", "12-31 04:00 +1400"]),
]


@pytest.mark.parametrize(("zone", "start", "cron", "expected"), GAPS)
def test_a_time_that_the_clock_jumps_over_comes_once_right_after(zone, start, cron, expected):
    assert local_dues(cron, zone, start, 2) == expected


OVERLAPS = [
    ("Europe/Berlin", "2026-10-24T12:00", "30 2 * * *", ["10-25 02:30 +0200", "10-26 02:30 +0100"]),
    ("Europe/Berlin", "2032-10-30T12:00", "0 2 * * *", ["10-31 02:00 +0200", "11-01 02:00 +0100"]),
    ("Europe/London", "2027-10-30T12:00", "59 1 * * *", ["10-31 01:59 +0100", "11-01 01:59 +0000"]),
    (
        "America/New_York",
        "2026-10-31T12:00",
        "15 1 * * *",
        ["11-01 01:15 -0400", "11-02 01:15 -0500"],
    ),
    (
        "America/Sao_Paulo",
        "2018-02-17T12:00",
        "30 23 * * *",
        ["02-17 23:30 -0200", "02-18 23:30 -0300"],
    ),
    (
        "Australia/Lord_Howe",
        "2026-04-04T12:00",
        "45 1 * * *",
        ["04-05 01:45 +1100", "04-06 01:45 +1030"],
    ),
    (
        "Europe/Berlin",
        "2026-10-25T01:59",
        "*/30 2 * * *",
        ["10-25 02:00 +0200", "10-25 02:30 +0200"],
    ),
]


@pytest.mark.parametrize(("zone", "start", "cron", "expected"), OVERLAPS)
def test_a_time_that_the_clock_shows_twice_comes_once(zone, start, cron, expected):
    assert local_dues(cron, zone, start, 2) == expected


def changes_of(zone, year):
    """The days of a year, each by its first hour in UTC, in which the clock is set."""
    offsets = [
        (start, start.astimezone(ZoneInfo(zone)).utcoffset())
        for start in (datetime(year, 1, 1, tzinfo=UTC) + n * 24 * HOUR for n in range(366))
    ]
    return [before for (before, old), (_, new) in pairwise(offsets) if old != new]


@pytest.mark.parametrize("zone", ZONES)
def test_an_hourly_schedule_is_due_in_every_real_hour(zone):
    """Over the changes of the clock of many years; half an hour is the smallest change there is."""
    schedule = Schedule(cron="0 * * * *", time_zone=zone)
    allowed = {HOUR, HOUR / 2, 1.5 * HOUR} if zone == "Australia/Lord_Howe" else {HOUR}
    for year in range(2015, 2036, 2):
        for day in changes_of(zone, year):
            found = next_dues(schedule, day - 2 * HOUR, 28)
            assert {later - before for before, later in pairwise(found)} <= allowed
            assert all(wall(zone, due).minute == 0 for due in found)


def test_an_hour_that_comes_twice_before_midnight_is_not_left_out():
    found = local_dues("30 * * * *", "America/Sao_Paulo", "2018-02-17T22:45", 3)
    assert found == ["02-17 23:30 -0200", "02-17 23:30 -0300", "02-18 00:30 -0300"]
    [once] = local_dues("30 * 17 2 *", "America/Sao_Paulo", "2018-02-17T23:40", 1)
    assert once == "02-17 23:30 -0300"


def test_a_day_that_is_rare_is_found():
    schedule = Schedule(cron="0 0 29 2 *", time_zone="Europe/Berlin")
    assert [due.year for due in next_dues(schedule, utc("2096-03-01"), 2)] == [2104, 2108]


# --- jitter, overdue, sizes ---------------------------------------------------------------------


@given(st.uuids(), st.timedeltas(timedelta(0), MOST_JITTER))
def test_jitter_is_stable_and_less_than_its_bound(container_id, most):
    late = jitter(container_id, most)
    assert late == jitter(container_id, most)
    assert timedelta(0) <= late < max(most, SECOND)
    assert late.microseconds == 0


def test_jitter_is_spread_and_can_be_switched_off():
    lates = [jitter(UUID(int=number)) for number in range(3000)]
    buckets = [sum(late // MINUTE == minute for late in lates) for minute in range(5)]
    assert sum(buckets) == 3000
    assert min(buckets) > 500
    assert jitter(uuid4(), timedelta(0)) == timedelta(0)


def test_the_next_runs_begin_with_the_next_one_and_keep_its_jitter():
    due, late = utc("2026-10-24T00:30"), timedelta(seconds=77)
    state = ScheduleState(due_at=due, next_at=due + late, overdue_since=None)
    schedule = Schedule(cron="30 2 * * *", time_zone="Europe/Berlin")
    assert state.next_runs(schedule, 1) == [due + late]
    assert state.next_runs(schedule, 3) == [
        due + late,
        utc("2026-10-25T00:30") + late,
        utc("2026-10-26T01:30") + late,
    ]
    for count in (0, 26, -1):
        with pytest.raises(InvalidInput):
            check_next_runs(count)
    check_next_runs(25)


def test_a_backup_may_take_twice_what_the_last_one_took():
    assert grace(HOUR, None) == HOUR
    assert grace(HOUR, 29 * MINUTE) == HOUR
    assert grace(HOUR, 31 * MINUTE) == 62 * MINUTE


@pytest.mark.parametrize(
    ("size", "former", "dropped"),
    [
        (0, [], False),
        (49, [100], True),
        (50, [100], False),
        (49, [1, 100, 100], True),
        (49, [1, 1, 100, 100, 100], True),
        (50, [1, 1, 100, 100, 100], False),
        (49, [1, 1, 1, 100, 100], False),
        (49, [100, 99], True),
        (50, [100, 99], False),
    ],
)
def test_a_size_drops_when_it_is_under_half_of_the_median(size, former, dropped):
    assert is_size_drop(size, former) is dropped
