"""Endings of runs: each one transaction that checks the epoch and frees the instance."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from app.errors import Fenced, GatewayError, Interrupted
from app.model.backups import Backup, BackupState, BackupTrigger, StorageStatus, StoredBackup
from app.model.containers import ContainerState
from app.model.events import EventKind, NewEvent
from app.model.integrations import GOING
from app.model.orders import RestoreOrder, SaveOrder, VerificationOrder
from app.model.restores import RestorePhase, RestoreState, may_have_changed
from app.model.runs import Run, RunError, RunKind, run_mark
from app.model.schedules import is_size_drop
from app.model.verifications import VerificationLevel, VerificationState
from app.postgres import leases
from app.postgres.listen import Wake, notify
from app.postgres.pool import Connection, Database
from app.postgres.queue import enqueue
from app.queries import (
    backups,
    claims,
    containers,
    doubts,
    instances,
    integrations,
    restores,
    runs,
    schedules,
    sweeps,
    verification_plans,
    verifications,
)
from app.queries.claims import LockedRun
from app.service.events import record_event
from app.service.stored_objects import read_status, record_in
from app.service.topics import list_of

# Locks are always taken in this order, so that no two transactions wait for each other:
# container, integration, schedule, instance, run, the run that it carries, lease, backup or
# restore, reclaim.

DELETED_WITH_CONTAINER = "CASCADE"
DELETED_BY_ITSELF = "ITSELF"
NOW = timedelta(0)
COMPARED = 5
"""With how many former backups of its instance a backup's size is compared."""

State = BackupState | RestoreState | VerificationState


async def finish_backup(database: Database, order: SaveOrder, stored: StoredBackup) -> None:
    """B2 has confirmed the object and its manifest: the backup is LIVE.

    Where its container or its bucket is being deleted it goes the same way at once. A cancel that
    came too late changes nothing. Raises Fenced.
    """
    run = order.run
    async with database.transaction(None) as connection:
        container = await containers.hold(connection, run.hub_id, run.container_id)
        integration = await integrations.hold(connection, run.hub_id, order.backup.integration_id)
        has_schedule = await schedules.lock(connection, run.hub_id, run.container_id)
        if await lock_own(connection, run.id, run.epoch) is None:
            return
        await _compare_size(connection, order.backup, stored.size_bytes)
        await runs.keep_proofs(connection, run.hub_id, run.id, stored)
        await runs.end_run(
            connection, run.hub_id, run.id, exit_code=stored.exit_code, error=None, fence=False
        )
        await _move(connection, run, BackupState.SAVING, BackupState.LIVE)
        topics = [*await _let_go(connection, run), "duty:verifications"]
        if order.backup.trigger is not BackupTrigger.PRE_RESTORE:
            await verification_plans.look_now(connection, run.container_id)
            if has_schedule:
                assert run.started_at is not None
                asked_at = order.backup.created_at
                await schedules.answer(
                    connection, run.hub_id, run.container_id, asked_at, run.started_at
                )
        goes_alone = integration is None or integration.state in GOING
        if goes_alone or container is None or container.state is not ContainerState.LIVE:
            await runs.move_backup(
                connection,
                run.hub_id,
                run.id,
                BackupState.LIVE,
                BackupState.DELETING,
                deleted_by=DELETED_BY_ITSELF if goes_alone else DELETED_WITH_CONTAINER,
            )
            # Within the grace it can be brought back like all that went before.
            goes_at = None if container is None or goes_alone else container.goes_at
            await runs.reclaim_stored(connection, run.hub_id, [run.id], NOW, not_before=goes_at)
            topics.append("duty:reclaims")
        await notify(connection, topics)


async def finish_restore(database: Database, order: RestoreOrder, exit_code: int) -> None:
    """The command read everything and exited well. Raises Fenced."""
    run = order.run
    async with database.transaction(None) as connection:
        if await lock_own(connection, run.id, run.epoch) is None:
            return
        await runs.end_run(
            connection, run.hub_id, run.id, exit_code=exit_code, error=None, fence=False
        )
        await _move(connection, run, RestoreState.RUNNING, RestoreState.SUCCEEDED)
        assert run.instance_id is not None
        await doubts.close(connection, run.hub_id, run.instance_id)
        await notify(connection, await _let_go(connection, run))


async def finish_verification(
    database: Database, order: VerificationOrder, exit_code: int | None
) -> None:
    """All bytes were what was saved, and the commands, if any, accepted them. Raises Fenced."""
    run = order.run
    async with database.transaction(None) as connection:
        if await lock_own(connection, run.id, run.epoch) is None:
            return
        await runs.end_run(
            connection, run.hub_id, run.id, exit_code=exit_code, error=None, fence=False
        )
        await _move(connection, run, VerificationState.RUNNING, VerificationState.PASSED)
        if order.restore is not None:
            await _move(connection, run, RestoreState.RUNNING, RestoreState.SUCCEEDED)
        if order.verification.level is not VerificationLevel.STORED:
            await doubts.close_by_proof(connection, run.hub_id, order.backup.id)
        topics = [*await _let_go(connection, run), *await _tell_backup(connection, run)]
        await notify(connection, topics)
        seen = {order.backup.id: StorageStatus.PRESENT}
        await record_in(connection, run.hub_id, seen, is_whole=True)


async def fail_run(
    database: Database,
    run_id: UUID,
    epoch: int,
    *,
    error: GatewayError,
    exit_code: int | None,
    instance_free: bool = True,
) -> None:
    """The run failed; what a save may have sent is reclaimed by id and by name.

    Where its object was found missing or different, the backup's record says so from now on.

    `instance_free` False: something still runs in the instance. Then it is UNREACHABLE until a
    worker has killed that. Raises Fenced.
    """
    async with database.transaction(None) as connection:
        if not instance_free:
            await lock_instance(connection, run_id)
        locked = await lock_own(connection, run_id, epoch)
        if locked is not None:
            await end_locked(
                connection,
                locked,
                error=describe(error),
                exit_code=exit_code,
                instance_free=instance_free,
            )
            await _record_loss(connection, locked.run, error)


async def cancel_ended(
    database: Database, run_id: UUID, epoch: int, exit_code: int | None = None
) -> None:
    """The run was stopped because somebody cancelled it. Raises Fenced."""
    async with database.transaction(None) as connection:
        locked = await lock_own(connection, run_id, epoch)
        if locked is not None:
            await end_locked(connection, locked, error=None, exit_code=exit_code)


async def requeue_run(database: Database, run_id: UUID, epoch: int) -> None:
    """The worker stops and another one takes the run, if it was not touched; and what it carries.

    A touched one ends INTERRUPTED, a cancelled run CANCELED. Raises Fenced.
    """
    async with database.transaction(None) as connection:
        before = await claims.lock(connection, run_id)
        if before is not None and before.run.owner is None and before.run.epoch == epoch + 1:
            # Done already, by a transaction whose answer was lost.
            return
        locked = await lock_own(connection, run_id, epoch)
        if locked is None:
            return
        run = locked.run
        if run.touched:
            await end_locked(connection, locked, error=describe(Interrupted()))
            return
        if run.cancel:
            await end_locked(connection, locked, error=None)
            return
        await queue_again(connection, run)
        carried = await claims.lock_carried(connection, run.id)
        if carried is not None:
            await queue_again(connection, carried.run)
        await runs.requeue_run(connection, run.hub_id, run.id)
        await enqueue(connection, run.place, run.id)
        await notify(connection, [*await _let_go(connection, run), "duty:runs"])


async def queue_again(connection: Connection, run: Run) -> None:
    """What the run makes waits again, and what a try of a save may have sent is reclaimed."""
    if run.kind is RunKind.BACKUP:
        await runs.reclaim_unfinished(connection, run.hub_id, run.id)
    for state in await _states(connection, run):
        if state in _GOING:
            await _move(connection, run, state, type(state).QUEUED)


async def lock_instance(connection: Connection, run_id: UUID) -> None:
    """Lock a run's instance before the run, where it is going to be UNREACHABLE."""
    belonging = await claims.find(connection, run_id)
    if belonging is not None:
        await instances.lock(connection, belonging.hub_id, belonging.instance_id)


async def lock_own(connection: Connection, run_id: UUID, epoch: int) -> LockedRun | None:
    """Lock the run for its owner.

    None: this epoch has ended it already, by a transaction whose answer was lost. Raises Fenced.
    """
    locked = await claims.lock(connection, run_id)
    if locked is None or locked.run.epoch != epoch:
        raise Fenced
    return locked if locked.run.finished_at is None else None


async def end_locked(
    connection: Connection,
    locked: LockedRun,
    *,
    error: RunError | None,
    exit_code: int | None = None,
    instance_free: bool = True,
    fence: bool = False,
) -> None:
    """End a locked run: FAILED by an error, CANCELED without one.

    `fence`: by somebody else than its owner. Where `instance_free` is False its instance must be
    locked, too. What the run carries ends with it.
    """
    run = locked.run
    carried = await claims.lock_carried(connection, run.id)
    if carried is not None:
        await end_locked(connection, carried, error=error, fence=fence)
    await runs.end_run(
        connection, run.hub_id, run.id, exit_code=exit_code, error=error, fence=fence
    )
    if run.kind is RunKind.BACKUP:
        await runs.reclaim_unfinished(connection, run.hub_id, run.id)
    for state in await _states(connection, run):
        await _move(connection, run, state, type(state).FAILED if error else type(state).CANCELED)
    if run.kind is RunKind.RESTORE:
        await _doubt(connection, locked, by_its_owner=not fence)
    if not instance_free and run.instance_id is not None:
        await _leave(connection, locked)
    topics = [*await _let_go(connection, run), "duty:reclaims"]
    if run.kind is RunKind.VERIFICATION:
        topics += await _tell_backup(connection, run)
    await notify(connection, topics)
    if error is not None:
        await _tell_failure(connection, run, error)


def describe(error: GatewayError) -> RunError:
    """What the record of a run says of an error."""
    return RunError(code=error.code, message=error.message)


def left_by(locked: LockedRun) -> dict[str, Any] | None:
    """What the owner of a run's epoch may have left running; None: it had not begun."""
    run = locked.run
    if run.owner is None or not locked.is_started:
        return None
    return {"place": run.place, "runMark": run_mark(run.id, run.epoch), "trace": run.trace}


async def _compare_size(connection: Connection, backup: Backup, size: int) -> None:
    """Mark a backup that is much smaller than those before it of its instance, and tell of it."""
    if backup.trigger is BackupTrigger.PRE_RESTORE:
        return  # What is saved then is what was wrong.
    former = await runs.former_sizes(connection, backup, COMPARED)
    if not is_size_drop(size, former):
        return
    await runs.mark_size_drop(connection, backup.hub_id, backup.id)
    await record_event(
        connection,
        backup.hub_id,
        NewEvent(
            kind=EventKind.BACKUP_SIZE_DROPPED,
            message=f"The backup of {backup.instance_hostname} has {size} bytes, under half of what"
            " the last ones had.",
            container_id=backup.container_id,
            instance_id=backup.instance_id,
            backup_id=backup.id,
            data={"hostname": backup.instance_hostname, "sizeBytes": size},
        ),
    )


async def _record_loss(connection: Connection, run: Run, error: GatewayError) -> None:
    status = read_status(error)
    if status is None or run.kind is RunKind.BACKUP:
        return
    backup_id = await _read_backup(connection, run)
    await record_in(connection, run.hub_id, {backup_id: status})


async def _doubt(connection: Connection, locked: LockedRun, *, by_its_owner: bool) -> None:
    """Where a restore may have left its instance otherwise than it was, that is kept."""
    run = locked.run
    restore = await restores.get(connection, run.hub_id, run.id)
    assert restore is not None
    assert run.instance_id is not None
    if run.attempt <= 1 and restore.phase is RestorePhase.SAVING_TARGET:
        # What ran in the instance was its save.
        return
    if may_have_changed(run, is_started=locked.is_started, by_its_owner=by_its_owner):
        await doubts.open_doubt(connection, run.hub_id, run.instance_id)


async def _tell_failure(connection: Connection, run: Run, error: RunError) -> None:
    """Tell of a run that failed; by the error's code, as its message may name a folder."""
    if run.kind is RunKind.BACKUP:
        backup = await backups.get(connection, run.hub_id, run.id)
        assert backup is not None
        event = NewEvent(
            kind=EventKind.BACKUP_FAILED,
            message=f"The backup of {backup.instance_hostname} failed ({error.code}).",
            container_id=run.container_id,
            instance_id=backup.instance_id,
            backup_id=run.id,
            data={
                "code": error.code,
                "hostname": backup.instance_hostname,
                "trigger": backup.trigger,
            },
        )
    else:
        is_restore = run.kind is RunKind.RESTORE
        event = NewEvent(
            kind=EventKind.RESTORE_FAILED if is_restore else EventKind.VERIFICATION_FAILED,
            message=f"A {'restore' if is_restore else 'verification'} failed ({error.code}).",
            container_id=run.container_id,
            instance_id=run.instance_id,
            backup_id=await _read_backup(connection, run),
            restore_id=run.id if is_restore else None,
            verification_id=None if is_restore else run.id,
            data={"code": error.code},
        )
    await record_event(connection, run.hub_id, event)


async def _read_backup(connection: Connection, run: Run) -> UUID:
    """The backup that a restore or a verification reads."""
    if run.kind is RunKind.RESTORE:
        restore = await restores.get(connection, run.hub_id, run.id)
        assert restore is not None
        return restore.backup_id
    verification = await verifications.get(connection, run.hub_id, run.id)
    assert verification is not None
    return verification.backup_id


async def _tell_backup(connection: Connection, run: Run) -> list[str | Wake]:
    """Who follows the backup of a verification is told, too: it shows the last one."""
    backup_id = await _read_backup(connection, run)
    return [f"run:{backup_id}", list_of(run.container_id, backup_id)]


async def _leave(connection: Connection, locked: LockedRun) -> None:
    """Keep with the lease what could not be killed; nothing starts there before it is dead."""
    instance_id = locked.run.instance_id
    assert instance_id is not None
    lease = await claims.lock_lease(connection, instance_id, locked.run.id)
    leftover = (lease.leftover if lease else None) or left_by(locked)
    if leftover is not None:
        await claims.keep_leftover(connection, instance_id, leftover)
        await sweeps.leave_unreachable(connection, instance_id)


async def _let_go(connection: Connection, run: Run) -> list[str | Wake]:
    """Free the instance, and say who is to be told."""
    await leases.let_go(connection, run.instance_id, run.id, run.epoch)
    return [f"run:{run.id}", list_of(run.container_id, run.id)]


_GOING = {BackupState.SAVING, RestoreState.RUNNING, VerificationState.RUNNING}


async def _states(connection: Connection, run: Run) -> list[State]:
    """The states of what the run makes: of one record, or of a verification and its restore."""
    states: list[State] = []
    if run.kind is RunKind.BACKUP:
        backup = await backups.get(connection, run.hub_id, run.id)
        assert backup is not None
        return [backup.state]
    if run.kind is RunKind.VERIFICATION:
        verification = await verifications.get(connection, run.hub_id, run.id)
        assert verification is not None
        states.append(verification.state)
    restore = await restores.get(connection, run.hub_id, run.id)
    if restore is not None:
        states.append(restore.state)
    return states


async def _move(connection: Connection, run: Run, old: State, new: State) -> None:
    if isinstance(old, BackupState) and isinstance(new, BackupState):
        await runs.move_backup(connection, run.hub_id, run.id, old, new)
    elif isinstance(old, RestoreState) and isinstance(new, RestoreState):
        await runs.move_restore(connection, run.hub_id, run.id, old, new)
    elif isinstance(old, VerificationState) and isinstance(new, VerificationState):
        await runs.move_verification(connection, run.hub_id, run.id, old, new)
    else:
        raise TypeError(f"{old} and {new} are of different kinds")
