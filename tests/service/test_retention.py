"""Retention carried out: what the rule takes, and what stops it at the last moment."""

import asyncio
from datetime import timedelta

from app.errors import InvalidState
from app.model.backups import BackupState
from app.model.retention import Retention
from app.service.backups import delete_backups
from app.service.containers import delete_container
from app.service.endings import finish_restore
from app.service.policies import configure_backups
from app.service.restores import cancel_restore
from app.service.retention import BATCH, take_due
from tests.builders import (
    a_policy,
    a_queued_restore,
    a_started_restore,
    an_instance,
    an_operator,
    read_backup,
)
from tests.service.aged_backups import DAY, codes_of, execute, keep, run_it

DUE = "update backup_policies set retention_at = now() - interval '1 second'"
LOOK = "select retention_at - now() from backup_policies"


async def test_what_fills_no_slot_goes_in_two_steps_with_a_reason(
    *, owner, gateway_database, worker_database, stage, a_backup_of_days, states
):
    made = [await a_backup_of_days(days) for days in (5, 4, 3, 2)]
    assert (
        await codes_of(gateway_database, stage, made) == ["FILLS_NO_SLOT"] * 2 + ["FILLS_SLOT"] * 2
    )
    assert await run_it(worker_database, stage) == 2
    assert await states(made) == ["DELETING", "DELETING", "LIVE", "LIVE"]
    gone = await read_backup(gateway_database, stage, made[0].id)
    hostname = stage.instance.hostname
    assert gone.retention_code == "FILLS_NO_SLOT"
    assert gone.retention_reason == f"Newer good backups of {hostname} fill every slot: keepLast 2."
    asked = gone.deletion_requested_by
    assert (asked.kind, asked.id, asked.name) == ("GATEWAY", None, "retention")
    async with owner.connection() as connection:
        rows = await connection.fetch(
            """
            select deleted_by, automatic, kind, reclaims.not_before <= now() as due
            from backups join reclaims on reclaims.backup_id = backups.id where backups.id = $1
            """,
            gone.id,
        )
    assert [tuple(row) for row in rows] == [("ITSELF", True, "OBJECT", True)] * 2
    assert await run_it(worker_database, stage) == 0


async def test_deletions_that_somebody_asked_for_are_not_the_gateways_own(
    owner, gateway_database, stage, a_backup_of_days
):
    made = await a_backup_of_days(1)
    await delete_backups(gateway_database, stage.admin, ids=[(str(made.id), made.id)])
    assert await execute(owner, "select bool_or(automatic) from reclaims") is False
    gone = await read_backup(gateway_database, stage, made.id)
    asked = gone.deletion_requested_by
    assert (asked.kind, asked.id, asked.name) == ("API_KEY", stage.admin.key_id, "the admin")
    assert gone.retention_code is None


async def test_each_instance_counts_by_itself_also_after_it_is_gone(
    gateway_database, worker_database, stage, a_backup_of_days, states
):
    other = await an_instance(gateway_database, stage.admin, stage.container)
    first = [await a_backup_of_days(days) for days in (9, 8, 7)]
    second = [await a_backup_of_days(days, instance=other) for days in (6, 5, 4)]
    assert await run_it(worker_database, stage) == 2
    assert await states(first) == ["DELETING", "LIVE", "LIVE"]
    assert await states(second) == ["DELETING", "LIVE", "LIVE"]


async def test_nothing_goes_without_a_policy_or_with_one_that_is_off(
    gateway_database, worker_database, stage, a_backup_of_days, states
):
    made = [await a_backup_of_days(days) for days in (900, 800, 700)]
    policy = {"keep_last": 1, "max_age": DAY}
    await a_policy(
        gateway_database,
        stage.admin,
        stage.container,
        stage.integration,
        retention=Retention(**policy),
        enabled=False,
    )
    assert await codes_of(gateway_database, stage, made) == ["POLICY_OFF"] * 3
    assert await run_it(worker_database, stage) == 0
    await configure_backups(
        gateway_database, stage.admin, container_id=stage.container.id, policy=None
    )
    assert await codes_of(gateway_database, stage, made) == ["NO_POLICY"] * 3
    assert await run_it(worker_database, stage) == 0
    assert await states(made) == ["LIVE"] * 3


async def test_a_container_that_is_being_deleted_is_not_retentions_business(
    gateway_database, worker_database, stage, a_backup_of_days
):
    made = [await a_backup_of_days(days) for days in (9, 8, 7)]
    await delete_container(
        gateway_database,
        stage.admin,
        id=stage.container.id,
        confirm=stage.container.identifier,
        grace=timedelta(hours=1),
    )
    assert await run_it(worker_database, stage) == 0
    gone = await read_backup(gateway_database, stage, made[0].id)
    assert (gone.state, gone.retention_code) == (BackupState.DELETING, None)


async def test_a_backup_that_a_run_reads_stays(
    gateway_database, worker_database, stage, a_backup_of_days, states
):
    made = [await a_backup_of_days(days) for days in (9, 8, 7)]
    order = await a_started_restore(gateway_database, worker_database, stage, made[0])
    assert (await codes_of(gateway_database, stage, made))[0] == "BEING_READ"
    assert await run_it(worker_database, stage) == 0
    await finish_restore(worker_database, order, 0)
    assert await run_it(worker_database, stage) == 1
    assert await states(made) == ["DELETING", "LIVE", "LIVE"]


async def test_a_restore_and_the_rule_at_once_never_both_win(
    gateway_database, worker_database, stage, a_backup_of_days
):
    won = set()
    for _ in range(6):
        made = [await a_backup_of_days(days) for days in (9, 8, 7)]
        restored, gone = await asyncio.gather(
            a_queued_restore(gateway_database, stage, made[0]),
            run_it(worker_database, stage),
            return_exceptions=True,
        )
        state = (await read_backup(gateway_database, stage, made[0].id)).state
        if isinstance(restored, InvalidState):
            assert (restored.reason, state) == ("BACKUP_NOT_LIVE", "DELETING")
        else:
            assert state == "LIVE"
            await cancel_restore(gateway_database, stage.admin, id=restored.id)
        won.add(isinstance(gone, int))
        await delete_backups(
            gateway_database, stage.admin, ids=[(str(one.id), one.id) for one in made]
        )
    assert won == {True}


async def test_an_operator_and_the_rule_at_once_leave_a_good_one(
    gateway_database, worker_database, stage, a_backup_of_days, states
):
    await keep(gateway_database, stage, max_age=DAY)
    operator = an_operator(stage.admin.hub_id)
    for _ in range(4):
        made = [await a_backup_of_days(days) for days in (9, 8)]
        ids = [(str(made[1].id), made[1].id)]
        await asyncio.gather(
            delete_backups(gateway_database, operator, ids=ids), run_it(worker_database, stage)
        )
        assert BackupState.LIVE in await states(made)
        ids = [(str(one.id), one.id) for one in made]
        await delete_backups(gateway_database, stage.admin, ids=ids)


async def test_what_is_pinned_between_the_plan_and_the_lock_stays(
    *, owner, worker_database, stage, a_backup_of_days, states, until_blocked
):
    made = [await a_backup_of_days(days) for days in (9, 8, 7, 6)]
    async with owner.transaction(None) as connection:
        await connection.execute("update backups set pinned = true where id = $1", made[0].id)
        # The rule has planned without that, and waits for the backup that is to go.
        running = asyncio.create_task(run_it(worker_database, stage))
        await until_blocked()
    assert await running == 1
    assert await states(made) == ["LIVE", "DELETING", "LIVE", "LIVE"]


async def test_a_good_one_that_is_lost_between_the_plan_and_the_lock_is_replaced(
    *, owner, worker_database, stage, a_backup_of_days, states, until_blocked
):
    """The newest one turns out to be missing while the rule waits: the next one takes its slot."""
    made = [await a_backup_of_days(days) for days in (9, 8, 7)]
    missing = "update backups set storage_status = 'MISSING' where id = $1"
    async with owner.transaction(None) as connection:
        await connection.execute(missing, made[2].id)
        running = asyncio.create_task(run_it(worker_database, stage))
        await until_blocked()
    assert await running == 0
    assert await states(made) == ["LIVE"] * 3


async def test_two_workers_share_the_containers_and_remove_nothing_twice(
    owner, worker_database, stage, a_backup_of_days, states
):
    made = [await a_backup_of_days(days) for days in (9, 8, 7)]
    await execute(owner, DUE)
    taken = await asyncio.gather(
        *(take_due(worker_database, again_in=timedelta(hours=1)) for _ in range(4))
    )
    assert [one for some in taken for one in some] == [(stage.admin.hub_id, stage.container.id)]
    assert sum(await asyncio.gather(*(run_it(worker_database, stage) for _ in range(4)))) == 1
    assert await states(made) == ["DELETING", "LIVE", "LIVE"]
    assert await execute(owner, "select count(*) from reclaims") == 2


async def test_a_new_rule_waits_for_an_hour(owner, gateway_database, worker_database, stage):
    assert await take_due(worker_database, again_in=timedelta(hours=1)) == []
    assert timedelta(minutes=59) < await execute(owner, LOOK) <= timedelta(hours=1)
    await execute(owner, DUE)
    # The same rule again is no new one.
    await keep(gateway_database, stage, keep_last=2)
    assert await execute(owner, LOOK) < timedelta(0)
    await keep(gateway_database, stage, keep_last=1)
    assert await execute(owner, LOOK) > timedelta(minutes=59)


async def test_a_container_is_looked_at_daily_and_when_something_expires(
    owner, gateway_database, worker_database, stage, a_backup_of_days
):
    assert await run_it(worker_database, stage) == 0
    assert timedelta(hours=21) < await execute(owner, LOOK) < timedelta(hours=27)
    await keep(gateway_database, stage, max_age=10 * DAY)
    await a_backup_of_days(9)
    await a_backup_of_days(9.875)
    await a_backup_of_days(1)
    await run_it(worker_database, stage)
    assert timedelta(hours=2, minutes=58) < await execute(owner, LOOK) < timedelta(hours=3)


async def test_a_large_clean_up_goes_on_in_batches(owner, worker_database, stage, a_backup_of_days):
    made = await a_backup_of_days(9)
    async with owner.connection() as connection:
        for copied, table in ((BATCH + 5, "runs"), (BATCH + 5, "backups")):
            columns = await connection.fetchval(
                """
                select string_agg(quote_ident(attname::text), ', ') from pg_attribute
                where attrelid = $1::text::regclass and attnum > 0 and attname <> 'id'
                """,
                table,
            )
            await connection.execute(
                f"""
                insert into {table} (id, {columns})
                select ('00000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid, {columns}
                from {table}, generate_series(1, {copied}) as n where {table}.id = $1
                """,
                made.id,
            )
    assert await run_it(worker_database, stage) == BATCH
    # At once again.
    assert await execute(owner, LOOK) <= timedelta(0)
    assert await run_it(worker_database, stage) == BATCH + 6 - 2 - BATCH
    assert await execute(owner, LOOK) > timedelta(hours=1)
