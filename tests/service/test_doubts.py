"""What is good: not what was saved of an instance that a failed restore left in pieces."""

from dataclasses import replace

import pytest

from app.errors import CheckFailed, NotPermitted, StorageUnavailable
from app.model.backups import StorageStatus
from app.model.retention import Retention, RetentionCode
from app.model.verifications import VerificationLevel, VerificationPlan
from app.service.backups import delete_backups, update_backup
from app.service.endings import fail_run, finish_restore, finish_verification
from app.service.instances import update_instance
from app.service.retention import plans
from app.service.runs import mark_touched
from app.service.stored_objects import record_looks
from tests.builders import (
    SEALER,
    a_live_backup,
    a_policy,
    a_started_restore,
    an_instance,
    an_operator,
)
from tests.service.aged_backups import DAY, codes_of, keep, run_it
from tests.verification_builders import a_started_verification


async def break_a_restore(gateway, worker, stage, backup):
    """A restore that had begun to feed its command."""
    order = await a_started_restore(gateway, worker, stage, backup)
    await mark_touched(worker, order.run.id, order.run.epoch)
    await fail_run(
        worker, order.run.id, order.run.epoch, error=StorageUnavailable(), exit_code=None
    )
    return order


async def doubts(gateway, stage, backups):
    hub_id = stage.admin.hub_id
    async with gateway.connection(hub_id) as connection:
        found = await plans(connection, hub_id, [stage.container.id])
    marks = {backup.id: backup.in_doubt for backup, _ in found[stage.container.id].values()}
    return [marks[one.id] for one in backups]


async def test_what_is_saved_after_a_failed_restore_is_in_doubt_until_one_succeeds(
    gateway_database, worker_database, stage
):
    gateway, worker = gateway_database, worker_database
    before = await a_live_backup(gateway, worker, stage)
    await break_a_restore(gateway, worker, stage, before)
    meanwhile = await a_live_backup(gateway, worker, stage)
    elsewhere = await a_live_backup(
        gateway, worker, stage, instance=await an_instance(gateway, stage.admin, stage.container)
    )
    assert await doubts(gateway, stage, [before, meanwhile, elsewhere]) == [False, True, False]
    order = await a_started_restore(gateway, worker, stage, before)
    await finish_restore(worker, order, 0)
    after = await a_live_backup(gateway, worker, stage)
    # What was saved of the broken data stays what it is.
    assert await doubts(gateway, stage, [before, meanwhile, after]) == [False, True, False]


async def test_a_restore_whose_command_never_ran_leaves_no_doubt(
    gateway_database, worker_database, stage
):
    gateway, worker = gateway_database, worker_database
    before = await a_live_backup(gateway, worker, stage)
    order = await a_started_restore(gateway, worker, stage, before)
    await fail_run(
        worker, order.run.id, order.run.epoch, error=StorageUnavailable(), exit_code=None
    )
    after = await a_live_backup(gateway, worker, stage)
    assert await doubts(gateway, stage, [after]) == [False]


async def test_an_admin_ends_the_doubt_and_an_operator_does_not(
    gateway_database, worker_database, stage
):
    gateway, worker = gateway_database, worker_database
    before = await a_live_backup(gateway, worker, stage)
    await break_a_restore(gateway, worker, stage, before)
    meanwhile = await a_live_backup(gateway, worker, stage)
    marking = {"id": stage.instance.id, "sealer": SEALER, "mark_as_well": True}
    with pytest.raises(NotPermitted):
        await update_instance(gateway, an_operator(stage.admin.hub_id), **marking)
    assert await doubts(gateway, stage, [meanwhile]) == [True]
    await update_instance(gateway, stage.admin, **marking)
    after = await a_live_backup(gateway, worker, stage)
    assert await doubts(gateway, stage, [meanwhile, after]) == [True, False]


async def test_an_operator_and_the_rule_know_the_same_good_ones(
    gateway_database, worker_database, stage, a_backup_of_days
):
    """The oldest is the only good one: what is newer is missing, or saved from broken data."""
    gateway, worker = gateway_database, worker_database
    good = await a_backup_of_days(9)
    lost = await a_backup_of_days(8)
    await record_looks(gateway, stage.admin.hub_id, {lost.id: StorageStatus.MISSING})
    await break_a_restore(gateway, worker, stage, good)
    broken = await a_live_backup(gateway, worker, stage)
    await keep(gateway, stage, max_age=2 * DAY)
    made = [good, lost, broken]
    assert await codes_of(gateway, stage, made) == [
        "LAST_GOOD",
        "OLDER_THAN_MAX_AGE",
        "WITHIN_MAX_AGE",
    ]
    operator = an_operator(stage.admin.hub_id)
    answers = await delete_backups(gateway, operator, ids=[(str(good.id), good.id)])
    assert [one.refusal.reason for one in answers] == ["LAST_GOOD_BACKUP"]
    ids = [(str(one.id), one.id) for one in (lost, broken)]
    assert [one.refusal for one in await delete_backups(gateway, operator, ids=ids)] == [None] * 2


async def test_a_pinned_one_stays_and_goes_once_it_is_not(
    gateway_database, worker_database, stage, a_backup_of_days, states
):
    made = [await a_backup_of_days(days) for days in (9, 8, 7)]
    await update_backup(gateway_database, stage.admin, id=made[0].id, pinned=True)
    assert await run_it(worker_database, stage) == 0
    await update_backup(gateway_database, stage.admin, id=made[0].id, pinned=False)
    assert await run_it(worker_database, stage) == 1
    assert await states(made) == ["DELETING", "LIVE", "LIVE"]


async def test_a_policy_may_be_tried_without_being_set(gateway_database, stage, a_backup_of_days):
    made = [await a_backup_of_days(days) for days in (9, 8, 7)]
    hub_id, id = stage.admin.hub_id, stage.container.id
    async with gateway_database.connection(hub_id) as connection:
        current = stage.policy
        found = await plans(connection, hub_id, [id], replace(current, retention=Retention()))
    assert {verdict.code for _, verdict in found[id].values()} == {RetentionCode.WITHIN_MAX_AGE}
    assert (await codes_of(gateway_database, stage, made))[0] == "FILLS_NO_SLOT"


async def test_a_backup_whose_verification_failed_is_no_good_one(
    gateway_database, worker_database, stage, a_backup_of_days
):
    """The older one is the last good one then, and stays."""
    gateway, worker = gateway_database, worker_database
    older, newer = await a_backup_of_days(9), await a_backup_of_days(8)
    await keep(gateway, stage, max_age=2 * DAY)
    assert await codes_of(gateway, stage, [older, newer]) == ["OLDER_THAN_MAX_AGE", "LAST_GOOD"]
    # One that only had something in its way says nothing of the backup.
    order = await a_started_verification(gateway, worker, stage, newer)
    away = StorageUnavailable("It is away.")
    await fail_run(worker, order.run.id, order.run.epoch, error=away, exit_code=None)
    assert await codes_of(gateway, stage, [older, newer]) == ["OLDER_THAN_MAX_AGE", "LAST_GOOD"]
    order = await a_started_verification(gateway, worker, stage, newer)
    await fail_run(worker, order.run.id, order.run.epoch, error=CheckFailed(), exit_code=1)
    assert await codes_of(gateway, stage, [older, newer]) == ["LAST_GOOD", "OLDER_THAN_MAX_AGE"]
    order = await a_started_verification(gateway, worker, stage, newer)
    await finish_verification(worker, order, exit_code=None)
    assert await codes_of(gateway, stage, [older, newer]) == ["OLDER_THAN_MAX_AGE", "LAST_GOOD"]


async def test_a_proof_ends_the_doubt_from_that_backup_on(gateway_database, worker_database, stage):
    gateway, worker = gateway_database, worker_database
    before = await a_live_backup(gateway, worker, stage)
    await break_a_restore(gateway, worker, stage, before)
    stored = await a_live_backup(gateway, worker, stage)
    order = await a_started_verification(gateway, worker, stage, stored)
    await finish_verification(worker, order, exit_code=None)
    # That the bytes are there says nothing of what they are.
    assert await doubts(gateway, stage, [before, stored]) == [False, True]
    plan = VerificationPlan(
        level=VerificationLevel.READABLE, after_each=True, check="cat > /dev/null"
    )
    await a_policy(gateway, stage.admin, stage.container, stage.integration, verification=plan)
    read = await a_live_backup(gateway, worker, stage)
    order = await a_started_verification(
        gateway, worker, stage, read, level=VerificationLevel.READABLE
    )
    await finish_verification(worker, order, exit_code=0)
    after = await a_live_backup(gateway, worker, stage)
    assert await doubts(gateway, stage, [before, stored, read, after]) == [
        False,
        True,
        False,
        False,
    ]
