"""Reclaims: taken by one worker at a time, settled with proof, and what becomes of the backup."""

import asyncio
from datetime import timedelta

from app.errors import CommandFailed, StorageUnavailable
from app.model.backups import BackupState
from app.model.orders import SaveOrder
from app.service.backups import delete_backups
from app.service.containers import delete_container
from app.service.endings import fail_run, finish_backup, finish_restore
from app.service.reclaims import put_off, settle, take_due
from app.service.runs import record_upload, start_run
from app.service.secrets import Sealer, make_key
from app.service.sweeps import finish_container_deletions
from tests.builders import (
    SEALER,
    a_claim,
    a_live_backup,
    a_save,
    a_stage,
    a_started_restore,
    read_backup,
    stored_bytes,
)

DAY = timedelta(hours=25)


async def delete(gateway, stage, *found):
    ids = [(str(one.id), one.id) for one in found]
    return await delete_backups(gateway, stage.admin, ids=ids)


async def let_all_be_due(owner):
    """As if the while for which they were put off had passed."""
    async with owner.connection() as connection:
        await connection.execute("update reclaims set not_before = now() - interval '1 second'")


async def test_a_deleted_backup_is_gone_once_b2_confirmed_for_object_and_manifest(
    owner, gateway_database, worker_database
):
    stage = await a_stage(owner, gateway_database, worker_database)
    live = await a_live_backup(gateway_database, worker_database, stage)
    await delete(gateway_database, stage, live)
    object, manifest = sorted(await take_due(worker_database, SEALER, 10), key=lambda one: one.name)
    assert (object.kind, object.name, object.file_id) == (
        "OBJECT",
        live.object_name,
        live.file_id,
    )
    assert (manifest.kind, manifest.name) == ("OBJECT", f"{live.object_name}.json")
    assert (object.backup_id, object.hub_id) == (live.id, stage.admin.hub_id)
    assert (object.attempts, object.storage.key) == (1, "the-application-key")
    assert "the-application-key" not in repr(object)
    await settle(worker_database, object.id)
    await settle(worker_database, object.id)
    half = await read_backup(gateway_database, stage, live.id)
    assert half.state is BackupState.DELETING
    await settle(worker_database, manifest.id)
    gone = await read_backup(gateway_database, stage, live.id)
    assert gone.state is BackupState.DELETED


async def test_two_workers_that_settle_the_last_two_at_once_end_the_backup(
    owner, gateway_database, worker_database
):
    stage = await a_stage(owner, gateway_database, worker_database)
    for _ in range(8):
        live = await a_live_backup(gateway_database, worker_database, stage)
        await delete(gateway_database, stage, live)
        due = await take_due(worker_database, SEALER, 10)
        assert len(due) == 2
        await asyncio.gather(*(settle(worker_database, one.id) for one in due))
        gone = await read_backup(gateway_database, stage, live.id)
        assert gone.state is BackupState.DELETED


async def test_a_reclaim_is_taken_by_one_worker_at_a_time(owner, gateway_database, worker_database):
    stage = await a_stage(owner, gateway_database, worker_database)
    made = [await a_live_backup(gateway_database, worker_database, stage) for _ in range(5)]
    await delete(gateway_database, stage, *made)
    taken = await asyncio.gather(*(take_due(worker_database, SEALER, 4) for _ in range(5)))
    ids = [order.id for orders in taken for order in orders]
    assert len(ids) == len(set(ids))
    ids += [order.id for order in await take_due(worker_database, SEALER, 100)]
    assert len(ids) == len(set(ids)) == 10


async def test_a_reclaim_that_failed_is_due_again_after_a_growing_while(
    owner, gateway_database, worker_database
):
    stage = await a_stage(owner, gateway_database, worker_database)
    live = await a_live_backup(gateway_database, worker_database, stage)
    await delete(gateway_database, stage, live)
    waits = []
    for attempt in (1, 2, 3, 4):
        due = await take_due(worker_database, SEALER, 10)
        assert [one.attempts for one in due] == [attempt] * 2
        for one in due:
            await put_off(worker_database, [one.id], StorageUnavailable("B2 is down."))
        async with owner.connection() as connection:
            row = await connection.fetchrow(
                "select not_before - now() as wait, error_code, error_message from reclaims"
                " where id = $1",
                due[0].id,
            )
        assert (row["error_code"], row["error_message"]) == ("STORAGE_UNAVAILABLE", "B2 is down.")
        waits.append(row["wait"].total_seconds())
        assert await take_due(worker_database, SEALER, 10) == []
        await let_all_be_due(owner)
    # 10 s, doubled each time, give or take a quarter.
    for wait, expected in zip(waits, (10, 20, 40, 80), strict=True):
        assert expected * 0.7 < wait <= expected * 1.25
    still = await read_backup(gateway_database, stage, live.id)
    assert still.state is BackupState.DELETING


async def test_what_a_run_reads_is_not_reclaimed_before_its_end(
    owner, gateway_database, worker_database
):
    """The container goes while one of its backups is restored into another container."""
    stage = await a_stage(owner, gateway_database, worker_database)
    backup = await a_live_backup(gateway_database, worker_database, stage)
    order = await a_started_restore(gateway_database, worker_database, stage, backup)
    await delete_container(
        gateway_database,
        stage.admin,
        id=stage.container.id,
        confirm=stage.container.identifier,
        grace=timedelta(0),
    )
    assert await take_due(worker_database, SEALER, 10) == []
    await finish_restore(worker_database, order, 0)
    assert len(await take_due(worker_database, SEALER, 10)) == 2


async def test_objects_of_a_container_wait_for_the_grace(owner, gateway_database, worker_database):
    stage = await a_stage(owner, gateway_database, worker_database)
    await a_live_backup(gateway_database, worker_database, stage)
    await delete_container(
        gateway_database,
        stage.admin,
        id=stage.container.id,
        confirm=stage.container.identifier,
        grace=timedelta(hours=1),
    )
    assert await take_due(worker_database, SEALER, 10) == []
    await let_all_be_due(owner)
    assert len(await take_due(worker_database, SEALER, 10)) == 2


async def test_the_name_of_a_failed_save_is_looked_up_once_more_a_day_later(
    owner, gateway_database, worker_database
):
    stage = await a_stage(owner, gateway_database, worker_database)
    order = await a_save(gateway_database, worker_database, stage)
    await record_upload(worker_database, order.run.id, 1, "the-upload")
    await fail_run(worker_database, order.run.id, 1, error=CommandFailed(), exit_code=1)
    due = await take_due(worker_database, SEALER, 10)
    assert sorted((one.kind, one.file_id) for one in due) == [
        ("NAME", None),
        ("NAME", None),
        ("UPLOAD", "the-upload"),
    ]
    for one in due:
        await settle(worker_database, one.id, again_at=DAY if one.kind == "NAME" else None)
    await put_off(worker_database, [due[0].id], StorageUnavailable())
    assert await take_due(worker_database, SEALER, 10) == []
    async with owner.connection() as connection:
        wait = await connection.fetchval(
            "select min(not_before) - now() from reclaims where settled_at is null"
        )
    assert timedelta(hours=24) < wait <= DAY
    await let_all_be_due(owner)
    again = await take_due(worker_database, SEALER, 10)
    assert [(one.kind, one.attempts) for one in again] == [("NAME", 1)] * 2
    for one in again:
        await settle(worker_database, one.id)
    await let_all_be_due(owner)
    assert await take_due(worker_database, SEALER, 10) == []


async def test_a_second_look_does_not_keep_a_deleted_backup_waiting(
    owner, gateway_database, worker_database
):
    """B2 has confirmed everything once: the record is DELETED, though names are looked up again."""
    stage = await a_stage(owner, gateway_database, worker_database)
    order = await a_save(gateway_database, worker_database, stage, ttl=timedelta(0))
    claimed = await a_claim(worker_database, order.run.id)
    again = await start_run(worker_database, claimed, sealer=SEALER)
    assert isinstance(again, SaveOrder)
    await finish_backup(worker_database, again, stored_bytes())
    live = await read_backup(gateway_database, stage, order.run.id)
    await delete(gateway_database, stage, live)
    due = await take_due(worker_database, SEALER, 10)
    assert sorted(one.kind for one in due) == ["NAME", "NAME", "OBJECT", "OBJECT"]
    names = [one for one in due if one.kind == "NAME"]
    objects = [one for one in due if one.kind == "OBJECT"]
    await settle(worker_database, names[0].id, again_at=DAY)
    for one in objects:
        await settle(worker_database, one.id)
    state = (await read_backup(gateway_database, stage, live.id)).state
    assert state is BackupState.DELETING
    await settle(worker_database, names[1].id, again_at=DAY)
    state = (await read_backup(gateway_database, stage, live.id)).state
    assert state is BackupState.DELETED


async def test_a_reclaim_whose_key_cannot_be_opened_waits_with_the_reason(
    owner, gateway_database, worker_database
):
    stage = await a_stage(owner, gateway_database, worker_database)
    live = await a_live_backup(gateway_database, worker_database, stage)
    await delete(gateway_database, stage, live)
    assert await take_due(worker_database, Sealer([make_key()]), 10) == []
    async with owner.connection() as connection:
        codes = await connection.fetch("select error_code from reclaims")
    assert [row["error_code"] for row in codes] == ["SECRET_UNREADABLE"] * 2
    await let_all_be_due(owner)
    assert len(await take_due(worker_database, SEALER, 10)) == 2


async def test_a_container_is_gone_once_all_its_objects_are(
    owner, gateway_database, worker_database
):
    stage = await a_stage(owner, gateway_database, worker_database)
    await a_live_backup(gateway_database, worker_database, stage)
    order = await a_save(gateway_database, worker_database, stage)
    await delete_container(
        gateway_database,
        stage.admin,
        id=stage.container.id,
        confirm=stage.container.identifier,
        grace=timedelta(0),
    )
    assert await finish_container_deletions(worker_database) == 0
    await finish_backup(worker_database, order, stored_bytes())
    due = await take_due(worker_database, SEALER, 10)
    assert len(due) == 4
    for one in due:
        assert await finish_container_deletions(worker_database) == 0
        await settle(worker_database, one.id)
    assert await finish_container_deletions(worker_database, timedelta(hours=1)) == 0
    assert await finish_container_deletions(worker_database) == 1
    async with owner.connection() as connection:
        states = await connection.fetchrow(
            """
            select containers.state, instances.removed_at is not null as is_removed
            from containers join instances on instances.container_id = containers.id
            where containers.id = $1
            """,
            stage.container.id,
        )
    assert tuple(states) == ("DELETED", True)
