"""Fraction, rate and end of a transfer."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from app.model.progress import Estimate, estimate

AT = datetime(2026, 5, 4, tzinfo=UTC)


def test_a_running_transfer_has_an_end() -> None:
    found = estimate(done=250, total=1000, bytes_per_second=50, at=AT, running=True)
    assert found == Estimate(fraction=0.25, seconds_left=15.0, done_at=AT + timedelta(seconds=15))


def test_a_transfer_that_does_not_run_has_no_end() -> None:
    found = estimate(done=1000, total=1000, bytes_per_second=50, at=AT, running=False)
    assert found == Estimate(fraction=1.0, seconds_left=None, done_at=None)


def test_without_a_rate_nothing_is_promised() -> None:
    for rate in (None, 0):
        found = estimate(done=0, total=1000, bytes_per_second=rate, at=AT, running=True)
        assert found == Estimate(fraction=0.0, seconds_left=None, done_at=None)


def test_an_end_beyond_the_calendar_is_told_in_seconds_alone() -> None:
    found = estimate(done=0, total=2**53, bytes_per_second=1, at=AT, running=True)
    assert found == Estimate(fraction=0.0, seconds_left=float(2**53), done_at=None)


@given(done=st.integers(0, 2**53), total=st.integers(0, 2**53), rate=st.integers(0, 2**40))
def test_a_fraction_never_leaves_0_to_1(done: int, total: int, rate: int) -> None:
    found = estimate(done=done, total=total, bytes_per_second=rate, at=AT, running=True)
    assert 0 <= found.fraction <= 1
    assert found.seconds_left is None or found.seconds_left >= 0
