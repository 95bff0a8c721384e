"""Deleting a container: everything it has goes with it, in one transaction, and nothing else."""

import asyncio
from datetime import timedelta

import pytest

from app.errors import Conflict, InvalidInput, InvalidState
from app.model.backups import BackupState
from app.model.containers import ContainerState
from app.postgres.pool import Database
from app.queries import containers
from app.service.backups import delete_backups
from app.service.containers import delete_container
from app.service.endings import finish_backup
from app.service.instances import delete_instance, update_instance
from app.service.integrations import delete_integration
from app.service.sweeps import finish_instance_deletions
from tests.builders import (
    SEALER,
    Stage,
    a_live_backup,
    a_queued_backup,
    a_save,
    a_stage,
    an_instance,
    read_backup,
    stored_bytes,
)

GRACE = timedelta(hours=1)


async def delete(gateway: Database, stage: Stage, **how):
    return await delete_container(
        gateway,
        stage.admin,
        id=stage.container.id,
        confirm=stage.container.identifier,
        grace=GRACE,
        **how,
    )


async def reclaims_of(owner: Database, id):
    """Kind and file of each reclaim of a backup, and whether it waits for the grace."""
    async with owner.connection(None) as connection:
        rows = await connection.fetch(
            "select kind, file_id, not_before - now() > interval '59 minutes' as waits"
            " from reclaims where backup_id = $1 order by name",
            id,
        )
    return [tuple(row) for row in rows]


async def deleted_by(owner: Database, id):
    async with owner.connection(None) as connection:
        return await connection.fetchval("select deleted_by from backups where id = $1", id)


async def test_live_backups_go_with_it_after_the_grace(owner, gateway_database, worker_database):
    stage = await a_stage(owner, gateway_database, worker_database)
    backup = await a_live_backup(gateway_database, worker_database, stage, size=1234)
    other = await a_stage(owner, gateway_database, worker_database, admin=stage.admin)
    spared = await a_live_backup(gateway_database, worker_database, other)

    container, warnings = await delete(gateway_database, stage)
    assert container.state is ContainerState.DELETING
    assert container.deleting_since is not None
    at = (container.deleting_since + GRACE).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert warnings == [f"1 backup of 1234 bytes in all will be removed from storage from {at} on."]
    gone = await read_backup(gateway_database, stage, backup.id)
    assert gone.state is BackupState.DELETING
    assert await deleted_by(owner, backup.id) == "CASCADE"
    reclaims = await reclaims_of(owner, backup.id)
    assert [(kind, waits) for kind, _, waits in reclaims] == [("OBJECT", True), ("OBJECT", True)]
    assert reclaims[0][1] == backup.file_id
    assert await read_backup(gateway_database, other, spared.id) == spared
    assert await reclaims_of(owner, spared.id) == []


async def test_a_backup_that_went_by_itself_stays_so(owner, gateway_database, worker_database):
    stage = await a_stage(owner, gateway_database, worker_database)
    first = await a_live_backup(gateway_database, worker_database, stage)
    await a_live_backup(gateway_database, worker_database, stage)
    await delete_backups(gateway_database, stage.admin, ids=[("first", first.id)])
    before = await reclaims_of(owner, first.id)
    _, warnings = await delete(gateway_database, stage)
    assert warnings[0].startswith("1 backup of 1000 bytes ")
    assert await deleted_by(owner, first.id) == "ITSELF"
    assert await reclaims_of(owner, first.id) == before


async def test_runs_are_cancelled_and_a_replay_says_the_same(
    owner, gateway_database, worker_database
):
    stage = await a_stage(owner, gateway_database, worker_database)
    queued = await a_queued_backup(gateway_database, stage)
    other = await a_stage(owner, gateway_database, worker_database, admin=stage.admin)
    spared = await a_queued_backup(gateway_database, other)
    container, warnings = await delete(gateway_database, stage, idempotency_key="1")
    assert warnings == ["1 run will be cancelled."]
    async with owner.connection(None) as connection:
        rows = await connection.fetch("select id, cancel from runs")
    assert {row["id"]: row["cancel"] for row in rows} == {queued.id: True, spared.id: False}
    assert await delete(gateway_database, stage, idempotency_key="1") == (container, warnings)
    assert await delete(gateway_database, stage) == (container, [])


async def test_a_container_that_goes_takes_no_new_backup(owner, gateway_database, worker_database):
    stage = await a_stage(owner, gateway_database, worker_database)
    await delete(gateway_database, stage)
    with pytest.raises(InvalidState) as refusal:
        await a_queued_backup(gateway_database, stage)
    assert refusal.value.reason == "CONTAINER_DELETING"


async def test_a_save_that_ends_while_its_container_goes_leaves_no_live_backup(
    owner, gateway_database, worker_database, until_blocked
):
    """The save's end comes in the middle of the deletion: it waits, and then goes the same way."""
    stage = await a_stage(owner, gateway_database, worker_database)
    order = await a_save(gateway_database, worker_database, stage)
    async with gateway_database.transaction(stage.admin.hub_id) as connection:
        await containers.lock(connection, stage.admin.hub_id, stage.container.id)
        ending = asyncio.create_task(finish_backup(worker_database, order, stored_bytes()))
        await until_blocked()
        await containers.begin_deletion(
            connection, stage.admin.hub_id, stage.container.id, timedelta(0)
        )
    await ending
    backup = await read_backup(gateway_database, stage, order.backup.id)
    assert backup.state is BackupState.DELETING
    assert await deleted_by(owner, backup.id) == "CASCADE"
    assert len(await reclaims_of(owner, backup.id)) == 2


async def test_a_deletion_and_the_end_of_a_save_at_once_never_leave_a_live_backup(
    owner, gateway_database, worker_database
):
    for _ in range(8):
        stage = await a_stage(owner, gateway_database, worker_database)
        order = await a_save(gateway_database, worker_database, stage)
        await asyncio.gather(
            delete(gateway_database, stage),
            finish_backup(worker_database, order, stored_bytes()),
        )
        backup = await read_backup(gateway_database, stage, order.backup.id)
        assert backup.state is BackupState.DELETING
        assert len(await reclaims_of(owner, backup.id)) == 2


async def test_an_instance_with_a_run_goes_when_the_run_has_ended(
    owner, gateway_database, worker_database
):
    stage = await a_stage(owner, gateway_database, worker_database)
    order = await a_save(gateway_database, worker_database, stage)
    going = await delete_instance(gateway_database, stage.admin, id=stage.instance.id)
    assert (going.state, going.removed_at) == ("DELETING", None)
    async with owner.connection(None) as connection:
        assert await connection.fetchval("select cancel from runs") is True
    assert await delete_instance(gateway_database, stage.admin, id=stage.instance.id) == going
    with pytest.raises(InvalidState) as refusal:
        await update_instance(
            gateway_database, stage.admin, id=stage.instance.id, sealer=SEALER, variables={}
        )
    assert refusal.value.reason == "INSTANCE_DELETING"

    await finish_instance_deletions(worker_database)
    async with owner.connection(None) as connection:
        assert await connection.fetchval("select removed_at from instances") is None
    await finish_backup(worker_database, order, stored_bytes())
    await finish_instance_deletions(worker_database)
    async with owner.connection(None) as connection:
        assert await connection.fetchval("select removed_at from instances") is not None
    kept = await read_backup(gateway_database, stage, order.backup.id)
    assert kept.state is BackupState.LIVE


async def test_the_folder_of_a_busy_instance_is_not_changed(
    owner, gateway_database, worker_database
):
    stage = await a_stage(owner, gateway_database, worker_database)
    await a_queued_backup(gateway_database, stage)

    async def change(folder):
        return await update_instance(
            gateway_database, stage.admin, id=stage.instance.id, sealer=SEALER, folder=folder
        )

    with pytest.raises(Conflict) as refusal:
        await change("elsewhere")
    assert (refusal.value.reason, refusal.value.path) == ("INSTANCE_BUSY", ("folder",))
    assert await change(stage.instance.folder) == stage.instance


async def test_no_scratch_instance_takes_the_name_of_one_that_was_saved(
    owner, gateway_database, worker_database
):
    stage = await a_stage(owner, gateway_database, worker_database)
    await a_live_backup(gateway_database, worker_database, stage)
    await delete_instance(gateway_database, stage.admin, id=stage.instance.id)
    name = stage.instance.hostname
    with pytest.raises(InvalidInput) as refusal:
        await an_instance(
            gateway_database, stage.admin, stage.container, hostname=name, scratch=True
        )
    assert refusal.value.reason == "SCRATCH_WAS_SAVED"
    await an_instance(gateway_database, stage.admin, stage.container, hostname=name)


async def test_an_integration_is_kept_while_a_backup_or_a_reclaim_needs_it(
    owner, gateway_database, worker_database
):
    stage = await a_stage(owner, gateway_database, worker_database)
    await a_live_backup(gateway_database, worker_database, stage)

    async def refusal_of_deletion():
        with pytest.raises(InvalidState) as refusal:
            await delete_integration(gateway_database, stage.admin, id=stage.integration.id)
        assert refusal.value.reason == "INTEGRATION_IN_USE"
        return refusal.value.message.partition("(")[2].partition(")")[0]

    assert await refusal_of_deletion() == (
        "policies that save to it: 1; backups that have an object there: 1"
    )
    await delete(gateway_database, stage)
    assert await refusal_of_deletion() == (
        "policies that save to it: 1; backups that have an object there: 1;"
        " objects that are still to be removed there: 2"
    )
