"""Holds what a duty has taken for the time of a lease, and ends the work where it cannot."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

import structlog

from app.errors import DatabaseUnavailable, Fenced
from app.postgres.leases import LeaseClock
from app.transfer.pipe import first_cause
from app.worker.parts import Times

T = TypeVar("T")
Renew = Callable[[timedelta], Awaitable[bool]]
"""Hold it for so long from now on. False: it is not ours any more."""

log = structlog.get_logger()


class Hold:
    """One thing that was taken. A dead worker's is free again once its lease has passed.

    `clock`: made before the taking was sent.
    """

    def __init__(self, times: Times, clock: LeaseClock, renew: Renew) -> None:
        self._times = times
        self._clock = clock
        self._renew = renew

    def require(self) -> None:
        """Raise Fenced where another worker may have it by now, as after a pause."""
        if self._clock.expired():
            raise Fenced

    async def during(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do the work and renew the lease meanwhile.

        Raises what the work raises, and Fenced where the lease was lost: the work was cancelled.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                renewal = tasks.create_task(self._keep())
                try:
                    return await work()
                finally:
                    renewal.cancel()
        except BaseExceptionGroup as group:
            raise first_cause(group) from None

    async def _keep(self) -> None:
        lease = timedelta(seconds=self._times.lease)
        while True:
            await asyncio.sleep(self._times.renew)
            self.require()
            sent = self._clock.now()
            try:
                async with asyncio.timeout(self._times.give_up):
                    is_ours = await self._renew(lease)
            except (DatabaseUnavailable, TimeoutError):
                log.warning("what a duty holds could not be renewed")
                continue
            if not is_ours:
                raise Fenced
            self._clock.renewed(sent)
