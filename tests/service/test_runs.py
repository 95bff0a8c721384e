"""Runs: claimed by one, started, told of under a fence, taken over."""

import asyncio
from datetime import timedelta
from uuid import uuid4

import pytest

from app.errors import CommandFailed, Fenced, TimedOut
from app.model.backups import BackupState
from app.model.integrations import Realm
from app.model.orders import (
    Heard,
    Leftover,
    NewLogEntry,
    RestoreOrder,
    RunProgress,
    SaveOrder,
)
from app.model.restores import RestorePhase, RestoreState
from app.model.runs import LogStream, RunError, run_mark
from app.queries import logs
from app.service.backups import cancel_backup
from app.service.containers import delete_container
from app.service.endings import (
    cancel_ended,
    fail_run,
    finish_backup,
    finish_restore,
    requeue_run,
)
from app.service.restores import cancel_restore
from app.service.runs import (
    append_log,
    claim_run,
    mark_touched,
    record_progress,
    record_trace,
    record_upload,
    renew_leases,
    set_phase,
    start_run,
)
from app.service.secrets import Sealer, make_key
from app.service.sweeps import end_past_deadline, waiting_runs
from tests.builders import (
    HOST,
    OWNER,
    PLACES,
    SEALER,
    TTL,
    a_claim,
    a_hub,
    a_live_backup,
    a_queued_backup,
    a_queued_restore,
    a_save,
    a_stage,
    a_started_restore,
    an_admin,
    an_instance,
    read_backup,
    read_restore,
    stored_bytes,
)

NO_TIME = timedelta(0)
RECLAIMS = """
select kind, name, file_id from reclaims where backup_id = $1 and settled_at is null
order by kind, name
"""


async def reclaims_of(owner, backup_id):
    async with owner.connection() as connection:
        return [tuple(row) for row in await connection.fetch(RECLAIMS, backup_id)]


async def row_of(owner, run_id):
    async with owner.connection() as connection:
        return dict(await connection.fetchrow("select * from runs where id = $1", run_id))


async def lease_of(owner, instance_id):
    query = "select * from leases where instance_id = $1"
    async with owner.connection() as connection:
        return dict(await connection.fetchrow(query, instance_id))


async def let_lease_pass(owner, run_id):
    """As if its owner had been silent for longer than a lease lasts."""
    past = "update leases set lease_until = now() - interval '1 second' where run_id = $1"
    async with owner.connection() as connection:
        assert await connection.execute(past, run_id) == "UPDATE 1"


async def claim(worker, run_id, *, owner="another worker", places=PLACES, per_hub=None):
    return await claim_run(
        worker, run_id, owner=owner, places=places, ttl=TTL, runs_per_hub=per_hub
    )


# --- claims -------------------------------------------------------------------------------------


async def test_of_many_claims_at_once_one_wins(owner, gateway_database, worker_database):
    stage = await a_stage(owner, gateway_database, worker_database)
    backup = await a_queued_backup(gateway_database, stage)
    claims = await asyncio.gather(
        *(claim(worker_database, backup.id, owner=f"worker {n}") for n in range(8))
    )
    [won] = [one for one in claims if one is not None]
    assert (won.run.epoch, won.run.attempt, won.leftover) == (1, 0, None)
    assert won.instance == stage.instance
    row = await row_of(owner, backup.id)
    assert (row["epoch"], row["owner"]) == (1, won.run.owner)
    lease = await lease_of(owner, stage.instance.id)
    assert (lease["run_id"], lease["epoch"], lease["owner"]) == (backup.id, 1, won.run.owner)


async def test_a_run_at_another_place_is_not_claimed(owner, gateway_database, worker_database):
    stage = await a_stage(owner, gateway_database, worker_database)
    backup = await a_queued_backup(gateway_database, stage)
    assert await claim(worker_database, backup.id, places=["host:elsewhere", "anywhere"]) is None
    assert (await row_of(owner, backup.id))["epoch"] == 0
    assert await claim(worker_database, backup.id, places=["anywhere", f"host:{HOST}"])


async def test_a_run_that_ended_or_never_was_is_not_claimed(
    owner, gateway_database, worker_database
):
    stage = await a_stage(owner, gateway_database, worker_database)
    live = await a_live_backup(gateway_database, worker_database, stage)
    assert await claim(worker_database, live.id) is None
    assert await claim(worker_database, uuid4()) is None


async def test_a_hub_has_no_more_runs_going_than_its_cap(owner, gateway_database, worker_database):
    stage = await a_stage(owner, gateway_database, worker_database)
    queued = []
    for _ in range(4):
        instance = await an_instance(gateway_database, stage.admin, stage.container)
        queued.append(await a_queued_backup(gateway_database, stage, instance=instance))
    claims = await asyncio.gather(
        *(claim(worker_database, backup.id, per_hub=2) for backup in queued)
    )
    assert sum(one is not None for one in claims) == 2
    other = await a_stage(owner, gateway_database, worker_database)
    backup = await a_queued_backup(gateway_database, other)
    assert await claim(worker_database, backup.id, per_hub=2)
    # Those that did not fit are looked at later, not at once again.
    assert await waiting_runs(worker_database, PLACES, 10) == []


async def test_a_lease_that_has_passed_is_taken_over_and_its_owner_fenced(
    owner, gateway_database, worker_database
):
    stage = await a_stage(owner, gateway_database, worker_database)
    order = await a_save(gateway_database, worker_database, stage)
    run_id = order.run.id
    await record_trace(worker_database, run_id, 1, {"pid": 7, "started": 99})
    await record_upload(worker_database, run_id, 1, "the-upload")
    assert await claim(worker_database, run_id) is None
    assert await waiting_runs(worker_database, PLACES, 10) == []
    await let_lease_pass(owner, run_id)
    assert await waiting_runs(worker_database, PLACES, 10) == [run_id]
    claims = await asyncio.gather(*(claim(worker_database, run_id) for _ in range(5)))
    [taken] = [one for one in claims if one is not None]
    assert taken.run.epoch == 2
    assert taken.leftover == Leftover(trace={"pid": 7, "started": 99}, run_mark=run_mark(run_id, 1))
    with pytest.raises(Fenced):
        await finish_backup(worker_database, order, stored_bytes())
    with pytest.raises(Fenced):
        await record_trace(worker_database, run_id, 1, {})
    assert (await read_backup(gateway_database, stage, run_id)).state is BackupState.SAVING

    again = await start_run(worker_database, taken, sealer=SEALER)
    assert isinstance(again, SaveOrder)
    assert (again.run.epoch, again.run.attempt) == (2, 2)
    assert again.object_name != order.object_name
    assert await reclaims_of(owner, run_id) == [
        ("NAME", order.object_name, None),
        ("NAME", order.object_name + ".json", None),
        ("UPLOAD", order.object_name, "the-upload"),
    ]
    await finish_backup(worker_database, again, stored_bytes())
    live = await read_backup(gateway_database, stage, run_id)
    assert (live.state, live.object_name) == (BackupState.LIVE, again.object_name)


async def test_what_was_left_is_remembered_until_a_run_starts(
    owner, gateway_database, worker_database
):
    """A worker that dies between its claim and the killing must not make anybody forget it."""
    stage = await a_stage(owner, gateway_database, worker_database)
    order = await a_save(gateway_database, worker_database, stage)
    await record_trace(worker_database, order.run.id, 1, {"pid": 7})
    left = Leftover(trace={"pid": 7}, run_mark=run_mark(order.run.id, 1))
    for epoch in (2, 3):
        await let_lease_pass(owner, order.run.id)
        taken = await claim(worker_database, order.run.id)
        assert taken is not None
        assert (taken.run.epoch, taken.leftover) == (epoch, left)
    await start_run(worker_database, taken, sealer=SEALER)
    await let_lease_pass(owner, order.run.id)
    last = await claim(worker_database, order.run.id)
    assert last is not None
    assert last.leftover == Leftover(trace=None, run_mark=run_mark(order.run.id, 3))


async def test_leases_are_renewed_while_they_are_held(owner, gateway_database, worker_database):
    stage = await a_stage(owner, gateway_database, worker_database)
    order = await a_save(gateway_database, worker_database, stage)
    lost = await an_instance(gateway_database, stage.admin, stage.container)
    lost_order = await a_save(gateway_database, worker_database, stage, instance=lost)
    await let_lease_pass(owner, lost_order.run.id)
    held = {(stage.instance.id, order.run.id, 1), (lost.id, lost_order.run.id, 1)}
    renew = {"held": held, "ttl": timedelta(hours=5)}
    assert await renew_leases(worker_database, owner=OWNER, **renew) == {order.run.id}
    assert await renew_leases(worker_database, owner="a stranger", **renew) == set()
    lease = await lease_of(owner, stage.instance.id)
    async with owner.connection() as connection:
        now = await connection.fetchval("select now()")
    assert timedelta(hours=4) < lease["lease_until"] - now < timedelta(hours=6)


# --- starts -------------------------------------------------------------------------------------


async def test_a_started_save_has_all_that_it_needs(owner, gateway_database, worker_database):
    stage = await a_stage(
        owner, gateway_database, worker_database, variables={"PASSWORD": "geheim"}
    )
    order = await a_save(gateway_database, worker_database, stage)
    assert (order.container, order.instance) == (stage.container, stage.instance)
    assert (order.policy, order.min_bytes) == (stage.policy, 1)
    assert order.variables == {"PASSWORD": "geheim"}
    assert (order.storage.realm, order.storage.key) == (Realm.BACKBLAZE, "the-application-key")
    assert (order.storage.bucket, order.storage.prefix) == (stage.integration.bucket, "backups")
    assert order.object_name == (
        f"backups/{order.installation_id}/{stage.admin.hub_id}/{stage.container.id}/"
        f"{order.backup.id}-1"
    )
    assert (order.backup.state, order.backup.object_name) == (
        BackupState.SAVING,
        order.object_name,
    )
    run = order.run
    assert (run.command, run.epoch, run.attempt, run.owner) == ("cat data", 1, 1, OWNER)
    assert run.deadline_at is not None
    assert run.started_at is not None
    assert run.deadline_at - run.started_at == timedelta(hours=12)
    assert "geheim" not in repr(order)
    assert "the-application-key" not in repr(order)


async def test_a_started_restore_has_all_that_it_needs(owner, gateway_database, worker_database):
    stage = await a_stage(owner, gateway_database, worker_database)
    backup = await a_live_backup(gateway_database, worker_database, stage, size=5000)
    target = await an_instance(gateway_database, stage.admin, stage.container, variables={"A": "b"})
    order = await a_started_restore(
        gateway_database, worker_database, stage, backup, instance=target
    )
    assert (order.backup, order.instance, order.variables) == (backup, target, {"A": "b"})
    assert (order.file_id, order.size_bytes) == (backup.file_id, 5000)
    assert (order.sha256, order.chunk_hashes) == (bytes(range(32)), bytes(32))
    assert (order.run.command, order.restore.state) == ("cat > data", RestoreState.RUNNING)


async def test_a_start_whose_answer_was_lost_gives_the_same_order(
    owner, gateway_database, worker_database
):
    stage = await a_stage(owner, gateway_database, worker_database)
    backup = await a_queued_backup(gateway_database, stage)
    claimed = await a_claim(worker_database, backup.id)
    first = await start_run(worker_database, claimed, sealer=SEALER)
    assert await start_run(worker_database, claimed, sealer=SEALER) == first
    assert await reclaims_of(owner, backup.id) == []
    assert isinstance(first, SaveOrder)
    await finish_backup(worker_database, first, stored_bytes())
    restore = await a_queued_restore(
        gateway_database, stage, await read_backup(gateway_database, stage, backup.id)
    )
    claimed = await a_claim(worker_database, restore.id)
    order = await start_run(worker_database, claimed, sealer=SEALER)
    assert isinstance(order, RestoreOrder)
    assert await start_run(worker_database, claimed, sealer=SEALER) == order
    assert (await row_of(owner, restore.id))["attempt"] == 1


async def test_a_cancelled_run_ends_when_it_should_start(owner, gateway_database, worker_database):
    stage = await a_stage(owner, gateway_database, worker_database)
    backup = await a_queued_backup(gateway_database, stage)
    claimed = await a_claim(worker_database, backup.id)
    flagged = await cancel_backup(gateway_database, stage.admin, id=backup.id)
    assert flagged.state is BackupState.QUEUED
    assert await start_run(worker_database, claimed, sealer=SEALER) is None
    ended = await read_backup(gateway_database, stage, backup.id)
    assert (ended.state, ended.error) == (BackupState.CANCELED, None)
    assert ended.finished_at is not None
    assert (await lease_of(owner, stage.instance.id))["run_id"] is None


async def test_a_run_of_a_container_that_goes_ends_canceled(
    owner, gateway_database, worker_database
):
    stage = await a_stage(owner, gateway_database, worker_database)
    backup = await a_queued_backup(gateway_database, stage)
    await delete_container(
        gateway_database,
        stage.admin,
        id=stage.container.id,
        confirm=stage.container.identifier,
        grace=NO_TIME,
    )
    claimed = await a_claim(worker_database, backup.id)
    assert claimed.run.cancel
    assert await start_run(worker_database, claimed, sealer=SEALER) is None
    ended = await read_backup(gateway_database, stage, backup.id)
    assert ended.state is BackupState.CANCELED


async def test_a_save_is_tried_three_times(owner, gateway_database, worker_database):
    stage = await a_stage(owner, gateway_database, worker_database)
    order = await a_save(gateway_database, worker_database, stage)
    for attempt in (2, 3):
        await let_lease_pass(owner, order.run.id)
        again = await start_run(
            worker_database, await a_claim(worker_database, order.run.id), sealer=SEALER
        )
        assert again is not None
        assert again.run.attempt == attempt
    await let_lease_pass(owner, order.run.id)
    claimed = await a_claim(worker_database, order.run.id)
    assert await start_run(worker_database, claimed, sealer=SEALER) is None
    failed = await read_backup(gateway_database, stage, order.run.id)
    assert failed.state is BackupState.FAILED
    assert failed.error == RunError(
        code="ATTEMPTS_USED_UP", message="The run was interrupted three times."
    )
    # Three tries, each with an object and a manifest to look for.
    assert len(await reclaims_of(owner, order.run.id)) == 6


async def test_a_restore_that_touched_its_instance_is_never_started_again(
    owner, gateway_database, worker_database
):
    stage = await a_stage(owner, gateway_database, worker_database)
    backup = await a_live_backup(gateway_database, worker_database, stage)
    order = await a_started_restore(gateway_database, worker_database, stage, backup)
    await mark_touched(worker_database, order.run.id, 1)
    await let_lease_pass(owner, order.run.id)
    claimed = await a_claim(worker_database, order.run.id)
    assert await start_run(worker_database, claimed, sealer=SEALER) is None
    ended = await read_restore(gateway_database, stage, order.run.id)
    assert ended.state is RestoreState.FAILED
    assert ended.error is not None
    assert ended.error.code == "INTERRUPTED"


async def test_an_untouched_restore_is_started_again(owner, gateway_database, worker_database):
    stage = await a_stage(owner, gateway_database, worker_database)
    backup = await a_live_backup(gateway_database, worker_database, stage)
    order = await a_started_restore(gateway_database, worker_database, stage, backup)
    await set_phase(worker_database, order.run.id, 1, RestorePhase.TRANSFERRING)
    await let_lease_pass(owner, order.run.id)
    claimed = await a_claim(worker_database, order.run.id)
    again = await start_run(worker_database, claimed, sealer=SEALER)
    assert isinstance(again, RestoreOrder)
    assert (again.run.attempt, again.restore.phase) == (2, RestorePhase.PREPARING)


async def test_a_run_whose_secrets_cannot_be_opened_fails_with_the_reason(
    owner, gateway_database, worker_database
):
    stage = await a_stage(owner, gateway_database, worker_database)
    backup = await a_queued_backup(gateway_database, stage)
    claimed = await a_claim(worker_database, backup.id)
    assert await start_run(worker_database, claimed, sealer=Sealer([make_key()])) is None
    failed = await read_backup(gateway_database, stage, backup.id)
    assert failed.state is BackupState.FAILED
    assert failed.error is not None
    assert failed.error.code == "SECRET_UNREADABLE"
    assert await reclaims_of(owner, backup.id) == []


async def test_a_start_in_an_epoch_that_passed_is_fenced(owner, gateway_database, worker_database):
    stage = await a_stage(owner, gateway_database, worker_database)
    backup = await a_queued_backup(gateway_database, stage)
    old = await a_claim(worker_database, backup.id)
    await let_lease_pass(owner, backup.id)
    await a_claim(worker_database, backup.id, owner="another worker")
    with pytest.raises(Fenced):
        await start_run(worker_database, old, sealer=SEALER)
    assert (await row_of(owner, backup.id))["attempt"] == 0


# --- what is told while a run goes ------------------------------------------------------------


async def test_nothing_is_written_for_an_epoch_that_passed(
    owner, gateway_database, worker_database
):
    stage = await a_stage(owner, gateway_database, worker_database)
    backup = await a_live_backup(gateway_database, worker_database, stage)
    order = await a_started_restore(gateway_database, worker_database, stage, backup)
    run_id, database = order.run.id, worker_database
    await let_lease_pass(owner, run_id)
    await a_claim(database, run_id)
    before = await row_of(owner, run_id)
    entry = NewLogEntry(sequence=0, stream=LogStream.STDERR, data=b"late")
    writes = [
        record_trace(database, run_id, 1, {}),
        record_upload(database, run_id, 1, "late"),
        mark_touched(database, run_id, 1),
        set_phase(database, run_id, 1, RestorePhase.CHECKING),
        append_log(database, run_id, 1, [entry], drop_before=None, total_bytes=4, truncated=False),
        finish_restore(database, order, 0),
        fail_run(database, run_id, 1, error=CommandFailed(), exit_code=1),
        cancel_ended(database, run_id, 1, None),
        requeue_run(database, run_id, 1),
    ]
    for write in writes:
        with pytest.raises(Fenced):
            await write
    told = RunProgress(
        run_id=run_id,
        epoch=1,
        bytes_read=0,
        bytes_stored=0,
        bytes_delivered=9,
        bytes_per_second=9,
    )
    assert await record_progress(database, [told]) == []
    assert await row_of(owner, run_id) == before
    async with owner.connection(stage.admin.hub_id) as connection:
        assert await logs.counts(connection, stage.admin.hub_id, [run_id]) == {run_id: 0}


async def test_progress_of_many_runs_is_one_write_and_hears_of_cancels(
    owner, gateway_database, worker_database
):
    stage = await a_stage(owner, gateway_database, worker_database)
    orders = [await a_save(gateway_database, worker_database, stage)]
    for _ in range(2):
        instance = await an_instance(gateway_database, stage.admin, stage.container)
        orders.append(await a_save(gateway_database, worker_database, stage, instance=instance))
    await cancel_backup(gateway_database, stage.admin, id=orders[1].run.id)
    told = [
        RunProgress(
            run_id=order.run.id,
            epoch=order.run.epoch + (order is orders[2]),
            bytes_read=10,
            bytes_stored=5,
            bytes_delivered=0,
            bytes_per_second=3,
        )
        for order in orders
    ]
    heard = await record_progress(worker_database, told)
    assert sorted(heard, key=lambda one: one.cancel) == [
        Heard(run_id=orders[0].run.id, cancel=False),
        Heard(run_id=orders[1].run.id, cancel=True),
    ]
    shown = await read_backup(gateway_database, stage, orders[0].run.id)
    assert (shown.bytes_read, shown.bytes_stored, shown.bytes_per_second) == (10, 5, 3)
    assert shown.progress_at is not None
    assert (await read_backup(gateway_database, stage, orders[2].run.id)).progress_at is None
    assert await record_progress(worker_database, []) == []


async def test_a_log_keeps_its_head_and_drops_its_middle(owner, gateway_database, worker_database):
    stage = await a_stage(owner, gateway_database, worker_database)
    order = await a_save(gateway_database, worker_database, stage)
    run_id, hub_id = order.run.id, stage.admin.hub_id
    head, middle, tail = 0, 64 * 1024, 80 * 1024
    entries = [
        NewLogEntry(sequence=head, stream=LogStream.STDERR, data=b"head \xff\0"),
        NewLogEntry(sequence=middle, stream=LogStream.STDERR, data=b"middle"),
        NewLogEntry(sequence=tail, stream=LogStream.STDERR, data="schluß".encode()),
    ]
    told = {"drop_before": None, "total_bytes": 90_000, "truncated": False}
    await append_log(worker_database, run_id, 1, entries, **told)
    told = {"drop_before": tail, "total_bytes": 100_000, "truncated": True}
    await append_log(worker_database, run_id, 1, entries[2:], **told)
    async with gateway_database.connection(hub_id) as connection:
        page = (await logs.pages(connection, hub_id, [run_id], limit=10))[run_id]
    shown = [(entry.sequence, entry.stream, entry.text) for entry in page.items]
    assert shown == [
        (head, LogStream.STDERR, "head \ufffd\ufffd"),
        (tail, LogStream.STDERR, "schluß"),
    ]
    backup = await read_backup(gateway_database, stage, run_id)
    assert (backup.log_bytes, backup.log_truncated) == (100_000, True)


async def test_logs_are_read_in_pages_of_their_own(owner, gateway_database, worker_database):
    stage = await a_stage(owner, gateway_database, worker_database)
    order = await a_save(gateway_database, worker_database, stage)
    run_id, hub_id, other = order.run.id, stage.admin.hub_id, uuid4()
    entries = [NewLogEntry(sequence=n, stream=LogStream.STDERR, data=b"%d" % n) for n in range(5)]
    told = {"drop_before": None, "total_bytes": 5, "truncated": False}
    await append_log(worker_database, run_id, 1, entries, **told)

    async def page(**arguments):
        async with gateway_database.connection(hub_id) as connection:
            pages = await logs.pages(connection, hub_id, [run_id, other], **arguments)
        assert pages[other].items == []
        found = pages[run_id]
        return "".join(entry.text for entry in found.items), found.has_previous, found.has_next

    assert await page(limit=2) == ("01", False, True)
    assert await page(limit=2, after=1) == ("23", True, True)
    assert await page(limit=2, after=3) == ("4", True, False)
    assert await page(limit=2, backwards=True) == ("34", True, False)
    assert await page(limit=2, backwards=True, before=2) == ("01", False, True)
    assert await page(limit=9, after=0, before=4) == ("123", True, False)
    async with gateway_database.connection(hub_id) as connection:
        counts = await logs.counts(connection, hub_id, [run_id, other])
    assert counts == {run_id: 5, other: 0}


async def test_a_new_try_begins_a_new_log(owner, gateway_database, worker_database):
    stage = await a_stage(owner, gateway_database, worker_database)
    order = await a_save(gateway_database, worker_database, stage)
    entry = NewLogEntry(sequence=0, stream=LogStream.STDERR, data=b"first")
    told = {"drop_before": None, "total_bytes": 5, "truncated": True}
    await append_log(worker_database, order.run.id, 1, [entry], **told)
    await let_lease_pass(owner, order.run.id)
    claimed = await a_claim(worker_database, order.run.id)
    again = await start_run(worker_database, claimed, sealer=SEALER)
    assert isinstance(again, SaveOrder)
    assert (again.backup.log_bytes, again.backup.log_truncated) == (0, False)
    async with owner.connection() as connection:
        assert await logs.counts(connection, stage.admin.hub_id, [order.run.id]) == {
            order.run.id: 0
        }


# --- endings ------------------------------------------------------------------------------------


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
