"""Carries out one run: claim, leftovers, work under lease, deadline and cancel, and its ending."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TypeVar
from uuid import UUID

import structlog

from app.errors import (
    Canceled,
    DatabaseUnavailable,
    Fenced,
    GatewayError,
    HandedOff,
    Interrupted,
    RunError,
    TimedOut,
)
from app.executor.port import Command
from app.model.backups import StoredBackup
from app.model.logs import Redactor, shows_stdout
from app.model.objects import BackupPlace, Manifest, ManifestPolicy
from app.model.orders import ClaimedRun, NewLogEntry, RestoreOrder, RunProgress, SaveOrder
from app.model.restores import RestorePhase
from app.model.runs import run_mark
from app.model.steps import Step, step_of
from app.postgres.leases import LeaseClock
from app.service import endings, runs
from app.storage.port import StoredObject
from app.transfer.pipe import Output
from app.transfer.restore import Restore
from app.transfer.save import Hashes, Save
from app.worker.parts import Parts
from app.worker.running import Roster, Running

PAUSE_SECONDS = 0.2
MOMENT = 0.001

T = TypeVar("T")

log = structlog.get_logger()


async def carry_out(parts: Parts, roster: Roster, run_id: UUID) -> bool:
    """Carry out a run if it is free for us; False where it is not."""
    if run_id in roster:
        return False
    # The clock starts before the claim is sent: the lease lasts at least as long.
    clock = LeaseClock(parts.times.give_up)
    claimed = await runs.claim_run(
        parts.database,
        run_id,
        owner=parts.owner,
        places=parts.places,
        ttl=timedelta(seconds=parts.times.lease),
        runs_per_hub=parts.runs_per_hub,
    )
    if claimed is None:
        return False
    running = Running(claimed, clock)
    roster.enter(running)
    try:
        with structlog.contextvars.bound_contextvars(
            run=str(run_id), hub=str(claimed.run.hub_id), epoch=claimed.run.epoch
        ):
            await _carry_out_claimed(parts, running)
    finally:
        roster.leave(running)
    return True


async def _carry_out_claimed(parts: Parts, running: Running) -> None:
    kind = running.claimed.run.kind
    await parts.step(step_of(kind, "CLAIMED"))
    try:
        await _kill_leftovers(parts, running.claimed)
    except GatewayError as error:
        # Not freed: the lease runs out, and whoever can reach the place tries again.
        log.warning("leftovers could not be killed", code=error.code, error=error.message)
        return
    try:
        order = await _persist(
            running,
            lambda: runs.start_run(parts.database, running.claimed, sealer=parts.sealer),
        )
        if order is None:
            log.warning("run was ended instead of started; its record says why")
            return
        await parts.step(step_of(kind, "STARTED"))
        outcome = await _work(parts, running, order)
        await parts.step(step_of(kind, "TRANSFERRED"))
        await _end(parts, running, order, outcome)
        await parts.step(step_of(kind, "RECORDED"))
    except Fenced:
        log.warning("run was taken over")


async def _kill_leftovers(parts: Parts, claimed: ClaimedRun) -> None:
    """Make the instance really free: what the former owner left running is killed first."""
    if (leftover := claimed.leftover) is None:
        return
    executor = parts.executor_of(claimed.instance)
    await executor.kill_leftovers(leftover.trace or {}, leftover.run_mark)


async def _work(
    parts: Parts, running: Running, order: SaveOrder | RestoreOrder
) -> StoredBackup | int | GatewayError:
    """Do the transfer in a task of its own, so that it can be told to stop at any time."""
    transfer = _save if isinstance(order, SaveOrder) else _restore
    async with asyncio.TaskGroup() as tasks:
        work = tasks.create_task(_outcome(parts, running, order, transfer))
        running.attach(work)
        await asyncio.wait({work})
    if work.cancelled():
        return running.reason or Interrupted()
    outcome = work.result()
    if isinstance(outcome, GatewayError) and running.reason is not None:
        return running.reason
    return outcome


async def _outcome(
    parts: Parts,
    running: Running,
    order: SaveOrder | RestoreOrder,
    transfer: Callable[..., Awaitable[StoredBackup | int]],
) -> StoredBackup | int | GatewayError:
    seconds = order.run.timeout.total_seconds()
    try:
        async with asyncio.timeout(seconds):
            return await transfer(parts, running, order)
    except TimeoutError:
        return TimedOut(f"The run took longer than its timeout of {seconds:g} s.")
    except GatewayError as error:
        return error
    except Exception:
        log.exception("run failed unexpectedly")
        return RunError("The run failed by a defect of the gateway; its log has the details.")


async def _save(parts: Parts, running: Running, order: SaveOrder) -> StoredBackup:
    output = _make_output(parts, running, order)
    place = BackupPlace(
        installation_id=order.installation_id,
        hub_id=order.run.hub_id,
        container_id=order.container.id,
        backup_id=order.backup.id,
        epoch=running.epoch,
    )
    started_at = _now()

    def make_manifest(stored: StoredObject, hashes: Hashes) -> bytes:
        return Manifest(
            place=place,
            object_name=order.object_name,
            file_id=stored.file_id,
            size=stored.size,
            sha256=hashes.sha256,
            chunk_hashes=hashes.chunk_hashes,
            container_identifier=order.container.identifier,
            instance_hostname=order.backup.instance_hostname,
            trigger=order.backup.trigger,
            created_at=order.backup.created_at,
            started_at=started_at,
            finished_at=_now(),
            policy=ManifestPolicy(
                backup_command=order.backup.backup_command,
                backup_timeout=order.run.timeout,
                min_bytes=order.min_bytes,
                restore_command=order.backup.restore_command,
                restore_timeout=order.policy.restore_timeout if order.policy else None,
            ),
        ).encode()

    save = Save(
        command=_make_command(running, order),
        object_name=order.object_name,
        info=place.file_info(),
        min_bytes=order.min_bytes,
        make_manifest=make_manifest,
        output=output,
        counters=running.counters,
        watch=_Watch(parts, running),
        close_seconds=parts.times.output_close,
    )
    executor = parts.executor_of(order.instance)
    return await save.carry_out(executor, parts.storage_of(order.storage), parts.threads)


async def _restore(parts: Parts, running: Running, order: RestoreOrder) -> int:
    restore = Restore(
        command=_make_command(running, order),
        file_id=order.file_id,
        size=order.size_bytes,
        sha256=order.sha256,
        chunk_hashes=order.chunk_hashes,
        output=_make_output(parts, running, order),
        counters=running.counters,
        watch=_Watch(parts, running),
    )
    executor = parts.executor_of(order.instance)
    return await restore.carry_out(executor, parts.storage_of(order.storage), parts.threads)


def _now() -> datetime:
    # Only shown in the manifest; what decides anything is told by the database's clock.
    return datetime.now(UTC)  # noqa: TID251


def _make_command(running: Running, order: SaveOrder | RestoreOrder) -> Command:
    return Command(
        shell=order.run.command,
        variables=order.variables,
        run_mark=run_mark(running.id, running.epoch),
    )


def _make_output(parts: Parts, running: Running, order: SaveOrder | RestoreOrder) -> Output:
    known = [*order.variables.values(), *parts.hidden.values(), order.storage.key]
    secrets = [value.encode() for value in known]
    running.output = Output((Redactor(secrets), Redactor(secrets)))
    return running.output


class _Watch:
    """Keeps with the row what must be known of a run should this process die."""

    def __init__(self, parts: Parts, running: Running) -> None:
        self._database = parts.database
        self._running = running
        self._step = parts.step

    async def traced(self, trace: Mapping[str, str | int]) -> None:
        run = self._running
        await _persist(run, lambda: runs.record_trace(self._database, run.id, run.epoch, trace))
        await self._step(step_of(run.claimed.run.kind, "COMMAND_STARTED"))

    async def upload_started(self, file_id: str) -> None:
        run = self._running
        await _persist(run, lambda: runs.record_upload(self._database, run.id, run.epoch, file_id))
        await self._step(Step.BACKUP_UPLOAD_STARTED)

    async def object_stored(self) -> None:
        await self._step(Step.BACKUP_OBJECT_STORED)

    async def touched(self) -> None:
        run = self._running
        await _persist(run, lambda: runs.mark_touched(self._database, run.id, run.epoch))
        run.touched = True
        await self._step(Step.RESTORE_TOUCHED)

    async def phase(self, phase: RestorePhase) -> None:
        run = self._running
        await _persist(run, lambda: runs.set_phase(self._database, run.id, run.epoch, phase))
        if phase is RestorePhase.WAITING_FOR_COMMAND:
            await self._step(Step.RESTORE_DELIVERED)


async def _persist(running: Running, write: Callable[[], Awaitable[T]]) -> T:
    """Write to the run's row, through a short absence of the database, while we hold the lease."""
    while True:
        running.require_lease()
        try:
            return await write()
        except DatabaseUnavailable:
            await asyncio.sleep(PAUSE_SECONDS)


async def write_log(parts: Parts, running: Running, *, last: bool = False) -> None:
    """Store what the run printed since the last call. Raises Fenced, DatabaseUnavailable."""
    output = running.output
    if output is None:
        return
    async with running.log_lock:
        change = output.stderr.take(last=last)
        if not change.pieces:
            return
        entries = [
            NewLogEntry(sequence=p.sequence, stream=p.stream, data=p.data) for p in change.pieces
        ]
        await _persist(
            running,
            lambda: runs.append_log(
                parts.database,
                running.id,
                running.epoch,
                entries,
                drop_before=change.drop_before,
                total_bytes=change.total_bytes,
                truncated=change.truncated,
            ),
        )


async def _end_progress(parts: Parts, running: Running) -> None:
    """Write the last counters: what a short run did was perhaps never told before."""
    if running.output is None:
        return
    counters = running.counters
    moved = max(counters.bytes_read, counters.bytes_delivered)
    progress = RunProgress(
        run_id=running.id,
        epoch=running.epoch,
        bytes_read=counters.bytes_read,
        bytes_stored=counters.bytes_stored,
        bytes_delivered=counters.bytes_delivered,
        bytes_per_second=round(moved / max(running.seconds, MOMENT)),
    )
    if not await _persist(running, lambda: runs.record_progress(parts.database, [progress])):
        raise Fenced


async def _end_log(parts: Parts, running: Running) -> None:
    output = running.output
    if output is None:
        return
    output.stderr.end()
    await write_log(parts, running, last=True)
    if not shows_stdout(failed=output.exit_code != 0, stderr_is_empty=output.stderr.is_empty):
        return
    change = output.stdout.take()
    entries = [
        NewLogEntry(sequence=p.sequence, stream=p.stream, data=p.data) for p in change.pieces
    ]
    if entries:
        await _persist(
            running,
            lambda: runs.append_log(
                parts.database,
                running.id,
                running.epoch,
                entries,
                drop_before=None,
                total_bytes=change.total_bytes,
                truncated=False,
            ),
        )


async def _end(
    parts: Parts,
    running: Running,
    order: SaveOrder | RestoreOrder,
    outcome: StoredBackup | int | GatewayError,
) -> None:
    if isinstance(outcome, Fenced):
        raise outcome
    await _end_progress(parts, running)
    await _end_log(parts, running)
    database, run_id, epoch = parts.database, running.id, running.epoch
    exit_code = running.output.exit_code if running.output else None
    if isinstance(outcome, HandedOff):
        if not running.touched:
            await _persist(running, lambda: endings.requeue_run(database, run_id, epoch))
            log.info("run was handed off")
            return
        outcome = Interrupted()
    if isinstance(outcome, GatewayError):
        error = outcome
        log.info("run ended", code=error.code)
        if isinstance(error, Canceled):
            await _persist(
                running, lambda: endings.cancel_ended(database, run_id, epoch, exit_code)
            )
        else:
            await _persist(
                running,
                lambda: endings.fail_run(database, run_id, epoch, error=error, exit_code=exit_code),
            )
    elif isinstance(outcome, StoredBackup) and isinstance(order, SaveOrder):
        stored = outcome
        await _persist(running, lambda: endings.finish_backup(database, order, stored))
        log.info("backup is live", bytes=stored.size_bytes)
    elif isinstance(order, RestoreOrder):
        await _persist(running, lambda: endings.finish_restore(database, order, 0))
        log.info("restore succeeded", bytes=order.size_bytes)
