"""What is told while a run goes: progress and logs, under a fence."""

from uuid import uuid4

import pytest

from app.errors import CommandFailed, Fenced
from app.model.orders import (
    Heard,
    NewLogEntry,
    RunProgress,
    SaveOrder,
)
from app.model.restores import RestorePhase
from app.model.runs import LogStream
from app.queries import logs
from app.service.backups import cancel_backup
from app.service.endings import (
    cancel_ended,
    fail_run,
    finish_restore,
    requeue_run,
)
from app.service.runs import (
    append_log,
    mark_touched,
    record_progress,
    record_trace,
    record_upload,
    set_phase,
    start_run,
)
from tests.builders import (
    SEALER,
    a_claim,
    a_live_backup,
    a_save,
    a_stage,
    a_started_restore,
    an_instance,
    read_backup,
)
from tests.run_rows import let_lease_pass, row_of


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
