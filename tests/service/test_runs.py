"""Runs: claimed by one, started, taken over."""

import asyncio
import re
from datetime import timedelta
from uuid import uuid4

import pytest

from app.errors import Fenced
from app.model.backups import BackupState
from app.model.integrations import Realm
from app.model.orders import (
    Leftover,
    RestoreOrder,
    SaveOrder,
    StoredObject,
)
from app.model.restores import RestorePhase, RestoreState
from app.model.runs import RunError, run_mark
from app.service.backups import cancel_backup
from app.service.containers import delete_container
from app.service.endings import (
    finish_backup,
)
from app.service.runs import (
    mark_touched,
    record_trace,
    record_upload,
    renew_leases,
    set_phase,
    start_run,
)
from app.service.secrets import Sealer, make_key
from tests.builders import (
    HOST,
    OWNER,
    PLACES,
    SEALER,
    a_claim,
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
from tests.run_rows import (
    NO_TIME,
    claim,
    lease_of,
    let_lease_pass,
    reclaims_of,
    row_of,
    waiting_runs,
)


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
    held = {(order.run.id, 1), (lost_order.run.id, 1)}
    renew = {"held": held, "ttl": timedelta(hours=5)}
    assert await renew_leases(worker_database, owner=OWNER, **renew) == {order.run.id}
    assert await renew_leases(worker_database, owner="a stranger", **renew) == set()
    lease = await lease_of(owner, stage.instance.id)
    async with owner.connection() as connection:
        now = await connection.fetchval("select now()")
    assert timedelta(hours=4) < lease["lease_until"] - now < timedelta(hours=6)


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
    assert re.fullmatch(
        f"backups/{order.place.installation_id}/{stage.admin.hub_id}/{stage.container.id}/"
        f"{order.backup.id}-[0-9a-f]{{8}}-1",
        order.object_name,
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
    assert order.object == StoredObject(
        name=backup.object_name,
        file_id=backup.file_id,
        size_bytes=5000,
        sha256=bytes(range(32)),
        chunk_hashes=bytes(32),
    )
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
