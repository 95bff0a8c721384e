"""graphql-transport-ws: messages, close codes, and what one client cannot do to the others."""

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from websockets.exceptions import InvalidStatus

from app.api.context import Parts
from app.api.execution import Operations
from app.api.limits import Limits
from app.model.ids import encode_id
from app.postgres.pool import Database
from app.web.visits import Visits
from app.web.websocket import SocketEndpoint
from tests.builders import a_live_backup, a_queued_restore, a_stage
from tests.graphql_server import Client, serve
from tests.graphql_socket import PROTOCOL, open_socket

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


async def test_a_query_over_a_socket_is_answered_and_completes(place: str, admin: Client) -> None:
    async with open_socket(place) as client:
        await client.init(admin.token)
        await client.subscribe("1", NAME)
        answer = await client.read()
        assert (answer["type"], answer["id"]) == ("next", "1")
        assert answer["payload"]["data"] == {"viewer": {"name": admin.principal.name}}
        assert answer["payload"]["extensions"]["cost"]["requested"] == 6
        assert await client.read() == {"type": "complete", "id": "1"}


async def test_a_mutation_over_a_socket_is_carried_out(place: str, admin: Client) -> None:
    query = 'mutation { createContainer(identifier: "db", stateful: true) { errors { code } } }'
    async with open_socket(place) as client:
        await client.init(admin.token)
        await client.subscribe("1", query)
        answer = await client.read()
    assert answer["payload"]["data"] == {"createContainer": {"errors": []}}
    assert (await admin.ask("{ containers { totalCount } }"))["containers"]["totalCount"] == 1


async def test_the_key_may_come_in_any_letter_case_or_as_a_header(
    place: str, admin: Client
) -> None:
    for name in ("authorization", "Authorization", "AUTHORIZATION"):
        async with open_socket(place) as client:
            payload = {name: f"Bearer {admin.token}"}
            answer = await client.exchange({"type": "connection_init", "payload": payload})
            assert answer == {"type": "connection_ack"}
    headers = {"authorization": f"Bearer {admin.token}"}
    for init in ({"type": "connection_init"}, {"type": "connection_init", "payload": None}):
        async with open_socket(place, additional_headers=headers) as client:
            assert await client.exchange(init) == {"type": "connection_ack"}


@pytest.mark.parametrize(
    "payload", [None, {}, {"authorization": "Bearer nope"}, {"authorization": 5}], ids=str
)
async def test_a_bad_key_closes_with_4401(place: str, payload: Any) -> None:
    async with open_socket(place) as client:
        await client.send({"type": "connection_init", "payload": payload})
        assert await client.wait_closed() == (4401, "Unauthorized")


async def test_nothing_is_answered_before_the_key(place: str) -> None:
    async with open_socket(place) as client:
        await client.subscribe("1", NAME)
        assert await client.wait_closed() == (4401, "Unauthorized")


async def test_another_protocol_closes_with_4406(place: str) -> None:
    for protocols in (["graphql-ws"], None):
        async with open_socket(place, subprotocols=protocols) as client:
            code, _ = await client.wait_closed()
            assert code == 4406


async def test_another_origin_is_refused_before_the_handshake(place: str) -> None:
    for origin in ("https://evil.example", "null", "http://127.0.0.1:1"):
        with pytest.raises(InvalidStatus) as caught:
            async with open_socket(place, origin=origin):
                pass
        assert caught.value.response.status_code == 403
    for origin in ("https://friend.example", f"http://{place}", None):
        async with open_socket(place, origin=origin) as client:
            assert client.connection.subprotocol == PROTOCOL


@pytest.mark.parametrize(
    "message",
    [
        "nonsense",
        "[]",
        '"x"',
        "5",
        "{}",
        '{"type": 5}',
        '{"type": "nope"}',
        b"\x00\x01",
        '{"type": "connection_init", "payload": 5}',
        '{"type": "subscribe"}',
        '{"type": "subscribe", "id": 5, "payload": {}}',
        '{"type": "subscribe", "id": "", "payload": {}}',
        '{"type": "subscribe", "id": "' + "x" * 129 + '", "payload": {}}',
        '{"type": "complete", "id": []}',
    ],
    ids=range(14),
)
async def test_a_message_of_the_wrong_shape_closes_with_4400(
    place: str, message: str | bytes
) -> None:
    async with open_socket(place) as client:
        await client.send(message)
        code, reason = await client.wait_closed()
        assert (code, bool(reason)) == (4400, True)


async def test_a_second_init_closes_with_4429(place: str, admin: Client) -> None:
    async with open_socket(place) as client:
        await client.init(admin.token)
        await client.send({"type": "connection_init"})
        assert (await client.wait_closed())[0] == 4429


async def test_an_init_that_does_not_come_closes_with_4408(parts: Parts) -> None:
    async with serve(make_app(parts, init_seconds=0.05)) as place, open_socket(place) as client:
        assert (await client.wait_closed())[0] == 4408


async def test_an_id_in_use_closes_with_4409(place: str, admin: Client, open_restore: str) -> None:
    async with open_socket(place) as client:
        await client.init(admin.token)
        await client.subscribe("1", FOLLOW, id=open_restore)
        await client.read()
        await client.subscribe("1", FOLLOW, id=open_restore)
        assert await client.wait_closed() == (4409, "Subscriber for 1 already exists")


async def test_an_id_can_be_used_again_after_its_end(
    place: str, admin: Client, open_restore: str
) -> None:
    async with open_socket(place) as client:
        await client.init(admin.token)
        for _ in range(3):
            await client.subscribe("1", FOLLOW, id=open_restore)
            assert (await client.read())["type"] == "next"
            await client.send({"type": "complete", "id": "1"})
        await client.subscribe("1", NAME)
        assert (await client.read())["payload"]["data"] == {
            "viewer": {"name": admin.principal.name}
        }
        assert await client.read() == {"type": "complete", "id": "1"}


async def test_a_ping_is_answered_with_its_payload(place: str, admin: Client) -> None:
    async with open_socket(place) as client:
        assert await client.exchange({"type": "ping"}) == {"type": "pong"}
        await client.init(admin.token)
        ping = {"type": "ping", "payload": {"at": 5}}
        assert await client.exchange(ping) == {"type": "pong", "payload": {"at": 5}}
        await client.send({"type": "pong"})
        assert await client.exchange({"type": "ping"}) == {"type": "pong"}


async def test_a_wrong_operation_ends_alone(place: str, admin: Client, open_restore: str) -> None:
    async with open_socket(place) as client:
        await client.init(admin.token)
        await client.subscribe("other", FOLLOW, id=open_restore)
        assert (await client.read())["type"] == "next"
        for payload, code in (
            ({"query": "{"}, "PARSE_FAILED"),
            ({"query": "{ nope }"}, "VALIDATION_FAILED"),
            ({"query": "subscription { nope }"}, "VALIDATION_FAILED"),
            ({"query": FOLLOW}, "BAD_USER_INPUT"),
            ({"query": "query A { __typename } query B { __typename }"}, "BAD_USER_INPUT"),
            ({"query": 5}, "BAD_REQUEST"),
            ({"query": ""}, "BAD_REQUEST"),
            ({}, "BAD_REQUEST"),
            ({"query": NAME, "variables": []}, "BAD_REQUEST"),
            ({"query": NAME, "operationName": 5}, "BAD_REQUEST"),
            ({"query": FOLLOW, "variables": {"id": "rubbish"}}, "NOT_FOUND"),
        ):
            answer = await client.exchange({"type": "subscribe", "id": "1", "payload": payload})
            assert (answer["type"], answer["id"]) == ("error", "1"), payload
            assert answer["payload"][0]["extensions"]["code"] == code
        assert await client.exchange({"type": "ping"}) == {"type": "pong"}


async def test_a_query_over_a_socket_has_a_deadline(parts: Parts, admin: Client) -> None:
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
    async with serve(app) as place, open_socket(place) as client:
        await client.init(admin.token)
        await client.subscribe("1", "{ containers { totalCount } }")
        answer = await client.read()
    assert answer["payload"][0]["extensions"] == {"code": "TIME_LIMIT", "limit": 0.05}
    await stuck.aclose()


LARGE = "{ __schema { types { name description fields { name description } } } }"


async def test_a_client_that_does_not_read_loses_its_socket(parts: Parts, admin: Client) -> None:
    """Its buffers fill, a send waits for longer than it may, and the session ends."""
    ended = asyncio.Event()
    endpoint = SocketEndpoint(
        Operations(parts, Limits()),
        Visits(parts, Limits()),
        allowed_origins=(),
        deadline_seconds=30,
        send_seconds=0.2,
    )

    async def watched(scope: Any, receive: Any, send: Any) -> None:
        await endpoint(scope, receive, send)
        ended.set()

    async with serve(watched, send_buffer=4096) as place:
        host, port = place.split(":")
        narrow = socket.socket()
        narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        narrow.setblocking(False)  # noqa: FBT003
        await asyncio.get_running_loop().sock_connect(narrow, (host, int(port)))
        async with open_socket(place, sock=narrow, max_queue=1, close_timeout=0.1) as client:
            await client.init(admin.token)
            for number in range(8):
                await client.subscribe(str(number), LARGE)
            await ended.wait()
            async with open_socket(place) as other:
                await other.init(admin.token)
