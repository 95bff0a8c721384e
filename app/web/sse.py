"""GraphQL over server-sent events: one stream an operation (graphql-sse, distinct connections)."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any, Final

import orjson
from starlette.types import Message, Receive, Scope, Send

from app.api.execution import Answer
from app.api.top_level_errors import hide, make_error
from app.errors import GatewayError
from app.web.cutting import cut, hurry

EVENT_STREAM: Final = "text/event-stream"
HEARTBEAT_SECONDS: Final = 15.0

_HEARTBEAT = b":\n\n"
_COMPLETE = b"event: complete\ndata:\n\n"
_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store, no-transform"),
    # A proxy that collects a response before passing it on would hold it up for ever.
    (b"x-accel-buffering", b"no"),
    (b"vary", b"Accept"),
]


class _Ended(Exception):
    """The stream is over; `last` are the events that still tell the client so."""

    def __init__(self, last: bytes = b"", *, is_gone: bool = False) -> None:
        super().__init__()
        self.last = last
        self.is_gone = is_gone


class EventStream:
    """The response that carries one operation's answers, then `complete`."""

    def __init__(
        self,
        answers: AsyncGenerator[Answer, None],
        *,
        wait_until_invalid: Callable[[], Awaitable[str]],
        stopping: asyncio.Event,
        send_seconds: float,
        heartbeat_seconds: float = HEARTBEAT_SECONDS,
    ) -> None:
        """`wait_until_invalid` gives the reason once the key is no longer good."""
        self._answers = answers
        self._invalid = wait_until_invalid
        self._stopping = stopping
        self._send_seconds = send_seconds
        self._heartbeat_seconds = heartbeat_seconds
        self._turn = asyncio.Lock()
        self._scope: Scope = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope = scope
        hurry(scope, self._send_seconds)
        ended = _Ended()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(_wait_until_gone(receive))
                tasks.create_task(self._wait_until_invalid())
                tasks.create_task(self._wait_until_stopping())
                tasks.create_task(self._beat(send))
                await self._pass_on(send)
        except* _Ended as group:
            ended = _first(group)
        if not ended.is_gone:
            # Without `complete` a client knows that the stream was cut, and comes again.
            await self._send_last(send, ended.last)

    async def _pass_on(self, send: Send) -> None:
        """Send each answer. Always ends with _Ended."""
        start: Message = {"type": "http.response.start", "status": 200, "headers": _HEADERS}
        await self._send(send, start)
        await self._send(send, _body(_HEARTBEAT))
        async with aclosing(self._answers) as answers:
            try:
                async for answer in answers:
                    await self._send(send, _body(_next(answer.body)))
            except GatewayError as error:
                raise _refused(make_error(error.code, error.message)) from None
            except _Ended:
                raise
            except Exception as error:  # noqa: BLE001 - a defect ends the stream as one that is told
                raise _refused(hide(error)) from None
        raise _Ended(_COMPLETE)

    async def _beat(self, send: Send) -> None:
        """Keep proxies from ending a stream that is silent, and notice a client that is gone."""
        while True:
            await asyncio.sleep(self._heartbeat_seconds)
            await self._send(send, _body(_HEARTBEAT))

    async def _wait_until_invalid(self) -> None:
        reason = await self._invalid()
        raise _refused(make_error("UNAUTHENTICATED", reason))

    async def _wait_until_stopping(self) -> None:
        await self._stopping.wait()
        raise _Ended

    async def _send(self, send: Send, message: Message) -> None:
        """Send, or end the stream: a client that does not read must not hold us up."""
        try:
            async with asyncio.timeout(self._send_seconds), self._turn:
                await send(message)
        except TimeoutError:
            cut(self._scope)
            # So that the server knows of it before we return without an end.
            await asyncio.sleep(0)
            raise _Ended(is_gone=True) from None
        except OSError:
            raise _Ended(is_gone=True) from None

    async def _send_last(self, send: Send, last: bytes) -> None:
        try:
            async with asyncio.timeout(1):
                await send({"type": "http.response.body", "body": last, "more_body": False})
        except TimeoutError:
            cut(self._scope)
            await asyncio.sleep(0)
        except OSError:
            return


async def _wait_until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    raise _Ended(is_gone=True)


def _first(group: BaseExceptionGroup[_Ended]) -> _Ended:
    """The end that came first; the others are its echo."""
    error = group.exceptions[0]
    return error if isinstance(error, _Ended) else _first(error)


def _refused(error: dict[str, Any]) -> _Ended:
    return _Ended(_next({"errors": [error]}) + _COMPLETE)


def _next(body: Mapping[str, Any]) -> bytes:
    return b"event: next\ndata: " + orjson.dumps(body) + b"\n\n"


def _body(data: bytes) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": True}
