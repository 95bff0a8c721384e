"""BigInt, DateTime and Duration: what is written, and what is taken."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from graphql import GraphQLError
from hypothesis import given
from hypothesis import strategies as st

from app.api.scalars import (
    LARGEST,
    read_big_int,
    read_date_time,
    read_duration,
    write_big_int,
    write_date_time,
    write_duration,
)


@pytest.mark.parametrize("value", [0, 1, -1, LARGEST, -LARGEST])
def test_a_big_int_is_a_number_in_both_directions(value: int) -> None:
    assert write_big_int(value) == value
    assert read_big_int(value) == value
    assert read_big_int(str(value)) == value


def test_a_number_that_a_client_would_misread_is_not_written() -> None:
    for value in (LARGEST + 1, -LARGEST - 1, True, 1.0, "1", None):
        with pytest.raises(ValueError, match=str(value)):
            write_big_int(value)


def test_only_whole_numbers_and_digits_are_taken() -> None:
    above = LARGEST + 1
    for value in (above, str(above), True, 1.0, "1e3", "1.0", "", " 1", "\u0663", None, [1]):
        with pytest.raises(GraphQLError) as caught:
            read_big_int(value)
        assert caught.value.extensions == {"code": "BAD_USER_INPUT"}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC), "2026-05-04T03:02:01Z"),
        (datetime(2026, 5, 4, 3, 2, 1, 5, tzinfo=UTC), "2026-05-04T03:02:01.000005Z"),
        (
            datetime(2026, 5, 4, 3, 2, 1, 500000, tzinfo=timezone(timedelta(hours=2))),
            "2026-05-04T01:02:01.500000Z",
        ),
    ],
)
def test_a_moment_has_six_fraction_digits_or_none(value: datetime, text: str) -> None:
    assert write_date_time(value) == text


def test_a_moment_without_an_offset_is_not_written() -> None:
    with pytest.raises(ValueError, match="2026"):
        write_date_time(datetime(2026, 5, 4))  # noqa: DTZ001


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2026-05-04T03:02:01Z", datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)),
        ("2026-05-04t03:02:01z", datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)),
        ("2026-05-04T03:02:01.5+02:00", datetime(2026, 5, 4, 1, 2, 1, 500000, tzinfo=UTC)),
        ("2026-05-04T03:02:01.123456789Z", datetime(2026, 5, 4, 3, 2, 1, 123456, tzinfo=UTC)),
    ],
)
def test_any_offset_is_taken(text: str, value: datetime) -> None:
    assert read_date_time(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "2026-05-04T03:02:01",
        "2026-05-04",
        "2026",
        "2026-02-30T00:00:00Z",
        "2026-05-04T24:00:00Z",
        "2026-05-04 03:02:01Z",
        "0001-01-01T00:00:00+14:00",
        "2026-05-04T03:02:01Z\n",
        20260504,
        None,
    ],
)
def test_what_is_no_moment_is_refused(text: object) -> None:
    with pytest.raises(GraphQLError):
        read_date_time(text)


@given(value=st.datetimes(timezones=st.just(UTC)))
def test_a_moment_comes_back(value: datetime) -> None:
    assert read_date_time(write_date_time(value)) == value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (timedelta(0), "PT0S"),
        (timedelta(hours=12), "PT12H"),
        (timedelta(days=365), "P365D"),
        (timedelta(days=1, hours=2, minutes=10, seconds=3), "P1DT2H10M3S"),
        (timedelta(seconds=10, microseconds=500000), "PT10.5S"),
        (timedelta(microseconds=1), "PT0.000001S"),
    ],
)
def test_a_duration_is_written_in_days_and_less(value: timedelta, text: str) -> None:
    assert write_duration(value) == text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("P1Y", timedelta(days=365)),
        ("P1Y35D", timedelta(days=400)),
        ("P1W", timedelta(days=7)),
        ("P1DT2H", timedelta(days=1, hours=2)),
        ("PT0.25S", timedelta(milliseconds=250)),
        ("365d", timedelta(days=365)),
        ("1h30m", timedelta(minutes=90)),
        ("2w1s", timedelta(days=14, seconds=1)),
    ],
)
def test_long_and_short_forms_are_taken(text: str, value: timedelta) -> None:
    assert read_duration(text) == value


@pytest.mark.parametrize(
    "text",
    ["", "P", "PT", "P1DT", "P1M", "-PT5S", "PT-5S", "1", "1 h", "P1.5D", "PT1S ", 5, None],
)
def test_what_is_no_duration_is_refused(text: object) -> None:
    with pytest.raises(GraphQLError):
        read_duration(text)


@given(value=st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=100_000)))
def test_a_duration_comes_back(value: timedelta) -> None:
    assert read_duration(write_duration(value)) == value
