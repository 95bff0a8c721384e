"""Verifications as services: what is refused, moved, fenced, freed, kept and told of."""

from datetime import timedelta

import pytest

from app.errors import (
    CheckFailed,
    Conflict,
    Fenced,
    InvalidState,
    NotFound,
    NotPermitted,
    ObjectMismatch,
    StorageUnavailable,
)
from app.model.backups import BackupState, StorageStatus
from app.model.restores import RestoreState, RestoreTrigger
from app.model.verifications import VerificationLevel, VerificationState
from app.service.backups import delete_backups
from app.service.containers import delete_container
from app.service.endings import fail_run, finish_verification, requeue_run
from app.service.restores import cancel_restore
from app.service.runs import claim_run, mark_touched, renew_leases, start_run
from app.service.sweeps import end_owner_lost, end_past_deadline, prune
from app.service.verifications import cancel_verification, verify_backup
from tests.builders import (
    OWNER,
    PLACES,
    SEALER,
    START_WITHIN,
    TTL,
    a_claim,
    a_live_backup,
    a_policy,
    a_stage,
    a_started_restore,
    a_viewer,
    an_instance,
    read_backup,
    read_restore,
)
from tests.run_rows import waiting_runs
from tests.verification_builders import (
    a_queued_verification,
    a_started_verification,
    read_verification,
)

NO_TIME = timedelta(0)
RESTORABLE = VerificationLevel.RESTORABLE
READABLE = VerificationLevel.READABLE


async def _stage(owner, gateway, worker):
    stage = await a_stage(owner, gateway, worker)
    return stage, await a_live_backup(gateway, worker, stage)


async def _checked(gateway, stage):
    """A policy whose check decides on RESTORABLE, and a scratch instance."""
    await a_policy(
        gateway, stage.admin, stage.container, stage.integration, restore_check="test -s data"
    )
    return await an_instance(gateway, stage.admin, stage.container, scratch=True)


async def _lease_count(owner):
    async with owner.connection() as connection:
        return await connection.fetchval("select count(*) from leases where instance_id is null")


async def test_a_run_without_an_instance_has_a_lease_of_its_own_and_is_fenced(
    owner, gateway_database, worker_database
):
    stage, backup = await _stage(owner, gateway_database, worker_database)
    made = await a_queued_verification(gateway_database, stage, backup)
    first = await a_claim(worker_database, made.id, ttl=NO_TIME)
    assert (first.instance, first.run.instance_id) == (None, None)
    assert await waiting_runs(worker_database, PLACES, 10) == [made.id]
    lost = await start_run(worker_database, first, sealer=SEALER)
    second = await a_claim(worker_database, made.id, owner="another")
    assert second.run.epoch == 2
    assert await claim_run(worker_database, made.id, owner="third", places=PLACES, ttl=TTL) is None
    assert await waiting_runs(worker_database, PLACES, 10) == []
    held = {(made.id, 2)}
    assert await renew_leases(worker_database, owner="another", held=held, ttl=TTL) == {made.id}
    assert await renew_leases(worker_database, owner=OWNER, held={(made.id, 1)}, ttl=TTL) == set()
    with pytest.raises(Fenced):
        await finish_verification(worker_database, lost, None)
    order = await start_run(worker_database, second, sealer=SEALER)
    assert await start_run(worker_database, second, sealer=SEALER) == order
    await finish_verification(worker_database, order, None)
    await finish_verification(worker_database, order, None)
    assert await _lease_count(owner) == 0
    ended = await read_verification(gateway_database, stage, made.id)
    assert (ended.state, ended.error) == (VerificationState.PASSED, None)
    kept = await read_backup(gateway_database, stage, backup.id)
    assert kept.storage_status is StorageStatus.PRESENT


async def test_a_verification_that_was_handed_off_is_done_by_another(
    owner, gateway_database, worker_database
):
    stage, backup = await _stage(owner, gateway_database, worker_database)
    order = await a_started_verification(gateway_database, worker_database, stage, backup)
    await requeue_run(worker_database, order.run.id, 1)
    await requeue_run(worker_database, order.run.id, 1)
    again = await read_verification(gateway_database, stage, order.run.id)
    assert (again.state, await _lease_count(owner)) == (VerificationState.QUEUED, 0)
    assert (await a_claim(worker_database, order.run.id)).run.epoch == 3


async def test_a_run_without_an_instance_whose_owner_is_gone_ends(
    owner, gateway_database, worker_database
):
    stage, backup = await _stage(owner, gateway_database, worker_database)
    order = await a_started_verification(
        gateway_database, worker_database, stage, backup, ttl=NO_TIME
    )
    assert await end_owner_lost(worker_database, NO_TIME) == 1
    late = await a_started_verification(gateway_database, worker_database, stage, backup)
    async with owner.connection() as connection:
        past = "update runs set deadline_at = now() - interval '1 minute' where id = $1"
        await connection.execute(past, late.run.id)
    assert await end_past_deadline(worker_database, NO_TIME) == 1
    for id, code in ((order.run.id, "OWNER_LOST"), (late.run.id, "TIMED_OUT")):
        ended = await read_verification(gateway_database, stage, id)
        assert ended.error is not None
        assert (ended.state, ended.error.code) == (VerificationState.FAILED, code)
    assert await _lease_count(owner) == 0


async def test_failures_are_told_of_and_what_they_say_of_the_object_is_kept(
    owner, gateway_database, worker_database
):
    stage, backup = await _stage(owner, gateway_database, worker_database)
    for error, status in (
        (StorageUnavailable(), StorageStatus.UNCHECKED),
        (ObjectMismatch(), StorageStatus.MISMATCH),
    ):
        order = await a_started_verification(gateway_database, worker_database, stage, backup)
        await fail_run(worker_database, order.run.id, 1, error=error, exit_code=None)
        assert (await read_backup(gateway_database, stage, backup.id)).storage_status is status
    async with owner.connection() as connection:
        told = await connection.fetch(
            "select kind, verification_id, backup_id, data ->> 'code' as code from events"
            " order by number"
        )
    assert [(e["kind"], e["backup_id"], e["code"]) for e in told] == [
        ("VERIFICATION_FAILED", backup.id, "STORAGE_UNAVAILABLE"),
        ("VERIFICATION_FAILED", backup.id, "OBJECT_MISMATCH"),
    ]
    assert told[1]["verification_id"] == order.run.id


async def test_a_restorable_verification_moves_with_its_restore(
    owner, gateway_database, worker_database
):
    stage, backup = await _stage(owner, gateway_database, worker_database)
    scratch = await _checked(gateway_database, stage)
    order = await a_started_verification(
        gateway_database, worker_database, stage, backup, level=RESTORABLE
    )
    assert (order.instance, order.run.command) == (scratch, "cat > data")
    assert order.restore is not None
    assert (order.restore.trigger, order.restore.check_command) == (
        RestoreTrigger.VERIFICATION,
        "test -s data",
    )
    await mark_touched(worker_database, order.run.id, 1)
    await fail_run(worker_database, order.run.id, 1, error=CheckFailed(), exit_code=1)
    restore = await read_restore(gateway_database, stage, order.run.id)
    verification = await read_verification(gateway_database, stage, order.run.id)
    assert (restore.state, verification.state) == (RestoreState.FAILED, VerificationState.FAILED)


async def test_a_restorable_verification_is_never_repeated_once_a_byte_arrived(
    owner, gateway_database, worker_database
):
    stage, backup = await _stage(owner, gateway_database, worker_database)
    await _checked(gateway_database, stage)
    order = await a_started_verification(
        gateway_database, worker_database, stage, backup, level=RESTORABLE, ttl=NO_TIME
    )
    await mark_touched(worker_database, order.run.id, 1)
    again = await a_claim(worker_database, order.run.id)
    assert await start_run(worker_database, again, sealer=SEALER) is None
    ended = await read_verification(gateway_database, stage, order.run.id)
    assert ended.error is not None
    assert (ended.state, ended.error.code) == (VerificationState.FAILED, "INTERRUPTED")


@pytest.mark.parametrize("by_its_restore", [False, True])
async def test_a_waiting_verification_is_cancelled_at_once_with_its_restore(
    owner, gateway_database, worker_database, by_its_restore
):
    stage, backup = await _stage(owner, gateway_database, worker_database)
    await _checked(gateway_database, stage)
    made = await a_queued_verification(gateway_database, stage, backup, level=RESTORABLE)
    cancel = cancel_restore if by_its_restore else cancel_verification
    await cancel(gateway_database, stage.admin, id=made.id)
    await cancel(gateway_database, stage.admin, id=made.id)
    restore = await read_restore(gateway_database, stage, made.id)
    verification = await read_verification(gateway_database, stage, made.id)
    assert (restore.state, verification.state) == (
        RestoreState.CANCELED,
        VerificationState.CANCELED,
    )
    assert (await a_queued_verification(gateway_database, stage, backup, level=RESTORABLE)).id


async def test_what_could_not_work_is_refused_and_nothing_is_queued(
    owner, gateway_database, worker_database
):
    stage, backup = await _stage(owner, gateway_database, worker_database)
    elsewhere = await a_stage(owner, gateway_database, worker_database)

    async def refused(error, code=None, *, principal=stage.admin, **arguments):
        asked = {"backup_id": backup.id, "level": READABLE, "instance_id": None} | arguments
        with pytest.raises(error) as found:
            await verify_backup(gateway_database, principal, start_within=START_WITHIN, **asked)
        assert code is None or found.value.reason == code

    await refused(NotPermitted, principal=a_viewer(stage.admin.hub_id))
    await refused(NotFound, principal=elsewhere.admin)
    await refused(InvalidState, "NO_CHECK_COMMAND")
    await refused(InvalidState, "NO_CHECK_COMMAND", level=RESTORABLE)
    scratch = await _checked(gateway_database, stage)
    await refused(InvalidState, "NOT_SCRATCH", level=RESTORABLE, instance_id=stage.instance.id)
    await a_queued_verification(gateway_database, stage, backup, level=RESTORABLE)
    await refused(Conflict, "INSTANCE_BUSY", level=RESTORABLE, instance_id=scratch.id)
    await a_policy(
        gateway_database,
        stage.admin,
        stage.container,
        stage.integration,
        backup_command="another",
        restore_check="true",
    )
    await refused(InvalidState, "COMMAND_CHANGED", level=RESTORABLE)
    async with owner.connection() as connection:
        assert await connection.fetchval("select count(*) from verifications") == 1


async def test_a_backup_that_a_verification_reads_is_not_deleted(
    owner, gateway_database, worker_database
):
    stage, backup = await _stage(owner, gateway_database, worker_database)
    spare = await a_live_backup(gateway_database, worker_database, stage)
    assert spare.state is BackupState.LIVE
    order = await a_started_verification(gateway_database, worker_database, stage, backup)
    ids = [(str(backup.id), backup.id)]
    [deletion] = await delete_backups(gateway_database, stage.admin, ids=ids)
    assert deletion.refusal is not None
    assert deletion.refusal.reason == "BACKUP_IN_USE"
    await finish_verification(worker_database, order, None)
    [deletion] = await delete_backups(gateway_database, stage.admin, ids=ids)
    assert deletion.refusal is None


async def test_the_deletion_of_its_container_cancels_a_verification(
    owner, gateway_database, worker_database
):
    stage, backup = await _stage(owner, gateway_database, worker_database)
    made = await a_queued_verification(gateway_database, stage, backup)
    await delete_container(
        gateway_database,
        stage.admin,
        id=stage.container.id,
        confirm=stage.container.identifier,
        grace=NO_TIME,
    )
    claimed = await a_claim(worker_database, made.id)
    assert await start_run(worker_database, claimed, sealer=SEALER) is None
    ended = await read_verification(gateway_database, stage, made.id)
    assert ended.state is VerificationState.CANCELED


async def test_old_verifications_go_but_the_last_word_on_a_backup_stays(
    owner, gateway_database, worker_database
):
    stage, backup = await _stage(owner, gateway_database, worker_database)
    await _checked(gateway_database, stage)
    orders = [
        await a_started_verification(gateway_database, worker_database, stage, backup, level=level)
        for level in (RESTORABLE, VerificationLevel.STORED)
    ]
    for order in orders:
        await finish_verification(worker_database, order, None)
    async with owner.connection() as connection:
        old = "update runs set finished_at = finished_at - interval '100 days'"
        await connection.execute(old)
    assert await prune(worker_database, timedelta(days=90)) == 1
    assert await prune(worker_database, timedelta(days=90)) == 0
    async with owner.connection() as connection:
        assert await connection.fetchval("select count(*) from restores") == 0
        left = await connection.fetch("select id from verifications")
    assert [row["id"] for row in left] == [orders[1].run.id]


async def test_a_restore_in_progress_still_counts_as_one_lease(
    owner, gateway_database, worker_database
):
    """A run that needs no instance and one that does are renewed alike."""
    stage, backup = await _stage(owner, gateway_database, worker_database)
    proof = await a_started_verification(gateway_database, worker_database, stage, backup)
    restore = await a_started_restore(gateway_database, worker_database, stage, backup)
    held = {(proof.run.id, 1), (restore.run.id, 1)}
    renewed = await renew_leases(worker_database, owner=OWNER, held=held, ttl=TTL)
    assert renewed == {proof.run.id, restore.run.id}
