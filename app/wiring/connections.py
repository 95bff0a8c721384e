"""Connections that end where a request does not come, or nothing is taken of an answer."""

import asyncio
import socket
import struct
from asyncio.transports import BaseTransport
from typing import cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request

from app.web.cutting import EXTENSION, Cutting

ARRIVAL_SECONDS = 15.0
STALL_SECONDS = 30.0
"""Within which a client takes something of what waits for it, whatever that is."""
UNSENT_BYTES = 128 * 1024
"""What the kernel takes that is not on its way yet: it would take some MB of each connection."""


LARGEST_HEAD = 64 * 1024
"""Bytes of a request's line and headers."""
READ_BYTES = 64 * 1024
FRAMES_BYTES = 8 * 1024
"""That are read of a socket before others have their turn: it may be thousands of empty frames."""
MOST_PIPELINED = 32
"""Requests that wait in one connection for the answer to the one before them."""

_AT_ONCE = struct.pack("ii", 1, 0)
"""A lingering of 0 s: what the kernel holds is dropped too, and the client is told by a reset."""


class _TooMany(Exception):
    pass


class _Stall:
    """Cuts a connection whose client takes nothing; closed by us it would wait for ever."""

    def __init__(self, transport: asyncio.Transport, seconds: float) -> None:
        self._transport = transport
        self._seconds = seconds
        self._left = 0
        self._is_lost = False
        self._timer: asyncio.TimerHandle | None = None
        # Told of whatever waits: then a message is sent only once the one before it is gone.
        transport.set_write_buffer_limits(high=0)
        transport.get_extra_info("socket").setsockopt(
            socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES
        )

    def offer(self) -> Cutting:
        return {"cut": self.cut, "hurry": self.hurry}

    def cut(self) -> None:
        """End the connection without a goodbye; nothing where it has ended already."""
        if self._is_lost:
            return  # Its socket is closed: nothing can be set there.
        sock = self._transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        self._transport.abort()

    def lose(self) -> None:
        """There is no connection any more."""
        self._is_lost = True
        self.end()

    def hurry(self, seconds: float) -> None:
        """Wait for so long from now on."""
        self._seconds = seconds
        if self._timer is not None:
            self.begin()

    def begin(self) -> None:
        """Something waits to be taken."""
        self.end()
        self._left = self._transport.get_write_buffer_size()
        self._timer = asyncio.get_running_loop().call_later(self._seconds, self._look)

    def end(self) -> None:
        """Nothing waits any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        if self._transport.get_write_buffer_size() >= self._left:
            self.cut()
        else:
            self.begin()


class Connection(HttpToolsProtocol):
    """Closes itself where the head of a request takes too long; the server ends idle ones.

    Nobody is known before the head is there: without this whoever reaches the port could hold
    connections for ever.
    """

    arrival_seconds = ARRIVAL_SECONDS
    stall_seconds = STALL_SECONDS
    _head_bytes = 0
    _arrival: asyncio.TimerHandle | None = None
    _stall: _Stall

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._stall = _Stall(transport, self.stall_seconds)
        _read_at_most(transport, READ_BYTES)
        self._expect()

    def offer(self) -> Cutting:
        return self._stall.offer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._settle()
        self._stall.lose()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        if self._arrival is None:
            self._expect()
        super().on_message_begin()
        self._stall.hurry(self.stall_seconds)
        self.scope["extensions"] = {EXTENSION: self.offer()}  # type: ignore[dict-item]

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._arrival is None:
            self._head_bytes = 0
            return
        self._head_bytes += len(data)
        if self._head_bytes > LARGEST_HEAD:
            # The parser keeps all of a header until it has ended.
            self._stall.cut()

    def on_headers_complete(self) -> None:
        if len(self.pipeline) >= MOST_PIPELINED:
            raise _TooMany  # The parser stops, and the connection ends with a 400.
        self._settle()
        super().on_headers_complete()

    def pause_writing(self) -> None:
        self._stall.begin()
        super().pause_writing()

    def resume_writing(self) -> None:
        self._stall.end()
        super().resume_writing()

    def _expect(self) -> None:
        self._arrival = self.loop.call_later(self.arrival_seconds, self.transport.abort)

    def _settle(self) -> None:
        if self._arrival is not None:
            self._arrival.cancel()
            self._arrival = None


class SocketConnection(WebSocketsSansIOProtocol):
    """A WebSocket that ends where its client takes nothing."""

    stall_seconds = STALL_SECONDS
    _stall: _Stall

    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(transport)
        self._stall = _Stall(cast(asyncio.Transport, transport), self.stall_seconds)
        _read_at_most(transport, FRAMES_BYTES)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stall.lose()
        super().connection_lost(exc)

    def offer(self) -> Cutting:
        return self._stall.offer()

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if not self.close_sent:
            # Its task has been made, and has not begun.
            extensions = self.scope["extensions"]
            extensions[EXTENSION] = self.offer()  # type: ignore[assignment]

    def pause_writing(self) -> None:
        self._stall.begin()
        super().pause_writing()

    def resume_writing(self) -> None:
        self._stall.end()
        super().resume_writing()


def _read_at_most(transport: BaseTransport, size: int) -> None:
    """How much asyncio reads of a connection in a turn of its loop, by its own attribute."""
    if hasattr(transport, "max_size"):
        transport.max_size = size
