"""Connections to a container engine, as plain bytes in both directions: Unix socket, TCP, TLS.

Sockets, not transports: what was not read yet survives that the other side takes no more, and what
waits to be sent waits in the caller.
"""

import asyncio
import contextlib
import socket
import ssl
from typing import Any, Protocol

RECEIVE_BYTES = 256 * 1024


class Wire(Protocol):
    """One connection."""

    async def send(self, data: bytes) -> None:
        """Hand everything over, waiting for room. Raises OSError."""
        ...

    async def receive(self) -> bytes:
        """What is there, waiting for the first byte; empty at the end. Raises OSError."""
        ...

    def close(self) -> None:
        """Idempotent; who waits is not woken: cancel them first."""
        ...


class SocketWire:
    """A Unix socket or plain TCP."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._loop = asyncio.get_running_loop()

    async def send(self, data: bytes) -> None:
        await self._loop.sock_sendall(self._socket, data)

    async def receive(self) -> bytes:
        return await self._loop.sock_recv(self._socket, RECEIVE_BYTES)

    def close(self) -> None:
        self._socket.close()


class TlsWire:
    """TCP with TLS. It cannot be half-closed, and nobody needs that here."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def receive(self) -> bytes:
        return await self._reader.read(RECEIVE_BYTES)

    def close(self) -> None:
        with contextlib.suppress(RuntimeError):
            self._writer.transport.abort()


async def open_unix(path: str) -> Wire:
    """Raises OSError."""
    return await _connect(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM), path)


async def open_tcp(host: str, port: int) -> Wire:
    """Plain TCP. Raises OSError."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    family, kind, protocol, _, address = found[0]
    return await _connect(socket.socket(family, kind, protocol), address)


async def open_tls(host: str, port: int, tls: ssl.SSLContext) -> Wire:
    """Raises OSError (an `ssl.SSLError` is one)."""
    reader, writer = await asyncio.open_connection(host, port, ssl=tls, limit=RECEIVE_BYTES)
    return TlsWire(reader, writer)


async def _connect(unconnected: socket.socket, address: str | tuple[Any, ...]) -> Wire:
    unconnected.setblocking(False)  # noqa: FBT003 - the socket's own
    try:
        await asyncio.get_running_loop().sock_connect(unconnected, address)
    except BaseException:
        unconnected.close()
        raise
    return SocketWire(unconnected)
