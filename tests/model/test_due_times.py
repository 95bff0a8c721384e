"""What a due time makes for each instance of a container, and why not."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from app.model.containers import InstanceState
from app.model.integrations import IntegrationState
from app.model.runs import RunKind
from app.model.schedules import (
    DueSchedule,
    InstanceSelection,
    Schedule,
    Target,
    plan_due,
)

HOUR = timedelta(hours=1)


def utc(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


NOW = utc("2026-11-24T03:00")


def a_due(selection=InstanceSelection.EACH, integration=IntegrationState.LIVE):
    return DueSchedule(
        container_id=UUID(int=1),
        hub_id=UUID(int=2),
        next_at=NOW,
        last_duration=None,
        schedule=Schedule(cron="@daily", time_zone="UTC"),
        instances=selection,
        overdue_after=HOUR,
        integration_name="B2",
        integration_state=integration,
        now=NOW,
    )


def a_target(hostname, state=InstanceState.RUNNING, open_kind=None):
    return Target(
        instance_id=uuid4(),
        hostname=hostname,
        state=state,
        executor="process",
        host="here",
        open_kind=open_kind,
    )


def made(due, *targets):
    outcomes = plan_due(due, targets, uuid4)
    assert len({outcome.id for outcome in outcomes}) == len(outcomes)
    return [(outcome.hostname, outcome.error and outcome.error.code) for outcome in outcomes]


S = InstanceState


def test_each_running_instance_is_saved_and_the_stopped_ones_are_left_alone():
    targets = (a_target("1.db"), a_target("2.db", S.STOPPED), a_target("3.db", S.PAUSED))
    assert made(a_due(), *targets, a_target("4.db")) == [("1.db", None), ("4.db", None)]


def test_only_the_first_running_one_is_saved_where_the_policy_says_so():
    first = a_due(InstanceSelection.FIRST_RUNNING)
    targets = (a_target("1.db", S.STOPPED), a_target("2.db"), a_target("3.db"))
    assert made(first, *targets) == [("2.db", None)]


def test_one_that_cannot_be_reached_is_a_failed_backup():
    lost = a_target("2.db", S.UNREACHABLE)
    assert made(a_due(), a_target("1.db"), lost) == [
        ("1.db", None),
        ("2.db", "INSTANCE_NOT_RUNNING"),
    ]


@pytest.mark.parametrize("selection", InstanceSelection)
def test_no_running_instance_is_a_failed_backup_with_that_reason(selection):
    stopped = a_target("1.db", S.STOPPED)
    assert made(a_due(selection), stopped) == [("1.db", "NO_INSTANCE_RUNNING")]
    assert made(a_due(selection)) == [("", "NO_INSTANCE_RUNNING")]


def test_an_integration_that_does_not_work_is_a_failed_backup_of_each_instance():
    due = a_due(integration=IntegrationState.FAILED)
    assert made(due, a_target("1.db"), a_target("2.db")) == [
        ("1.db", "INTEGRATION_NOT_LIVE"),
        ("2.db", "INTEGRATION_NOT_LIVE"),
    ]


@pytest.mark.parametrize("kind", RunKind)
def test_a_run_that_is_going_skips_the_due_time_of_its_instance(kind):
    busy = a_target("1.db", open_kind=kind)
    assert made(a_due(), busy, a_target("2.db")) == [("1.db", "PREVIOUS_RUN_GOING"), ("2.db", None)]
