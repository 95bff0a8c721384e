"""Requests that come too slowly, or not at all, are cut: nobody holds a connection for ever."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from app.api.context import Parts
from app.web.app import create_app
from app.wiring.connections import Connection
from app.wiring.parts import bind
from app.wiring.programs import make_server
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
