"""What a plan has verified, and when, against what is obviously wanted."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from app.model.verifications import (
    CONCLUSIVE,
    LOOK_AT_LEAST_EVERY,
    TRY_AGAIN_AFTER,
    Attempt,
    Candidate,
    VerificationLevel,
    VerificationPlan,
    VerificationState,
    choose_due,
    levels_from,
)

NOW = datetime(2026, 6, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
BAD = VerificationState.FAILED


def candidate(
    number: int, *, age: timedelta, host: str = "1.db", attempt: Attempt | None = None
) -> Candidate:
    return Candidate(backup_id=UUID(int=number), hostname=host, live_at=NOW - age, attempt=attempt)


def attempt(age: timedelta, state: VerificationState, code: str | None = None) -> Attempt:
    return Attempt(at=NOW - age, state=state, error_code=code)


def plan(*, every: timedelta | None = None, after_each: bool = False) -> VerificationPlan:
    return VerificationPlan(level=VerificationLevel.STORED, every=every, after_each=after_each)


attempts = st.none() | st.builds(
    Attempt,
    at=st.integers(1, 100).map(lambda hours: NOW - hours * HOUR),
    state=st.sampled_from(sorted(set(VerificationState) - {VerificationState.CANCELED})),
    error_code=st.sampled_from([None, "CHECK_FAILED", "OWNER_LOST"]),
)


@st.composite
def containers(draw: st.DrawFn) -> list[Candidate]:
    """A container's backups, newest first."""
    ages = sorted(draw(st.lists(st.integers(1, 200), unique=True, max_size=12)))
    return [
        candidate(
            number,
            age=hours * HOUR,
            host=draw(st.sampled_from(["1.db", "2.db"])),
            attempt=draw(attempts),
        )
        for number, hours in enumerate(ages, 1)
    ]


@given(containers(), st.integers(0, 200), st.integers(1, 5), st.booleans())
def test_a_plan_asks_for_what_is_due_and_never_again_for_what_is_decided(
    found: list[Candidate],
    hours: int,
    days: int,
    after_each: bool,  # noqa: FBT001
) -> None:
    since = NOW - hours * HOUR
    wanted = plan(every=days * DAY, after_each=after_each)
    chosen, again_at = choose_due(wanted, found, since=since, now=NOW)
    by_id = {one.backup_id: one for one in found}
    assert len(set(chosen)) == len(chosen)
    assert NOW <= again_at <= NOW + LOOK_AT_LEAST_EVERY
    for host in ("1.db", "2.db"):
        ones = [one for one in found if one.hostname == host]
        if not ones:
            continue
        due = {id for id in chosen if by_id[id].hostname == host}
        decided = [one for one in ones if one.attempt is not None and one.attempt.decides]
        recent = any(
            one.attempt is not None and NOW - one.attempt.at < days * DAY for one in decided
        )
        for one in ones:
            tried = one.attempt is not None
            fresh = tried and NOW - one.attempt.at < TRY_AGAIN_AFTER
            if one in decided:
                # By the calendar alone, and only where nothing of the instance was lately.
                assert one.backup_id not in due or not recent
            elif after_each and not fresh and (one is ones[0] or one.live_at >= since):
                assert (one.backup_id in due) or NOW - one.attempt.at == TRY_AGAIN_AFTER
        assert not any(by_id[id].attempt and by_id[id].attempt.is_bad for id in due)
        if not after_each:
            assert len(due) <= 1


def test_the_newest_that_has_not_failed_is_verified_by_the_calendar() -> None:
    failed = candidate(1, age=HOUR, attempt=attempt(3 * DAY, BAD, "CHECK_FAILED"))
    good = candidate(2, age=2 * HOUR)
    older = candidate(3, age=3 * HOUR)
    found = [failed, good, older]
    assert choose_due(plan(every=DAY), found, since=NOW, now=NOW)[0] == [good.backup_id]
    assert choose_due(plan(every=7 * DAY), found, since=NOW, now=NOW)[0] == []


def test_what_was_only_in_the_way_is_tried_again_an_hour_later() -> None:
    for minutes, chosen in ((59, []), (61, [UUID(int=1)])):
        tried = attempt(timedelta(minutes=minutes), BAD, "STORAGE_UNAVAILABLE")
        one = candidate(1, age=DAY, attempt=tried)
        due, again_at = choose_due(plan(after_each=True), [one], since=NOW, now=NOW)
        assert due == chosen
        if not chosen:
            assert again_at == NOW + timedelta(minutes=1)


def test_backups_from_before_the_plan_are_left_alone_but_for_the_newest() -> None:
    found = [candidate(1, age=HOUR), candidate(2, age=2 * HOUR), candidate(3, age=3 * HOUR)]
    two_hours = NOW - 2 * HOUR
    every, _ = choose_due(plan(after_each=True), found, since=two_hours, now=NOW)
    assert every == [UUID(int=2), UUID(int=1)]
    newest, _ = choose_due(plan(after_each=True), found, since=NOW, now=NOW)
    assert newest == [UUID(int=1)]


def test_a_higher_level_proves_a_lower_one() -> None:
    level = VerificationLevel
    assert levels_from(level.STORED) == (level.STORED, level.READABLE, level.RESTORABLE)
    assert levels_from(level.RESTORABLE) == (level.RESTORABLE,)
    assert "STORAGE_UNAVAILABLE" not in CONCLUSIVE
