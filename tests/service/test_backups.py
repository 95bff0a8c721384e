"""Backups as requests see them: asked for, cancelled, listed."""

import asyncio
from datetime import timedelta
from uuid import uuid4

import pytest

from app.errors import Conflict, InvalidInput, InvalidState, NotFound, NotPermitted
from app.model.backups import BackupFilter, BackupState, BackupTrigger
from app.model.containers import InstanceState
from app.model.paging import Cursor, Page
from app.model.runs import Requester
from app.queries import backups
from app.service.backups import cancel_backup, create_backup, delete_backups
from app.service.containers import delete_container
from app.service.instances import delete_instance, update_instance
from app.service.runs import start_run
from tests.builders import (
    SEALER,
    START_WITHIN,
    a_claim,
    a_container,
    a_failed_backup,
    a_hub,
    a_live_backup,
    a_policy,
    a_queued_backup,
    a_save,
    a_stage,
    a_viewer,
    an_admin,
    an_instance,
    an_operator,
    an_unchecked_integration,
    read_backup,
)


async def create(gateway, principal, container, instance=None, *, key=None):
    return await create_backup(
        gateway,
        principal,
        container_id=getattr(container, "id", container),
        instance_id=getattr(instance, "id", instance),
        start_within=START_WITHIN,
        idempotency_key=key,
    )


async def delete(gateway, principal, *found, key=None):
    ids = [(str(one.id), one.id) for one in found]
    return await delete_backups(gateway, principal, ids=ids, idempotency_key=key)


async def count(owner, table):
    async with owner.connection() as connection:
        return await connection.fetchval(f"select count(*) from {table}")


def codes(deletions):
    return [one.refusal and one.refusal.reason for one in deletions]


async def test_a_backup_is_queued_with_the_commands_of_its_time(
    owner, gateway_database, worker_database
):
    stage = await a_stage(owner, gateway_database, worker_database)
    made = await create(gateway_database, stage.admin, stage.container, stage.instance)
    assert (made.state, made.trigger) == (BackupState.QUEUED, BackupTrigger.MANUAL)
    assert (made.container_id, made.instance_id) == (stage.container.id, stage.instance.id)
    assert made.instance_hostname == stage.instance.hostname
    assert (made.integration_id, made.bucket) == (
        stage.integration.id,
        stage.integration.bucket,
    )
    assert (made.backup_command, made.restore_command) == ("cat data", "cat > data")
    assert made.requested_by == Requester(
        kind="API_KEY", id=stage.admin.key_id, name=stage.admin.name
    )
    assert (made.object_name, made.started_at, made.finished_at) == (None, None, None)
    await a_policy(
        gateway_database,
        stage.admin,
        stage.container,
        stage.integration,
        backup_command="other",
    )
    assert await read_backup(gateway_database, stage, made.id) == made


async def test_without_an_instance_the_only_running_one_is_taken(
    owner, gateway_database, worker_database
):
    stage = await a_stage(owner, gateway_database, worker_database)
    stopped = await an_instance(
        gateway_database, stage.admin, stage.container, state=InstanceState.STOPPED
    )
    await an_instance(gateway_database, stage.admin, stage.container, scratch=True)
    made = await create(gateway_database, stage.admin, stage.container)
    assert made.instance_id == stage.instance.id
    await cancel_backup(gateway_database, stage.admin, id=made.id)
    await update_instance(
        gateway_database,
        stage.admin,
        id=stopped.id,
        state=InstanceState.RUNNING,
        sealer=SEALER,
    )
    with pytest.raises(InvalidInput, match="more than one"):
        await create(gateway_database, stage.admin, stage.container)
    for instance in (stopped, stage.instance):
        await update_instance(
            gateway_database,
            stage.admin,
            id=instance.id,
            state=InstanceState.STOPPED,
            sealer=SEALER,
        )
    with pytest.raises(InvalidInput, match="none of"):
        await create(gateway_database, stage.admin, stage.container)


async def test_a_backup_that_cannot_be_made_is_refused_with_the_reason(
    owner, gateway_database, worker_database
):
    stage = await a_stage(owner, gateway_database, worker_database)
    admin, gateway = stage.admin, gateway_database
    stateless = await a_container(gateway, admin, stateful=False)
    bare = await a_container(gateway, admin)
    there = await an_instance(gateway, admin, bare)
    stopped = await an_instance(gateway, admin, stage.container, state=InstanceState.STOPPED)
    removed = await an_instance(gateway, admin, stage.container)
    await delete_instance(gateway, admin, id=removed.id)
    unchecked = await a_container(gateway, admin)
    await a_policy(gateway, admin, unchecked, await an_unchecked_integration(gateway, admin))
    waiting = await an_instance(gateway, admin, unchecked)
    gone = await a_container(gateway, admin)
    await delete_container(
        gateway, admin, id=gone.id, confirm=gone.identifier, grace=timedelta(hours=1)
    )
    refused = [
        (stateless, there, InvalidState, "CONTAINER_NOT_STATEFUL"),
        (bare, there, InvalidState, "NO_BACKUP_POLICY"),
        (unchecked, waiting, InvalidState, "INTEGRATION_NOT_LIVE"),
        (stage.container, stopped, InvalidState, "INSTANCE_NOT_RUNNING"),
        (stage.container, removed, NotFound, "NOT_FOUND"),
        (stage.container, uuid4(), NotFound, "NOT_FOUND"),
        (stage.container, there, InvalidInput, "INVALID_INPUT"),
        (gone, stage.instance, InvalidState, "CONTAINER_DELETING"),
        (uuid4(), stage.instance, NotFound, "NOT_FOUND"),
    ]
    for container, instance, kind, code in refused:
        with pytest.raises(kind) as refusal:
            await create(gateway, admin, container, instance)
        assert refusal.value.reason == code
    assert (await count(owner, "runs"), await count(owner, "backups")) == (0, 0)


async def test_who_may_not_back_up_is_refused(owner, gateway_database, worker_database):
    stage = await a_stage(owner, gateway_database, worker_database)
    with pytest.raises(NotPermitted):
        await create(gateway_database, a_viewer(stage.admin.hub_id), stage.container)
    stranger = an_admin(await a_hub(owner))
    with pytest.raises(NotFound):
        await create(gateway_database, stranger, stage.container, stage.instance)
    made = await create(gateway_database, an_operator(stage.admin.hub_id), stage.container)
    with pytest.raises(NotFound):
        await cancel_backup(gateway_database, stranger, id=made.id)
    with pytest.raises(NotPermitted):
        await cancel_backup(gateway_database, a_viewer(stage.admin.hub_id), id=made.id)
    assert codes(await delete(gateway_database, stranger, made)) == ["NOT_FOUND"]
    with pytest.raises(NotPermitted):
        await delete(gateway_database, a_viewer(stage.admin.hub_id), made)
    assert await read_backup(gateway_database, stage, made.id) == made


async def test_an_instance_is_in_one_run_at_a_time(owner, gateway_database, worker_database):
    stage = await a_stage(owner, gateway_database, worker_database)
    made = await asyncio.gather(
        *(create(gateway_database, stage.admin, stage.container) for _ in range(6)),
        return_exceptions=True,
    )
    refused = [one.reason for one in made if isinstance(one, Conflict)]
    assert refused == ["INSTANCE_BUSY"] * 5
    assert await count(owner, "backups") == 1


async def test_a_retried_request_makes_one_backup(owner, gateway_database, worker_database):
    stage = await a_stage(owner, gateway_database, worker_database)
    made = await asyncio.gather(
        *(create(gateway_database, stage.admin, stage.container, key="k") for _ in range(5))
    )
    assert len({one.id for one in made}) == 1
    assert await count(owner, "runs") == 1
    with pytest.raises(Conflict) as refusal:
        await create(gateway_database, stage.admin, stage.container, stage.instance, key="k")
    assert refusal.value.reason == "IDEMPOTENCY_KEY_REUSED"
    await cancel_backup(gateway_database, stage.admin, id=made[0].id)
    replayed = await create(gateway_database, stage.admin, stage.container, key="k")
    assert (replayed.id, replayed.state) == (made[0].id, BackupState.CANCELED)


async def test_a_backup_races_the_deletion_of_its_container_and_is_never_left_open(
    owner, gateway_database, worker_database
):
    for _ in range(5):
        stage = await a_stage(owner, gateway_database, worker_database)
        made, _ = await asyncio.gather(
            create(gateway_database, stage.admin, stage.container),
            delete_container(
                gateway_database,
                stage.admin,
                id=stage.container.id,
                confirm=stage.container.identifier,
                grace=timedelta(0),
            ),
            return_exceptions=True,
        )
        async with owner.connection() as connection:
            open_runs = await connection.fetch(
                "select cancel from runs where container_id = $1", stage.container.id
            )
        if isinstance(made, InvalidState):
            assert (made.reason, open_runs) == ("CONTAINER_DELETING", [])
        else:
            assert [row["cancel"] for row in open_runs] == [True]


async def test_a_waiting_backup_is_cancelled_at_once(owner, gateway_database, worker_database):
    stage = await a_stage(owner, gateway_database, worker_database)
    made = await a_queued_backup(gateway_database, stage)
    canceled = await cancel_backup(gateway_database, stage.admin, id=made.id)
    assert (canceled.state, canceled.error) == (BackupState.CANCELED, None)
    assert canceled.finished_at is not None
    assert await cancel_backup(gateway_database, stage.admin, id=made.id) == canceled
    assert (await create(gateway_database, stage.admin, stage.container)).id != made.id


async def test_a_backup_that_is_saved_is_told_to_stop(owner, gateway_database, worker_database):
    stage = await a_stage(owner, gateway_database, worker_database)
    order = await a_save(gateway_database, worker_database, stage)
    told = await cancel_backup(gateway_database, stage.admin, id=order.run.id)
    assert told.state is BackupState.SAVING
    async with owner.connection() as connection:
        assert await connection.fetchval("select cancel from runs where id = $1", order.run.id)


async def test_a_cancel_and_a_claim_at_once_agree(owner, gateway_database, worker_database):
    stage = await a_stage(owner, gateway_database, worker_database)
    for _ in range(5):
        made = await a_queued_backup(gateway_database, stage)
        canceled, claimed = await asyncio.gather(
            cancel_backup(gateway_database, stage.admin, id=made.id),
            a_claim(worker_database, made.id),
            return_exceptions=True,
        )
        if isinstance(claimed, AssertionError):
            assert canceled.state is BackupState.CANCELED
            continue
        from_worker = await start_run(worker_database, claimed, sealer=SEALER)
        assert from_worker is None
        ended = await read_backup(gateway_database, stage, made.id)
        assert ended.state is BackupState.CANCELED


async def test_what_has_ended_cannot_be_cancelled(owner, gateway_database, worker_database):
    stage = await a_stage(owner, gateway_database, worker_database)
    for made in (
        await a_live_backup(gateway_database, worker_database, stage),
        await a_failed_backup(gateway_database, worker_database, stage),
    ):
        with pytest.raises(InvalidState, match=made.state):
            await cancel_backup(gateway_database, stage.admin, id=made.id)
        assert await read_backup(gateway_database, stage, made.id) == made


async def test_backups_are_listed_in_pages_in_both_directions(
    owner, gateway_database, worker_database
):
    stage = await a_stage(owner, gateway_database, worker_database)
    hub_id = stage.admin.hub_id
    made = [await a_failed_backup(gateway_database, worker_database, stage) for _ in range(5)]
    other = await a_stage(
        owner,
        gateway_database,
        worker_database,
        admin=stage.admin,
        integration=stage.integration,
    )
    elsewhere = await a_queued_backup(gateway_database, other)
    names = {one.id: str(n) for n, one in enumerate([*made, elsewhere])}

    def place(n):
        return Cursor(at=made[n].created_at, id=made[n].id)

    async def page(**arguments):
        async with gateway_database.connection(hub_id) as connection:
            asked = Page(**arguments)
            whole = await backups.page(connection, hub_id, BackupFilter(), asked)
            mine = BackupFilter(container_id=stage.container.id)
            own = await backups.page(connection, hub_id, mine, asked)
            nested = await backups.pages(
                connection,
                hub_id,
                [stage.container.id, other.container.id],
                BackupFilter(),
                asked,
            )
        assert nested[stage.container.id] == own
        return tuple(
            ("".join(names[one.id] for one in found.items), found.has_previous, found.has_next)
            for found in (whole, own)
        )

    assert await page(limit=2) == (("54", False, True), ("43", False, True))
    assert (await page(limit=2, after=place(3)))[1] == ("21", True, True)
    assert (await page(limit=2, after=place(1)))[1] == ("0", True, False)
    assert (await page(limit=2, backwards=True))[1] == ("10", True, False)
    assert (await page(limit=2, backwards=True, before=place(1)))[1] == ("32", True, True)
    assert (await page(limit=2, backwards=True, before=place(3)))[1] == ("4", False, True)
    assert await page(limit=2, ascending=True) == (("01", False, True), ("01", False, True))
    assert (await page(limit=9, ascending=True, after=place(2)))[0] == ("345", True, False)
    assert (await page(limit=2, ascending=True, backwards=True))[0] == ("45", True, False)


async def test_filters_narrow_lists_and_counts_alike(owner, gateway_database, worker_database):
    stage = await a_stage(owner, gateway_database, worker_database)
    hub_id = stage.admin.hub_id
    second = await an_instance(gateway_database, stage.admin, stage.container)
    first = await a_failed_backup(gateway_database, worker_database, stage)
    live = await a_live_backup(gateway_database, worker_database, stage, instance=second)
    await delete(gateway_database, stage.admin, first)
    queued = await a_queued_backup(gateway_database, stage)
    cases = [
        ({}, [queued, live]),
        ({"states": tuple(BackupState)}, [queued, live, first]),
        ({"states": (BackupState.DELETED,)}, [first]),
        ({"states": ()}, []),
        ({"instance_id": second.id}, [live]),
        ({"trigger": BackupTrigger.SCHEDULE}, []),
        ({"created_after": live.created_at}, [queued, live]),
        ({"created_before": live.created_at, "states": tuple(BackupState)}, [first]),
        ({"created_before": queued.created_at, "created_after": live.created_at}, [live]),
    ]
    async with gateway_database.connection(hub_id) as connection:
        for narrowed, expected in cases:
            for container_id in (None, stage.container.id):
                filter = BackupFilter(container_id=container_id, **narrowed)
                page = await backups.page(connection, hub_id, filter, Page())
                assert [one.id for one in page.items] == [one.id for one in expected]
                assert await backups.count(connection, hub_id, filter) == len(expected)


async def test_the_last_live_backup_and_the_bytes_are_those_of_each_container(
    owner, gateway_database, worker_database
):
    stage = await a_stage(owner, gateway_database, worker_database)
    gateway, worker, hub_id = gateway_database, worker_database, stage.admin.hub_id
    empty = await a_container(gateway, stage.admin)
    await a_live_backup(gateway, worker, stage, size=1)
    newest = await a_live_backup(gateway, worker, stage, size=10)
    gone = await a_live_backup(gateway, worker, stage, size=100)
    await a_failed_backup(gateway, worker, stage)
    await delete(gateway, stage.admin, gone)
    ids = [stage.container.id, empty.id]
    async with gateway.connection(hub_id) as connection:
        assert await backups.last_live(connection, hub_id, ids) == {stage.container.id: newest}
        assert await backups.stored_bytes(connection, hub_id, ids) == {
            stage.container.id: 111,
            empty.id: 0,
        }
        assert await backups.counts(connection, hub_id, ids, BackupFilter()) == {
            stage.container.id: 4,
            empty.id: 0,
        }


async def test_another_hub_reads_no_backup(owner, gateway_database, worker_database):
    stage = await a_stage(owner, gateway_database, worker_database)
    made = await a_queued_backup(gateway_database, stage)
    stranger = an_admin(await a_hub(owner))
    # Either lock by itself: the statement's hub, and the policy's.
    for bound, asked in (
        (stranger.hub_id, stage.admin.hub_id),
        (stage.admin.hub_id, stranger.hub_id),
    ):
        async with gateway_database.connection(bound) as connection:
            assert await backups.get(connection, asked, made.id) is None
            page = await backups.page(connection, asked, BackupFilter(), Page())
            assert page.items == []
            assert await backups.count(connection, asked, BackupFilter()) == 0
            nested = await backups.pages(
                connection, asked, [stage.container.id], BackupFilter(), Page()
            )
            assert nested[stage.container.id].items == []
