"""Sweeps: end the runs that nobody else ends, finish deletions, drop what is old."""

from collections.abc import Collection
from dataclasses import replace
from datetime import timedelta
from typing import Final
from uuid import UUID

from app.errors import NotStarted, OwnerLost, TimedOut
from app.model.orders import LeftBehind, WaitingRun
from app.model.runs import Run, RunError
from app.postgres.listen import notify
from app.postgres.pool import Connection, Database
from app.postgres.queue import prune as prune_queue
from app.queries import claims, containers, instances, reconciles, sessions, sweeps, waiting
from app.service import downloads, idempotency
from app.service.endings import describe, end_locked, lock_instance
from app.service.runs import read_leftover

BATCH: Final = 500
"""How much one sweep takes on; the next one takes the rest."""
OWNER_LOST_AFTER: Final = timedelta(minutes=10)
QUEUE_LOG_KEPT: Final = timedelta(days=7)
"""Nothing reads it but a person who looks for a defect; the runs' own records say what happened."""


async def next_run(
    database: Database,
    places: Collection[str],
    *,
    after: UUID,
    full: Collection[UUID],
    taken: Collection[UUID],
) -> WaitingRun | None:
    """Find a run at these places that no living owner has: of the first hub behind `after`.

    Hubs that are `full` are passed over where there are others, runs that are `taken` always.
    """
    async with database.connection(None) as connection:
        found = [
            await sweeps.next_in_turn(connection, place, after=after, full=full, taken=taken)
            for place in places
        ]
    waiting = [run for run in found if run is not None]
    return min(waiting, key=lambda run: run.hub_id, default=None)


async def end_unstarted(database: Database) -> int:
    """Runs that no worker took in time end FAILED, NOT_STARTED. Returns how many."""
    async with database.connection(None) as connection:
        found = await sweeps.unstarted(connection, BATCH)
    ended = 0
    for run_id in found:
        async with database.transaction(None) as connection:
            locked = await claims.lock(connection, run_id)
            if locked is None or locked.run.finished_at is not None:
                continue
            if locked.run.owner is None and locked.is_late:
                await end_locked(connection, locked, error=await _tell(connection, locked.run))
                ended += 1
    return ended


async def _tell(connection: Connection, run: Run) -> RunError:
    reasons = await waiting.reasons(connection, run.hub_id, [run.id])
    error = describe(NotStarted())
    reason = reasons.get(run.id)
    return error if reason is None else replace(error, message=f"{error.message} {reason}")


async def cancel_waiting(database: Database) -> int:
    """Runs that were cancelled while no worker had them end CANCELED. Returns how many."""
    async with database.connection(None) as connection:
        found = await sweeps.canceled_waiting(connection, BATCH)
    ended = 0
    for run_id in found:
        async with database.transaction(None) as connection:
            locked = await claims.lock(connection, run_id)
            if locked is None or locked.run.finished_at is not None:
                continue
            if locked.run.owner is None and locked.run.cancel:
                await end_locked(connection, locked, error=None)
                ended += 1
    return ended


async def end_past_deadline(database: Database, margin: timedelta) -> int:
    """Runs whose owner did not end them at their deadline end FAILED, TIMED_OUT.

    The owner is fenced, and the instance UNREACHABLE until a worker there has killed what may
    still run. Returns how many.
    """
    async with database.connection(None) as connection:
        found = await sweeps.past_deadline(connection, margin, BATCH)
    ended = 0
    for run_id in found:
        async with database.transaction(None) as connection:
            await lock_instance(connection, run_id)
            locked = await claims.lock(connection, run_id)
            if locked is None or locked.run.finished_at is not None:
                continue
            if locked.run.owner is not None and locked.is_late:
                await end_locked(
                    connection,
                    locked,
                    error=describe(TimedOut()),
                    instance_free=False,
                    fence=True,
                )
                ended += 1
    return ended


async def end_owner_lost(database: Database, after: timedelta = OWNER_LOST_AFTER) -> int:
    """Runs whose lease passed that long ago end FAILED, OWNER_LOST; the instance is UNREACHABLE.

    Returns how many.
    """
    async with database.connection(None) as connection:
        found = await sweeps.owner_lost(connection, after, BATCH)
    ended = 0
    for run_id in found:
        async with database.transaction(None) as connection:
            await lock_instance(connection, run_id)
            locked = await claims.lock(connection, run_id)
            if locked is None or locked.run.finished_at is not None:
                continue
            if await sweeps.is_still_lost(connection, run_id, after):
                await end_locked(
                    connection,
                    locked,
                    error=describe(OwnerLost()),
                    instance_free=False,
                    fence=True,
                )
                ended += 1
    return ended


async def left_behind(database: Database, places: Collection[str], limit: int) -> list[LeftBehind]:
    """What lost owners left at these places: kill it, then call `free_instance`."""
    async with database.connection(None) as connection:
        found = []
        for left in await sweeps.left(connection, places, limit):
            instance = await instances.get(connection, left.hub_id, left.instance_id)
            leftover = read_leftover(left.leftover)
            assert instance is not None
            assert leftover is not None
            found.append(LeftBehind(instance=instance, leftover=leftover))
        return found


async def free_instance(database: Database, left: LeftBehind) -> bool:
    """What was left in an instance is dead: commands can run there again.

    False: something else is recorded there by now.
    """
    instance = left.instance
    async with database.transaction(None) as connection:
        await instances.lock(connection, instance.hub_id, instance.id)
        recorded = read_leftover(await sweeps.lock_left(connection, instance.id))
        if recorded is None or recorded.run_mark != left.leftover.run_mark:
            return False
        await sweeps.forget_left(connection, instance.id)
        await sweeps.reach_again(connection, instance.id)
        await notify(connection, [f"container:{instance.container_id}", "duty:runs"])
    return True


async def finish_container_deletions(database: Database, grace: timedelta = timedelta(0)) -> int:
    """Containers in deletion for at least `grace` of which nothing is left are DELETED.

    Returns how many.
    """
    async with database.connection(None) as connection:
        found = await sweeps.ending_containers(connection, grace, BATCH)
    ended = 0
    for hub_id, id in found:
        async with database.transaction(None) as connection:
            await containers.lock(connection, hub_id, id)
            if await sweeps.end_container(connection, id):
                await notify(connection, [f"container:{id}"])
                ended += 1
    return ended


async def finish_instance_deletions(database: Database) -> int:
    """Instances that are to go are removed once no run is open in them. Returns how many."""
    async with database.transaction(None) as connection:
        return await sweeps.end_instances(connection)


async def end_stalled_sessions(database: Database, after: timedelta) -> int:
    """Free what a paused process holds: its locks would keep everybody waiting until it goes on.

    To its owner it is as if the database had gone for a moment. Returns how many were ended.
    """
    async with database.transaction(None) as connection:
        return await sessions.end_stalled(connection, after)


async def prune(database: Database, keep_ended: timedelta) -> int:
    """Drop records and logs of runs that ended that long ago and have nothing in the bucket.

    Events, settled reclaims, idempotency keys, addresses and the queue's log that are too old go,
    too. Returns how many records went.
    """
    pruned = 0
    while True:
        async with database.transaction(None) as connection:
            went = await sweeps.prune_records(connection, keep_ended, BATCH)
        pruned += went
        if went == 0:
            break
    await _prune_events(database, keep_ended)
    async with database.transaction(None) as connection:
        await sweeps.prune_reclaims(connection, keep_ended)
        await reconciles.prune(connection, keep_ended)
        await prune_queue(connection, QUEUE_LOG_KEPT)
    await idempotency.prune(database)
    await downloads.prune(database)
    return pruned


async def _prune_events(database: Database, keep: timedelta) -> None:
    went = BATCH
    while went == BATCH:
        async with database.transaction(None) as connection:
            went = await sweeps.prune_events(connection, keep, BATCH)
