"""A large operation goes on in slices, so that other requests have their turn in between."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import groupby
from uuid import UUID

import pytest

from app.api.loaders import ENTRIES_AT_ONCE, Line, Loaders
from app.postgres.pool import Connection

HUB = UUID(int=1)


class Asked:
    """A batched query that counts its statements, and many who wait for it."""

    def __init__(self) -> None:
        self.loaders = Loaders(self._read, HUB, Line())
        self.statements = 0
        self.order: list[str] = []

    @asynccontextmanager
    async def _read(self) -> AsyncIterator[Connection]:
        yield None  # type: ignore[misc]

    async def fetch(self, connection: Connection, hub_id: UUID, ids: list[UUID]) -> dict[UUID, int]:
        del connection, hub_id
        self.statements += 1
        await asyncio.sleep(0)
        return {id: id.int for id in ids}

    async def go_on(self, id: int) -> None:
        assert await self.loaders.load(self.fetch, UUID(int=id)) == id
        self.order.append("own")

    async def others(self) -> None:
        while True:
            await asyncio.sleep(0)
            self.order.append("other")

    async def run(self, ids: list[int]) -> list[int]:
        """How many went on at a time, before others had a turn."""
        async with asyncio.TaskGroup() as tasks:
            other = tasks.create_task(self.others())
            await asyncio.gather(*(self.go_on(id) for id in ids))
            other.cancel()
        return [len(list(group)) for kind, group in groupby(self.order) if kind == "own"]


@pytest.mark.parametrize(
    "ids",
    [list(range(5000)), [7] * 5000, [1] * 2500 + list(range(2, 2502))],
    ids=["of each", "of one", "of some"],
)
async def test_who_waits_for_a_large_batch_goes_on_in_slices(ids: list[int]) -> None:
    asked = Asked()
    assert await asked.run(ids) == [ENTRIES_AT_ONCE] * 5
    assert asked.statements == 1


async def test_who_comes_later_goes_on_in_slices_too() -> None:
    asked = Asked()
    await asked.run([7] * 5000)
    asked.order.clear()
    later = await asked.run([7] * 5000)
    assert sum(later) == 5000
    assert max(later) <= ENTRIES_AT_ONCE
    assert asked.statements == 1


async def test_a_batch_goes_on_at_once() -> None:
    assert await Asked().run(list(range(ENTRIES_AT_ONCE))) == [ENTRIES_AT_ONCE]


async def test_of_many_operations_one_slice_goes_on_in_a_turn() -> None:
    line = Line()
    many = [Asked() for _ in range(4)]
    order: list[str] = []
    for asked in many:
        asked.loaders = Loaders(asked._read, HUB, line)
        asked.order = order
        await asked.loaders.load(asked.fetch, UUID(int=7))
    async with asyncio.TaskGroup() as tasks:
        other = tasks.create_task(many[0].others())
        await asyncio.gather(*(asked.go_on(7) for asked in many for _ in range(3000)))
        other.cancel()
    slices = [len(list(group)) for kind, group in groupby(order) if kind == "own"]
    # The first ones were free to go on at once.
    assert max(slices[1:]) <= ENTRIES_AT_ONCE
