"""A TCP proxy that cuts, holds and lets go: what a network does and a server cannot be asked to."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class TcpProxy:
    """Listens on a free port of 127.0.0.1 and passes every connection on."""

    def __init__(self, connect: Callable[[], Awaitable[Streams]]) -> None:
        self.port = 0
        self._connect = connect
        self._pairs: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        self._held: set[asyncio.StreamWriter] = set()
        self._let_go = asyncio.Event()

    def cut(self) -> None:
        """End every connection now, without a farewell."""
        for pair in self._pairs:
            for writer in pair:
                writer.transport.abort()

    def hold(self) -> None:
        """Let the connections of now stay open and pass nothing on (half-open); new ones work."""
        self._let_go.clear()
        self._held = {writer for pair in self._pairs for writer in pair}

    def restore(self) -> None:
        """Pass on again what was held."""
        self._held = set()
        self._let_go.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await self._connect()
        except OSError:
            writer.transport.abort()
            return
        pair = (writer, far_writer)
        self._pairs.add(pair)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._pass_on(reader, far_writer))
                tasks.create_task(self._pass_on(far_reader, writer))
        finally:
            self._pairs.discard(pair)
            for each in pair:
                each.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                while writer in self._held:
                    await self._let_go.wait()
                writer.write(data)
                await writer.drain()
        writer.transport.abort()


@asynccontextmanager
async def proxied(connect: Callable[[], Awaitable[Streams]]) -> AsyncIterator[TcpProxy]:
    """A running proxy to wherever `connect` leads; nothing of it is left afterwards."""
    proxy = TcpProxy(connect)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        proxy.restore()
        server.close()
        while proxy._pairs:
            proxy.cut()
            await asyncio.sleep(0.01)
        await server.wait_closed()
