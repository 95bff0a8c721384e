"""Tells the database how far this worker's runs are, and hears whether to stop them."""

import asyncio
import time
from dataclasses import dataclass
from uuid import UUID

import structlog

from app.errors import Canceled, DatabaseUnavailable, Fenced
from app.model.orders import RunProgress
from app.model.steps import Step
from app.service import runs
from app.worker.parts import Parts
from app.worker.persistence import write_log
from app.worker.running import Roster, Running

HEAR_SECONDS = 0.8
"""A cancel is heard within about a second, also where nothing moves."""
RATE_SECONDS = 3.0

log = structlog.get_logger()


@dataclass(slots=True)
class _Rate:
    """Bytes per second over the last few seconds."""

    at: float
    moved: int
    value: float = 0.0

    def update(self, at: float, moved: int) -> int:
        seconds = at - self.at
        if seconds > 0:
            weight = min(1.0, seconds / RATE_SECONDS) if self.value else 1.0
            self.value += ((moved - self.moved) / seconds - self.value) * weight
            self.at, self.moved = at, moved
        return max(0, round(self.value))


class ProgressWriter:
    """One coalesced write and one NOTIFY for all runs of this worker, at most 4 times a second."""

    def __init__(self, parts: Parts, roster: Roster) -> None:
        self._parts = parts
        self._roster = roster
        self._rates: dict[UUID, _Rate] = {}
        self._written: dict[UUID, tuple[int, int, int]] = {}
        self._heard_at = 0.0

    async def run(self) -> None:
        """Go on until cancelled."""
        while True:
            await asyncio.sleep(self._parts.times.progress)
            try:
                await self.write()
            except DatabaseUnavailable as error:
                log.warning("progress waits for the database", error=error.message)
            except Exception:
                # One run's defect must not end the others with this loop.
                log.exception("progress could not be written")

    async def write(self) -> None:
        """Write what has changed since the last time. Raises DatabaseUnavailable."""
        now = time.monotonic()
        running = [r for r in self._roster if r.output is not None]
        self._forget(running)
        due = now - self._heard_at >= HEAR_SECONDS
        changed = [r for r in running if due or self._written.get(r.id) != _moved(r)]
        if not changed:
            return
        progress = [self._measure(r, now) for r in changed]
        heard = {h.run_id: h for h in await runs.record_progress(self._parts.database, progress)}
        if due:
            self._heard_at = now
        for run, told in zip(changed, progress, strict=True):
            self._written[run.id] = (told.bytes_read, told.bytes_stored, told.bytes_delivered)
            answer = heard.get(run.id)
            if answer is None:
                run.stop(Fenced())
            elif answer.cancel:
                await self._parts.step(Step.CASCADE_CANCEL_HEARD)
                run.stop(Canceled())
        for run in running:
            await self._write_log(run)

    async def _write_log(self, run: Running) -> None:
        try:
            await write_log(self._parts, run)
        except Fenced:
            run.stop(Fenced())

    def _measure(self, run: Running, now: float) -> RunProgress:
        read, stored, delivered = _moved(run)
        rate = self._rates.setdefault(run.id, _Rate(now, 0))
        return RunProgress(
            run_id=run.id,
            epoch=run.epoch,
            bytes_read=read,
            bytes_stored=stored,
            bytes_delivered=delivered,
            bytes_per_second=rate.update(now, max(read, delivered)),
        )

    def _forget(self, running: list[Running]) -> None:
        present = {r.id for r in running}
        for known in (self._rates, self._written):
            for gone in known.keys() - present:
                del known[gone]


def _moved(run: Running) -> tuple[int, int, int]:
    counters = run.counters
    return counters.bytes_read, counters.bytes_stored, counters.bytes_delivered
