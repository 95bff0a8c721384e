"""Schedules: what a tick makes, once, whatever it finds; what is overdue, and what is told."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from app.errors import CommandFailed
from app.model.containers import InstanceState
from app.model.policies import NewPolicy
from app.model.schedules import InstanceSelection, jitter
from app.queries import backups, schedules
from app.service.backups import create_backup
from app.service.containers import delete_container, undelete_container
from app.service.endings import finish_backup
from app.service.instances import update_instance
from app.service.integration_checks import check_failed, due_checks
from app.service.integrations import delete_integration, update_integration
from app.service.policies import configure_backups
from app.service.sweeps import end_unstarted
from tests.builders import (
    SEALER,
    START_WITHIN,
    a_container,
    a_hub,
    a_policy,
    a_stage,
    an_admin,
    an_instance,
    stored_bytes,
)
from tests.schedule_rows import (
    DAILY,
    DAY,
    HOUR,
    MINUTE,
    NO_JITTER,
    backups_of,
    carry_out,
    events_of,
    finish,
    kinds,
    make_due,
    row_of,
    run,
    states,
)


@pytest.fixture
async def stage(owner, gateway_database, worker_database):
    """A container that is due daily, with one running instance."""
    found = await a_stage(owner, gateway_database, worker_database)
    await a_policy(gateway_database, found.admin, found.container, found.integration, cron=DAILY)
    return found


# --- with the policy ----------------------------------------------------------------------------


async def test_a_schedule_comes_changes_and_goes_with_its_policy(
    owner, gateway_database, worker_database, stage
):
    made = await row_of(owner, stage.container)
    assert made["next_at"] - made["due_at"] == jitter(stage.container.id)
    assert made["due_at"].strftime("%H:%M:%S") == "03:00:00"
    now = datetime.now(UTC)
    assert now < made["next_at"] <= now + DAY + MINUTE * 5

    args = (gateway_database, stage.admin, stage.container, stage.integration)
    await make_due(owner)
    due = await row_of(owner, stage.container)
    await a_policy(*args, cron=DAILY, backup_command="tar c .")
    assert await row_of(owner, stage.container) == due

    # What was missed is caught up first, by whatever expression it had been due.
    await a_policy(*args, cron=DAILY, time_zone="Asia/Kolkata")
    assert await row_of(owner, stage.container) == due
    await run(worker_database)
    assert len(await backups_of(owner, stage)) == 1
    changed = await row_of(owner, stage.container)
    assert changed["due_at"].strftime("%H:%M:%S") == "21:30:00"
    assert changed["next_at"] > now
    for ending in ({"cron": DAILY, "enabled": False}, {}):
        await a_policy(*args, **ending)
        assert await row_of(owner, stage.container) is None
        await a_policy(*args, cron="@hourly")
        assert await row_of(owner, stage.container) is not None
    await configure_backups(
        gateway_database, stage.admin, container_id=stage.container.id, policy=None
    )
    assert await row_of(owner, stage.container) is None


async def test_deleting_the_container_ends_its_schedule(
    owner, gateway_database, worker_database, stage
):
    await make_due(owner)
    await delete_container(
        gateway_database,
        stage.admin,
        id=stage.container.id,
        confirm=stage.container.identifier,
        grace=HOUR,
    )
    assert await row_of(owner, stage.container) is None
    assert await run(worker_database) == 0
    assert await backups_of(owner, stage) == []


async def test_a_container_that_comes_back_is_due_again_without_what_it_missed(
    owner, gateway_database, worker_database, stage
):
    await make_due(owner)
    await delete_container(
        gateway_database,
        stage.admin,
        id=stage.container.id,
        confirm=stage.container.identifier,
        grace=HOUR,
    )
    await undelete_container(gateway_database, stage.admin, id=stage.container.id)
    back = await row_of(owner, stage.container)
    assert back["next_at"] - back["due_at"] == jitter(stage.container.id)
    assert back["next_at"] > datetime.now(UTC)
    assert await run(worker_database) == 0


async def test_an_integration_that_is_forced_away_ends_the_schedules_that_save_to_it(
    owner, gateway_database, worker_database, stage
):
    await make_due(owner)
    await delete_integration(gateway_database, stage.admin, id=stage.integration.id, force=True)
    assert await row_of(owner, stage.container) is None
    assert await run(worker_database) == 0


async def test_without_jitter_backups_are_made_when_they_are_due(owner, gateway_database, stage):
    await configure_backups(
        gateway_database,
        stage.admin,
        container_id=stage.container.id,
        policy=NewPolicy(integration_id=stage.integration.id, backup_command="x", cron="@hourly"),
        most_jitter=NO_JITTER,
    )
    row = await row_of(owner, stage.container)
    assert row["next_at"] == row["due_at"]


# --- the tick -----------------------------------------------------------------------------------


async def test_what_is_due_becomes_a_backup_that_a_worker_carries_out(
    owner, worker_database, stage
):
    assert await run(worker_database) == 0
    await make_due(owner)
    before = await row_of(owner, stage.container)
    assert await run(worker_database) == 1
    [made] = await backups_of(owner, stage)
    assert (made["state"], made["trigger"]) == ("QUEUED", "SCHEDULE")
    assert (made["requested_by_kind"], made["requested_by_name"]) == ("SCHEDULE", f"{DAILY} UTC")
    after = await row_of(owner, stage.container)
    assert (after["last_at"], after["unanswered_at"]) == (before["next_at"], before["next_at"])
    assert after["expected_by"] == before["next_at"] + HOUR
    assert timedelta(0) < after["next_at"] - made["created_at"] <= DAY
    # Not any more once the next one is due.
    assert made["start_by"] == after["next_at"]
    assert await run(worker_database) == 0

    await finish(worker_database, made["id"])
    assert await states(owner, stage) == [("LIVE", None)]
    answered = await row_of(owner, stage.container)
    assert (answered["unanswered_at"], answered["expected_by"]) == (None, None)
    assert answered["last_duration"] is not None
    assert await kinds(owner, stage) == []


async def test_what_was_missed_for_days_is_caught_up_once(owner, worker_database, stage):
    await make_due(owner, ago=10 * DAY)
    assert await run(worker_database) == 1
    assert await run(worker_database) == 0
    assert await states(owner, stage) == [("QUEUED", None)]


async def test_racing_ticks_make_no_duplicate(owner, gateway_database, worker_database, stage):
    for _ in range(11):
        container = await a_container(gateway_database, stage.admin)
        await an_instance(gateway_database, stage.admin, container)
        await a_policy(gateway_database, stage.admin, container, stage.integration, cron=DAILY)
    await make_due(owner)
    taken = await asyncio.gather(*(run(worker_database, limit=5) for _ in range(6)))
    taken += [await run(worker_database) for _ in range(2)]
    assert sum(taken) == 12
    async with owner.connection() as connection:
        counts = await connection.fetch("select count(*) from backups group by container_id")
    assert [row["count"] for row in counts] == [1] * 12


async def test_a_tick_that_fails_leaves_nothing_and_the_time_stays_due(
    owner, worker_database, stage
):
    await make_due(owner)
    async with owner.connection() as connection:
        await connection.execute(
            "alter table backups add constraint broken check (state <> 'QUEUED')"
        )
        with pytest.raises(Exception, match="broken"):
            await run(worker_database)
        await connection.execute("alter table backups drop constraint broken")
        left = await connection.fetchval(
            "select (select count(*) from runs) + (select count(*) from pgqueuer)"
        )
    assert left == 0
    assert await run(worker_database) == 1
    assert await states(owner, stage) == [("QUEUED", None)]


async def test_each_running_instance_gets_a_backup_and_scratch_ones_none(
    owner, gateway_database, worker_database, stage
):
    for hostname, more in (
        ("0.first", {}),
        ("0.scratch", {"scratch": True}),
        ("0.stopped", {"state": InstanceState.STOPPED}),
    ):
        await an_instance(gateway_database, stage.admin, stage.container, hostname=hostname, **more)
    await make_due(owner)
    await run(worker_database)
    hostnames = [row["instance_hostname"] for row in await backups_of(owner, stage)]
    assert hostnames == ["0.first", stage.instance.hostname]


async def test_only_the_first_running_instance_is_saved_where_the_policy_says_so(
    owner, gateway_database, worker_database, stage
):
    await an_instance(gateway_database, stage.admin, stage.container, hostname="0.first")
    args = (gateway_database, stage.admin, stage.container, stage.integration)
    await a_policy(*args, cron=DAILY, instances=InstanceSelection.FIRST_RUNNING)
    await make_due(owner)
    await run(worker_database)
    [made] = await backups_of(owner, stage)
    assert made["instance_hostname"] == "0.first"


async def test_a_previous_run_that_is_going_skips_the_time_with_the_reason(
    owner, worker_database, stage
):
    await make_due(owner)
    await run(worker_database)
    [first] = await backups_of(owner, stage)
    order = await carry_out(worker_database, first["id"])
    await make_due(owner, ago=timedelta(0))
    assert await run(worker_database) == 1
    assert await states(owner, stage) == [("SAVING", None), ("SKIPPED", "PREVIOUS_RUN_GOING")]
    [event] = await events_of(owner, stage)
    assert event["kind"] == "BACKUP_SKIPPED"
    assert "The previous backup in the instance has not ended yet." in event["message"]
    # What was due since waits for a backup of its own.
    waited = await row_of(owner, stage.container)
    await finish_backup(worker_database, order, stored_bytes())
    answered = await row_of(owner, stage.container)
    assert answered["unanswered_at"] == waited["last_at"] > waited["unanswered_at"]
    assert answered["expected_by"] == waited["last_at"] + HOUR


async def test_a_run_that_was_opened_meanwhile_skips_the_time_too(
    owner, gateway_database, worker_database, stage
):
    await make_due(owner)

    async def ask():
        return await create_backup(
            gateway_database,
            stage.admin,
            container_id=stage.container.id,
            start_within=START_WITHIN,
        )

    asked = await asyncio.gather(ask(), run(worker_database), return_exceptions=True)
    if asked[1] == 0:
        assert await run(worker_database) == 1
    found = await states(owner, stage)
    assert found.count(("QUEUED", None)) == 1
    assert set(found) <= {("QUEUED", None), ("SKIPPED", "PREVIOUS_RUN_GOING")}


async def test_a_time_without_a_running_instance_is_a_failed_backup(
    owner, gateway_database, worker_database, stage
):
    await update_instance(
        gateway_database,
        stage.admin,
        id=stage.instance.id,
        sealer=SEALER,
        state=InstanceState.STOPPED,
    )
    await make_due(owner)
    await run(worker_database)
    [made] = await backups_of(owner, stage)
    assert (made["state"], made["error_code"]) == ("FAILED", "NO_INSTANCE_RUNNING")
    assert made["instance_hostname"] == stage.instance.hostname
    assert await kinds(owner, stage) == ["BACKUP_FAILED"]
    async with gateway_database.connection(stage.admin.hub_id) as connection:
        shown = await backups.get(connection, stage.admin.hub_id, made["id"])
    assert shown.error.message == (
        "A backup was due, and no instance of the container was running."
    )
    assert shown.finished_at == shown.created_at


async def test_a_container_without_any_instance_fails_too(
    owner, gateway_database, worker_database, stage
):
    bare = await a_container(gateway_database, stage.admin)
    await a_policy(gateway_database, stage.admin, bare, stage.integration, cron=DAILY)
    await make_due(owner)
    assert await run(worker_database) == 2
    query = "select state, instance_id, instance_hostname from backups where container_id = $1"
    async with owner.connection() as connection:
        made = await connection.fetchrow(query, bare.id)
    assert tuple(made) == ("FAILED", None, "")


async def test_an_integration_that_does_not_work_fails_the_backup(
    owner, gateway_database, worker_database, stage
):
    await update_integration(
        gateway_database,
        stage.admin,
        id=stage.integration.id,
        sealer=SEALER,
        key_id="0123456789ac",
        key="another-key",
        name=None,
        embedded_key_prefix="embedded",
    )
    [check] = await due_checks(worker_database, SEALER, 10)
    await check_failed(worker_database, check, CommandFailed())
    async with owner.connection() as connection:
        await connection.execute("update integrations set state = 'FAILED'")
    await make_due(owner)
    await run(worker_database)
    assert await states(owner, stage) == [("FAILED", "INTEGRATION_NOT_LIVE")]


async def test_a_run_that_could_not_start_until_the_next_time_has_failed(
    owner, worker_database, stage
):
    await make_due(owner)
    await run(worker_database)
    async with owner.connection() as connection:
        await connection.execute("update runs set start_by = now() - interval '1 second'")
    await make_due(owner)
    assert await end_unstarted(worker_database) == 1
    await run(worker_database)
    assert await states(owner, stage) == [("FAILED", "NOT_STARTED"), ("QUEUED", None)]
    assert await kinds(owner, stage) == ["BACKUP_FAILED"]


async def test_one_hub_never_sees_anothers_schedules(owner, gateway_database, stage):
    stranger = an_admin(await a_hub(owner))
    async with gateway_database.connection(stranger.hub_id) as connection:
        ids = [stage.container.id]
        assert await schedules.by_containers(connection, stranger.hub_id, ids) == {}
        assert await schedules.by_containers(connection, stage.admin.hub_id, ids) == {}
        await schedules.remove(connection, stage.admin.hub_id, ids)
    assert await row_of(owner, stage.container) is not None
