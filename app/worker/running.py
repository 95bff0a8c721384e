"""What this worker is carrying out now, and why any of it was told to stop."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from app.errors import Fenced, GatewayError, HandedOff
from app.model.orders import ClaimedRun
from app.postgres.leases import LeaseClock
from app.transfer.pipe import Counters, Output


class Running:
    """One claimed run. Its lease is renewed and its progress written by the worker's loops."""

    def __init__(
        self, claimed: ClaimedRun, clock: LeaseClock, *, carrier: "Running | None" = None
    ) -> None:
        self.claimed = claimed
        self.carrier = carrier
        """The run under whose lease this one is carried out, and whose processes it starts."""
        self.clock = clock
        self.counters = Counters()
        self.carried: Running | None = None
        """What this one carries now."""
        self.output: Output | None = None
        self.reason: GatewayError | None = None
        self.touched = False
        self.log_lock = asyncio.Lock()
        self._work: asyncio.Task[object] | None = None
        self._began = time.monotonic()

    @property
    def id(self) -> UUID:
        return self.claimed.run.id

    @property
    def epoch(self) -> int:
        return self.claimed.run.epoch

    @property
    def seconds(self) -> float:
        """Since the run was claimed."""
        return time.monotonic() - self._began

    @property
    def holder(self) -> "Running":
        """The run that has the lease: this one, or the one that carries it."""
        return self.carrier or self

    @property
    def lease(self) -> tuple[UUID, int]:
        return self.holder.id, self.holder.epoch

    def attach(self, work: asyncio.Task[object]) -> None:
        """Let `stop` reach the task that does the work."""
        self._work = work
        if self.reason is not None:
            work.cancel()

    def stop(self, reason: GatewayError) -> None:
        """End the work; the first reason counts, but a lost lease overrides every other.

        What is carried is handed off with its carrier, never by itself.
        """
        if self.carrier is not None and isinstance(reason, HandedOff):
            return
        if self.reason is None or isinstance(reason, Fenced):
            self.reason = reason
        if self._work is not None:
            self._work.cancel()

    @contextmanager
    def carrying(self, carried: "Running") -> Iterator[None]:
        """While another run is carried out under this one's lease."""
        self.carried = carried
        try:
            yield
        finally:
            self.carried = None

    def require_lease(self) -> None:
        """Raise Fenced where the lease may be another worker's by now."""
        if self.clock.expired():
            raise Fenced


class Roster:
    """All runs that this worker carries out now."""

    def __init__(self) -> None:
        self._running: dict[UUID, Running] = {}
        self._left = asyncio.Event()

    def __iter__(self) -> Iterator[Running]:
        """Each of them, and what it carries."""
        for running in list(self._running.values()):
            yield running
            if running.carried is not None:
                yield running.carried

    def __len__(self) -> int:
        return len(self._running)

    def __contains__(self, run_id: UUID) -> bool:
        return run_id in self._running

    def enter(self, running: Running) -> None:
        self._running[running.id] = running

    def leave(self, running: Running) -> None:
        self._running.pop(running.id, None)
        self._left.set()

    async def wait_until_empty(self) -> None:
        while self._running:
            self._left.clear()
            await self._left.wait()
