"""Restores as requests see them: asked for, refused with the reason, cancelled, listed."""

import asyncio
from datetime import timedelta
from uuid import uuid4

import pytest

from app.errors import Conflict, InvalidState, NotFound, NotPermitted, StorageCredentials
from app.model.containers import InstanceState
from app.model.paging import Cursor, Page
from app.model.restores import RestoreFilter, RestorePhase, RestoreState, RestoreTrigger
from app.queries import restores
from app.service.backups import delete_backups
from app.service.containers import delete_container
from app.service.endings import finish_restore
from app.service.integration_checks import check_failed, due_checks
from app.service.integrations import update_integration, verify_integration
from app.service.policies import configure_backups
from app.service.restores import cancel_restore, restore_backup
from app.service.runs import start_run
from tests.builders import (
    SEALER,
    START_WITHIN,
    a_claim,
    a_failed_backup,
    a_hub,
    a_live_backup,
    a_policy,
    a_queued_backup,
    a_queued_restore,
    a_stage,
    a_started_restore,
    a_viewer,
    an_admin,
    an_instance,
    an_operator,
    read_backup,
    read_restore,
)


async def restore(gateway, principal, backup, instance, **arguments):
    return await restore_backup(
        gateway,
        principal,
        backup_id=getattr(backup, "id", backup),
        instance_id=getattr(instance, "id", instance),
        start_within=START_WITHIN,
        **arguments,
    )


async def refusal_of(awaitable, kind):
    with pytest.raises(kind) as refusal:
        await awaitable
    return refusal.value.reason, refusal.value.path


async def test_a_restore_is_queued_by_the_command_of_today(
    owner, gateway_database, worker_database
):
    stage = await a_stage(owner, gateway_database, worker_database)
    backup = await a_live_backup(gateway_database, worker_database, stage, size=777)
    await a_policy(
        gateway_database,
        stage.admin,
        stage.container,
        stage.integration,
        restore_command="today",
        restore_timeout=timedelta(minutes=5),
    )
    made = await restore(gateway_database, stage.admin, backup, stage.instance)
    assert (made.state, made.phase) == (RestoreState.QUEUED, RestorePhase.PREPARING)
    assert (made.trigger, made.bytes_total) == (RestoreTrigger.MANUAL, 777)
    assert (made.backup_id, made.instance_id) == (backup.id, stage.instance.id)
    assert (made.bytes_delivered, made.exit_code, made.error) == (0, None, None)
    claimed = await a_claim(worker_database, made.id)
    assert (claimed.run.command, claimed.run.timeout) == ("today", timedelta(minutes=5))


async def test_what_could_not_work_is_refused_with_the_reason(
    owner, gateway_database, worker_database
):
    stage = await a_stage(owner, gateway_database, worker_database)
    gateway, admin, instance = gateway_database, stage.admin, stage.instance
    backup = await a_live_backup(gateway, worker_database, stage)
    failed = await a_failed_backup(gateway, worker_database, stage)
    stopped = await an_instance(gateway, admin, stage.container, state=InstanceState.STOPPED)
    scratch = await an_instance(gateway, admin, stage.container, scratch=True)
    for refused, kind, expected in [
        (restore(gateway, admin, uuid4(), instance), NotFound, ("NOT_FOUND", ("backupId",))),
        (restore(gateway, admin, backup, uuid4()), NotFound, ("NOT_FOUND", ("instanceId",))),
        (
            restore(gateway, admin, failed, instance),
            InvalidState,
            ("BACKUP_NOT_LIVE", ("backupId",)),
        ),
        (
            restore(gateway, admin, backup, stopped),
            InvalidState,
            ("INSTANCE_NOT_RUNNING", ("instanceId",)),
        ),
        (
            restore(gateway, admin, backup, scratch),
            InvalidState,
            ("INVALID_STATE", ("instanceId",)),
        ),
    ]:
        assert await refusal_of(refused, kind) == expected
    saving = await a_queued_backup(gateway, stage)
    assert await refusal_of(restore(gateway, admin, backup, instance), Conflict) == (
        "INSTANCE_BUSY",
        ("instanceId",),
    )
    assert await refusal_of(restore(gateway, admin, saving, instance), InvalidState) == (
        "BACKUP_NOT_LIVE",
        ("backupId",),
    )
    async with owner.connection() as connection:
        assert await connection.fetchval("select count(*) from restores") == 0
        assert await connection.fetchval("select count(*) from runs where kind = 'RESTORE'") == 0


async def test_a_restore_needs_a_restore_command(owner, gateway_database, worker_database):
    stage = await a_stage(owner, gateway_database, worker_database)
    backup = await a_live_backup(gateway_database, worker_database, stage)
    await a_policy(
        gateway_database,
        stage.admin,
        stage.container,
        stage.integration,
        restore_command=None,
    )
    again = (gateway_database, stage.admin, backup, stage.instance)
    assert await refusal_of(restore(*again), InvalidState) == (
        "NO_RESTORE_COMMAND",
        ("instanceId",),
    )
    await configure_backups(
        gateway_database, stage.admin, container_id=stage.container.id, policy=None
    )
    assert (await refusal_of(restore(*again), InvalidState))[0] == "NO_RESTORE_COMMAND"


async def test_a_changed_backup_command_must_be_accepted(owner, gateway_database, worker_database):
    stage = await a_stage(owner, gateway_database, worker_database)
    backup = await a_live_backup(gateway_database, worker_database, stage)
    await a_policy(
        gateway_database,
        stage.admin,
        stage.container,
        stage.integration,
        backup_command="another",
    )
    again = (gateway_database, stage.admin, backup, stage.instance)
    assert await refusal_of(restore(*again), InvalidState) == ("COMMAND_CHANGED", ("backupId",))
    made = await restore(*again, accept_changed_command=True)
    assert made.state is RestoreState.QUEUED


async def test_another_container_needs_a_word_and_an_admin(
    owner, gateway_database, worker_database
):
    stage = await a_stage(owner, gateway_database, worker_database)
    other = await a_stage(
        owner,
        gateway_database,
        worker_database,
        admin=stage.admin,
        integration=stage.integration,
    )
    backup = await a_live_backup(gateway_database, worker_database, stage)
    operator = an_operator(stage.admin.hub_id)
    refused = restore(gateway_database, stage.admin, backup, other.instance)
    assert await refusal_of(refused, InvalidState) == ("OTHER_CONTAINER", ("instanceId",))
    with pytest.raises(NotPermitted):
        await restore(
            gateway_database, operator, backup, other.instance, allow_other_container=True
        )
    made = await restore(
        gateway_database, stage.admin, backup, other.instance, allow_other_container=True
    )
    assert made.container_id == other.container.id
    await restore(gateway_database, operator, backup, stage.instance)


async def test_a_bucket_that_cannot_be_reached_is_said_at_once(
    owner, gateway_database, worker_database
):
    stage = await a_stage(owner, gateway_database, worker_database)
    backup = await a_live_backup(gateway_database, worker_database, stage)
    await verify_integration(gateway_database, stage.admin, id=stage.integration.id)
    [check] = await due_checks(worker_database, SEALER, 10)
    await check_failed(worker_database, check, StorageCredentials())
    refused = restore(gateway_database, stage.admin, backup, stage.instance)
    assert await refusal_of(refused, InvalidState) == ("INTEGRATION_NOT_LIVE", ("backupId",))


async def test_who_may_not_restore_is_refused(owner, gateway_database, worker_database):
    stage = await a_stage(owner, gateway_database, worker_database)
    backup = await a_live_backup(gateway_database, worker_database, stage)
    viewer, stranger = a_viewer(stage.admin.hub_id), an_admin(await a_hub(owner))
    there = await a_stage(owner, gateway_database, worker_database, admin=stranger)
    with pytest.raises(NotPermitted):
        await restore(gateway_database, viewer, backup, stage.instance)
    for found, instance in ((backup, there.instance), (backup, stage.instance)):
        with pytest.raises(NotFound):
            await restore(gateway_database, stranger, found, instance, allow_other_container=True)
    with pytest.raises(NotFound):
        await restore(
            gateway_database, stage.admin, backup, there.instance, allow_other_container=True
        )
    made = await restore(gateway_database, stage.admin, backup, stage.instance)
    with pytest.raises(NotPermitted):
        await cancel_restore(gateway_database, viewer, id=made.id)
    with pytest.raises(NotFound):
        await cancel_restore(gateway_database, stranger, id=made.id)
    assert await read_restore(gateway_database, stage, made.id) == made


async def test_a_retried_request_makes_one_restore(owner, gateway_database, worker_database):
    stage = await a_stage(owner, gateway_database, worker_database)
    backup = await a_live_backup(gateway_database, worker_database, stage)
    arguments = (gateway_database, stage.admin, backup, stage.instance)
    made = await asyncio.gather(*(restore(*arguments, idempotency_key="k") for _ in range(5)))
    assert len({one.id for one in made}) == 1
    with pytest.raises(Conflict) as refusal:
        await restore(*arguments, accept_changed_command=True, idempotency_key="k")
    assert refusal.value.reason == "IDEMPOTENCY_KEY_REUSED"


async def test_a_save_and_a_restore_of_an_instance_exclude_each_other(
    owner, gateway_database, worker_database
):
    stage = await a_stage(owner, gateway_database, worker_database)
    backup = await a_live_backup(gateway_database, worker_database, stage)
    made = await asyncio.gather(
        *(a_queued_restore(gateway_database, stage, backup) for _ in range(3)),
        *(a_queued_backup(gateway_database, stage) for _ in range(3)),
        return_exceptions=True,
    )
    refused = [one.reason for one in made if isinstance(one, Conflict)]
    assert refused == ["INSTANCE_BUSY"] * 5


async def test_a_waiting_restore_is_cancelled_at_once(owner, gateway_database, worker_database):
    stage = await a_stage(owner, gateway_database, worker_database)
    backup = await a_live_backup(gateway_database, worker_database, stage)
    made = await a_queued_restore(gateway_database, stage, backup)
    canceled = await cancel_restore(gateway_database, stage.admin, id=made.id)
    assert canceled.state is RestoreState.CANCELED
    assert await cancel_restore(gateway_database, stage.admin, id=made.id) == canceled
    order = await a_started_restore(gateway_database, worker_database, stage, backup)
    told = await cancel_restore(gateway_database, stage.admin, id=order.run.id)
    assert told.state is RestoreState.RUNNING
    await finish_restore(worker_database, order, 0)
    with pytest.raises(InvalidState, match="SUCCEEDED"):
        await cancel_restore(gateway_database, stage.admin, id=order.run.id)


async def test_a_backup_that_went_before_the_start_is_not_restored(
    owner, gateway_database, worker_database
):
    """Its own container goes in spite of a restore into another one."""
    stage = await a_stage(owner, gateway_database, worker_database)
    other = await a_stage(
        owner,
        gateway_database,
        worker_database,
        admin=stage.admin,
        integration=stage.integration,
    )
    backup = await a_live_backup(gateway_database, worker_database, stage)
    made = await restore(
        gateway_database, stage.admin, backup, other.instance, allow_other_container=True
    )
    await delete_container(
        gateway_database,
        stage.admin,
        id=stage.container.id,
        confirm=stage.container.identifier,
        grace=timedelta(0),
    )
    claimed = await a_claim(worker_database, made.id)
    assert await start_run(worker_database, claimed, sealer=SEALER) is None
    ended = await read_restore(gateway_database, stage, made.id)
    assert ended.state is RestoreState.FAILED
    assert ended.error is not None
    assert ended.error.code == "BACKUP_NOT_LIVE"


async def test_a_new_key_that_waits_does_not_stop_restores(
    owner, gateway_database, worker_database
):
    stage = await a_stage(owner, gateway_database, worker_database)
    backup = await a_live_backup(gateway_database, worker_database, stage)
    await update_integration(
        gateway_database,
        stage.admin,
        id=stage.integration.id,
        key_id="ffffffffffff",
        key="another-key",
        sealer=SEALER,
        embedded_key_prefix=None,
    )
    order = await a_started_restore(gateway_database, worker_database, stage, backup)
    assert order.storage.key == "the-application-key"


async def test_restores_are_listed_by_container_and_by_backup(
    owner, gateway_database, worker_database
):
    stage = await a_stage(owner, gateway_database, worker_database)
    gateway, worker, hub_id = gateway_database, worker_database, stage.admin.hub_id
    first = await a_live_backup(gateway, worker, stage)
    second = await a_live_backup(gateway, worker, stage)
    made = []
    for backup in (first, second, first):
        queued = await a_queued_restore(gateway, stage, backup)
        made.append(await cancel_restore(gateway, stage.admin, id=queued.id))
    third = await a_live_backup(gateway, worker, stage)
    a, b, c = made
    newest = Page(limit=2)
    async with gateway.connection(hub_id) as connection:
        by_container = await restores.pages_by_container(
            connection, hub_id, [stage.container.id], RestoreFilter(), newest
        )
        assert by_container[stage.container.id].items == [c, b]
        assert by_container[stage.container.id].has_next
        by_backup = await restores.pages_by_backup(
            connection, hub_id, [first.id, second.id, third.id], RestoreFilter(), newest
        )
        assert [found.items for found in by_backup.values()] == [[c, a], [b], []]
        by_backup = await restores.pages_by_backup(
            connection,
            hub_id,
            [first.id],
            RestoreFilter(),
            Page(limit=1, ascending=True, after=Cursor(at=a.created_at, id=a.id)),
        )
        assert by_backup[first.id].items == [c]
        counts = await restores.counts_by_backup(
            connection, hub_id, [first.id, third.id], RestoreFilter()
        )
        assert counts == {first.id: 2, third.id: 0}
        counts = await restores.counts_by_container(
            connection, hub_id, [stage.container.id], RestoreFilter()
        )
        assert counts == {stage.container.id: 3}
        for filter, expected in [
            (RestoreFilter(), [c, b, a]),
            (RestoreFilter(backup_id=second.id), [b]),
            (RestoreFilter(container_id=stage.container.id), [c, b, a]),
            (RestoreFilter(states=(RestoreState.FAILED,)), []),
            (RestoreFilter(instance_id=uuid4()), []),
            (RestoreFilter(created_after=b.created_at), [c, b]),
            (RestoreFilter(created_before=b.created_at), [a]),
        ]:
            page = await restores.page(connection, hub_id, filter, Page())
            assert page.items == expected
            assert await restores.count(connection, hub_id, filter) == len(expected)
        oldest = await restores.page(
            connection, hub_id, RestoreFilter(), Page(ascending=True, limit=1)
        )
        assert oldest.items == [a]


async def test_a_deleted_backup_that_an_ended_restore_read_stays_readable(
    owner, gateway_database, worker_database
):
    stage = await a_stage(owner, gateway_database, worker_database)
    backup = await a_live_backup(gateway_database, worker_database, stage)
    order = await a_started_restore(gateway_database, worker_database, stage, backup)
    await finish_restore(worker_database, order, 0)
    [answer] = await delete_backups(
        gateway_database, stage.admin, ids=[(str(backup.id), backup.id)]
    )
    assert answer.refusal is None
    assert answer.backup == await read_backup(gateway_database, stage, backup.id)
    assert (await read_restore(gateway_database, stage, order.run.id)).backup_id == backup.id
