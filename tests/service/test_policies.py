"""Backup policies: replaced as a whole, with words on what will not work yet."""

from datetime import timedelta
from uuid import uuid4

import pytest

from app.errors import InvalidInput, InvalidState, NotFound
from app.model.containers import InstanceState
from app.model.policies import NewPolicy
from app.model.retention import Retention
from app.model.schedules import InstanceSelection, Schedule
from app.model.verifications import VerificationLevel, VerificationPlan
from app.queries import policies
from app.service.containers import delete_container
from app.service.integrations import delete_integration
from app.service.policies import configure_backups
from tests.builders import (
    a_container,
    a_hub,
    a_policy,
    an_admin,
    an_instance,
    an_integration,
    an_unchecked_integration,
)


async def read(gateway, admin, container):
    async with gateway.connection(admin.hub_id) as connection:
        found = await policies.by_containers(connection, admin.hub_id, [container.id, uuid4()])
    assert found.keys() <= {container.id}
    return found.get(container.id)


async def test_a_policy_is_set_replaced_and_removed(owner, gateway_database, worker_database):
    admin = an_admin(await a_hub(owner))
    container = await a_container(gateway_database, admin)
    first = await an_integration(gateway_database, worker_database, admin)
    second = await an_integration(gateway_database, worker_database, admin)
    await an_instance(gateway_database, admin, container)
    assert await read(gateway_database, admin, container) is None

    made = await a_policy(gateway_database, admin, container, first)
    assert await read(gateway_database, admin, container) == made

    new = NewPolicy(
        integration_id=second.id,
        backup_command="tar c .",
        backup_timeout=timedelta(seconds=1),
        min_bytes=0,
        restore_command=None,
        restore_timeout=timedelta(days=7),
        enabled=False,
        cron="30 2 * * *",
        time_zone="Europe/Berlin",
        instances=InstanceSelection.FIRST_RUNNING,
        overdue_after=timedelta(hours=2),
        retention=Retention(max_age=timedelta(days=90), keep_last=3, keep_yearly=5),
        verification=VerificationPlan(level=VerificationLevel.STORED, every=timedelta(days=7)),
    )
    replaced, warnings = await configure_backups(
        gateway_database, admin, container_id=container.id, policy=new
    )
    assert replaced == await read(gateway_database, admin, container)
    assert replaced is not None
    assert (replaced.integration_id, replaced.backup_command) == (second.id, "tar c .")
    assert (replaced.backup_timeout, replaced.min_bytes) == (timedelta(seconds=1), 0)
    assert (replaced.restore_command, replaced.restore_timeout) == (None, timedelta(days=7))
    assert (replaced.enabled, replaced.instances) == (False, InstanceSelection.FIRST_RUNNING)
    assert replaced.schedule == Schedule(cron="30 2 * * *", time_zone="Europe/Berlin")
    assert replaced.overdue_after == timedelta(hours=2)
    assert (replaced.retention, replaced.verification) == (new.retention, new.verification)
    assert replaced.updated_at > made.updated_at
    assert warnings == ["There is no restore command: backups cannot be restored."]

    removed = await configure_backups(
        gateway_database, admin, container_id=container.id, policy=None
    )
    assert removed == (None, [])
    assert await read(gateway_database, admin, container) is None


async def test_the_warnings_say_what_will_not_work_yet(owner, gateway_database):
    admin = an_admin(await a_hub(owner))
    container = await a_container(gateway_database, admin)
    await an_instance(gateway_database, admin, container, state=InstanceState.STOPPED)
    await an_instance(gateway_database, admin, container, scratch=True)
    integration = await an_unchecked_integration(gateway_database, admin, name="B2")
    _, warnings = await configure_backups(
        gateway_database,
        admin,
        container_id=container.id,
        policy=NewPolicy(integration_id=integration.id, backup_command="cat 'data"),
    )
    assert warnings == [
        "There is no restore command: backups cannot be restored.",
        "The backup command will fail: a single quote is never closed.",
        "No instance of the container is running: there is nothing to back up.",
        (
            "The integration B2 is VERIFYING, not LIVE:"
            " backups are refused until its check has passed."
        ),
    ]


async def refused(gateway, admin, container_id, policy):
    with pytest.raises((InvalidInput, InvalidState, NotFound)) as refusal:
        await configure_backups(gateway, admin, container_id=container_id, policy=policy)
    return refusal.value.reason, refusal.value.path


async def test_what_cannot_be_configured_is_refused_and_changes_nothing(
    owner, gateway_database, worker_database
):
    admin = an_admin(await a_hub(owner))
    stranger = an_admin(await a_hub(owner))
    container = await a_container(gateway_database, admin)
    stateless = await a_container(gateway_database, admin, stateful=False)
    integration = await an_integration(gateway_database, worker_database, admin)
    gone = await an_integration(gateway_database, worker_database, admin)
    await delete_integration(gateway_database, admin, id=gone.id)
    foreign = await an_integration(gateway_database, worker_database, stranger)
    kept = await a_policy(gateway_database, admin, container, integration)
    good = NewPolicy(integration_id=integration.id, backup_command="tar c .")

    assert await refused(gateway_database, admin, stateless.id, good) == (
        "CONTAINER_NOT_STATEFUL",
        ("containerId",),
    )
    assert await refused(gateway_database, admin, uuid4(), good) == ("NOT_FOUND", ("containerId",))
    assert await refused(gateway_database, stranger, container.id, None) == (
        "NOT_FOUND",
        ("containerId",),
    )
    place = ("policy", "integrationId")
    for id, reason in (
        (gone.id, "INTEGRATION_DELETED"),
        (foreign.id, "NOT_FOUND"),
        (uuid4(), "NOT_FOUND"),
    ):
        policy = NewPolicy(integration_id=id, backup_command="tar c .")
        assert await refused(gateway_database, admin, container.id, policy) == (reason, place)
    bad = NewPolicy(integration_id=integration.id, backup_command=" ")
    assert await refused(gateway_database, admin, container.id, bad) == (
        "INVALID_INPUT",
        ("policy", "backup", "command"),
    )
    assert await read(gateway_database, admin, container) == kept
    assert await read(gateway_database, admin, stateless) is None


async def test_a_container_that_goes_takes_no_policy(owner, gateway_database, worker_database):
    admin = an_admin(await a_hub(owner))
    container = await a_container(gateway_database, admin)
    integration = await an_integration(gateway_database, worker_database, admin)
    await delete_container(
        gateway_database,
        admin,
        id=container.id,
        confirm=container.identifier,
        grace=timedelta(hours=1),
    )
    policy = NewPolicy(integration_id=integration.id, backup_command="tar c .")
    assert await refused(gateway_database, admin, container.id, policy) == (
        "CONTAINER_DELETING",
        ("containerId",),
    )
