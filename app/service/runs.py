"""Runs as their owners see them: claimed, started, and told of while they go."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from app.errors import (
    AttemptsUsedUp,
    Conflict,
    Fenced,
    Interrupted,
)
from app.model.containers import Container, ContainerState
from app.model.engines import EngineState
from app.model.logs import HEAD_BYTES
from app.model.orders import (
    ClaimedRun,
    Heard,
    Leftover,
    NewLogEntry,
    Order,
    RunProgress,
)
from app.model.restores import RestorePhase
from app.model.runs import ANYWHERE, MAX_ATTEMPTS, Run, RunError
from app.postgres import leases
from app.postgres.listen import notify
from app.postgres.pool import Connection, Database
from app.postgres.queue import enqueue
from app.queries import claims, containers, engines, instances, runs
from app.queries.claims import LockedRun
from app.queries.runs import NewRun
from app.service.endings import describe, end_locked, left_by, lock_own
from app.service.orders import make_order
from app.service.secrets import Sealer
from app.service.topics import list_of

HUB_FULL_DELAY: Final = timedelta(seconds=5)
"""How long a run of a hub that has its cap of runs going is not looked at."""


class ServedElsewhere(Exception):
    """Another worker reaches the run's engine, and this one may not."""


async def queue_run(connection: Connection, hub_id: UUID, new: NewRun) -> None:
    """Queue a run and wake its workers. Raises Conflict (INSTANCE_BUSY)."""
    if not await runs.create_run(connection, hub_id, new):
        assert new.instance_id is not None
        other = await instances.open_run(connection, hub_id, new.instance_id)
        raise Conflict(
            f"The instance is busy with {other or 'another run'}; wait for its end or cancel it.",
            code="INSTANCE_BUSY",
            path=("instanceId",),
        )
    await enqueue(connection, new.place, new.id)
    await notify(connection, [f"run:{new.id}", list_of(new.container_id, new.id), "duty:runs"])


async def claim_run(
    database: Database,
    run_id: UUID,
    *,
    owner: str,
    places: Collection[str],
    ttl: timedelta,
    runs_per_hub: int | None = None,
    serves: Callable[[UUID, str], bool] | None = None,
) -> ClaimedRun | None:
    """Take a run and the lease of its instance (its own, if it needs none), in a new epoch.

    None: it has ended, a living owner has it, somebody changes it just now, it is not at one of our
    places, or its hub has `runs_per_hub` runs going (then it is due again a little later).
    `serves`: whether we may connect to an engine of a hub; raises ServedElsewhere where others do.
    """
    async with database.transaction(None) as connection:
        locked = await claims.lock_if_free(connection, run_id)
        if locked is None or not _is_claimable(locked, places):
            return None
        run = locked.run
        lease = await claims.lock_lease(connection, run.instance_id, run.id)
        if lease is not None and lease.is_alive:
            return None
        if serves is not None and await _is_served_elsewhere(connection, run, serves):
            raise ServedElsewhere
        if (
            runs_per_hub is not None
            and await claims.count_going(connection, run.hub_id) >= runs_per_hub
        ):
            await claims.put_off(connection, run.id, HUB_FULL_DELAY)
            return None
        claimed = replace(run, epoch=run.epoch + 1, owner=owner, trace=None)
        await claims.claim(connection, run.id, owner)
        # The lease is locked and nobody alive holds it: this cannot be refused.
        assert await leases.take(connection, run.instance_id, run.id, claimed.epoch, owner, ttl)
        leftover, instance = None, None
        if run.instance_id is not None:
            leftover = (lease.leftover if lease else None) or left_by(locked)
            await claims.keep_leftover(connection, run.instance_id, leftover)
            instance = await instances.get(connection, run.hub_id, run.instance_id)
            assert instance is not None
        await notify(connection, [f"run:{run.id}"])
    return ClaimedRun(run=claimed, instance=instance, leftover=read_leftover(leftover))


async def start_run(database: Database, claimed: ClaimedRun, *, sealer: Sealer) -> Order | None:
    """Begin a try, once the leftovers are dead; None: the run has ended instead.

    Starting an epoch again, because the answer was lost, gives the same order. Raises Fenced.
    """
    run = claimed.run
    async with database.transaction(None) as connection:
        container = await containers.hold(connection, run.hub_id, run.container_id)
        locked = await lock_own(connection, run.id, run.epoch)
        if locked is None:
            return None
        assert container is not None
        if not locked.is_started:
            if run.instance_id is not None:
                await claims.keep_leftover(connection, run.instance_id, None)
            if _is_unwanted(locked.run, container):
                await end_locked(connection, locked, error=None)
                return None
            if (hopeless := _is_hopeless(locked.run)) is not None:
                await end_locked(connection, locked, error=hopeless)
                return None
        order = await make_order(connection, locked, container, sealer)
        if isinstance(order, RunError):
            await end_locked(connection, locked, error=order)
            return None
        await notify(connection, [f"run:{run.id}", list_of(run.container_id, run.id)])
        return order


async def record_trace(
    database: Database, run_id: UUID, epoch: int, trace: Mapping[str, Any]
) -> None:
    """Keep what finds the run's processes after a crash. Raises Fenced."""
    async with database.transaction(None) as connection:
        _require(await claims.record_trace(connection, run_id, epoch, trace))


async def record_upload(database: Database, run_id: UUID, epoch: int, upload_file_id: str) -> None:
    """Keep the id of the unfinished upload. Raises Fenced."""
    async with database.transaction(None) as connection:
        _require(await claims.record_upload(connection, run_id, epoch, upload_file_id))


async def mark_touched(database: Database, run_id: UUID, epoch: int) -> None:
    """Before the first byte reaches a restore command: it is never run again. Raises Fenced."""
    async with database.transaction(None) as connection:
        _require(await claims.mark_touched(connection, run_id, epoch))


async def set_phase(database: Database, run_id: UUID, epoch: int, phase: RestorePhase) -> None:
    """Say what a restore does now. Raises Fenced."""
    async with database.transaction(None) as connection:
        _require(await claims.set_phase(connection, run_id, epoch, phase))
        await notify(connection, [f"run:{run_id}"])


async def append_log(
    database: Database,
    run_id: UUID,
    epoch: int,
    entries: Sequence[NewLogEntry],
    *,
    drop_before: int | None,
    total_bytes: int,
    truncated: bool,
) -> None:
    """Keep pieces of a log; those beyond its head and before `drop_before` go. Raises Fenced.

    A piece that is there already stays as it is: telling it again is harmless.
    """
    async with database.transaction(None) as connection:
        hub_id = await claims.count_log(
            connection, run_id, epoch, total_bytes=total_bytes, truncated=truncated
        )
        if hub_id is None:
            raise Fenced
        await claims.add_log(connection, run_id, hub_id, entries)
        if drop_before is not None:
            await claims.drop_log(connection, run_id, HEAD_BYTES, drop_before)
        await notify(connection, [f"run:{run_id}"])


async def record_progress(database: Database, progress: Sequence[RunProgress]) -> list[Heard]:
    """Write how far a worker's runs are, all at once; a run without an answer is fenced."""
    async with database.transaction(None) as connection:
        heard = await claims.record_progress(connection, progress)
        await notify(connection, [f"run:{answer.run_id}" for answer in heard])
    return heard


async def renew_leases(
    database: Database,
    *,
    owner: str,
    held: Collection[tuple[UUID, int]],
    ttl: timedelta,
) -> set[UUID]:
    """Renew leases, each told as run and epoch; returns the runs that are still held."""
    async with database.transaction(None) as connection:
        return set(await leases.renew(connection, owner, dict(held), ttl))


def read_leftover(stored: Mapping[str, Any] | None) -> Leftover | None:
    """What a lease keeps of a lost owner, as workers are told."""
    if stored is None:
        return None
    return Leftover(trace=stored["trace"], run_mark=stored["runMark"])


def _is_claimable(locked: LockedRun, places: Collection[str]) -> bool:
    run = locked.run
    is_open = run.finished_at is None and run.carried_by is None
    return is_open and locked.is_due and run.place in places


async def _is_served_elsewhere(
    connection: Connection, run: Run, serves: Callable[[UUID, str], bool]
) -> bool:
    """An engine that any worker may reach, but for ours; some other one does."""
    if run.place != ANYWHERE or run.instance_id is None:
        return False
    instance = await instances.get(connection, run.hub_id, run.instance_id)
    if instance is None or instance.engine_id is None:
        return False
    engine = await engines.get(connection, run.hub_id, instance.engine_id)
    if engine is None or engine.state is not EngineState.LIVE:
        return False
    return not serves(run.hub_id, engine.address)


def _is_unwanted(run: Run, container: Container) -> bool:
    return run.cancel or container.state is not ContainerState.LIVE


def _is_hopeless(run: Run) -> RunError | None:
    if run.touched:
        return describe(Interrupted())
    if run.attempt >= MAX_ATTEMPTS:
        return describe(AttemptsUsedUp())
    return None


def _require(was_written: bool) -> None:  # noqa: FBT001
    if not was_written:
        raise Fenced
