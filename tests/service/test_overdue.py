"""Overdue: what no backup answered in time; and what is told of failures and of sizes."""

import pytest

from app.errors import CommandFailed
from app.queries import backups
from app.service.endings import fail_run, finish_backup
from app.service.schedules import tell_overdue
from tests.builders import (
    a_live_backup,
    a_policy,
    a_save,
    a_stage,
    an_instance,
    stored_bytes,
)
from tests.schedule_rows import (
    DAILY,
    HOUR,
    MINUTE,
    backups_of,
    carry_out,
    events_of,
    finish,
    kinds,
    make_due,
    pass_time,
    row_of,
    run,
    state_of,
)


@pytest.fixture
async def stage(owner, gateway_database, worker_database):
    """A container that is due daily, with one running instance."""
    found = await a_stage(owner, gateway_database, worker_database)
    await a_policy(gateway_database, found.admin, found.container, found.integration, cron=DAILY)
    return found


# --- overdue ------------------------------------------------------------------------------------


async def test_a_time_that_no_backup_answers_is_overdue_and_told_once(
    owner, gateway_database, worker_database, stage
):
    await make_due(owner)
    await run(worker_database)
    [made] = await backups_of(owner, stage)
    order = await carry_out(worker_database, made["id"])
    await fail_run(worker_database, made["id"], order.run.epoch, error=CommandFailed(), exit_code=1)
    assert await kinds(owner, stage) == ["BACKUP_FAILED"]
    assert await tell_overdue(worker_database) == 0
    assert (await state_of(gateway_database, stage)).overdue_since is None

    await pass_time(owner, HOUR)
    expected_by = (await row_of(owner, stage.container))["expected_by"]
    # True at once, and without any worker.
    assert (await state_of(gateway_database, stage)).overdue_since == expected_by
    assert await tell_overdue(worker_database) == 1
    assert await tell_overdue(worker_database) == 0
    # Another time that fails makes nothing new of it.
    await make_due(owner)
    await run(worker_database)
    assert await tell_overdue(worker_database) == 0
    assert (await state_of(gateway_database, stage)).overdue_since == expected_by
    assert await kinds(owner, stage) == ["BACKUP_FAILED", "BACKUP_OVERDUE"]

    *_, second = await backups_of(owner, stage)
    await finish(worker_database, second["id"])
    assert (await state_of(gateway_database, stage)).overdue_since is None
    await make_due(owner)
    await run(worker_database)
    await pass_time(owner, HOUR)
    assert await tell_overdue(worker_database) == 1


async def test_that_no_worker_runs_is_overdue_too(owner, gateway_database, stage):
    await make_due(owner, ago=59 * MINUTE)
    assert (await state_of(gateway_database, stage)).overdue_since is None
    await make_due(owner, ago=61 * MINUTE)
    state = await state_of(gateway_database, stage)
    assert state.overdue_since == state.next_at + HOUR


async def test_a_backup_that_was_asked_for_answers_it_as_well(
    owner, gateway_database, worker_database, stage
):
    await make_due(owner)
    await run(worker_database)
    [made] = await backups_of(owner, stage)
    order = await carry_out(worker_database, made["id"])
    await fail_run(worker_database, made["id"], order.run.epoch, error=CommandFailed(), exit_code=1)
    await pass_time(owner, HOUR)
    await a_live_backup(gateway_database, worker_database, stage)
    assert (await state_of(gateway_database, stage)).overdue_since is None


async def test_an_older_backup_answers_nothing(owner, gateway_database, worker_database, stage):
    order = await a_save(gateway_database, worker_database, stage)
    async with owner.connection() as connection:
        await connection.execute("update backups set created_at = now() - interval '5 minutes'")
    await make_due(owner)
    await run(worker_database)
    before = await row_of(owner, stage.container)
    async with gateway_database.connection(stage.admin.hub_id) as connection:
        backup = await backups.get(connection, stage.admin.hub_id, order.backup.id)
    order = type(order)(**{**{n: getattr(order, n) for n in order.__slots__}, "backup": backup})
    await finish_backup(worker_database, order, stored_bytes())
    after = await row_of(owner, stage.container)
    assert after["unanswered_at"] == before["unanswered_at"] is not None


async def test_each_instance_that_the_policy_means_has_to_be_saved(
    owner, gateway_database, worker_database, stage
):
    await an_instance(gateway_database, stage.admin, stage.container, hostname="9.last")
    async with owner.connection() as connection:
        await connection.execute("update instances set created_at = now() - interval '1 hour'")
    await make_due(owner)
    await run(worker_database)
    first, last = await backups_of(owner, stage)
    await finish(worker_database, first["id"])
    assert (await row_of(owner, stage.container))["unanswered_at"] is not None
    await finish(worker_database, last["id"])
    assert (await row_of(owner, stage.container))["unanswered_at"] is None


async def test_a_slow_backup_is_given_twice_what_the_last_one_took(owner, worker_database, stage):
    async with owner.connection() as connection:
        await connection.execute("update schedules set last_duration = '3 hours'")
    await make_due(owner)
    await run(worker_database)
    row = await row_of(owner, stage.container)
    assert row["expected_by"] == row["last_at"] + 6 * HOUR


# --- sizes, failures, hubs ----------------------------------------------------------------------


async def test_a_backup_of_under_half_the_usual_size_is_marked_and_told(
    owner, gateway_database, worker_database, stage
):
    sizes = [10, 1000, 1100, 900, 1000, 1000, 499, 500]
    other = await an_instance(gateway_database, stage.admin, stage.container)
    await a_live_backup(gateway_database, worker_database, stage, instance=other, size=10**6)
    made = [
        await a_live_backup(gateway_database, worker_database, stage, size=size) for size in sizes
    ]
    assert [backup.size_dropped for backup in made] == [False] * 6 + [True, False]
    [event] = await events_of(owner, stage)
    assert event["kind"] == "BACKUP_SIZE_DROPPED"
    assert event["data"] == {"hostname": stage.instance.hostname, "sizeBytes": 499}
    # What is saved before a restore is what was wrong: it neither tells of a drop nor counts.
    async with owner.connection() as connection:
        await connection.execute(
            "update backups set trigger = 'PRE_RESTORE' where size_bytes >= 900"
        )
    last = await a_live_backup(gateway_database, worker_database, stage, size=300)
    assert not last.size_dropped


async def test_every_failed_backup_is_told_of_and_a_cancelled_one_is_not(
    owner, gateway_database, worker_database, stage
):
    order = await a_save(gateway_database, worker_database, stage)
    await fail_run(
        worker_database, order.run.id, order.run.epoch, error=CommandFailed(), exit_code=1
    )
    [event] = await events_of(owner, stage)
    assert event["kind"] == "BACKUP_FAILED"
    assert event["message"] == f"The backup of {stage.instance.hostname} failed (COMMAND_FAILED)."
    assert event["data"] == {
        "code": "COMMAND_FAILED",
        "hostname": stage.instance.hostname,
        "trigger": "MANUAL",
    }
