"""What owner objects answered within a batch: a yes counts for a minute, a no for the batch."""

import asyncio
from collections import defaultdict
from collections.abc import Callable
from typing import Final
from uuid import UUID

from app.errors import GatewayError
from app.postgres.leases import LeaseClock, read_boot_time
from app.worker.ownership import require_owner
from app.worker.parts import Parts

ASKED_SECONDS: Final = 60.0
"""A worker may be paused after it was told that the bucket is ours."""


class Answers:
    """Whose the buckets of one batch are; each is asked once, however much of it is to go."""

    def __init__(self, parts: Parts, *, read_time: Callable[[], float] = read_boot_time) -> None:
        self._parts = parts
        self._read_time = read_time
        self._asking: dict[UUID, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._yes: dict[UUID, LeaseClock] = {}
        self._no: dict[UUID, GatewayError] = {}

    async def require(self, integration_id: UUID) -> None:
        """Ask the owner object, unless its yes still counts. Raises what `require_owner` raises."""
        async with self._asking[integration_id]:
            if self.count(integration_id):
                return
            if integration_id in self._no:
                raise self._no[integration_id]
            # It counts from before the question was sent.
            asked = LeaseClock(ASKED_SECONDS, read_time=self._read_time)
            try:
                await require_owner(self._parts, integration_id)
            except GatewayError as error:
                self._no[integration_id] = error
                raise
            self._yes[integration_id] = asked

    def count(self, integration_id: UUID) -> bool:
        """Whether the bucket was said to be ours so lately that something there may go now."""
        asked = self._yes.get(integration_id)
        return asked is not None and not asked.expired()
