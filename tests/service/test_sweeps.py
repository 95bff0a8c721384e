"""Sweeps: what nobody else ends, ends; what is old, goes."""

import asyncio
from datetime import timedelta

import pytest

from app.errors import Fenced
from app.model.backups import BackupState
from app.model.containers import InstanceState
from app.model.orders import Leftover, NewLogEntry
from app.model.restores import RestoreState
from app.model.runs import LogStream, run_mark
from app.queries import containers, instances
from app.service.backups import cancel_backup, delete_backups
from app.service.containers import delete_container
from app.service.endings import finish_backup, finish_restore, requeue_run
from app.service.instances import delete_instance, update_instance
from app.service.reclaims import settle, take_due
from app.service.restores import cancel_restore
from app.service.runs import (
    append_log,
    claim_run,
    mark_touched,
    record_trace,
    record_upload,
    renew_leases,
    start_run,
)
from app.service.sweeps import (
    cancel_waiting,
    end_owner_lost,
    end_past_deadline,
    end_unstarted,
    finish_container_deletions,
    finish_instance_deletions,
    free_instance,
    left_behind,
    prune,
)
from tests.builders import (
    OWNER,
    PLACES,
    SEALER,
    TTL,
    a_claim,
    a_container,
    a_failed_backup,
    a_live_backup,
    a_queued_backup,
    a_queued_restore,
    a_save,
    a_stage,
    a_started_restore,
    an_instance,
    read_backup,
    read_restore,
    stored_bytes,
)
from tests.run_rows import waiting_runs

NO_TIME = timedelta(0)
LONG_AGO = timedelta(days=90)


async def run_sql(owner, statement, *arguments):
    async with owner.connection() as connection:
        return await connection.execute(statement, *arguments)


async def state_of_instance(owner, instance):
    async with owner.connection() as connection:
        found = await instances.get(connection, instance.hub_id, instance.id)
    assert found is not None
    return found.state


async def let_deadline_pass(owner, run_id):
    past = "update runs set deadline_at = now() - interval '1 minute' where id = $1"
    assert await run_sql(owner, past, run_id) == "UPDATE 1"


async def age(owner, *ids):
    """As if these runs had ended a hundred days ago."""
    for table, column in (("runs", "finished_at"), ("backups", "deleted_at")):
        await run_sql(
            owner,
            f"update {table} set {column} = {column} - interval '100 days' where id = any($1)",
            list(ids),
        )


# --- runs that wait -----------------------------------------------------------------------------


async def test_runs_wait_in_order_at_their_places(owner, gateway_database, worker_database):
    here = await a_stage(owner, gateway_database, worker_database)
    there = await a_stage(owner, gateway_database, worker_database, admin=here.admin, host="there")
    first = await a_queued_backup(gateway_database, here)
    away = await a_queued_backup(gateway_database, there)
    second = await an_instance(gateway_database, here.admin, here.container)
    last = await a_queued_backup(gateway_database, here, instance=second)
    assert await waiting_runs(worker_database, PLACES, 10) == [first.id, last.id]
    assert await waiting_runs(worker_database, PLACES, 1) == [first.id]
    both = [*PLACES, "host:there"]
    assert set(await waiting_runs(worker_database, both, 10)) == {first.id, away.id, last.id}
    await a_claim(worker_database, first.id)
    await a_claim(worker_database, last.id, ttl=NO_TIME)
    assert await waiting_runs(worker_database, PLACES, 10) == [last.id]


async def test_a_run_that_nobody_took_in_time_ends(owner, gateway_database, worker_database):
    stage = await a_stage(owner, gateway_database, worker_database)
    late = await a_queued_backup(gateway_database, stage, start_within=NO_TIME)
    second = await an_instance(gateway_database, stage.admin, stage.container)
    fresh = await a_queued_backup(gateway_database, stage, instance=second)
    third = await an_instance(gateway_database, stage.admin, stage.container)
    taken = await a_queued_backup(gateway_database, stage, instance=third, start_within=NO_TIME)
    await a_claim(worker_database, taken.id)
    assert await end_unstarted(worker_database) == 1
    ended = await read_backup(gateway_database, stage, late.id)
    assert ended.state is BackupState.FAILED
    assert ended.error is not None
    assert ended.error.code == "NOT_STARTED"
    for one in (fresh, taken):
        waiting = await read_backup(gateway_database, stage, one.id)
        assert waiting.state is BackupState.QUEUED
    assert await end_unstarted(worker_database) == 0


async def test_a_run_that_was_handed_off_may_wait_as_long_again(
    owner, gateway_database, worker_database
):
    stage = await a_stage(owner, gateway_database, worker_database)
    order = await a_save(gateway_database, worker_database, stage)
    past = "update runs set start_by = start_by - interval '3 days', created_at = created_at"
    await run_sql(owner, f"{past} - interval '3 days' where id = $1", order.run.id)
    await requeue_run(worker_database, order.run.id, 1)
    assert await end_unstarted(worker_database) == 0


async def test_a_claim_races_the_end_of_a_run_that_waited_too_long(
    owner, gateway_database, worker_database
):
    stage = await a_stage(owner, gateway_database, worker_database)
    for _ in range(5):
        made = await a_queued_backup(gateway_database, stage, start_within=NO_TIME)
        claimed, ended = await asyncio.gather(
            claim_run(worker_database, made.id, owner=OWNER, places=PLACES, ttl=TTL),
            end_unstarted(worker_database),
        )
        assert (claimed is not None, ended) in {(True, 0), (False, 1)}
        if claimed is not None:
            await cancel_backup(gateway_database, stage.admin, id=made.id)
            assert await start_run(worker_database, claimed, sealer=SEALER) is None


async def test_what_was_cancelled_with_its_container_ends_without_an_owner(
    owner, gateway_database, worker_database
):
    stage = await a_stage(owner, gateway_database, worker_database)
    waiting = await a_queued_backup(gateway_database, stage)
    second = await an_instance(gateway_database, stage.admin, stage.container)
    saving = await a_save(gateway_database, worker_database, stage, instance=second)
    await delete_container(
        gateway_database,
        stage.admin,
        id=stage.container.id,
        confirm=stage.container.identifier,
        grace=NO_TIME,
    )
    assert await cancel_waiting(worker_database) == 1
    ended = await read_backup(gateway_database, stage, waiting.id)
    assert ended.state is BackupState.CANCELED
    going = await read_backup(gateway_database, stage, saving.run.id)
    assert going.state is BackupState.SAVING


# --- owners that do not end their runs ----------------------------------------------------------


async def test_a_run_past_its_deadline_ends_and_its_owner_is_fenced(
    owner, gateway_database, worker_database
):
    stage = await a_stage(owner, gateway_database, worker_database)
    order = await a_save(gateway_database, worker_database, stage)
    await record_trace(worker_database, order.run.id, 1, {"pid": 7})
    await record_upload(worker_database, order.run.id, 1, "the-upload")
    assert await end_past_deadline(worker_database, NO_TIME) == 0
    await let_deadline_pass(owner, order.run.id)
    assert await end_past_deadline(worker_database, timedelta(minutes=5)) == 0
    assert await end_past_deadline(worker_database, NO_TIME) == 1
    ended = await read_backup(gateway_database, stage, order.run.id)
    assert ended.state is BackupState.FAILED
    assert ended.error is not None
    assert ended.error.code == "TIMED_OUT"
    with pytest.raises(Fenced):
        await finish_backup(worker_database, order, stored_bytes())
    held = {(order.run.id, 1)}
    assert await renew_leases(worker_database, owner=OWNER, held=held, ttl=TTL) == set()
    kinds = [one.kind for one in await take_due(worker_database, SEALER, 10)]
    assert sorted(kinds) == ["NAME", "NAME", "UPLOAD"]
    assert await state_of_instance(owner, stage.instance) is InstanceState.UNREACHABLE


async def test_a_claimed_run_that_is_never_started_ends_by_its_start(
    owner, gateway_database, worker_database
):
    stage = await a_stage(owner, gateway_database, worker_database)
    made = await a_queued_backup(gateway_database, stage, start_within=NO_TIME)
    claimed = await a_claim(worker_database, made.id)
    assert await end_past_deadline(worker_database, NO_TIME) == 1
    with pytest.raises(Fenced):
        await start_run(worker_database, claimed, sealer=SEALER)
    # Nothing had begun: the instance is free.
    assert await state_of_instance(owner, stage.instance) is InstanceState.RUNNING


async def test_a_lost_owner_s_run_ends_and_its_instance_waits_for_the_killing(
    owner, gateway_database, worker_database
):
    stage = await a_stage(owner, gateway_database, worker_database)
    backup = await a_live_backup(gateway_database, worker_database, stage)
    order = await a_started_restore(gateway_database, worker_database, stage, backup, ttl=NO_TIME)
    await record_trace(worker_database, order.run.id, 1, {"pid": 7})
    await mark_touched(worker_database, order.run.id, 1)
    assert await end_owner_lost(worker_database) == 0
    assert await end_owner_lost(worker_database, NO_TIME) == 1
    assert await end_owner_lost(worker_database, NO_TIME) == 0
    ended = await read_restore(gateway_database, stage, order.run.id)
    assert ended.state is RestoreState.FAILED
    assert ended.error is not None
    assert ended.error.code == "OWNER_LOST"
    assert await state_of_instance(owner, stage.instance) is InstanceState.UNREACHABLE

    assert await left_behind(worker_database, ["host:elsewhere"], 10) == []
    [left] = await left_behind(worker_database, PLACES, 10)
    assert left.instance.id == stage.instance.id
    assert left.leftover == Leftover(trace={"pid": 7}, run_mark=run_mark(order.run.id, 1))
    assert await free_instance(worker_database, left)
    assert await state_of_instance(owner, stage.instance) is InstanceState.RUNNING
    assert await left_behind(worker_database, PLACES, 10) == []
    assert not await free_instance(worker_database, left)
    following = await a_claim(worker_database, (await a_queued_backup(gateway_database, stage)).id)
    assert following.leftover is None


async def test_an_owner_that_renews_is_not_lost(owner, gateway_database, worker_database):
    stage = await a_stage(owner, gateway_database, worker_database)
    await a_save(gateway_database, worker_database, stage)
    assert await end_owner_lost(worker_database, NO_TIME) == 0


async def test_what_was_left_is_killed_before_a_run_starts_there_by_an_admin_s_word(
    owner, gateway_database, worker_database
):
    """The ADMIN says that the place is gone; it comes back, and something still runs there."""
    stage = await a_stage(owner, gateway_database, worker_database)
    order = await a_save(gateway_database, worker_database, stage, ttl=NO_TIME)
    await record_trace(worker_database, order.run.id, 1, {"pid": 7})
    assert await end_owner_lost(worker_database, NO_TIME) == 1
    for state in (InstanceState.GONE, InstanceState.RUNNING):
        await update_instance(
            gateway_database, stage.admin, id=stage.instance.id, state=state, sealer=SEALER
        )
    made = await a_queued_backup(gateway_database, stage)
    [left] = await left_behind(worker_database, PLACES, 10)
    claimed = await a_claim(worker_database, made.id)
    assert claimed.leftover == Leftover(trace={"pid": 7}, run_mark=run_mark(order.run.id, 1))
    # Now the run's owner kills it: nobody else does, or frees the instance.
    assert await left_behind(worker_database, PLACES, 10) == []
    assert not await free_instance(worker_database, left)
    await start_run(worker_database, claimed, sealer=SEALER)
    await requeue_run(worker_database, made.id, 1)
    assert (await a_claim(worker_database, made.id)).leftover is None


async def test_a_takeover_races_the_end_of_a_lost_owner_s_run(
    owner, gateway_database, worker_database
):
    stage = await a_stage(owner, gateway_database, worker_database)
    for _ in range(5):
        order = await a_save(gateway_database, worker_database, stage, ttl=NO_TIME)
        claimed, ended = await asyncio.gather(
            claim_run(worker_database, order.run.id, owner="other", places=PLACES, ttl=TTL),
            end_owner_lost(worker_database, NO_TIME),
        )
        assert (claimed is not None, ended) in {(True, 0), (False, 1)}
        if claimed is not None:
            await cancel_backup(gateway_database, stage.admin, id=order.run.id)
            assert await start_run(worker_database, claimed, sealer=SEALER) is None
        for left in await left_behind(worker_database, PLACES, 10):
            assert await free_instance(worker_database, left)


async def test_sweeps_of_many_workers_at_once_end_each_run_once(
    owner, gateway_database, worker_database
):
    stage = await a_stage(owner, gateway_database, worker_database)
    for n in range(4):
        instance = await an_instance(gateway_database, stage.admin, stage.container)
        if n % 2:
            await a_save(gateway_database, worker_database, stage, instance=instance, ttl=NO_TIME)
        else:
            await a_queued_backup(gateway_database, stage, instance=instance, start_within=NO_TIME)
    ended = await asyncio.gather(
        *(end_unstarted(worker_database) for _ in range(3)),
        *(end_owner_lost(worker_database, NO_TIME) for _ in range(3)),
        *(end_past_deadline(worker_database, NO_TIME) for _ in range(3)),
    )
    assert sum(ended) == 4


# --- deletions ----------------------------------------------------------------------------------


async def test_an_instance_goes_once_its_run_has_ended(owner, gateway_database, worker_database):
    stage = await a_stage(owner, gateway_database, worker_database)
    order = await a_save(gateway_database, worker_database, stage)
    await delete_instance(gateway_database, stage.admin, id=stage.instance.id)
    assert await finish_instance_deletions(worker_database) == 0
    await finish_backup(worker_database, order, stored_bytes())
    assert await finish_instance_deletions(worker_database) == 1
    assert await finish_instance_deletions(worker_database) == 0
    kept = await read_backup(gateway_database, stage, order.run.id)
    assert kept.state is BackupState.LIVE


async def test_an_empty_container_goes_after_its_grace(owner, gateway_database, worker_database):
    stage = await a_stage(owner, gateway_database, worker_database)
    await a_container(gateway_database, stage.admin)
    await delete_container(
        gateway_database,
        stage.admin,
        id=stage.container.id,
        confirm=stage.container.identifier,
        grace=timedelta(hours=1),
    )
    assert await finish_container_deletions(worker_database, timedelta(hours=1)) == 0
    # What it was told when it was deleted counts, not what workers are set to since.
    assert await finish_container_deletions(worker_database) == 0
    async with owner.connection() as connection:
        await connection.execute("update containers set goes_at = now()")
    assert await finish_container_deletions(worker_database) == 1
    assert await finish_container_deletions(worker_database) == 0
    hub_id = stage.admin.hub_id
    async with owner.connection() as connection:
        gone = await containers.get(connection, hub_id, stage.container.id)
    assert gone is not None
    assert gone.state == "DELETED"
    await a_container(gateway_database, stage.admin, identifier=stage.container.identifier)


# --- pruning ------------------------------------------------------------------------------------


async def test_records_without_an_object_go_when_they_are_old(
    owner, gateway_database, worker_database
):
    stage = await a_stage(owner, gateway_database, worker_database)
    gateway, worker = gateway_database, worker_database
    live = await a_live_backup(gateway, worker, stage)
    order = await a_started_restore(gateway, worker, stage, live)
    entry = NewLogEntry(sequence=0, stream=LogStream.STDERR, data=b"x")
    told = {"drop_before": None, "total_bytes": 1, "truncated": False}
    await append_log(worker, order.run.id, 1, [entry], **told)
    await finish_restore(worker, order, 0)
    failed = await a_failed_backup(gateway, worker, stage)
    for one in await take_due(worker, SEALER, 10):
        await settle(worker, one.id)
    unsettled = await a_failed_backup(gateway, worker, stage)
    fresh = await cancel_backup(gateway, stage.admin, id=(await a_queued_backup(gateway, stage)).id)
    queued = await a_queued_restore(gateway, stage, live)
    await age(owner, live.id, order.run.id, failed.id, unsettled.id, queued.id)
    assert await prune(worker, LONG_AGO) == 2
    assert await prune(worker, LONG_AGO) == 0
    async with owner.connection() as connection:
        runs = await connection.fetch("select id from runs")
        logs = await connection.fetchval("select count(*) from run_logs")
    kept = {live.id, unsettled.id, fresh.id, queued.id}
    assert ({row["id"] for row in runs}, logs) == (kept, 0)


async def test_a_deleted_backup_goes_after_the_restores_that_read_it(
    owner, gateway_database, worker_database
):
    stage = await a_stage(owner, gateway_database, worker_database)
    gateway, worker = gateway_database, worker_database
    live = await a_live_backup(gateway, worker, stage)
    restore = await a_queued_restore(gateway, stage, live)
    await cancel_restore(gateway, stage.admin, id=restore.id)
    await delete_backups(gateway, stage.admin, ids=[(str(live.id), live.id)])
    await age(owner, live.id)
    assert await prune(worker, LONG_AGO) == 0
    for one in await take_due(worker, SEALER, 10):
        await settle(worker, one.id)
    await age(owner, live.id)
    assert await prune(worker, LONG_AGO) == 0
    await age(owner, restore.id)
    assert await prune(worker, LONG_AGO) == 2
    async with owner.connection() as connection:
        assert await connection.fetchval("select count(*) from backups") == 0
        assert await connection.fetchval("select count(*) from runs") == 0


async def test_the_queues_log_is_dropped_after_a_week(owner, worker_database):
    """The library never does it."""
    await run_sql(
        owner,
        """
        insert into pgqueuer_log (created, job_id, status, priority, entrypoint)
        select now() - age * interval '1 day', age, 'picked', 0, 'x'
        from generate_series(5, 9) as age
        """,
    )
    await prune(worker_database, LONG_AGO)
    async with owner.connection() as connection:
        left = await connection.fetch("select job_id from pgqueuer_log order by job_id")
    assert [row["job_id"] for row in left] == [5, 6]
