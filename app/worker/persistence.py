"""What a worker writes to a run's row while it holds the lease: marks, phases, progress, log."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

from app.errors import DatabaseUnavailable, Fenced
from app.model.logs import shows_stdout
from app.model.orders import NewLogEntry, RunProgress
from app.model.restores import RestorePhase
from app.model.steps import Step, step_of
from app.service import runs
from app.worker.parts import Parts
from app.worker.running import Running

PAUSE_SECONDS = 0.2
MOMENT = 0.001

T = TypeVar("T")


async def persist(running: Running, write: Callable[[], Awaitable[T]]) -> T:
    """Write to the run's row, through a short absence of the database, while we hold the lease."""
    while True:
        running.require_lease()
        try:
            return await write()
        except DatabaseUnavailable:
            await asyncio.sleep(PAUSE_SECONDS)


class Watch:
    """Keeps with the row what must be known of a run should this process die."""

    def __init__(self, parts: Parts, running: Running, *, restores: bool = True) -> None:
        """`restores`: a restore command may change the instance; else the run may be repeated."""
        self._database = parts.database
        self._running = running
        self._restores = restores
        self._step = parts.step

    async def traced(self, trace: Mapping[str, str | int]) -> None:
        # Who takes the instance over looks at the run that has its lease.
        run = self._running.holder
        await persist(run, lambda: runs.record_trace(self._database, run.id, run.epoch, trace))
        await self._step(step_of(self._running.claimed.run.kind, "COMMAND_STARTED"))

    async def upload_started(self, file_id: str) -> None:
        run = self._running
        await persist(run, lambda: runs.record_upload(self._database, run.id, run.epoch, file_id))
        await self._step(Step.BACKUP_UPLOAD_STARTED)

    async def object_stored(self) -> None:
        await self._step(Step.BACKUP_OBJECT_STORED)
        if self._running.clock.expired():
            # Whoever has the run by now has seen that nothing is left of this try.
            raise Fenced

    async def touched(self) -> None:
        if not self._restores:
            return
        run = self._running
        await persist(run, lambda: runs.mark_touched(self._database, run.id, run.epoch))
        run.touched = True
        await self._step(Step.RESTORE_TOUCHED)

    async def phase(self, phase: RestorePhase) -> None:
        if not self._restores:
            return
        run = self._running
        await persist(run, lambda: runs.set_phase(self._database, run.id, run.epoch, phase))
        if phase is RestorePhase.WAITING_FOR_COMMAND:
            await self._step(Step.RESTORE_DELIVERED)


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
        await persist(
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


async def end_progress(parts: Parts, running: Running) -> None:
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
    if not await persist(running, lambda: runs.record_progress(parts.database, [progress])):
        raise Fenced


async def end_log(parts: Parts, running: Running) -> None:
    """Store the last of the log; the end of stdout where the failed command printed nothing."""
    output = running.output
    if output is None:
        return
    output.stderr.end()
    await write_log(parts, running, last=True)
    if not shows_stdout(failed=output.exit_code != 0, stderr_is_empty=output.stderr.is_empty):
        return
    change = output.stdout.take()
    # Behind what a command before this one printed.
    before = output.stderr.total_bytes
    entries = [
        NewLogEntry(sequence=before + p.sequence, stream=p.stream, data=p.data)
        for p in change.pieces
    ]
    if entries:
        await persist(
            running,
            lambda: runs.append_log(
                parts.database,
                running.id,
                running.epoch,
                entries,
                drop_before=None,
                total_bytes=before + change.total_bytes,
                truncated=output.stderr.take().truncated,
            ),
        )
