"""Turns: which run is carried out next, so that no hub keeps the others waiting."""

import asyncio
import time
from collections import Counter
from collections.abc import Collection
from uuid import UUID

from app.model.orders import WaitingRun
from app.postgres.pool import Database
from app.service import sweeps

FIRST_HUB = UUID(int=0)
PASS_SECONDS = 60.0


class Turns:
    """Hands out the runs that wait at a worker's places: one of each hub in turn, its oldest.

    Where there are other hubs, a hub never gets the last of a worker's slots: however long its
    runs take, and however many wait, another hub's next run finds a slot.
    """

    def __init__(self, database: Database, places: Collection[str], slots: int) -> None:
        self._database = database
        self._places = tuple(places)
        self._slots = slots
        self._served = FIRST_HUB
        self._taken: dict[UUID, UUID] = {}
        self._passed: dict[UUID, float] = {}
        self._choosing = asyncio.Lock()

    async def take(self) -> UUID | None:
        """Choose a run, which no other call gets until `give_back`. Raises DatabaseUnavailable."""
        async with self._choosing:
            found = await self._next(self._served) or await self._next(FIRST_HUB)
            if found is None:
                return None
            self._served = found.hub_id
            self._taken[found.id] = found.hub_id
            return found.id

    def pass_over(self, run_id: UUID) -> None:
        """Others can carry it out, and we cannot: do not choose it for a while."""
        self._passed[run_id] = time.monotonic() + PASS_SECONDS

    def give_back(self, run_id: UUID) -> None:
        """It has been looked at, whatever came of it."""
        self._taken.pop(run_id, None)

    async def _next(self, after: UUID) -> WaitingRun | None:
        now = time.monotonic()
        self._passed = {id: until for id, until in self._passed.items() if until > now}
        return await sweeps.next_run(
            self._database,
            self._places,
            after=after,
            full=self._full_hubs(),
            taken=[*self._taken, *self._passed],
        )

    def _full_hubs(self) -> list[UUID]:
        if self._slots == 1:
            return []
        counted = Counter(self._taken.values())
        return [hub_id for hub_id, count in counted.items() if count >= self._slots - 1]
