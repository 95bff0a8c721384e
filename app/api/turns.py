"""Turns: new documents are read one at a time, so that reading them never holds up the rest."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID
from weakref import WeakValueDictionary

SHORT = 0.01
"""Seconds; who took longer leaves the event loop to others for as long again."""


class Turns:
    """A key waits for its own document before, and then for those of others before it.

    A key that sends many at once therefore has one in the line that all keys share.
    """

    def __init__(self) -> None:
        self._line = asyncio.Lock()
        self._keys: WeakValueDictionary[UUID, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def take(self, key_id: UUID) -> AsyncIterator[None]:
        """Whoever enters must not wait for anything inside."""
        own = self._keys.setdefault(key_id, asyncio.Lock())
        async with own:
            await self._line.acquire()
            begun = time.perf_counter()
            try:
                yield
            finally:
                taken = time.perf_counter() - begun
                if taken < SHORT:
                    self._line.release()
                else:
                    asyncio.get_running_loop().call_later(taken, self._line.release)
            # A turn of the event loop between two of a key, however short they were.
            await asyncio.sleep(0)
