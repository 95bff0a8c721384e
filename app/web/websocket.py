"""The protocol graphql-transport-ws: messages, close codes, bounded sends."""

import asyncio
from collections.abc import Collection
from contextlib import ExitStack, aclosing
from typing import Any
from urllib.parse import urlsplit

import orjson
from graphql import OperationType
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from app.api.documents import Prepared
from app.api.execution import LARGE_BYTES, Answer, Operations
from app.api.top_level_errors import hide, make_error
from app.errors import GatewayError
from app.model.access import Principal
from app.web.authentication import HEADER, find_authorization, find_principal
from app.web.cutting import cut, hurry
from app.web.messages import REFUSALS, BadRequest, explain, read_json, read_request
from app.web.visits import TooMany, Visits

PROTOCOL = "graphql-transport-ws"
LONGEST_ID = 128

_TOO_BIG, _LATER = 1009, 1013
_BAD, _UNAUTHORIZED, _NO_PROTOCOL, _INIT_LATE, _SAME_ID, _TOO_MANY, _DEFECT = (
    4400,
    4401,
    4406,
    4408,
    4409,
    4429,
    4500,
)


class SocketEndpoint:
    """The ASGI application behind `/graphql` for sockets."""

    def __init__(
        self,
        operations: Operations,
        visits: Visits,
        *,
        allowed_origins: Collection[str],
        deadline_seconds: float,
        init_seconds: float = 10,
        send_seconds: float = 3,
        most_operations: int = 100,
    ) -> None:
        self.operations = operations
        self.visits = visits
        self.allowed_origins = frozenset(allowed_origins)
        self.deadline_seconds = deadline_seconds
        self.init_seconds = init_seconds
        self.send_seconds = send_seconds
        self.most_operations = most_operations

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        socket = WebSocket(scope, receive, send)
        if not self._is_welcome(socket):
            # Before it is accepted this answers the handshake with 403.
            await socket.close()
            return
        if PROTOCOL not in scope["subprotocols"]:
            await socket.accept()
            await socket.close(_NO_PROTOCOL, f"Only the subprotocol {PROTOCOL} is spoken here")
            return
        await socket.accept(PROTOCOL)
        hurry(scope, self.send_seconds)
        try:
            with self.visits.connection():
                await _Session(self, socket).run()
        except TooMany as many:
            await socket.close(_LATER, str(many))

    def _is_welcome(self, socket: WebSocket) -> bool:
        """A page of another origin must not use its visitor's network to reach us."""
        origin = socket.headers.get("origin")
        if origin is None or origin in self.allowed_origins:
            return True
        return urlsplit(origin).netloc.lower() == socket.headers.get("host", "").lower() != ""


class _Closed(Exception):
    """The socket is to be closed, with a code; None: it is closed already."""

    def __init__(self, code: int | None = None, reason: str = "") -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class _Session:
    """One socket: its principal, and its operations by the ids that the client gave."""

    def __init__(self, endpoint: SocketEndpoint, socket: WebSocket) -> None:
        self._endpoint = endpoint
        self._socket = socket
        self._principal: Principal | None = None
        self._initialised = False
        self._running: dict[str, asyncio.Task[None]] = {}
        self._visit = ExitStack()
        self._turn = asyncio.Lock()

    async def run(self) -> None:
        closed = _Closed()
        try:
            with self._visit:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._expect_init())
                    await self._receive(tasks)
        except* _Closed as group:
            closed = _first(group)
        except* Exception as group:  # noqa: BLE001 - a defect ends the socket as one that is told
            hide(group)
            closed = _Closed(_DEFECT, "Internal error")
        if closed.code is not None:
            await self._close(closed)

    async def _receive(self, tasks: asyncio.TaskGroup) -> None:
        """Handle messages until the socket closes. Always ends with _Closed."""
        while True:
            message, size = await self._read()
            match message["type"]:
                case "connection_init":
                    await self._init(message.get("payload"), tasks)
                case "ping":
                    pong = _with_payload("pong", message.get("payload"))
                    try:
                        await self._send(pong)
                    except orjson.JSONEncodeError:
                        raise _Closed(_BAD, "The payload is nested too deeply") from None
                case "pong":
                    pass
                case "subscribe":
                    await self._begin(message, size, tasks)
                case "complete":
                    task = self._running.pop(_read_id(message), None)
                    if task is not None:
                        task.cancel()
                case _:
                    raise _Closed(_BAD, "Unknown message type")
            # Also where many came at once: everybody else has a turn between two.
            await asyncio.sleep(0)

    async def _read(self) -> tuple[dict[str, Any], int]:
        """The next message, and its size. Before there is a key, only small ones are read."""
        event = await self._socket.receive()
        if event["type"] == "websocket.disconnect":
            raise _Closed
        text = event.get("text")
        if not isinstance(text, str):
            raise _Closed(_BAD, "Messages must be text")
        operations, size = self._endpoint.operations, len(text)
        most = operations.limits.body_bytes
        if size > (min(LARGE_BYTES, most) if self._principal is None else most):
            raise _Closed(_TOO_BIG, "The message is too large")
        if self._principal is None:
            return _read_message(text), size
        async with operations.turn(self._principal, size):
            message = _read_message(text)
        if size > LARGE_BYTES and message["type"] != "subscribe":
            raise _Closed(_TOO_BIG, "The message is too large")
        return message, size

    async def _expect_init(self) -> None:
        await asyncio.sleep(self._endpoint.init_seconds)
        if not self._initialised:
            raise _Closed(_INIT_LATE, "Connection initialisation timeout")

    async def _init(self, payload: object, tasks: asyncio.TaskGroup) -> None:
        if self._initialised:
            raise _Closed(_TOO_MANY, "Too many initialisation requests")
        if payload is not None and not isinstance(payload, dict):
            raise _Closed(_BAD, "The payload must be an object")
        self._initialised = True
        given = find_authorization(payload or {}) or self._socket.headers.get(HEADER)
        try:
            principal = await find_principal(self._endpoint.operations.parts.database, given)
        except GatewayError:
            raise _Closed(_LATER, "Try again later") from None
        if principal is None:
            raise _Closed(_UNAUTHORIZED, "Unauthorized")
        try:
            self._visit.enter_context(self._endpoint.visits.socket(principal))
        except TooMany as many:
            raise _Closed(_LATER, str(many)) from None
        self._principal = principal
        tasks.create_task(self._end_with_key(principal, given))
        await self._send({"type": "connection_ack"})

    async def _end_with_key(self, principal: Principal, given: object) -> None:
        reason = await self._endpoint.visits.wait_until_invalid(principal, given)
        raise _Closed(_UNAUTHORIZED, reason)

    async def _begin(self, message: dict[str, Any], size: int, tasks: asyncio.TaskGroup) -> None:
        id = _read_id(message)
        principal = self._principal
        if principal is None:
            raise _Closed(_UNAUTHORIZED, "Unauthorized")
        if id in self._running:
            raise _Closed(_SAME_ID, f"Subscriber for {id} already exists")
        payload = message.get("payload")
        if not isinstance(payload, dict):
            raise _Closed(_BAD, "The payload must be an object")
        most = self._endpoint.most_operations
        if len(self._running) >= most:
            error = make_error(
                "SOCKET_OPERATIONS_LIMIT",
                f"At most {most} operations a socket.",
                limit=most,
                actual=most + 1,
            )
            await self._send({"type": "error", "id": id, "payload": [error]})
            return
        self._running[id] = tasks.create_task(self._carry_out(id, payload, size, principal))

    async def _carry_out(
        self, id: str, payload: dict[str, Any], size: int, principal: Principal
    ) -> None:
        """Answer one operation; whatever happens to it, the socket and the others go on."""
        try:
            await self._answer(id, payload, size, principal)
        except REFUSALS as refusal:
            error = explain(refusal)
            await self._finish(id, [make_error(error.code, error.message, **error.extensions)])
        except (_Closed, asyncio.CancelledError):
            raise
        except GatewayError as error:
            await self._finish(id, [make_error(error.code, error.message)])
        except Exception as error:  # noqa: BLE001 - a defect in one operation ends only that one
            await self._finish(id, [hide(error)])

    async def _answer(
        self, id: str, payload: dict[str, Any], size: int, principal: Principal
    ) -> None:
        operations = self._endpoint.operations
        asked = read_request(payload, size)
        try:
            async with asyncio.timeout(self._endpoint.deadline_seconds):
                prepared = await operations.prepare(asked, principal)
        except TimeoutError:
            await self._tell_limit(id)
            return
        if not isinstance(prepared, Prepared):
            await self._refuse(id, prepared)
        elif prepared.kind is OperationType.SUBSCRIPTION:
            with self._endpoint.visits.subscription(principal):
                cost = operations.charge(prepared, principal)
                async with aclosing(operations.subscribe(prepared, principal, cost)) as answers:
                    async for answer in answers:
                        if not await self._pass_on(id, answer):
                            return
            await self._finish(id)
        else:
            cost = operations.charge(prepared, principal)
            try:
                async with asyncio.timeout(self._endpoint.deadline_seconds):
                    answer = await operations.execute(prepared, principal, cost)
            except TimeoutError:
                await self._tell_limit(id)
            else:
                if await self._pass_on(id, answer):
                    await self._finish(id)

    async def _tell_limit(self, id: str) -> None:
        limit = self._endpoint.deadline_seconds
        message = f"The operation took longer than {limit:g} s."
        await self._finish(id, [make_error("TIME_LIMIT", message, limit=limit)])

    async def _pass_on(self, id: str, answer: Answer) -> bool:
        """Send an answer; False: it was a refusal, which ends the operation."""
        if answer.refused:
            await self._refuse(id, answer)
            return False
        await self._send({"type": "next", "id": id, "payload": answer.body})
        return True

    async def _refuse(self, id: str, answer: Answer) -> None:
        """Send a refusal; there is a place for errors alone, so the first one tells the cost."""
        first, *others = answer.body["errors"]
        first = {**first, "extensions": first["extensions"] | answer.body.get("extensions", {})}
        await self._finish(id, [first, *others])

    async def _finish(self, id: str, errors: list[dict[str, Any]] | None = None) -> None:
        # From here on the client may use the id again.
        self._running.pop(id, None)
        if errors is None:
            await self._send({"type": "complete", "id": id})
        else:
            await self._send({"type": "error", "id": id, "payload": errors})

    async def _send(self, message: dict[str, Any]) -> None:
        """Send, or end the socket: a client that does not read must not hold us up."""
        # One at a time: what waits for its turn is not written out yet.
        async with self._turn:
            await self._send_now(orjson.dumps(message).decode())

    async def _send_now(self, text: str) -> None:
        try:
            async with asyncio.timeout(self._endpoint.send_seconds):
                await self._socket.send_text(text)
        except TimeoutError:
            cut(self._socket.scope)
            raise _Closed from None
        except (WebSocketDisconnect, RuntimeError):
            raise _Closed from None

    async def _close(self, closed: _Closed) -> None:
        try:
            async with asyncio.timeout(1):
                await self._socket.close(closed.code or _DEFECT, closed.reason)
        except TimeoutError:
            cut(self._socket.scope)
        except (WebSocketDisconnect, RuntimeError):
            return


def _first(group: BaseExceptionGroup[_Closed]) -> _Closed:
    """The end that came first; the others are its echo."""
    error = group.exceptions[0]
    return error if isinstance(error, _Closed) else _first(error)


def _read_message(text: str) -> dict[str, Any]:
    try:
        message = read_json(text)
    except BadRequest:
        raise _Closed(_BAD, "Messages must be JSON") from None
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        raise _Closed(_BAD, "A message must be an object with a type")
    return message


def _read_id(message: dict[str, Any]) -> str:
    id = message.get("id")
    if not isinstance(id, str) or not 0 < len(id) <= LONGEST_ID:
        raise _Closed(_BAD, f"The id must be a text of 1 to {LONGEST_ID} characters")
    return id


def _with_payload(type: str, payload: object) -> dict[str, Any]:
    return {"type": type} if payload is None else {"type": type, "payload": payload}
