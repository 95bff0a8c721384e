"""How runs end: once, with what they leave behind reclaimed."""

import asyncio

import pytest

from app.errors import CommandFailed, Fenced, TimedOut
from app.model.backups import BackupState
from app.model.orders import (
    RunProgress,
)
from app.model.restores import RestoreState
from app.model.runs import RunError, run_mark
from app.queries import logs
from app.service.backups import cancel_backup
from app.service.containers import delete_container
from app.service.endings import (
    fail_run,
    finish_backup,
    finish_restore,
    requeue_run,
)
from app.service.restores import cancel_restore
from app.service.runs import (
    mark_touched,
    record_progress,
    record_trace,
    record_upload,
    start_run,
)
from app.service.sweeps import end_past_deadline
from tests.builders import (
    PLACES,
    SEALER,
    a_claim,
    a_hub,
    a_live_backup,
    a_save,
    a_stage,
    a_started_restore,
    an_admin,
    an_instance,
    read_backup,
    read_restore,
    stored_bytes,
)
from tests.run_rows import (
    NO_TIME,
    claim,
    lease_of,
    let_lease_pass,
    reclaims_of,
    row_of,
    waiting_runs,
)


async def test_a_finished_backup_carries_its_proofs(owner, gateway_database, worker_database):
    stage = await a_stage(owner, gateway_database, worker_database)
    order = await a_save(gateway_database, worker_database, stage)
    await record_upload(worker_database, order.run.id, 1, "the-upload")
    stored = stored_bytes(4321)
    await finish_backup(worker_database, order, stored)
    live = await read_backup(gateway_database, stage, order.run.id)
    assert live.state is BackupState.LIVE
    assert (live.file_id, live.size_bytes, live.sha256) == (
        stored.file_id,
        4321,
        stored.sha256,
    )
    assert (live.exit_code, live.error) == (0, None)
    assert live.finished_at is not None
    assert await reclaims_of(owner, live.id) == []
    assert (await lease_of(owner, stage.instance.id))["run_id"] is None


async def test_an_ending_whose_answer_was_lost_is_told_again_in_peace(
    owner, gateway_database, worker_database
):
    stage = await a_stage(owner, gateway_database, worker_database)
    order = await a_save(gateway_database, worker_database, stage)
    stored = stored_bytes()
    await finish_backup(worker_database, order, stored)
    before = await row_of(owner, order.run.id)
    await finish_backup(worker_database, order, stored)
    await fail_run(worker_database, order.run.id, 1, error=TimedOut(), exit_code=None)
    assert await row_of(owner, order.run.id) == before
    assert await reclaims_of(owner, order.run.id) == []
    # The instance has gone on to its next run, which keeps its lease.
    following = await a_save(gateway_database, worker_database, stage)
    await finish_backup(worker_database, order, stored)
    assert (await lease_of(owner, stage.instance.id))["run_id"] == following.run.id


async def test_a_failed_save_reclaims_all_that_it_may_have_sent(
    owner, gateway_database, worker_database
):
    stage = await a_stage(owner, gateway_database, worker_database)
    order = await a_save(gateway_database, worker_database, stage)
    await record_upload(worker_database, order.run.id, 1, "the-upload")
    error = CommandFailed("The command ended with the exit code 3.")
    await fail_run(worker_database, order.run.id, 1, error=error, exit_code=3)
    failed = await read_backup(gateway_database, stage, order.run.id)
    assert (failed.state, failed.exit_code) == (BackupState.FAILED, 3)
    assert failed.error == RunError(code="COMMAND_FAILED", message=error.message)
    assert await reclaims_of(owner, failed.id) == [
        ("NAME", order.object_name, None),
        ("NAME", order.object_name + ".json", None),
        ("UPLOAD", order.object_name, "the-upload"),
    ]


async def test_a_finished_or_failed_restore_says_how_it_went(
    owner, gateway_database, worker_database
):
    stage = await a_stage(owner, gateway_database, worker_database)
    backup = await a_live_backup(gateway_database, worker_database, stage)
    order = await a_started_restore(gateway_database, worker_database, stage, backup)
    await finish_restore(worker_database, order, 0)
    done = await read_restore(gateway_database, stage, order.run.id)
    assert (done.state, done.exit_code, done.error) == (RestoreState.SUCCEEDED, 0, None)
    order = await a_started_restore(gateway_database, worker_database, stage, backup)
    await fail_run(worker_database, order.run.id, 1, error=CommandFailed(), exit_code=1)
    failed = await read_restore(gateway_database, stage, order.run.id)
    assert (failed.state, failed.exit_code) == (RestoreState.FAILED, 1)
    assert (await read_backup(gateway_database, stage, backup.id)).state is BackupState.LIVE


async def test_a_drained_save_waits_again_and_its_object_is_reclaimed(
    owner, gateway_database, worker_database
):
    stage = await a_stage(owner, gateway_database, worker_database)
    order = await a_save(gateway_database, worker_database, stage)
    await requeue_run(worker_database, order.run.id, 1)
    await requeue_run(worker_database, order.run.id, 1)
    with pytest.raises(Fenced):
        await finish_backup(worker_database, order, stored_bytes())
    with pytest.raises(Fenced):
        await record_upload(worker_database, order.run.id, 1, "late")
    queued = await read_backup(gateway_database, stage, order.run.id)
    assert (queued.state, queued.object_name) == (BackupState.QUEUED, None)
    assert len(await reclaims_of(owner, queued.id)) == 2
    assert await waiting_runs(worker_database, PLACES, 10) == [order.run.id]
    claimed = await a_claim(worker_database, order.run.id)
    # Who hands a run off has killed its command first.
    assert claimed.leftover is None
    again = await start_run(worker_database, claimed, sealer=SEALER)
    assert again is not None
    assert again.run.attempt == 2


async def test_a_drained_restore_waits_again_only_untouched(
    owner, gateway_database, worker_database
):
    stage = await a_stage(owner, gateway_database, worker_database)
    backup = await a_live_backup(gateway_database, worker_database, stage)
    order = await a_started_restore(gateway_database, worker_database, stage, backup)
    await requeue_run(worker_database, order.run.id, 1)
    queued = await read_restore(gateway_database, stage, order.run.id)
    assert queued.state is RestoreState.QUEUED
    claimed = await a_claim(worker_database, order.run.id)
    assert await start_run(worker_database, claimed, sealer=SEALER)
    epoch = claimed.run.epoch
    await mark_touched(worker_database, order.run.id, epoch)
    await requeue_run(worker_database, order.run.id, epoch)
    ended = await read_restore(gateway_database, stage, order.run.id)
    assert ended.state is RestoreState.FAILED
    assert ended.error is not None
    assert ended.error.code == "INTERRUPTED"


async def test_a_drained_run_that_was_cancelled_is_canceled(
    owner, gateway_database, worker_database
):
    stage = await a_stage(owner, gateway_database, worker_database)
    backup = await a_live_backup(gateway_database, worker_database, stage)
    order = await a_started_restore(gateway_database, worker_database, stage, backup)
    await cancel_restore(gateway_database, stage.admin, id=order.run.id)
    await requeue_run(worker_database, order.run.id, 1)
    ended = await read_restore(gateway_database, stage, order.run.id)
    assert ended.state is RestoreState.CANCELED


async def test_cancel_and_finish_at_once_agree(owner, gateway_database, worker_database):
    """Either the backup is LIVE and the cancel came too late, or it was in time to be heard."""
    stage = await a_stage(owner, gateway_database, worker_database)
    for _ in range(5):
        order = await a_save(gateway_database, worker_database, stage)
        await asyncio.gather(
            cancel_backup(gateway_database, stage.admin, id=order.run.id),
            finish_backup(worker_database, order, stored_bytes()),
            return_exceptions=True,
        )
        backup = await read_backup(gateway_database, stage, order.run.id)
        assert (backup.state, backup.error) == (BackupState.LIVE, None)
        assert await reclaims_of(owner, backup.id) == []


async def test_a_save_that_finishes_while_its_container_goes_goes_with_it(
    owner, gateway_database, worker_database
):
    stage = await a_stage(owner, gateway_database, worker_database)
    order = await a_save(gateway_database, worker_database, stage)
    await delete_container(
        gateway_database,
        stage.admin,
        id=stage.container.id,
        confirm=stage.container.identifier,
        grace=NO_TIME,
    )
    stored = stored_bytes()
    await finish_backup(worker_database, order, stored)
    gone = await read_backup(gateway_database, stage, order.run.id)
    assert gone.state is BackupState.DELETING
    assert await reclaims_of(owner, gone.id) == [
        ("OBJECT", order.object_name, stored.file_id),
        ("OBJECT", order.object_name + ".json", stored.manifest_file_id),
    ]


async def test_deletion_of_a_container_and_finishing_saves_never_deadlock_nor_miss_an_object(
    owner, gateway_database, worker_database
):
    for _ in range(3):
        stage = await a_stage(owner, gateway_database, worker_database)
        orders = [await a_save(gateway_database, worker_database, stage)]
        for _ in range(4):
            instance = await an_instance(gateway_database, stage.admin, stage.container)
            orders.append(await a_save(gateway_database, worker_database, stage, instance=instance))
        told = [
            RunProgress(
                run_id=order.run.id,
                epoch=1,
                bytes_read=1,
                bytes_stored=1,
                bytes_delivered=0,
                bytes_per_second=1,
            )
            for order in reversed(orders)
        ]
        await asyncio.gather(
            *(finish_backup(worker_database, order, stored_bytes()) for order in orders[:3]),
            delete_container(
                gateway_database,
                stage.admin,
                id=stage.container.id,
                confirm=stage.container.identifier,
                grace=NO_TIME,
            ),
            record_progress(worker_database, told),
            *(finish_backup(worker_database, order, stored_bytes()) for order in orders[3:]),
        )
        for order in orders:
            gone = await read_backup(gateway_database, stage, order.run.id)
            assert gone.state is BackupState.DELETING
            assert len(await reclaims_of(owner, gone.id)) == 2


async def test_an_instance_that_could_not_be_freed_is_unreachable(
    owner, gateway_database, worker_database
):
    stage = await a_stage(owner, gateway_database, worker_database)
    order = await a_save(gateway_database, worker_database, stage)
    await record_trace(worker_database, order.run.id, 1, {"pid": 7})
    await fail_run(
        worker_database,
        order.run.id,
        1,
        error=TimedOut(),
        exit_code=None,
        instance_free=False,
    )
    lease = await lease_of(owner, stage.instance.id)
    assert (lease["run_id"], lease["lease_until"]) == (None, None)
    async with owner.connection() as connection:
        state = await connection.fetchval(
            "select state from instances where id = $1", stage.instance.id
        )
        left = await connection.fetchval(
            "select leftover ->> 'runMark' from leases where instance_id = $1", stage.instance.id
        )
    assert (state, left) == ("UNREACHABLE", run_mark(order.run.id, 1))


async def test_a_hub_never_sees_the_runs_of_another(owner, gateway_database, worker_database):
    stage = await a_stage(owner, gateway_database, worker_database)
    order = await a_save(gateway_database, worker_database, stage)
    stranger = an_admin(await a_hub(owner))
    for hub_id in (stranger.hub_id, stage.admin.hub_id):
        async with gateway_database.connection(stranger.hub_id) as connection:
            page = await logs.pages(connection, hub_id, [order.run.id], limit=5)
            assert page[order.run.id].items == []
            assert await connection.fetch("select id from runs") == []
            assert await connection.fetch("select instance_id from leases") == []


async def test_a_run_past_its_deadline_is_not_started_by_a_late_claim(
    owner, gateway_database, worker_database
):
    """The sweep and a claim race for a run whose owner is silent: one of them has it."""
    stage = await a_stage(owner, gateway_database, worker_database)
    order = await a_save(gateway_database, worker_database, stage)
    async with owner.connection() as connection:
        await connection.execute(
            "update runs set deadline_at = now() - interval '1 hour' where id = $1", order.run.id
        )
    await let_lease_pass(owner, order.run.id)
    claimed, ended = await asyncio.gather(
        claim(worker_database, order.run.id), end_past_deadline(worker_database, NO_TIME)
    )
    assert ended == 1
    if claimed is not None:
        with pytest.raises(Fenced):
            await start_run(worker_database, claimed, sealer=SEALER)
    failed = await read_backup(gateway_database, stage, order.run.id)
    assert failed.state is BackupState.FAILED
