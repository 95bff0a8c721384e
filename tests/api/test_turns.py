"""Turns: one new document at a time, key by key, and the event loop in between."""

import asyncio
import time
from dataclasses import replace
from uuid import uuid4

import pytest

from app.api.context import Parts
from app.api.documents import Prepared
from app.api.execution import Answer, Operations, Request
from app.api.limits import Limits
from app.api.turns import SHORT, Turns
from app.model.access import Principal
from tests.graphql_server import Client


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


async def test_a_large_request_of_a_known_document_waits_for_its_turn_and_pays(
    parts: Parts, admin: Client
) -> None:
    operations = Operations(parts, Limits())
    principal = admin.principal
    text = (
        "query ($f: RestoreFilter) { viewer { name } hub { restores(filter: $f) { totalCount } } }"
    )
    small = Request(query=text, variables={"f": {}}, operation_name=None, size=100)
    prepared = await operations.prepare(small, principal)
    assert isinstance(prepared, Prepared)
    await operations.execute(prepared, principal, operations.charge(prepared, principal))
    assert (await operations.prepare(small, principal)).is_known
    medium = replace(small, variables={"f": {"k": 1, "l": 2}}, size=2000)
    few = await operations.prepare(medium, principal)
    assert isinstance(few, Answer)
    assert len(few.body["errors"]) == 1
    size = 64 * 1024
    # Of fifty faults that carrying out would tell one is enough.
    wrong = {"f": {f"k{number}": {} for number in range(900)}}
    large = Request(query=text, variables=wrong, operation_name=None, size=size)
    async with operations._turns.take(principal.key_id):
        waiting = asyncio.create_task(operations.prepare(large, principal))
        await asyncio.sleep(0.05)
        assert not waiting.done()
    refused = await waiting
    assert isinstance(refused, Answer)
    [error] = refused.body["errors"]
    assert error["extensions"]["code"] == "BAD_USER_INPUT"
    assert refused.body["extensions"]["cost"]["requested"] == size // 64


@pytest.mark.parametrize(
    ("variables", "code"),
    [
        ({"f": {f"k{number}": 1 for number in range(1001)}}, "LIST_LIMIT"),
        ({"unused": [[""] * 900 for _ in range(6)]}, "VALUES_LIMIT"),
        ({f"v{number}": 1 for number in range(5001)}, "VALUES_LIMIT"),
    ],
)
async def test_variables_have_limits_whatever_they_are_for(parts: Parts, variables, code) -> None:
    id = uuid4()
    anyone = Principal(hub_id=id, key_id=id, name="x", role=None, capabilities=frozenset())
    request = Request(query="{ viewer { name } }", variables=variables, operation_name=None)
    answer = await Operations(parts, Limits()).prepare(request, anyone)
    assert isinstance(answer, Answer)
    assert answer.body["errors"][0]["extensions"]["code"] == code


async def test_what_asks_for_the_schema_alone_is_carried_out_by_turns(
    parts: Parts, admin: Client
) -> None:
    operations = Operations(parts, Limits())
    request = Request(query="{ __schema { types { name } } }", variables=None, operation_name=None)
    prepared = await operations.prepare(request, admin.principal)
    assert isinstance(prepared, Prepared)
    async with operations._turns.take(admin.principal.key_id):
        cost = operations.charge(prepared, admin.principal)
        work = asyncio.create_task(operations.execute(prepared, admin.principal, cost))
        await asyncio.sleep(0.05)
        assert not work.done()
    assert not (await work).refused
