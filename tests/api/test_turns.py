"""Turns: one new document at a time, key by key, and the event loop in between."""

import asyncio
import time
from uuid import uuid4

import pytest

from app.api.context import Parts
from app.api.execution import Operations, Request
from app.api.limits import Limits
from app.api.turns import SHORT, Turns
from app.model.access import Principal


async def test_a_key_with_many_documents_has_one_in_the_line() -> None:
    turns, seen = Turns(), []
    many, other = uuid4(), uuid4()

    async def read(key_id, name):
        async with turns.take(key_id):
            seen.append(name)

    async with asyncio.TaskGroup() as tasks:
        for number in range(5):
            tasks.create_task(read(many, f"many {number}"))
        tasks.create_task(read(other, "other"))
    assert seen.index("other") <= 1
    assert [name for name in seen if name != "other"] == [f"many {number}" for number in range(5)]


async def test_who_takes_long_leaves_as_long_to_others() -> None:
    turns = Turns()
    async with turns.take(uuid4()):
        time.sleep(5 * SHORT)  # noqa: ASYNC251 - what is tried holds up the loop
    begun = time.perf_counter()
    async with turns.take(uuid4()):
        assert time.perf_counter() - begun > 4 * SHORT


async def test_an_error_and_a_cancelled_wait_leave_the_line_free() -> None:
    turns, key_id = Turns(), uuid4()
    with pytest.raises(ValueError, match="own"):
        async with turns.take(key_id):
            raise ValueError("own")
    async with turns.take(key_id):
        waiting = asyncio.create_task(turns.take(key_id).__aenter__())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    async with asyncio.timeout(5), turns.take(key_id):
        pass


async def test_the_loop_turns_between_new_documents(parts: Parts) -> None:
    operations = Operations(parts, Limits())
    keys = [
        Principal(hub_id=id, key_id=id, name="x", role=None, capabilities=frozenset())
        for id in (uuid4(), uuid4())
    ]
    turned, longest, last = 0, 0.0, time.perf_counter()

    async def count() -> None:
        nonlocal turned, longest, last
        while True:
            await asyncio.sleep(0)
            now = time.perf_counter()
            turned, longest, last = turned + 1, max(longest, now - last), now

    counting = asyncio.create_task(count())
    before = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for number in range(20):
            text = f"query y{number} {{" + "hub { name } " * 60 + "}"
            request = Request(query=text, variables=None, operation_name=None)
            tasks.create_task(operations.prepare(request, keys[number % 2]))
    whole = time.perf_counter() - before
    counting.cancel()
    assert turned >= 20
    assert longest < whole / 4
