"""Events: rows of the transaction that makes them true, numbered as they became visible."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID

import pytest

from app.model.events import Event, EventFilter, EventKind, NewEvent
from app.model.paging import Page
from app.postgres.listen import ListenHub, Wake
from app.postgres.pool import Database
from app.queries import events
from app.service.events import record_event
from app.service.sweeps import prune
from tests.builders import a_hub
from tests.conftest import GATEWAY_ROLE

FAILED = EventKind.BACKUP_FAILED
NOUNS = ("container", "instance", "backup", "restore", "verification", "integration")


@pytest.fixture
async def listening(dsn: str) -> AsyncIterator[ListenHub]:
    hub = ListenHub(dsn, role=GATEWAY_ROLE)
    task = asyncio.create_task(hub.run())
    await hub.wait_until_listening()
    yield hub
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def an_event(message: str = "It failed.", *, kind: EventKind = FAILED) -> NewEvent:
    return NewEvent(kind=kind, message=message)


async def read_messages(
    database: Database, hub_id: UUID, after: int = 0, kinds: list[str] | None = None
) -> list[str]:
    async with database.connection(hub_id) as connection:
        found = await events.following(connection, hub_id, after, kinds, 100)
    return [event.message for _, event in found]


async def list_events(database: Database, hub_id: UUID) -> list[Event]:
    async with database.connection(hub_id) as connection:
        found = await events.page(connection, hub_id, EventFilter(), Page())
        assert await events.count(connection, hub_id, EventFilter()) == len(found.items)
    return list(found.items)


@pytest.mark.parametrize("role", ["gateway", "worker"])
async def test_an_event_is_a_row_with_all_that_was_said(
    owner: Database, gateway_database: Database, worker_database: Database, role: str
) -> None:
    hub, other = await a_hub(owner), await a_hub(owner)
    database = {"gateway": gateway_database, "worker": worker_database}[role]
    subjects = {f"{noun}_id": UUID(int=n) for n, noun in enumerate(NOUNS)}
    new = NewEvent(kind=FAILED, message="m", **subjects, data={"code": "X", "bytes": 1})
    async with database.transaction(hub.id if role == "gateway" else None) as connection:
        await record_event(connection, hub.id, new)
    [event] = await list_events(gateway_database, hub.id)
    assert (event.hub_id, event.kind, event.message) == (hub.id, "BACKUP_FAILED", "m")
    assert event.data == {"code": "X", "bytes": 1}
    assert {name: getattr(event, name) for name in subjects} == subjects
    assert await list_events(gateway_database, other.id) == []


async def test_an_event_of_what_was_rolled_back_never_was(
    owner: Database, gateway_database: Database
) -> None:
    hub = await a_hub(owner)

    async def fail() -> None:
        async with gateway_database.transaction(hub.id) as connection:
            await record_event(connection, hub.id, an_event())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert await list_events(gateway_database, hub.id) == []


async def test_who_follows_a_hub_is_woken_once_its_events_can_be_read(
    owner: Database, gateway_database: Database, listening: ListenHub
) -> None:
    hub, other = await a_hub(owner), await a_hub(owner)
    with (
        listening.subscribe(f"hub:{hub.id}") as mailbox,
        listening.subscribe(f"hub:{other.id}") as theirs,
    ):
        async with gateway_database.transaction(hub.id) as connection:
            await record_event(connection, hub.id, an_event("1"))
            await record_event(connection, hub.id, an_event("2"))
        assert await mailbox.take(5) == (Wake(f"hub:{hub.id}"),)
        assert await read_messages(gateway_database, hub.id) == ["1", "2"]
        assert not await theirs.wait(0.05)


async def test_who_has_seen_an_event_has_seen_every_lower_number(
    owner: Database, gateway_database: Database, worker_database: Database
) -> None:
    """The first to begin is the last to commit: then its event comes last, not in between."""
    hub = await a_hub(owner)
    async with gateway_database.transaction(hub.id) as slow:
        await record_event(slow, hub.id, an_event("began first"))
        async with worker_database.transaction(None) as quick:
            await record_event(quick, hub.id, an_event("committed first"))
        async with gateway_database.connection(hub.id) as connection:
            seen = await events.last_number(connection, hub.id)
        assert await read_messages(gateway_database, hub.id) == ["committed first"]
    assert await read_messages(gateway_database, hub.id, seen) == ["began first"]
    assert await read_messages(gateway_database, hub.id, 0, ["RECLAIM_STUCK"]) == []


async def test_a_reader_beside_many_writers_misses_nothing_and_sees_nothing_twice(
    owner: Database, gateway_database: Database, worker_database: Database
) -> None:
    hub = await a_hub(owner)
    seen: list[str] = []
    writers, each = 6, 15

    async def write(writer: int) -> None:
        for number in range(each):
            async with worker_database.transaction(None) as connection:
                await record_event(connection, hub.id, an_event(f"{writer}-{number}"))
                await asyncio.sleep(0.001 * writer)

    async def read() -> None:
        place = 0
        while len(seen) < writers * each:
            async with gateway_database.connection(hub.id) as connection:
                found = await events.following(connection, hub.id, place, None, 7)
            seen.extend(event.message for _, event in found)
            place = found[-1][0] if found else place

    async with asyncio.timeout(15), asyncio.TaskGroup() as tasks:
        tasks.create_task(read())
        for writer in range(writers):
            tasks.create_task(write(writer))
    assert sorted(seen) == sorted(f"{w}-{n}" for w in range(writers) for n in range(each))


async def test_old_events_are_pruned(
    owner: Database, gateway_database: Database, worker_database: Database
) -> None:
    hub = await a_hub(owner)
    async with gateway_database.transaction(hub.id) as connection:
        for number in range(600):
            await record_event(connection, hub.id, an_event(f"{number}"))
    async with owner.connection() as connection:
        old = "update events set created_at = now() - interval '91 days' where message <> '7'"
        await connection.execute(old)
    await prune(worker_database, timedelta(days=90))
    assert [event.message for event in await list_events(gateway_database, hub.id)] == ["7"]
