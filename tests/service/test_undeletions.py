"""Bringing a container back within its grace: all that went with it, and nothing else."""

import asyncio
from datetime import timedelta

import pytest

from app.errors import InvalidState, NotPermitted
from app.model.backups import BackupState
from app.model.containers import ContainerState
from app.service.backups import delete_backups
from app.service.containers import delete_container, undelete_container
from app.service.endings import finish_backup
from app.service.instances import delete_instance
from app.service.reclaims import take_due
from app.service.sweeps import finish_container_deletions
from tests.builders import (
    SEALER,
    a_live_backup,
    a_queued_backup,
    a_queued_restore,
    a_save,
    a_stage,
    an_operator,
    read_backup,
    stored_bytes,
)

GRACE = timedelta(hours=1)


async def delete(gateway, stage, *, grace=GRACE):
    container, _ = await delete_container(
        gateway,
        stage.admin,
        id=stage.container.id,
        confirm=stage.container.identifier,
        grace=grace,
    )
    return container


async def undelete(gateway, stage, **how):
    return await undelete_container(gateway, stage.admin, id=stage.container.id, **how)


async def count_reclaims(owner):
    async with owner.connection() as connection:
        return await connection.fetchval("select count(*) from reclaims where settled_at is null")


async def test_all_that_went_with_it_comes_back_as_it_was(owner, gateway_database, worker_database):
    stage = await a_stage(owner, gateway_database, worker_database)
    kept = await a_live_backup(gateway_database, worker_database, stage)
    other = await a_stage(owner, gateway_database, worker_database, admin=stage.admin)
    theirs = await a_live_backup(gateway_database, worker_database, other)
    await delete(gateway_database, other)
    going = await delete(gateway_database, stage)
    assert going.goes_at == going.deleting_since + GRACE
    assert await undelete(gateway_database, stage) == stage.container
    assert await read_backup(gateway_database, stage, kept.id) == kept
    assert await count_reclaims(owner) == 2
    gone = await read_backup(gateway_database, other, theirs.id)
    assert gone.state is BackupState.DELETING
    # It can be restored, saved, and deleted again.
    await a_queued_restore(gateway_database, stage, kept)
    assert (await delete(gateway_database, stage)).state is ContainerState.DELETING
    assert await count_reclaims(owner) == 4
    assert await undelete(gateway_database, stage) == stage.container
    assert await undelete(gateway_database, stage) == stage.container


async def test_what_was_deleted_by_itself_and_cancelled_runs_stay_so(
    owner, gateway_database, worker_database
):
    stage = await a_stage(owner, gateway_database, worker_database)
    by_itself = await a_live_backup(gateway_database, worker_database, stage)
    await delete_backups(gateway_database, stage.admin, ids=[("it", by_itself.id)])
    queued = await a_queued_backup(gateway_database, stage)
    await delete(gateway_database, stage)
    await undelete(gateway_database, stage)
    backup = await read_backup(gateway_database, stage, by_itself.id)
    assert backup.state is BackupState.DELETING
    async with owner.connection() as connection:
        assert await connection.fetchval("select cancel from runs where id = $1", queued.id)
    assert len(await take_due(worker_database, SEALER, 10)) == 2


async def test_a_save_that_ends_within_the_grace_comes_back_too(
    owner, gateway_database, worker_database
):
    stage = await a_stage(owner, gateway_database, worker_database)
    order = await a_save(gateway_database, worker_database, stage)
    await delete(gateway_database, stage)
    await finish_backup(worker_database, order, stored_bytes())
    assert await take_due(worker_database, SEALER, 10) == []
    await undelete(gateway_database, stage)
    backup = await read_backup(gateway_database, stage, order.backup.id)
    assert backup.state is BackupState.LIVE
    assert await count_reclaims(owner) == 0


async def refused(gateway, stage):
    with pytest.raises(InvalidState) as refusal:
        await undelete(gateway, stage)
    return refusal.value.reason


async def test_once_the_grace_is_over_it_is_refused_and_nothing_changes(
    owner, gateway_database, worker_database
):
    stage = await a_stage(owner, gateway_database, worker_database)
    live = await a_live_backup(gateway_database, worker_database, stage)
    await delete(gateway_database, stage, grace=timedelta(0))
    assert await refused(gateway_database, stage) == "DELETION_BEGUN"
    assert (await read_backup(gateway_database, stage, live.id)).state is BackupState.DELETING
    assert await count_reclaims(owner) == 2


async def test_a_worker_that_has_taken_one_object_makes_it_too_late(
    owner, gateway_database, worker_database
):
    """Whatever the clock says: what a worker may have removed does not come back."""
    stage = await a_stage(owner, gateway_database, worker_database)
    await a_live_backup(gateway_database, worker_database, stage)
    await delete(gateway_database, stage)
    async with owner.connection() as connection:
        await connection.execute("update reclaims set not_before = now()")
    assert len(await take_due(worker_database, SEALER, 1)) == 1
    assert await refused(gateway_database, stage) == "DELETION_BEGUN"
    async with owner.connection() as connection:
        states = await connection.fetch("select state from containers")
    assert [row["state"] for row in states] == ["DELETING"]
    assert await count_reclaims(owner) == 2


async def test_the_drain_and_the_return_at_once_never_leave_a_live_backup_without_its_object(
    owner, gateway_database, worker_database
):
    for _ in range(6):
        stage = await a_stage(owner, gateway_database, worker_database)
        live = await a_live_backup(gateway_database, worker_database, stage)
        await delete(gateway_database, stage)
        async with owner.connection() as connection:
            await connection.execute("update reclaims set not_before = now()")
        taken, back = await asyncio.gather(
            take_due(worker_database, SEALER, 10),
            undelete(gateway_database, stage),
            return_exceptions=True,
        )
        backup = await read_backup(gateway_database, stage, live.id)
        assert (backup.state is BackupState.LIVE) == (not isinstance(back, InvalidState))
        if backup.state is BackupState.LIVE:
            assert live.id not in {order.backup_id for order in taken}  # others' may be due, too


async def test_one_that_is_gone_stays_gone(owner, gateway_database, worker_database):
    stage = await a_stage(owner, gateway_database, worker_database)
    await delete(gateway_database, stage, grace=timedelta(0))
    assert await finish_container_deletions(worker_database) == 1
    assert await refused(gateway_database, stage) == "CONTAINER_DELETED"
    with pytest.raises(NotPermitted):
        await undelete_container(
            gateway_database, an_operator(stage.admin.hub_id), id=stage.container.id
        )


async def test_deleting_an_instance_removes_no_backup(owner, gateway_database, worker_database):
    stage = await a_stage(owner, gateway_database, worker_database)
    live = await a_live_backup(gateway_database, worker_database, stage)
    await delete_instance(gateway_database, stage.admin, id=stage.instance.id)
    assert (await read_backup(gateway_database, stage, live.id)).state is BackupState.LIVE
    assert await count_reclaims(owner) == 0
