"""Deleting backups: each id answered by itself, and never one that is read."""

import asyncio
from datetime import timedelta
from uuid import uuid4

import pytest

from app.errors import InvalidInput, InvalidState
from app.model.backups import BackupState
from app.model.orders import RestoreOrder
from app.service.backups import cancel_backup, delete_backups
from app.service.containers import delete_container
from app.service.endings import cancel_ended, finish_restore
from app.service.runs import start_run
from tests.builders import (
    SEALER,
    a_claim,
    a_failed_backup,
    a_hub,
    a_live_backup,
    a_queued_restore,
    a_save,
    a_stage,
    an_admin,
    an_instance,
    an_operator,
    read_backup,
)


async def delete(gateway, principal, *found, key=None):
    ids = [(str(one.id), one.id) for one in found]
    return await delete_backups(gateway, principal, ids=ids, idempotency_key=key)


async def count(owner, table):
    async with owner.connection() as connection:
        return await connection.fetchval(f"select count(*) from {table}")


def codes(deletions):
    return [one.refusal and one.refusal.reason for one in deletions]


async def test_each_backup_is_deleted_or_refused_by_itself(
    owner, gateway_database, worker_database
):
    stage = await a_stage(owner, gateway_database, worker_database)
    gateway, worker = gateway_database, worker_database
    live = await a_live_backup(gateway, worker, stage)
    failed = await a_failed_backup(gateway, worker, stage)
    read = await a_live_backup(gateway, worker, stage)
    other = await an_instance(gateway, stage.admin, stage.container)
    await a_queued_restore(gateway, stage, read, instance=other)
    saving = (await a_save(gateway, worker, stage)).backup
    ids = [
        ("nonsense", None),
        ("the-live-one", live.id),
        (str(failed.id), failed.id),
        (str(read.id), read.id),
        (str(saving.id), saving.id),
        ("again", live.id),
        ("nonsense", None),
        ("nobody's", uuid4()),
    ]
    answers = await delete_backups(gateway, stage.admin, ids=ids)
    assert [one.id for one in answers] == [
        "nonsense",
        "the-live-one",
        str(failed.id),
        str(read.id),
        str(saving.id),
        "nobody's",
    ]
    assert codes(answers) == [
        "NOT_FOUND",
        None,
        None,
        "BACKUP_IN_USE",
        "BACKUP_RUNNING",
        "NOT_FOUND",
    ]
    assert [one.backup and one.backup.state for one in answers] == [
        None,
        BackupState.DELETING,
        BackupState.DELETED,
        BackupState.LIVE,
        BackupState.SAVING,
        None,
    ]
    # Deleting again is accepted and changes nothing.
    assert codes(await delete(gateway, stage.admin, live, failed)) == [None, None]
    async with owner.connection() as connection:
        reclaims = await connection.fetch(
            "select kind, name, file_id from reclaims where backup_id = $1 order by name",
            live.id,
        )
        deleted_by = await connection.fetchval(
            "select deleted_by from backups where id = $1", live.id
        )
    assert [tuple(row)[:2] for row in reclaims] == [
        ("OBJECT", live.object_name),
        ("OBJECT", f"{live.object_name}.json"),
    ]
    assert (reclaims[0]["file_id"], deleted_by) == (live.file_id, "ITSELF")


async def test_more_than_a_hundred_are_not_deleted_at_once(owner, gateway_database):
    admin = an_admin(await a_hub(owner))
    with pytest.raises(InvalidInput) as refusal:
        await delete_backups(gateway_database, admin, ids=[("x", uuid4())] * 101)
    assert refusal.value.path == ("ids",)


async def test_an_operator_does_not_delete_the_last_good_backup(
    owner, gateway_database, worker_database
):
    stage = await a_stage(owner, gateway_database, worker_database)
    made = [await a_live_backup(gateway_database, worker_database, stage) for _ in range(3)]
    operator = an_operator(stage.admin.hub_id)
    assert codes(await delete(gateway_database, operator, *made)) == [
        None,
        None,
        "LAST_GOOD_BACKUP",
    ]
    other = await an_instance(gateway_database, stage.admin, stage.container)
    alone = await a_live_backup(gateway_database, worker_database, stage, instance=other)
    assert codes(await delete(gateway_database, operator, alone)) == ["LAST_GOOD_BACKUP"]
    assert codes(await delete(gateway_database, stage.admin, alone, made[2])) == [None, None]


async def test_two_operators_at_once_do_not_delete_the_last_good_backup(
    owner, gateway_database, worker_database
):
    stage = await a_stage(owner, gateway_database, worker_database)
    operator = an_operator(stage.admin.hub_id)
    for _ in range(3):
        made = [await a_live_backup(gateway_database, worker_database, stage) for _ in range(2)]
        await asyncio.gather(*(delete(gateway_database, operator, one) for one in made))
        states = [(await read_backup(gateway_database, stage, one.id)).state for one in made]
        assert BackupState.LIVE in states
        await delete(gateway_database, stage.admin, *made)


async def test_a_deletion_and_a_restore_at_once_never_both_win(
    owner, gateway_database, worker_database
):
    stage = await a_stage(owner, gateway_database, worker_database)
    for _ in range(8):
        made = await a_live_backup(gateway_database, worker_database, stage)
        restored, answers = await asyncio.gather(
            a_queued_restore(gateway_database, stage, made),
            delete(gateway_database, stage.admin, made),
            return_exceptions=True,
        )
        if isinstance(restored, InvalidState):
            assert (restored.reason, codes(answers)) == ("BACKUP_NOT_LIVE", [None])
        else:
            assert codes(answers) == ["BACKUP_IN_USE"]
            claimed = await a_claim(worker_database, restored.id)
            order = await start_run(worker_database, claimed, sealer=SEALER)
            assert isinstance(order, RestoreOrder)
            await finish_restore(worker_database, order, 0)


async def test_deletions_of_the_same_backups_in_any_order_do_not_deadlock(
    owner, gateway_database, worker_database
):
    stage = await a_stage(owner, gateway_database, worker_database)
    made = [await a_live_backup(gateway_database, worker_database, stage) for _ in range(6)]
    answers = await asyncio.gather(
        *(delete(gateway_database, stage.admin, *(made[n:] + made[:n])) for n in range(len(made)))
    )
    assert [codes(one) for one in answers] == [[None] * 6] * 6
    assert await count(owner, "reclaims") == 12


async def test_a_replayed_deletion_asks_again_what_was_refused(
    owner, gateway_database, worker_database
):
    stage = await a_stage(owner, gateway_database, worker_database)
    live = await a_live_backup(gateway_database, worker_database, stage)
    saving = (await a_save(gateway_database, worker_database, stage)).backup
    first = await delete(gateway_database, stage.admin, live, saving, key="k")
    assert codes(first) == [None, "BACKUP_RUNNING"]
    await cancel_backup(gateway_database, stage.admin, id=saving.id)
    # The worker still has it.
    again = await delete(gateway_database, stage.admin, live, saving, key="k")
    assert codes(again) == [None, "BACKUP_RUNNING"]
    await cancel_ended(worker_database, saving.id, 1)
    last = await delete(gateway_database, stage.admin, live, saving, key="k")
    assert codes(last) == [None, None]
    assert last[0].backup == first[0].backup
    assert last[1].backup.state is BackupState.DELETED


async def test_a_container_takes_its_backups_with_it(owner, gateway_database, worker_database):
    stage = await a_stage(owner, gateway_database, worker_database)
    gateway, worker = gateway_database, worker_database
    live = [await a_live_backup(gateway, worker, stage, size=size) for size in (10, 20)]
    before = await a_live_backup(gateway, worker, stage, size=40)
    await delete(gateway, stage.admin, before)
    failed = await a_failed_backup(gateway, worker, stage)
    _, warnings = await delete_container(
        gateway,
        stage.admin,
        id=stage.container.id,
        confirm=stage.container.identifier,
        grace=timedelta(hours=1),
    )
    assert "2 backups of 30 bytes" in warnings[0]
    states = [(await read_backup(gateway, stage, one.id)).state for one in (*live, failed)]
    assert states == [BackupState.DELETING, BackupState.DELETING, BackupState.FAILED]
    async with owner.connection() as connection:
        rows = await connection.fetch(
            """
            select deleted_by, count(*), bool_and(not_before > now() + interval '59 minutes')
            from reclaims join backups on backups.id = reclaims.backup_id
            where reclaims.kind = 'OBJECT' group by 1 order by 1
            """
        )
    assert [tuple(row) for row in rows] == [("CASCADE", 4, True), ("ITSELF", 2, False)]
