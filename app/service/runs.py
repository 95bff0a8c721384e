"""Runs as their owners see them: claimed, started, and told of while they go."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from app.errors import (
    AttemptsUsedUp,
    BackupNotLive,
    Conflict,
    Fenced,
    Interrupted,
    SecretUnreadable,
    StorageCredentials,
)
from app.model.backups import BackupState
from app.model.containers import Container, ContainerState
from app.model.integrations import StorageAccess
from app.model.logs import HEAD_BYTES
from app.model.objects import BackupPlace
from app.model.orders import (
    ClaimedRun,
    Heard,
    Leftover,
    NewLogEntry,
    RestoreOrder,
    RunProgress,
    SaveOrder,
)
from app.model.restores import RestorePhase, RestoreState
from app.model.runs import MAX_ATTEMPTS, Run, RunError, RunKind
from app.postgres import leases
from app.postgres.listen import notify
from app.postgres.pool import Connection, Database
from app.postgres.queue import enqueue
from app.queries import backups, claims, containers, instances, policies, restores, runs
from app.queries.claims import LockedRun
from app.queries.runs import NewRun
from app.service.endings import describe, end_locked, left_by, lock_own, queue_again
from app.service.secrets import Sealer, open_access, open_variables
from app.service.topics import list_of

HUB_FULL_DELAY: Final = timedelta(seconds=5)
"""How long a run of a hub that has its cap of runs going is not looked at."""


async def queue_run(connection: Connection, hub_id: UUID, new: NewRun) -> None:
    """Queue a run and wake its workers. Raises Conflict (INSTANCE_BUSY)."""
    if not await runs.create_run(connection, hub_id, new):
        raise Conflict(
            "Another run is open in this instance; wait for its end or cancel it.",
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
) -> ClaimedRun | None:
    """Take a run and the lease of its instance, in a new epoch.

    None: it has ended, a living owner has it, it is not at one of our places, or its hub has
    `runs_per_hub` runs going (then it is due again a little later).
    """
    async with database.transaction(None) as connection:
        locked = await claims.lock(connection, run_id)
        if locked is None or not _is_claimable(locked, places):
            return None
        run = locked.run
        assert run.instance_id is not None
        lease = await claims.lock_lease(connection, run.instance_id)
        if lease is None or lease.is_alive:
            return None
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
        leftover = lease.leftover or left_by(locked)
        await claims.keep_leftover(connection, run.instance_id, leftover)
        instance = await instances.get(connection, run.hub_id, run.instance_id)
        assert instance is not None
        await notify(connection, [f"run:{run.id}"])
    return ClaimedRun(run=claimed, instance=instance, leftover=read_leftover(leftover))


async def start_run(
    database: Database, claimed: ClaimedRun, *, sealer: Sealer
) -> SaveOrder | RestoreOrder | None:
    """Begin a try, once the leftovers are dead; None: the run has ended instead.

    Starting an epoch again, because the answer was lost, gives the same order. Raises Fenced.
    """
    run = claimed.run
    assert run.instance_id is not None
    async with database.transaction(None) as connection:
        container = await containers.hold(connection, run.hub_id, run.container_id)
        locked = await lock_own(connection, run.id, run.epoch)
        if locked is None:
            return None
        assert container is not None
        if not locked.is_started:
            await claims.keep_leftover(connection, run.instance_id, None)
            if _is_unwanted(locked.run, container):
                await end_locked(connection, locked, error=None)
                return None
            if (hopeless := _is_hopeless(locked.run)) is not None:
                await end_locked(connection, locked, error=hopeless)
                return None
        order = await _order(connection, locked, container, sealer)
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
    held: Collection[tuple[UUID, UUID, int]],
    ttl: timedelta,
) -> set[UUID]:
    """Renew leases, each told as instance, run and epoch; returns the runs that are still held."""
    async with database.transaction(None) as connection:
        epochs = {run_id: epoch for _, run_id, epoch in held}
        return set(await leases.renew(connection, owner, epochs, ttl))


def read_leftover(stored: Mapping[str, Any] | None) -> Leftover | None:
    """What a lease keeps of a lost owner, as workers are told."""
    if stored is None:
        return None
    return Leftover(trace=stored["trace"], run_mark=stored["runMark"])


def _is_claimable(locked: LockedRun, places: Collection[str]) -> bool:
    return locked.run.finished_at is None and locked.is_due and locked.run.place in places


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


async def _order(
    connection: Connection, locked: LockedRun, container: Container, sealer: Sealer
) -> SaveOrder | RestoreOrder | RunError:
    """Begin the try unless this epoch did, and say all that it needs; or why it cannot be."""
    if locked.run.kind is RunKind.BACKUP:
        return await _order_save(connection, locked, container, sealer)
    return await _order_restore(connection, locked, sealer)


async def _order_save(
    connection: Connection, locked: LockedRun, container: Container, sealer: Sealer
) -> SaveOrder | RunError:
    run, hub_id, instance_id = locked.run, locked.run.hub_id, locked.run.instance_id
    assert instance_id is not None
    backup = await backups.get(connection, hub_id, run.id)
    assert backup is not None
    access = await _open(connection, sealer, backup.integration_id, instance_id)
    if isinstance(access, RunError):
        return access
    storage, variables = access
    installation_id = await claims.installation(connection)
    place = BackupPlace(
        installation_id=installation_id,
        hub_id=hub_id,
        container_id=run.container_id,
        backup_id=run.id,
        epoch=run.epoch,
    )
    object_name = place.object_name(storage.prefix)
    if not locked.is_started:
        await queue_again(connection, run)
        await runs.move_backup(connection, hub_id, run.id, BackupState.QUEUED, BackupState.SAVING)
        await runs.name_object(connection, hub_id, run.id, object_name)
        run = await _begin(connection, run)
        backup = await backups.get(connection, hub_id, run.id)
        assert backup is not None
    instance = await instances.get(connection, hub_id, instance_id)
    assert instance is not None
    policy = await policies.by_containers(connection, hub_id, [run.container_id])
    min_bytes, _ = await runs.order_facts(connection, hub_id, run.id)
    return SaveOrder(
        run=run,
        backup=backup,
        container=container,
        instance=instance,
        policy=policy.get(run.container_id),
        variables=variables,
        storage=storage,
        installation_id=installation_id,
        object_name=object_name,
        min_bytes=min_bytes,
    )


async def _order_restore(
    connection: Connection, locked: LockedRun, sealer: Sealer
) -> RestoreOrder | RunError:
    run, hub_id, instance_id = locked.run, locked.run.hub_id, locked.run.instance_id
    assert instance_id is not None
    restore = await restores.get(connection, hub_id, run.id)
    assert restore is not None
    # Its own container may be another one, which is deleted in spite of this run.
    state = await runs.hold_backup(connection, hub_id, restore.backup_id)
    backup = await backups.get(connection, hub_id, restore.backup_id)
    assert backup is not None
    if state is not BackupState.LIVE and not locked.is_started:
        return describe(BackupNotLive())
    access = await _open(connection, sealer, backup.integration_id, instance_id)
    if isinstance(access, RunError):
        return access
    storage, variables = access
    if not locked.is_started:
        await queue_again(connection, run)
        await runs.move_restore(
            connection, hub_id, run.id, RestoreState.QUEUED, RestoreState.RUNNING
        )
        run = await _begin(connection, run)
        restore = await restores.get(connection, hub_id, run.id)
        assert restore is not None
    instance = await instances.get(connection, hub_id, instance_id)
    assert instance is not None
    _, chunk_hashes = await runs.order_facts(connection, hub_id, backup.id)
    assert backup.file_id is not None
    assert backup.size_bytes is not None
    assert backup.sha256 is not None
    return RestoreOrder(
        run=run,
        restore=restore,
        backup=backup,
        instance=instance,
        variables=variables,
        storage=storage,
        file_id=backup.file_id,
        size_bytes=backup.size_bytes,
        sha256=backup.sha256,
        chunk_hashes=chunk_hashes,
    )


async def _begin(connection: Connection, run: Run) -> Run:
    """Count the try and set its deadline; its log begins anew."""
    await runs.start_run(connection, run.hub_id, run.id)
    await claims.clear_log(connection, run.id)
    started = await claims.lock(connection, run.id)
    assert started is not None
    return started.run


async def _open(
    connection: Connection, sealer: Sealer, integration_id: UUID, instance_id: UUID
) -> tuple[StorageAccess, dict[str, str]] | RunError:
    """The bucket and the instance's variables, unsealed."""
    sealed = await claims.sealed_access(connection, integration_id)
    if sealed is None:
        return describe(StorageCredentials("The integration was deleted, its key with it."))
    try:
        return (
            open_access(sealer, sealed),
            open_variables(
                sealer, instance_id, await claims.sealed_variables(connection, instance_id)
            ),
        )
    except SecretUnreadable as error:
        return describe(error)
