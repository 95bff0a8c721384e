"""Deleting an integration by force, or a whole hub: nothing goes before B2 has confirmed."""

from datetime import timedelta

import pytest

from app.errors import InvalidInput, InvalidState, NotPermitted, StorageCredentials
from app.model.backups import BackupState
from app.model.integrations import IntegrationState
from app.service import integrations
from app.service.containers import delete_container, undelete_container
from app.service.endings import finish_backup
from app.service.hub_deletions import delete_hub, finish_hub_deletions
from app.service.keys import authenticate
from app.service.reclaims import put_off, settle, take_due
from app.service.sweeps import cancel_waiting, finish_container_deletions
from tests.builders import (
    SEALER,
    a_hub,
    a_key,
    a_live_backup,
    a_queued_backup,
    a_save,
    a_stage,
    an_operator,
    an_unchecked_integration,
    read_backup,
    stored_bytes,
)


async def delete(gateway, stage, *, force=True, **how):
    return await integrations.delete_integration(
        gateway, stage.admin, id=stage.integration.id, force=force, **how
    )


async def state_of(owner, stage):
    async with owner.connection() as connection:
        row = await connection.fetchrow(
            "select state, sealed_key is not null as has_key from integrations where id = $1",
            stage.integration.id,
        )
    return tuple(row)


async def end(worker, stage):
    ending = await integrations.ending(worker, 10)
    return [id for id in ending if await integrations.end(worker, id)] == [stage.integration.id]


async def events_of(owner):
    async with owner.connection() as connection:
        rows = await connection.fetch("select kind from events order by created_at, id")
    return [row["kind"] for row in rows if row["kind"].startswith("RECLAIM")]


async def let_all_be_due(owner):
    async with owner.connection() as connection:
        await connection.execute("update reclaims set not_before = now() - interval '1 second'")


async def test_force_settles_what_is_there_and_then_wipes_the_key(
    owner, gateway_database, worker_database
):
    stage = await a_stage(owner, gateway_database, worker_database)
    live = await a_live_backup(gateway_database, worker_database, stage, size=1234)
    queued = await a_queued_backup(gateway_database, stage)
    with pytest.raises(InvalidState):
        await delete(gateway_database, stage, force=False)
    assert await state_of(owner, stage) == ("LIVE", True)
    integration, warnings = await delete(gateway_database, stage, idempotency_key="1")
    assert integration.state is IntegrationState.DELETING
    assert warnings == [
        "Policies that are removed: 1.",
        "Backups that will be removed from storage: 1, 1234 bytes in all.",
        "Runs that will be cancelled: 1.",
    ]
    assert await delete(gateway_database, stage, idempotency_key="1") == (integration, warnings)
    assert (await read_backup(gateway_database, stage, live.id)).state is BackupState.DELETING
    assert await integrations.ending(worker_database, 10) == []
    assert await cancel_waiting(worker_database) == 1
    canceled = await read_backup(gateway_database, stage, queued.id)
    assert canceled.state is BackupState.CANCELED
    due = await take_due(worker_database, SEALER, 10)
    assert [one.storage.key for one in due] == ["the-application-key"] * 2
    await settle(worker_database, due[0].id)
    assert not await end(worker_database, stage)
    assert await state_of(owner, stage) == ("DELETING", True)
    await settle(worker_database, due[1].id)
    assert (await read_backup(gateway_database, stage, live.id)).state is BackupState.DELETED
    assert await end(worker_database, stage)
    assert await state_of(owner, stage) == ("DELETED", False)


async def test_what_cannot_be_removed_is_given_up_by_a_second_word_that_names_it(
    owner, gateway_database, worker_database
):
    stage = await a_stage(owner, gateway_database, worker_database)
    live = await a_live_backup(gateway_database, worker_database, stage)
    await delete(gateway_database, stage)
    assert (await delete(gateway_database, stage))[1] == []  # nothing was tried yet
    due = await take_due(worker_database, SEALER, 10)
    await put_off(worker_database, [one.id for one in due], StorageCredentials())
    assert (await delete(gateway_database, stage, force=False))[1] == []
    _, warnings = await delete(gateway_database, stage)
    name = live.object_name
    assert warnings == [
        f"2 names are given up and may still be in {stage.integration.bucket}: {name}, {name}.json."
    ]
    assert (await read_backup(gateway_database, stage, live.id)).state is BackupState.DELETED
    assert await end(worker_database, stage)


async def test_what_went_with_a_container_does_not_come_back_without_its_bucket(
    owner, gateway_database, worker_database
):
    stage = await a_stage(owner, gateway_database, worker_database)
    live = await a_live_backup(gateway_database, worker_database, stage)
    await delete_container(
        gateway_database,
        stage.admin,
        id=stage.container.id,
        confirm=stage.container.identifier,
        grace=timedelta(hours=1),
    )
    await delete(gateway_database, stage)
    await undelete_container(gateway_database, stage.admin, id=stage.container.id)
    assert (await read_backup(gateway_database, stage, live.id)).state is BackupState.DELETING


async def test_one_that_never_worked_is_gone_at_once_and_force_needs_more(
    owner, gateway_database, worker_database
):
    stage = await a_stage(owner, gateway_database, worker_database)
    made = await an_unchecked_integration(gateway_database, stage.admin)
    gone, _ = await integrations.delete_integration(gateway_database, stage.admin, id=made.id)
    assert gone.state is IntegrationState.DELETED
    with pytest.raises(NotPermitted):
        await integrations.delete_integration(
            gateway_database, an_operator(stage.admin.hub_id), id=stage.integration.id, force=True
        )


async def test_a_stuck_reclaim_is_told_once_for_an_integration_and_when_it_is_gone(
    owner, gateway_database, worker_database
):
    stage = await a_stage(owner, gateway_database, worker_database)
    await a_live_backup(gateway_database, worker_database, stage)
    await delete(gateway_database, stage)
    for attempt in range(1, 11):
        await let_all_be_due(owner)
        due = await take_due(worker_database, SEALER, 10)
        assert len(due) == 2
        await put_off(worker_database, [one.id for one in due], StorageCredentials("No."))
        assert await events_of(owner) == (["RECLAIM_STUCK"] if attempt >= 8 else [])
    await settle(worker_database, due[0].id)
    assert await events_of(owner) == ["RECLAIM_STUCK"]
    await settle(worker_database, due[1].id)
    assert await events_of(owner) == ["RECLAIM_STUCK", "RECLAIM_SETTLED"]


async def test_a_hub_goes_when_all_of_it_is_settled_and_leaves_no_row(
    owner, gateway_database, worker_database
):
    hub = await a_hub(owner)
    admin, token = await a_key(owner, gateway_database, hub)
    stage = await a_stage(owner, gateway_database, worker_database, admin=admin)
    await a_live_backup(gateway_database, worker_database, stage)
    await a_queued_backup(gateway_database, stage)
    other = await a_stage(owner, gateway_database, worker_database)
    spared = await a_live_backup(gateway_database, worker_database, other)
    with pytest.raises(InvalidInput) as refusal:
        await delete_hub(gateway_database, admin, confirm="no", grace=timedelta(0))
    assert refusal.value.reason == "CONFIRM_MISMATCH"
    with pytest.raises(NotPermitted):
        await delete_hub(gateway_database, an_operator(hub), confirm=hub.name, grace=timedelta(0))
    assert await authenticate(gateway_database, token) == admin

    gone, warnings = await delete_hub(gateway_database, admin, confirm=hub.name, grace=timedelta(0))
    assert gone == hub
    assert len(warnings) == 2
    assert await authenticate(gateway_database, token) is None
    assert await finish_hub_deletions(worker_database) == 0
    await cancel_waiting(worker_database)
    for one in await take_due(worker_database, SEALER, 10):
        assert one.hub_id == hub.id
        await settle(worker_database, one.id)
    assert await finish_hub_deletions(worker_database) == 0
    assert await finish_container_deletions(worker_database) == 1
    assert await end(worker_database, stage)
    steps = 0
    while not await finish_hub_deletions(worker_database):
        steps += 1
        assert steps < 6
    async with owner.connection() as connection:
        tables = await connection.fetch(
            "select attrelid::regclass::text as name from pg_attribute"
            " inner join pg_class on pg_class.oid = attrelid"
            " where attname = 'hub_id' and relkind = 'r'"
        )
        for row in tables:
            left = await connection.fetchval(
                f"select count(*) from {row['name']} where hub_id = $1", hub.id
            )
            assert left == 0, row["name"]
        hubs = await connection.fetch("select id from hubs")
    assert [row["id"] for row in hubs] == [other.admin.hub_id]
    assert await read_backup(gateway_database, other, spared.id) == spared


async def test_a_save_that_ends_while_its_bucket_goes_leaves_no_live_backup(
    owner, gateway_database, worker_database
):
    stage = await a_stage(owner, gateway_database, worker_database)
    order = await a_save(gateway_database, worker_database, stage)
    await delete(gateway_database, stage)
    await finish_backup(worker_database, order, stored_bytes())
    backup = await read_backup(gateway_database, stage, order.backup.id)
    assert backup.state is BackupState.DELETING
    assert len(await take_due(worker_database, SEALER, 10)) == 2
