"""Hub.events and hubEvents: everything is told once, also over a lost connection."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from starlette.applications import Starlette

from app.model.access import Role
from app.model.events import EventKind, NewEvent
from app.model.hubs import Hub
from app.model.ids import encode_id
from app.postgres.listen import ListenHub
from app.postgres.pool import Database
from app.service.events import record_event
from tests.builders import a_container, an_admin
from tests.graphql_server import Client, ClientAs, serve
from tests.graphql_socket import open_socket

LIST = """query($filter: EventFilter, $order: CreationOrder! = NEWEST_FIRST, $first: Int,
    $after: String) {
  hub { events(filter: $filter, orderBy: $order, first: $first, after: $after) {
    totalCount nodes { id kind message details { name value } container { id } }
    pageInfo { hasNextPage endCursor } } } }"""
FOLLOW = """subscription($after: String, $kinds: [String!]) {
  hubEvents(after: $after, kinds: $kinds) { cursor event { kind message } } }"""


@pytest.fixture
def tell(worker_database: Database, hub: Hub):
    """Record events with these messages in one transaction."""

    async def record(
        *messages: str, kind: EventKind = EventKind.BACKUP_FAILED, of: Hub = hub, **more: Any
    ) -> None:
        async with worker_database.transaction(None) as connection:
            for message in messages:
                new = NewEvent(kind=kind, message=message, **more)
                await record_event(connection, of.id, new)

    return record


class Follower:
    def __init__(self, socket) -> None:
        self._socket = socket
        self.cursor = ""

    async def read(self) -> str | None:
        """The message of the next event; None where there is none in it."""
        said = await self._socket.read()
        assert said["type"] == "next", said
        told = said["payload"]["data"]["hubEvents"]
        self.cursor = told["cursor"]
        return told["event"] and told["event"]["message"]


@pytest.fixture
def follow(app: Starlette, listening: ListenHub, client_as: ClientAs):
    """Follow the hub's events as a VIEWER, on a connection of its own."""
    del listening

    @asynccontextmanager
    async def open_stream(**variables: Any) -> AsyncIterator[Follower]:
        viewer = await client_as(Role.VIEWER)
        async with serve(app) as place, open_socket(place) as opened:
            await opened.init(viewer.token)
            await opened.subscribe("1", FOLLOW, **variables)
            yield Follower(opened)

    return open_stream


async def list_messages(client: Client, **variables: Any) -> list[str]:
    found = (await client.ask(LIST, **variables))["hub"]["events"]
    return [node["message"] for node in found["nodes"]]


async def test_events_are_listed_and_filtered(
    admin: Client, stranger: Client, gateway_database: Database, tell
) -> None:
    container = await a_container(gateway_database, an_admin(admin.hub))
    await tell("one", container_id=container.id, data={"code": "X", "bytes": 7, "late": True})
    await tell("two", kind=EventKind.RECLAIM_STUCK)
    found = (await admin.ask(LIST))["hub"]["events"]
    assert found["totalCount"] == 2
    id = found["nodes"][1].pop("id")
    details = [("bytes", "7"), ("code", "X"), ("late", "true")]
    assert found["nodes"][1] == {
        "kind": "BACKUP_FAILED",
        "message": "one",
        "details": [{"name": name, "value": value} for name, value in details],
        "container": {"id": encode_id("Container", container.id)},
    }
    assert found["nodes"][0]["message"] == "two"
    own = encode_id("Container", container.id)
    for filter, messages in (
        ({"kinds": ["RECLAIM_STUCK"]}, ["two"]),
        ({"kinds": []}, []),
        ({"containerId": own}, ["one"]),
        ({"containerId": encode_id("Instance", container.id)}, []),
        ({"createdBefore": "2026-01-01T00:00:00Z"}, []),
        ({"createdAfter": "2026-01-01T00:00:00Z"}, ["two", "one"]),
    ):
        assert await list_messages(admin, filter=filter) == messages, filter
    page = (await admin.ask(LIST, first=1, order="OLDEST_FIRST"))["hub"]["events"]
    assert ([node["id"] for node in page["nodes"]], page["pageInfo"]["hasNextPage"]) == ([id], True)
    after = page["pageInfo"]["endCursor"]
    assert await list_messages(admin, first=1, order="OLDEST_FIRST", after=after) == ["two"]
    assert await list_messages(stranger) == []
    node = "query($id: ID!) { node(id: $id) { ... on Event { message } } }"
    assert (await admin.ask(node, id=id))["node"] == {"message": "one"}
    assert (await stranger.ask(node, id=id))["node"] is None


async def test_a_kind_that_there_is_not_is_refused(admin: Client) -> None:
    [error] = await admin.fail(LIST, filter={"kinds": ["BACKUP_FELL_OVER"]})
    assert error["extensions"] == {
        "code": "BAD_USER_INPUT",
        "argument": "filter",
        "limit": None,
    }
    assert error["message"].startswith("A kind of event is one of BACKUP_FAILED, ")


async def test_a_stream_says_where_it_is_and_then_tells_everything_once(tell, follow) -> None:
    await tell("before")
    async with follow() as stream:
        assert await stream.read() is None
        await tell("1", "2")
        assert [await stream.read() for _ in "12"] == ["1", "2"]
        await tell("3")
        assert await stream.read() == "3"


async def test_what_happened_while_nobody_followed_comes_first(tell, follow) -> None:
    """More of it than one look reads; and a place from before the first event is one, too."""
    async with follow() as stream:
        assert await stream.read() is None
        start = stream.cursor
    messages = [str(number) for number in range(120)]
    await tell(*messages)
    async with follow(after=start) as stream:
        assert await stream.read() is None
        assert stream.cursor == start
        assert [await stream.read() for _ in messages[:70]] == messages[:70]
        middle = stream.cursor
    await tell("later")
    async with follow(after=middle) as stream:
        assert await stream.read() is None
        assert [await stream.read() for _ in messages[70:]] == messages[70:]
        assert await stream.read() == "later"


async def test_an_event_that_is_committed_late_is_not_lost(
    worker_database: Database, hub: Hub, tell, follow
) -> None:
    async with worker_database.transaction(None) as slow:
        new = NewEvent(kind=EventKind.BACKUP_FAILED, message="began first")
        await record_event(slow, hub.id, new)
        async with follow() as stream:
            assert await stream.read() is None
            await tell("committed first")
            assert await stream.read() == "committed first"
            place = stream.cursor
    async with follow(after=place) as stream:
        assert [await stream.read() for _ in "12"] == [None, "began first"]


async def test_a_stream_tells_of_the_kinds_and_the_hub_that_it_is_about(
    stranger: Client, tell, follow
) -> None:
    async with follow(kinds=["DRIFT_FOUND", "RECLAIM_STUCK"]) as stream:
        assert await stream.read() is None
        await tell("another hub's", kind=EventKind.DRIFT_FOUND, of=stranger.hub)
        await tell("another kind")
        await tell("1", kind=EventKind.RECLAIM_STUCK)
        await tell("2", kind=EventKind.DRIFT_FOUND)
        assert [await stream.read() for _ in "12"] == ["1", "2"]


@pytest.mark.parametrize(
    ("variables", "argument"), [({"after": "x"}, "after"), ({"kinds": ["x"]}, "kinds")]
)
async def test_a_stream_that_cannot_be_is_refused(
    app: Starlette, admin: Client, variables: dict[str, Any], argument: str
) -> None:
    async with serve(app) as place, open_socket(place) as opened:
        await opened.init(admin.token)
        await opened.subscribe("1", FOLLOW, **variables)
        said = await opened.read()
    assert said["type"] == "error"
    assert said["payload"][0]["extensions"]["argument"] == argument


async def test_the_cursor_of_another_hub_is_none(app: Starlette, stranger: Client, follow) -> None:
    async with follow() as stream:
        await stream.read()
    async with serve(app) as place, open_socket(place) as opened:
        await opened.init(stranger.token)
        await opened.subscribe("1", FOLLOW, after=stream.cursor)
        said = await opened.read()
    assert said["payload"][0]["extensions"]["argument"] == "after"
