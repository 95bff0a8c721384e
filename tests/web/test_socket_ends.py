"""Sockets that end, or refuse something: keys, limits, servers and clients that go."""

import asyncio
import contextlib
import socket
import struct
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute

from app.api.context import Parts
from app.api.execution import Operations
from app.api.limits import Limits
from app.model.access import Role
from app.model.ids import encode_id
from app.postgres.listen import ListenHub, notify
from app.postgres.pool import Database
from app.web.visits import Visits
from app.web.websocket import SocketEndpoint
from tests.builders import a_live_backup, a_queued_restore, a_stage
from tests.graphql_server import Client, ClientAs, serve
from tests.graphql_socket import open_socket

NAME = "{ viewer { name } }"
FOLLOW = "subscription($id: ID!) { restoreProgress(restoreId: $id) { id state } }"


@pytest.fixture
async def place(app: Starlette) -> AsyncIterator[str]:
    async with serve(app) as place:
        yield place


@pytest.fixture
async def open_restore(
    admin: Client, owner: Database, gateway_database: Database, worker_database: Database
) -> str:
    """The id of a restore that goes on for as long as a test does."""
    stage = await a_stage(owner, gateway_database, worker_database, admin=admin.principal)
    backup = await a_live_backup(gateway_database, worker_database, stage)
    restore = await a_queued_restore(gateway_database, stage, backup)
    return encode_id("Restore", restore.id)


def make_app(parts: Parts, **options: Any) -> Starlette:
    limits = options.pop("limits", Limits())
    timing = {name: options.pop(name) for name in ("recheck_seconds", "clock") if name in options}
    endpoint = SocketEndpoint(
        Operations(parts, limits),
        Visits(parts, limits, **timing),
        **{"allowed_origins": (), "deadline_seconds": 30, **options},
    )
    return Starlette(routes=[WebSocketRoute("/graphql", endpoint)])


async def test_a_socket_has_a_limit_of_operations(
    parts: Parts, admin: Client, open_restore: str
) -> None:
    async with (
        serve(make_app(parts, most_operations=1)) as place,
        open_socket(place) as client,
    ):
        await client.init(admin.token)
        await client.subscribe("1", FOLLOW, id=open_restore)
        assert (await client.read())["type"] == "next"
        await client.subscribe("2", NAME)
        answer = await client.read()
    assert answer["id"] == "2"
    assert answer["payload"][0]["extensions"] == {
        "code": "SOCKET_OPERATIONS_LIMIT",
        "limit": 1,
        "actual": 2,
    }


async def test_a_message_over_the_limit_closes_with_1009(parts: Parts) -> None:
    app = make_app(parts, limits=Limits(body_bytes=100))
    async with serve(app) as place, open_socket(place) as client:
        await client.send({"type": "ping", "payload": {"x": "y" * 100}})
        assert (await client.wait_closed())[0] == 1009


async def test_a_key_that_expires_closes_with_4401(
    parts: Parts, client_as: ClientAs, owner: Database
) -> None:
    """It is good for an hour by the database, and almost over by the endpoint's clock."""
    client = await client_as(Role.VIEWER)
    async with owner.connection() as connection:
        await connection.execute(
            "update api_keys set expires_at = now() + interval '1 hour' where id = $1",
            client.principal.key_id,
        )
    app = make_app(parts, clock=lambda: time.time() + 3599.9)
    async with serve(app) as place, open_socket(place) as opened:
        await opened.init(client.token)
        assert await opened.wait_closed() == (4401, "The API key has expired")


@pytest.mark.usefixtures("listening")
@pytest.mark.parametrize("how", ["told", "found"])
async def test_a_key_that_is_revoked_closes_with_4401(
    parts: Parts, admin: Client, open_restore: str, owner: Database, how: str
) -> None:
    """At once where its revocation is told, and after a while where nobody tells it."""
    app = make_app(parts, recheck_seconds=3600 if how == "told" else 0.05)
    async with serve(app) as place, open_socket(place) as opened:
        await opened.init(admin.token)
        await opened.subscribe("1", FOLLOW, id=open_restore)
        assert (await opened.read())["type"] == "next"
        key_id = admin.principal.key_id
        async with owner.transaction(None) as connection:
            statement = "update api_keys set revoked_at = now() where id = $1"
            await connection.execute(statement, key_id)
            if how == "told":
                await notify(connection, [f"key:{key_id}"])
        assert await opened.wait_closed() == (4401, "Unauthorized")


async def test_a_key_has_a_limit_of_sockets(parts: Parts, client_as: ClientAs) -> None:
    client, other = await client_as(Role.VIEWER), await client_as(Role.VIEWER)
    app = make_app(parts, limits=Limits(sockets=1))
    async with serve(app) as place:
        async with open_socket(place) as first, open_socket(place) as second:
            await first.init(client.token)
            payload = {"authorization": f"Bearer {client.token}"}
            await second.send({"type": "connection_init", "payload": payload})
            reason = "Your API key has too many sockets; the limit is 1."
            assert await second.wait_closed() == (1013, reason)
            async with open_socket(place) as third:
                await third.init(other.token)
        # What was closed is not counted any more.
        async with open_socket(place) as again:
            await again.init(client.token)


async def test_a_gateway_with_too_many_sockets_closes_with_1013(parts: Parts) -> None:
    app = make_app(parts, limits=Limits(connections=1))
    async with serve(app) as place, open_socket(place) as first:
        assert await first.exchange({"type": "ping"}) == {"type": "pong"}
        async with open_socket(place) as second:
            assert (await second.wait_closed())[0] == 1013


async def test_a_database_that_is_down_closes_with_1013(
    parts: Parts, admin: Client, owner: Database
) -> None:
    async with Database.open(owner.dsn, role=None, min_size=0) as closed:
        pass
    app = make_app(replace(parts, database=closed))
    async with serve(app) as place, open_socket(place) as client:
        payload = {"authorization": f"Bearer {admin.token}"}
        await client.send({"type": "connection_init", "payload": payload})
        assert await client.wait_closed() == (1013, "Try again later")


async def test_a_defect_closes_with_4500(
    parts: Parts, admin: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    class Broken(Database):
        def connection(self, *_: object):
            raise RuntimeError("a defect")

    broken = Broken(parts.database.dsn, role=None, application_name="x", min_size=0, max_size=1)
    app = make_app(replace(parts, database=broken))
    async with serve(app) as place, open_socket(place) as client:
        payload = {"authorization": f"Bearer {admin.token}"}
        await client.send({"type": "connection_init", "payload": payload})
        assert await client.wait_closed() == (4500, "Internal error")
    printed = capsys.readouterr()
    assert "a defect" in printed.out + printed.err


async def test_subscriptions_over_the_limit_are_refused_alone(
    parts: Parts, admin: Client, open_restore: str
) -> None:
    app = make_app(parts, limits=Limits(subscriptions=1))
    async with serve(app) as place, open_socket(place) as client:
        await client.init(admin.token)
        await client.subscribe("1", FOLLOW, id=open_restore)
        assert (await client.read())["type"] == "next"
        await client.subscribe("2", FOLLOW, id=open_restore)
        answer = await client.read()
        assert (answer["type"], answer["id"]) == ("error", "2")
        assert answer["payload"][0]["extensions"] == {
            "code": "SUBSCRIPTIONS_LIMIT",
            "limit": 1,
            "actual": 2,
        }
        await client.send({"type": "complete", "id": "1"})
        assert await client.exchange({"type": "ping"}) == {"type": "pong"}


async def test_a_rate_is_spent_over_a_socket_too(parts: Parts, admin: Client) -> None:
    app = make_app(parts, limits=Limits(points_per_minute=2))
    async with serve(app) as place, open_socket(place) as client:
        await client.init(admin.token)
        await client.subscribe("1", NAME)
        assert (await client.read())["type"] == "next"
        assert (await client.read())["type"] == "complete"
        await client.subscribe("2", NAME)
        answer = await client.read()
        assert (answer["type"], answer["id"]) == ("error", "2")
        extensions = answer["payload"][0]["extensions"]
        assert (extensions["code"], extensions["limit"], extensions["actual"]) == (
            "RATE_LIMIT",
            2,
            6,
        )
        assert extensions["retryAfter"] >= 1


@pytest.mark.parametrize("how", ["complete", "close", "fin", "reset"])
async def test_a_subscription_ends_with_its_client(
    place: str, admin: Client, open_restore: str, listen: ListenHub, how: str
) -> None:
    async with open_socket(place, close_timeout=0.1) as client:
        await client.init(admin.token)
        await client.subscribe("1", FOLLOW, id=open_restore)
        assert (await client.read())["type"] == "next"
        assert any(topic.startswith("run:") for topic in listen._mailboxes)
        transport = client.connection.transport
        if how == "complete":
            await client.send({"type": "complete", "id": "1"})
        elif how == "close":
            await client.connection.close()
        elif how == "fin":
            transport.write_eof()
        else:
            linger = struct.pack("ii", 1, 0)
            transport.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, linger
            )
            transport.abort()
        async with asyncio.timeout(1):
            while any(topic.startswith("run:") for topic in listen._mailboxes):
                await asyncio.sleep(0.01)


async def test_a_server_that_stops_closes_with_1012(
    app: Starlette, admin: Client, open_restore: str
) -> None:
    """Clients come again after this code."""
    async with contextlib.AsyncExitStack() as stack:
        async with serve(app) as place:
            opened = await stack.enter_async_context(open_socket(place))
            await opened.init(admin.token)
            await opened.subscribe("1", FOLLOW, id=open_restore)
            assert (await opened.read())["type"] == "next"
        assert (await opened.wait_closed())[0] == 1012


async def test_before_there_is_a_key_only_small_messages_are_read(
    parts: Parts, admin: Client
) -> None:
    large = {"type": "ping", "payload": {"x": "y" * 20_000}}
    async with serve(make_app(parts)) as place:
        async with open_socket(place) as client:
            await client.send(large)
            assert (await client.wait_closed())[0] == 1009
        async with open_socket(place) as client:
            await client.init(admin.token)
            await client.send(large)
            assert (await client.wait_closed())[0] == 1009


async def test_a_payload_that_cannot_be_sent_back_closes_with_4400(parts: Parts) -> None:
    deep = '{"a":' * 300 + "1" + "}" * 300
    async with serve(make_app(parts)) as place, open_socket(place) as client:
        await client.send(f'{{"type": "ping", "payload": {deep}}}')
        assert await client.wait_closed() == (4400, "The payload is nested too deeply")
