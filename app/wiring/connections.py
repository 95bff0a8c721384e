"""HTTP connections that end where a request does not come in time."""

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

ARRIVAL_SECONDS = 15.0


class Connection(HttpToolsProtocol):
    """Closes itself where the head of a request takes too long; the server ends idle ones.

    Nobody is known before the head is there: without this whoever reaches the port could hold
    connections for ever.
    """

    arrival_seconds = ARRIVAL_SECONDS
    _arrival: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        self._settle()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        if self._arrival is None:
            self._expect()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._settle()
        super().on_headers_complete()

    def _expect(self) -> None:
        self._arrival = self.loop.call_later(self.arrival_seconds, self.transport.abort)

    def _settle(self) -> None:
        if self._arrival is not None:
            self._arrival.cancel()
            self._arrival = None
