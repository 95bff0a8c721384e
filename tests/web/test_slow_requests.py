"""Requests that come too slowly, or not at all, are cut: nobody holds a connection for ever."""

import asyncio
import contextlib
import errno
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import httpx
import pytest
from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send

from app.api.context import Parts
from app.web.app import create_app
from app.web.cutting import cut
from app.wiring.connections import (
    FRAMES_BYTES,
    LARGEST_HEAD,
    MOST_PIPELINED,
    Connection,
    _read_at_most,
)
from app.wiring.parts import bind
from app.wiring.programs import GRACE_SECONDS, make_server
from tests.graphql_server import Client

ANSWER = b'{"query": "{ viewer { name } }"}'


@asynccontextmanager
async def a_gateway(parts: Parts, deadline: float = 30) -> AsyncIterator[int]:
    server = make_server(create_app(parts, deadline_seconds=deadline))
    with bind("127.0.0.1", 0) as listening:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(server.serve(sockets=[listening]))
            yield listening.getsockname()[1]
            server.stop()


def head(client: Client, length: int, *more: str) -> bytes:
    lines = (
        "POST /graphql HTTP/1.1",
        "host: gateway",
        f"authorization: Bearer {client.token}",
        "content-type: application/json",
        f"content-length: {length}",
        *more,
    )
    return "\r\n".join([*lines, "", ""]).encode()


async def read_to_the_end(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read()
    except ConnectionResetError:
        return b""


@pytest.mark.parametrize("sent", [b"", b"POST /graphql HTTP/1.1\r\nhost: gateway\r\n"])
async def test_a_connection_without_the_head_of_a_request_is_cut(
    parts: Parts, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(Connection, "arrival_seconds", 0.2)
    async with a_gateway(parts) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        assert await read_to_the_end(reader) == b""
        writer.close()


async def test_the_head_of_a_second_request_is_waited_for_no_longer(
    parts: Parts, admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And whoever sends requests in time keeps the connection."""
    monkeypatch.setattr(Connection, "arrival_seconds", 0.5)
    async with a_gateway(parts) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(3):
            writer.write(head(admin, len(ANSWER)) + ANSWER)
            assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
            answer = await reader.readuntil(b"\r\n\r\n")
            length = answer.lower().partition(b"content-length: ")[2].split()[0]
            await reader.readexactly(int(length))
            await asyncio.sleep(0.3)
        writer.write(head(admin, 5)[:-4])
        assert await read_to_the_end(reader) == b""
        writer.close()


async def test_a_body_that_does_not_come_is_told_and_ends_the_connection(
    parts: Parts, admin: Client
) -> None:
    async with a_gateway(parts, deadline=0.2) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head(admin, 100) + b"{")
        answer = await read_to_the_end(reader)
        assert answer.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
        assert answer.endswith(
            b'{"errors":[{"message":"The request took longer than 0.2 s to arrive.",'
            b'"extensions":{"code":"TIME_LIMIT","limit":0.2}}]}'
        )
        writer.close()


QUESTIONS = 10
LARGE = b'{"query": "{ __schema { types { name description fields { name description } } } }"}'


async def ask_without_reading(port: int, client: Client) -> socket.socket:
    """Ten requests at once, whose answers are over a megabyte; nothing of it is read yet."""
    narrow = socket.socket()
    narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    narrow.setblocking(False)  # noqa: FBT003
    loop = asyncio.get_running_loop()
    await loop.sock_connect(narrow, ("127.0.0.1", port))
    await loop.sock_sendall(narrow, (head(client, len(LARGE)) + LARGE) * QUESTIONS)
    return narrow


async def read_slowly(narrow: socket.socket, until: bytes, times: int) -> None:
    """Read in pieces with pauses until it has come so often."""
    loop, read = asyncio.get_running_loop(), b""
    while read.count(until) < times:
        piece = await loop.sock_recv(narrow, 65536)
        assert piece != b""
        read += piece
        await asyncio.sleep(0.02)


async def test_who_takes_nothing_of_an_answer_is_cut(
    parts: Parts, admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Connection, "stall_seconds", 0.5)
    async with a_gateway(parts) as port:
        with await ask_without_reading(port, admin) as narrow:
            async with asyncio.timeout(10):
                while narrow.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != errno.ECONNRESET:
                    await asyncio.sleep(0.02)


async def test_who_takes_nothing_does_not_hold_up_a_server_that_stops(
    parts: Parts, admin: Client, caplog: pytest.LogCaptureFixture
) -> None:
    loop = asyncio.get_running_loop()
    async with a_gateway(parts) as port:
        narrow = await ask_without_reading(port, admin)
        await asyncio.sleep(0.5)
        begun = loop.time()
    assert loop.time() - begun < GRACE_SECONDS - 1
    narrow.close()
    assert [record.getMessage() for record in caplog.records] == []


@pytest.mark.parametrize("kind", ["http", "websocket"])
async def test_a_connection_that_has_ended_can_be_cut_again(kind: str) -> None:
    """A client that resets its connection while it is being cut for taking nothing."""
    loop = asyncio.get_running_loop()
    scopes: list[Scope] = []
    gone = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        del send
        scopes.append(scope)
        while (await receive())["type"] not in {"http.disconnect", "websocket.disconnect"}:
            pass
        gone.set()

    wrapped = Starlette()
    wrapped.state.stopping = asyncio.Event()
    wrapped.mount("/", app)
    server = make_server(wrapped)
    with bind("127.0.0.1", 0) as listening:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(server.serve(sockets=[listening]))
            with socket.create_connection(listening.getsockname()) as client:
                client.setblocking(False)  # noqa: FBT003
                lines = ["GET / HTTP/1.1", "host: gateway"]
                if kind == "websocket":
                    lines += ["connection: upgrade", "upgrade: websocket"]
                    lines += ["sec-websocket-version: 13", "sec-websocket-key: " + "A" * 22 + "=="]
                await loop.sock_sendall(client, "\r\n".join([*lines, "", ""]).encode())
                async with asyncio.timeout(10):
                    while not scopes:
                        await asyncio.sleep(0.01)
            async with asyncio.timeout(10):
                await gone.wait()
            assert scopes[0]["type"] == kind
            await asyncio.sleep(0)
            cut(scopes[0])
            cut(scopes[0])
            server.stop()


async def test_who_takes_answers_slowly_gets_all_of_them(
    parts: Parts, admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Connection, "stall_seconds", 2)
    async with a_gateway(parts) as port:
        with await ask_without_reading(port, admin) as narrow:
            begun = asyncio.get_running_loop().time()
            async with asyncio.timeout(40):
                await read_slowly(narrow, b"HTTP/1.1 200 OK", QUESTIONS)
            assert asyncio.get_running_loop().time() - begun > Connection.stall_seconds


def test_an_idle_connection_is_kept_for_longer_than_clients_and_balancers_do(parts: Parts) -> None:
    """Who closes first while the other sends loses a request: let it be the other."""
    keeps = make_server(create_app(parts)).config.timeout_keep_alive
    client = httpx.Limits().keepalive_expiry
    assert client is not None
    assert keeps > max(client, 60)


async def test_small_answers_are_sent_at_once(parts: Parts) -> None:
    """Without TCP_NODELAY each waits for what the client confirms only 40 ms later."""
    wrapped = create_app(parts)
    seen: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(cast(Any, connections).pop())
        await wrapped(scope, receive, send)

    connections: list[int] = []

    class Watched(Connection):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            taken = transport.get_extra_info("socket")
            connections.append(taken.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    outer = Starlette()
    outer.state.stopping = asyncio.Event()
    outer.mount("/", app)
    server = make_server(outer)
    server.config.http = Watched
    with bind("127.0.0.1", 0) as listening:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(server.serve(sockets=[listening]))
            place = f"http://127.0.0.1:{listening.getsockname()[1]}"
            async with httpx.AsyncClient(trust_env=False) as client:
                assert (await client.get(f"{place}/healthz")).status_code == 200
            server.stop()
    assert seen == [1]


async def test_a_flood_of_requests_in_one_connection_is_cut(parts: Parts) -> None:
    async with a_gateway(parts) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /healthz HTTP/1.1\r\nhost: gateway\r\n\r\n" * (10 * MOST_PIPELINED))
        answers = await read_to_the_end(reader)
        assert answers.count(b"HTTP/1.1") <= MOST_PIPELINED + 2
        writer.close()


async def test_messages_are_not_compressed(parts: Parts) -> None:
    """Some hundred bytes would become megabytes before anybody could count them."""
    async with a_gateway(parts) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        lines = ["GET /graphql HTTP/1.1", "host: gateway", "connection: upgrade"]
        lines += ["upgrade: websocket", "sec-websocket-version: 13"]
        lines += ["sec-websocket-protocol: graphql-transport-ws"]
        lines += ["sec-websocket-extensions: permessage-deflate"]
        lines += ["sec-websocket-key: " + "A" * 22 + "=="]
        writer.write("\r\n".join([*lines, "", ""]).encode())
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 ")
        assert b"permessage-deflate" not in head.lower()
        writer.close()


async def test_a_head_without_end_is_cut(parts: Parts) -> None:
    async with a_gateway(parts) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /healthz HTTP/1.1\r\nhost: gateway\r\nx-large: ")
        with contextlib.suppress(ConnectionError):
            for _ in range(64):
                writer.write(b"x" * LARGEST_HEAD)
                await writer.drain()
            raise AssertionError("all of it was taken")
        assert await read_to_the_end(reader) == b""
        writer.close()


async def test_others_have_a_turn_before_all_that_came_is_read() -> None:
    """The attribute is asyncio's own: this fails where it goes."""
    server = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0)
    async with server:
        transport, _ = await asyncio.get_running_loop().create_connection(
            asyncio.Protocol, *server.sockets[0].getsockname()
        )
        assert transport.max_size > FRAMES_BYTES
        _read_at_most(transport, FRAMES_BYTES)
        assert transport.max_size == FRAMES_BYTES
        transport.close()
