"""Batching: whatever a list of 100 asks for takes as many statements as a list of 1 does."""

from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar, cast
from uuid import UUID

from strawberry.dataloader import DataLoader

from app.postgres.pool import Connection

V = TypeVar("V")
Fetch = Callable[..., Awaitable[Mapping[UUID, V]]]
"""A batched query: `(connection, hub_id, ids, *arguments)` to values by id."""

Work = Callable[..., Awaitable[Mapping[UUID, V]]]
"""Something done at once for many ids that takes its connections itself: `(asker, ids)`."""


class Loaders:
    """One batch for each query and its arguments. Lives as long as its answers may be reused."""

    def __init__(
        self, read: Callable[[], AbstractAsyncContextManager[Connection]], hub_id: UUID
    ) -> None:
        self._read = read
        self._hub_id = hub_id
        self._loaders: dict[Hashable, DataLoader[UUID, Any]] = {}

    async def load(self, fetch: Fetch[V], id: UUID, *arguments: Hashable) -> V | None:
        """The query's value of this id; None where it has none."""
        key = (fetch, *arguments)
        loader = self._loaders.get(key)
        if loader is None:

            async def load_batch(ids: list[UUID]) -> Sequence[Any]:
                async with self._read() as connection:
                    found = await fetch(connection, self._hub_id, ids, *arguments)
                return [found.get(id) for id in ids]

            loader = self._loaders[key] = DataLoader(load_fn=load_batch)
        return cast("V | None", await loader.load(id))

    async def work(self, work: Work[V], asker: object, id: UUID) -> V | None:
        """What the work gives for this id; None where it gives nothing. All ids have one asker."""
        loader = self._loaders.get(work)
        if loader is None:

            async def work_batch(ids: list[UUID]) -> Sequence[Any]:
                done = await work(asker, ids)
                return [done.get(id) for id in ids]

            loader = self._loaders[work] = DataLoader(load_fn=work_batch)
        return cast("V | None", await loader.load(id))
