"""The worker: consumes the queue, finds what it missed, does the duties, hands off at the end."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from uuid import UUID

import structlog

from app.errors import DatabaseUnavailable, GatewayError, HandedOff
from app.model.waiting import SHOWN_EVERY
from app.postgres.listen import ListenHub
from app.postgres.pool import Database
from app.service import presence
from app.service.runs import ServedElsewhere
from app.worker import (
    adopt,
    engine_events,
    engines,
    ownership,
    probe,
    reclaim,
    reconcile,
    recover,
    retention,
    schedules,
    sweep,
    verifications,
    webhooks,
)
from app.worker.parts import Parts
from app.worker.progress import ProgressWriter
from app.worker.renewal import end_the_lost, renew_leases
from app.worker.run import carry_out
from app.worker.running import Roster
from app.worker.turns import Turns

HAND_OFF_SECONDS = 20
"""How long ending the commands and recording it may take after the drain."""
PAUSE_SECONDS = 1.0
TRIES = 10
"""How often a worker looks for a run that no other one was faster to claim."""
HAND_BACK = timedelta(0)

log = structlog.get_logger()


class Worker:
    """One worker process's loops; `run` ends by itself some time after `stop` was called."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._roster = Roster()
        self._slots = asyncio.Semaphore(parts.runs)
        self._turns = Turns(parts.database, parts.places, parts.runs)
        self._stopping = asyncio.Event()
        self._hurry = asyncio.Event()

    @property
    def listener(self) -> ListenHub:
        return self._parts.listener

    @property
    def database(self) -> Database:
        return self._parts.database

    @property
    def is_stopping(self) -> bool:
        return self._stopping.is_set()

    @property
    def runs(self) -> int:
        """How many runs are being carried out now."""
        return len(self._roster)

    def stop(self) -> None:
        """Claim nothing more, let runs go on for the drain time, then hand them off."""
        self._stopping.set()

    def hurry(self) -> None:
        """Hand the runs off now, the drain time or not."""
        self._hurry.set()

    async def run(self) -> None:
        parts = self._parts
        log.info("worker starts", owner=parts.owner, places=list(parts.places), runs=parts.runs)
        async with asyncio.TaskGroup() as support:
            loops = [
                support.create_task(ProgressWriter(parts, self._roster).run()),
                support.create_task(renew_leases(parts, self._roster)),
                support.create_task(end_the_lost(self._roster)),
            ]
            async with asyncio.TaskGroup() as runs:
                duties = [
                    runs.create_task(self._sweep(runs)),
                    runs.create_task(self._end_what_is_over()),
                    runs.create_task(self._prune()),
                    runs.create_task(self._show()),
                    runs.create_task(self._duty("duty:sessions", sweep.end_stalled)),
                    runs.create_task(self._duty("duty:schedules", schedules.carry_out_due)),
                    runs.create_task(self._duty("duty:reclaims", reclaim.carry_out_due)),
                    runs.create_task(self._duty("duty:integrations", probe.carry_out_due)),
                    runs.create_task(self._duty("duty:ownership", ownership.carry_out_due)),
                    runs.create_task(self._duty("duty:retention", retention.carry_out_due)),
                    runs.create_task(self._duty("duty:webhooks", webhooks.carry_out_due)),
                    runs.create_task(self._duty("duty:reconciles", reconcile.carry_out_due)),
                    runs.create_task(self._duty("duty:engines", engines.carry_out_due)),
                    runs.create_task(engine_events.watch_engines(parts)),
                    runs.create_task(self._duty("duty:recoveries", recover.carry_out_due)),
                    runs.create_task(self._duty("duty:adoptions", adopt.carry_out_due)),
                    runs.create_task(self._duty("duty:verifications", verifications.carry_out_due)),
                ]
                runs.create_task(self._consume())
                await self._stopping.wait()
                for duty in duties:
                    duty.cancel()
                await self._drain()
            for loop in loops:
                loop.cancel()
        log.info("worker has stopped")

    async def _drain(self) -> None:
        seconds = self._parts.times.drain
        if self.runs:
            log.info("worker drains", runs=self.runs, seconds=seconds)
        async with asyncio.TaskGroup() as waits:
            ended = waits.create_task(self._roster.wait_until_empty())
            hurried = waits.create_task(self._hurry.wait())
            await asyncio.wait(
                {ended, hurried}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED
            )
            for running in self._roster:
                running.stop(HandedOff())
            await asyncio.wait({ended}, timeout=HAND_OFF_SECONDS)
            if not ended.done():
                log.warning("runs are left to be taken over", runs=self.runs)
            ended.cancel()
            hurried.cancel()

    async def _handle(self, _: UUID) -> timedelta | None:
        """A hint came: carry out a run, though not always the one that it is about."""
        async with self._slots:
            if self._stopping.is_set():
                return HAND_BACK
            for _try in range(TRIES):
                try:
                    run_id = await self._turns.take()
                except DatabaseUnavailable:
                    break
                if run_id is None or await self._carry_out(run_id):
                    break
        return None

    async def _carry_out(self, run_id: UUID) -> bool:
        """Carry a run out, for a slot; nothing that goes wrong with it ends the worker.

        False: another worker was faster.
        """
        try:
            return await carry_out(self._parts, self._roster, run_id)
        except ServedElsewhere:
            self._turns.pass_over(run_id)
            return False
        except DatabaseUnavailable:
            log.warning("a run waits for the database", run=str(run_id))
        except GatewayError as error:
            log.warning("a run could not be carried out", run=str(run_id), code=error.code)
        except Exception:
            log.exception("a run could not be carried out", run=str(run_id))
        finally:
            self._turns.give_back(run_id)
        return True

    async def _consume(self) -> None:
        await self._parts.queue.consume(
            self._parts.places,
            self._handle,
            concurrency=self._parts.runs,
            stopping=self._stopping,
        )

    async def _sweep(self, runs: asyncio.TaskGroup) -> None:
        """Find the runs that no hint told of: a hint may come late or never."""

        async def carry_out_in_slot(run_id: UUID) -> None:
            try:
                await self._carry_out(run_id)
            finally:
                self._slots.release()

        async def look() -> int:
            while not self._slots.locked():
                await self._slots.acquire()
                run_id = None
                try:
                    run_id = await self._turns.take()
                finally:
                    if run_id is None:
                        self._slots.release()
                if run_id is None:
                    break
                runs.create_task(carry_out_in_slot(run_id))
            return 0

        await self._repeat("duty:runs", self._parts.times.sweep, look)

    async def _end_what_is_over(self) -> None:
        async def look() -> int:
            await sweep.end_what_is_over(self._parts)
            await sweep.free_instances(self._parts)
            return 0

        await self._repeat("duty:sweep", self._parts.times.sweep, look)

    async def _prune(self) -> None:
        async def look() -> int:
            await sweep.prune(self._parts)
            return 0

        await self._repeat("duty:prune", self._parts.times.prune, look)

    async def _show(self) -> None:
        async def look() -> int:
            await presence.show(self._parts.database, self._parts.owner, self._parts.places)
            return 0

        await self._repeat("duty:workers", SHOWN_EVERY.total_seconds(), look)

    async def _duty(self, topic: str, carry_out_due: Callable[[Parts], Awaitable[int]]) -> None:
        await self._repeat(topic, self._parts.times.sweep, lambda: carry_out_due(self._parts))

    async def _repeat(self, topic: str, seconds: float, look: Callable[[], Awaitable[int]]) -> None:
        """Look when told to and every few seconds; at once again while there was something."""
        with self._parts.listener.subscribe(topic) as mailbox:
            while True:
                found = 0
                try:
                    found = await look()
                except DatabaseUnavailable:
                    log.warning("a duty waits for the database", duty=topic)
                except Exception:
                    log.exception("a duty failed", duty=topic)
                    await asyncio.sleep(PAUSE_SECONDS)
                if not found:
                    await mailbox.wait(seconds)
