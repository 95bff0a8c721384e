"""Batching: whatever a list of 100 asks for takes as many statements as a list of 1 does.

Who waited for a batch goes on as soon as it is there, before any other request does. Where more
than a thousand wait they go on in slices, each with batches of its own, and others have their turn
in between.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar, cast
from uuid import UUID

from strawberry.dataloader import DataLoader

from app.model.paging import Slice
from app.postgres.pool import Connection

V = TypeVar("V")
Fetch = Callable[..., Awaitable[Mapping[UUID, V]]]
"""A batched query: `(connection, hub_id, ids, *arguments)` to values by id."""

Work = Callable[..., Awaitable[Mapping[UUID, V]]]
"""Something done at once for many ids that takes its connections itself: `(asker, ids)`."""

ENTRIES_AT_ONCE = 1_000
"""With which those who wait for a batch go on before others have their turn."""


class Line:
    """The slices of all operations that wait, of which one goes on in a turn of the event loop.

    Not to be used by two loops.
    """

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Event] = deque()

    def join(self) -> asyncio.Event:
        """Set once it is the slice's turn."""
        told = asyncio.Event()
        self._waiting.append(told)
        if len(self._waiting) == 1:
            asyncio.get_running_loop().call_soon(self._give_turn)
        return told

    def _give_turn(self) -> None:
        self._waiting[0].set()
        self._waiting.popleft()
        if self._waiting:
            # After those who were told just now, and whatever came meanwhile.
            asyncio.get_running_loop().call_soon(self._give_turn)


class Loaders:
    """One batch for each query and its arguments. Lives as long as its answers may be reused."""

    def __init__(
        self,
        read: Callable[[], AbstractAsyncContextManager[Connection]],
        hub_id: UUID,
        line: Line,
    ) -> None:
        self._line = line
        self._read = read
        self._hub_id = hub_id
        self._loaders: dict[Hashable, DataLoader[UUID, Any]] = {}
        self._paces: dict[Hashable, Pace] = {}

    async def load(self, fetch: Fetch[V], id: UUID, *arguments: Hashable) -> V | None:
        """The query's value of this id; None where it has none."""
        key = (fetch, *arguments)
        loader = self._loaders.get(key)
        if loader is None:

            async def load_batch(ids: list[UUID]) -> Sequence[Any]:
                async with self._read() as connection:
                    found = await fetch(connection, self._hub_id, ids, *arguments)
                self._paces[key] = Pace(self._line)
                return [found.get(id) for id in ids]

            loader = self._loaders[key] = DataLoader(load_fn=load_batch)
        value = cast("V | None", await loader.load(id))
        await self._paces[key].go_on(len(value.items) if isinstance(value, Slice) else 1)
        return value

    async def work(self, work: Work[V], asker: object, id: UUID) -> V | None:
        """What the work gives for this id; None where it gives nothing. All ids have one asker."""
        loader = self._loaders.get(work)
        if loader is None:

            async def work_batch(ids: list[UUID]) -> Sequence[Any]:
                done = await work(asker, ids)
                return [done.get(id) for id in ids]

            loader = self._loaders[work] = DataLoader(load_fn=work_batch)
        return cast("V | None", await loader.load(id))


class Pace:
    """Lets those who wait for a batch go on in slices; others have their turn in between."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._filled = 0
        self._slice: asyncio.Event | None = None

    async def go_on(self, entries: int) -> None:
        """Go on with so many entries: at once in the first slice, else when its turn comes."""
        if self._filled >= ENTRIES_AT_ONCE:
            self._slice = self._line.join()
            self._filled = 0
        self._filled += entries
        if self._slice is not None:
            await self._slice.wait()
