"""Whether an instance can be restored into, by its configuration."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from app.model.containers import Container, ContainerState, Instance, InstanceState
from app.model.ids import encode_id
from app.model.policies import BackupPolicy
from app.model.restorable import find_obstacle
from app.model.retention import Retention
from app.model.runs import OpenRun, RunKind
from app.model.schedules import InstanceSelection

AT = datetime(2026, 5, 4, tzinfo=UTC)
CONTAINER = Container(
    id=uuid4(),
    hub_id=uuid4(),
    identifier="db",
    name="Database",
    stateful=True,
    labels={},
    state=ContainerState.LIVE,
    deleting_since=None,
    created_at=AT,
)
INSTANCE = Instance(
    id=uuid4(),
    hub_id=CONTAINER.hub_id,
    container_id=CONTAINER.id,
    hostname="1.db",
    state=InstanceState.RUNNING,
    executor="process",
    host="here",
    folder="1.db",
    variable_names=(),
    scratch=False,
    created_at=AT,
    removed_at=None,
)
POLICY = BackupPolicy(
    container_id=CONTAINER.id,
    hub_id=CONTAINER.hub_id,
    integration_id=uuid4(),
    backup_command="cat",
    backup_timeout=timedelta(hours=1),
    min_bytes=1,
    restore_command="cat",
    restore_timeout=timedelta(hours=1),
    restore_check=None,
    restore_safety_backup=False,
    enabled=True,
    schedule=None,
    time_zone="UTC",
    instances=InstanceSelection.EACH,
    overdue_after=timedelta(hours=1),
    retention=Retention(),
    verification=None,
    updated_at=AT,
)


def test_nothing_stands_in_the_way_of_a_running_instance_with_a_restore_command() -> None:
    assert find_obstacle(CONTAINER, INSTANCE, POLICY) is None


@pytest.mark.parametrize(
    ("container", "instance", "policy", "code"),
    [
        (replace(CONTAINER, state=ContainerState.DELETING), INSTANCE, POLICY, "CONTAINER_DELETING"),
        (replace(CONTAINER, stateful=False), INSTANCE, POLICY, "CONTAINER_NOT_STATEFUL"),
        (
            CONTAINER,
            replace(INSTANCE, state=InstanceState.PAUSED),
            POLICY,
            "INSTANCE_NOT_RUNNING",
        ),
        (CONTAINER, replace(INSTANCE, removed_at=AT), POLICY, "INSTANCE_NOT_RUNNING"),
        (CONTAINER, INSTANCE, None, "NO_BACKUP_POLICY"),
        (CONTAINER, INSTANCE, replace(POLICY, restore_command=None), "NO_RESTORE_COMMAND"),
    ],
)
def test_each_obstacle_is_named(container, instance, policy, code) -> None:
    obstacle = find_obstacle(container, instance, policy)
    assert obstacle is not None
    assert obstacle.code == code
    assert obstacle.message.endswith(".")


def test_a_busy_instance_names_the_run() -> None:
    run = OpenRun(id=uuid4(), kind=RunKind.VERIFICATION)
    obstacle = find_obstacle(CONTAINER, INSTANCE, POLICY, None, run)
    assert obstacle is not None
    assert obstacle.code == "INSTANCE_BUSY"
    assert f"the verification {encode_id('Verification', run.id)};" in obstacle.message
