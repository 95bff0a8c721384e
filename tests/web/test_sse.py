"""GraphQL over server-sent events: operations of each kind, and streams that end when they must."""

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from app.api.context import Parts
from app.api.execution import Operations
from app.api.limits import Limits
from app.model.access import Role
from app.model.ids import encode_id
from app.postgres.listen import CHANNEL, ListenHub
from app.postgres.pool import Database
from app.service.restores import cancel_restore
from app.web.app import create_app
from app.web.graphql import GraphQLEndpoint
from app.web.visits import Visits
from tests.builders import a_live_backup, a_queued_restore, a_stage
from tests.graphql_server import Client, ClientAs, serve

NAME = "{ viewer { name } }"
FOLLOW = "subscription($id: ID!) { restoreProgress(restoreId: $id) { id state } }"


@dataclass(frozen=True, kw_only=True)
class OpenRestore:
    """A restore that goes on for as long as a test does."""

    id: str
    topic: str
    key: Any


@pytest.fixture
async def restore(
    admin: Client, owner: Database, gateway_database: Database, worker_database: Database
) -> OpenRestore:
    stage = await a_stage(owner, gateway_database, worker_database, admin=admin.principal)
    backup = await a_live_backup(gateway_database, worker_database, stage)
    queued = await a_queued_restore(gateway_database, stage, backup)
    return OpenRestore(id=encode_id("Restore", queued.id), topic=f"run:{queued.id}", key=queued.id)


@pytest.fixture
async def place(app: Starlette, listening: ListenHub) -> AsyncIterator[str]:
    del listening
    async with serve(app) as place:
        yield place


@contextlib.asynccontextmanager
async def stream(
    place: str, token: str, query: str, method: str = "POST", /, **variables: Any
) -> AsyncIterator[httpx.Response]:
    headers = {"accept": "text/event-stream", "authorization": f"Bearer {token}"}
    sent: dict[str, Any] = {"json": {"query": query, "variables": variables}}
    if method == "GET":
        sent = {"params": {"query": query, "variables": json.dumps(variables)}}
    async with (
        httpx.AsyncClient(base_url=f"http://{place}", trust_env=False, timeout=10) as client,
        client.stream(method, "/graphql", headers=headers, **sent) as response,
    ):
        yield response


async def read_events(response: httpx.Response) -> AsyncIterator[tuple[str, Any]]:
    """Each event as its name and its data; comments are left out."""
    name, data = "", ""
    async for line in response.aiter_lines():
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data:"):
            data = line.removeprefix("data:").strip()
        elif not line and name:
            yield name, json.loads(data) if data else None
            name, data = "", ""


async def read_all(
    place: str, token: str, query: str, method: str = "POST", /, **variables: Any
) -> list[tuple[str, Any]]:
    async with stream(place, token, query, method, **variables) as response:
        assert response.status_code == 200
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        return [event async for event in read_events(response)]


def codes(payload: Any) -> list[str]:
    return [error["extensions"]["code"] for error in payload["errors"]]


@pytest.mark.parametrize("method", ["POST", "GET"])
async def test_a_query_is_one_event_and_completes(place: str, admin: Client, method: str) -> None:
    (name, payload), last = await read_all(place, admin.token, NAME, method)
    assert name == "next"
    assert payload["data"] == {"viewer": {"name": admin.principal.name}}
    assert last == ("complete", None)


async def test_a_mutation_is_carried_out_by_post_only(place: str, admin: Client) -> None:
    query = 'mutation { createContainer(identifier: "db", stateful: true) { errors { code } } }'
    async with stream(place, admin.token, query, "GET") as response:
        assert response.status_code == 405
    (_, payload), last = await read_all(place, admin.token, query)
    assert payload["data"] == {"createContainer": {"errors": []}}
    assert last == ("complete", None)


async def test_a_subscription_tells_each_change_and_completes(
    place: str, admin: Client, restore: OpenRestore, gateway_database: Database
) -> None:
    async with stream(place, admin.token, FOLLOW, id=restore.id) as response:
        events = read_events(response)
        name, payload = await anext(events)
        assert (name, payload["data"]["restoreProgress"]["state"]) == ("next", "QUEUED")
        assert payload["extensions"]["cost"]["requested"] == 21
        await cancel_restore(gateway_database, admin.principal, id=restore.key)
        name, payload = await anext(events)
        assert payload == {"data": {"restoreProgress": {"id": restore.id, "state": "CANCELED"}}}
        assert [event async for event in events] == [("complete", None)]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("{", "PARSE_FAILED"),
        ("{ nope }", "VALIDATION_FAILED"),
        ("subscription { nope }", "VALIDATION_FAILED"),
        (FOLLOW, "BAD_USER_INPUT"),
        ('subscription { restoreProgress(restoreId: "x") { id } }', "NOT_FOUND"),
    ],
)
async def test_what_cannot_be_carried_out_is_told_as_an_event(
    place: str, admin: Client, query: str, code: str
) -> None:
    (name, payload), last = await read_all(place, admin.token, query)
    assert (name, codes(payload), last) == ("next", [code], ("complete", None))


async def test_what_is_no_request_has_a_status(place: str, admin: Client) -> None:
    async with stream(place, "nonsense", NAME) as response:
        assert response.status_code == 401
        assert response.headers["content-type"] == "application/json; charset=utf-8"
    async with stream(place, admin.token, "") as response:
        assert response.status_code == 400


async def test_a_key_that_is_revoked_ends_its_streams_at_once(
    place: str, admin: Client, restore: OpenRestore, owner: Database
) -> None:
    async with stream(place, admin.token, FOLLOW, id=restore.id) as response:
        events = read_events(response)
        assert (await anext(events))[0] == "next"
        await revoke(owner, admin)
        name, payload = await anext(events)
        assert (name, codes(payload)) == ("next", ["UNAUTHENTICATED"])
        assert [event async for event in events] == [("complete", None)]


async def revoke(owner: Database, client: Client) -> None:
    """As `revokeApiKey` does it."""
    async with owner.transaction(None) as connection:
        key_id = client.principal.key_id
        await connection.execute("update api_keys set revoked_at = now() where id = $1", key_id)
        topics = f'{{"topics":[["key:{key_id}"]]}}'
        await connection.execute("select pg_notify($1, $2)", CHANNEL, topics)


async def test_a_server_that_stops_cuts_its_streams_at_once(
    app: Starlette, listening: ListenHub, admin: Client, restore: OpenRestore
) -> None:
    """Without `complete`: a client comes again."""
    del listening
    async with contextlib.AsyncExitStack() as stack:
        async with serve(app) as place:
            response = await stack.enter_async_context(
                stream(place, admin.token, FOLLOW, id=restore.id)
            )
            events = read_events(response)
            assert (await anext(events))[0] == "next"
        assert [event async for event in events] == []


@pytest.mark.parametrize("how", ["fin", "reset"])
async def test_a_client_that_goes_leaves_nothing_behind(
    place: str, admin: Client, restore: OpenRestore, listen: ListenHub, how: str
) -> None:
    host, port = place.split(":")
    body = json.dumps({"query": FOLLOW, "variables": {"id": restore.id}})
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        f"POST /graphql HTTP/1.1\r\nhost: {place}\r\naccept: text/event-stream\r\n"
        f"authorization: Bearer {admin.token}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n\r\n{body}".encode()
    )
    assert b"QUEUED" in await reader.readuntil(b"QUEUED")
    assert restore.topic in listen._mailboxes
    if how == "reset":
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.close()
    async with asyncio.timeout(1):
        while listen._mailboxes:
            await asyncio.sleep(0.01)


def make_app(parts: Parts, limits: Limits | None = None, **options: Any) -> Starlette:
    limits = limits or Limits()
    endpoint = GraphQLEndpoint(
        Operations(parts, limits), Visits(parts, limits), **{"deadline_seconds": 30, **options}
    )
    return Starlette(routes=[Route("/graphql", endpoint)])


async def test_a_silent_stream_has_heartbeats(
    parts: Parts, listening: ListenHub, admin: Client, restore: OpenRestore
) -> None:
    del listening
    app = make_app(parts, heartbeat_seconds=0.01)
    async with (
        serve(app) as place,
        stream(place, admin.token, FOLLOW, id=restore.id) as response,
    ):
        beats = 0
        async for line in response.aiter_lines():
            beats += line == ":"
            if beats == 5:
                return


async def test_a_client_that_does_not_read_is_let_go(
    parts: Parts, admin: Client, restore: OpenRestore
) -> None:
    """Its buffers fill with heartbeats, a send waits for longer than it may, the stream ends."""
    endpoint = make_app(parts, heartbeat_seconds=0.0001, send_seconds=0.2)
    ended = asyncio.Event()

    async def watched(scope: Any, receive: Any, send: Any) -> None:
        async def padded(message: Any) -> None:
            if message.get("body"):
                message = {**message, "body": message["body"] + b":" * 4096 + b"\n\n"}
            await send(message)

        await endpoint(scope, receive, padded)
        ended.set()

    async with serve(watched, send_buffer=4096) as place:
        host, port = place.split(":")
        narrow = socket.socket()
        narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        narrow.setblocking(False)  # noqa: FBT003
        await asyncio.get_running_loop().sock_connect(narrow, (host, int(port)))
        _, writer = await asyncio.open_connection(sock=narrow, limit=1)
        body = json.dumps({"query": FOLLOW, "variables": {"id": restore.id}})
        writer.write(
            f"POST /graphql HTTP/1.1\r\nhost: {place}\r\naccept: text/event-stream\r\n"
            f"authorization: Bearer {admin.token}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\n\r\n{body}".encode()
        )
        await ended.wait()
        writer.transport.abort()


async def test_a_query_as_a_stream_has_a_deadline(parts: Parts, admin: Client) -> None:
    class Stuck(Database):
        def connection(self, hub_id=None):
            return super().connection(hub_id) if hub_id is None else self

        async def __aenter__(self):
            await asyncio.Event().wait()

        async def __aexit__(self, *_: object) -> None: ...

    stuck = Stuck(
        parts.database.dsn,
        role=parts.database.role,
        application_name="stuck",
        min_size=0,
        max_size=1,
    )
    app = make_app(replace(parts, database=stuck), deadline_seconds=0.05)
    async with serve(app) as place:
        (_, payload), last = await read_all(place, admin.token, "{ containers { totalCount } }")
    assert (codes(payload), last) == (["TIME_LIMIT"], ("complete", None))
    await stuck.aclose()


async def test_a_defect_ends_a_stream_with_its_reference(parts: Parts, admin: Client) -> None:
    class Broken(Operations):
        async def execute(self, *_: object):
            raise RuntimeError("a defect")

    endpoint = GraphQLEndpoint(
        Broken(parts, Limits()), Visits(parts, Limits()), deadline_seconds=30
    )
    async with serve(Starlette(routes=[Route("/graphql", endpoint)])) as place:
        (_, payload), last = await read_all(place, admin.token, NAME)
    assert (codes(payload), last) == (["INTERNAL"], ("complete", None))
    assert "a defect" not in str(payload)


async def test_a_key_has_a_limit_of_subscriptions_over_all_transports(
    parts: Parts, listening: ListenHub, client_as: ClientAs, restore: OpenRestore
) -> None:
    del listening
    client, other = await client_as(Role.VIEWER), await client_as(Role.VIEWER)
    app = create_app(parts, limits=Limits(subscriptions=1))
    async with serve(app) as place:
        async with stream(place, client.token, FOLLOW, id=restore.id) as first:
            events = read_events(first)
            assert (await anext(events))[0] == "next"
            async with stream(place, client.token, FOLLOW, id=restore.id) as second:
                assert second.status_code == 429
                assert second.headers["retry-after"] == "10"
                [error] = json.loads(await second.aread())["errors"]
            async with stream(place, other.token, FOLLOW, id=restore.id) as third:
                assert third.status_code == 200
        assert error["extensions"] == {"code": "SUBSCRIPTIONS_LIMIT", "limit": 1, "actual": 2}


async def test_a_gateway_has_a_limit_of_connections(
    parts: Parts, listening: ListenHub, admin: Client, restore: OpenRestore
) -> None:
    del listening
    app = create_app(parts, limits=Limits(connections=1))
    async with serve(app) as place, stream(place, admin.token, FOLLOW, id=restore.id) as first:
        events = read_events(first)
        assert (await anext(events))[0] == "next"
        async with stream(place, admin.token, FOLLOW, id=restore.id) as second:
            assert second.status_code == 503
            [error] = json.loads(await second.aread())["errors"]
    assert error["extensions"] == {"code": "CONNECTIONS_LIMIT", "limit": 1, "actual": 2}


async def test_a_key_that_has_spent_its_rate_gets_429_before_a_stream(
    parts: Parts, admin: Client
) -> None:
    async with serve(make_app(parts, Limits(points_per_minute=2))) as place:
        await read_all(place, admin.token, NAME)
        async with stream(place, admin.token, NAME) as response:
            assert (response.status_code, "retry-after" in response.headers) == (429, True)
