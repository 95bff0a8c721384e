"""GraphQL over HTTP: negotiation, bodies, statuses, deadlines."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any, TypeVar

import orjson
from graphql import OperationType
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.documents import Prepared
from app.api.execution import LARGE_BYTES, Answer, Cost, Operations
from app.api.execution import Request as Asked
from app.api.top_level_errors import hide, make_error
from app.errors import GatewayError
from app.model.access import Principal
from app.web.authentication import HEADER, find_principal
from app.web.graphiql import show_page
from app.web.messages import REFUSALS, BadRequest, explain, read_json, read_request
from app.web.sse import EVENT_STREAM, HEARTBEAT_SECONDS, EventStream
from app.web.visits import Visits

T = TypeVar("T")

RESPONSE_JSON = "application/graphql-response+json"
PLAIN_JSON = "application/json"

_ACCEPTED = {
    RESPONSE_JSON: RESPONSE_JSON,
    PLAIN_JSON: PLAIN_JSON,
    "application/*": PLAIN_JSON,
    "*/*": PLAIN_JSON,
    EVENT_STREAM: EVENT_STREAM,
}


class GraphQLEndpoint:
    """The ASGI application behind `/graphql` for everything but sockets."""

    def __init__(
        self,
        operations: Operations,
        visits: Visits,
        *,
        deadline_seconds: float,
        send_seconds: float = 3,
        heartbeat_seconds: float = HEARTBEAT_SECONDS,
    ) -> None:
        self._operations = operations
        self._visits = visits
        self._deadline_seconds = deadline_seconds
        self._send_seconds = send_seconds
        self._heartbeat_seconds = heartbeat_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        # What is counted while a stream lasts is counted until it has been sent.
        with ExitStack() as visit:
            try:
                response = await self._respond(request, visit)
            except ClientDisconnect:
                return
            await response(scope, receive, send)

    async def _respond(self, request: Request, visit: ExitStack) -> ASGIApp:
        media = negotiate(request.headers.get("accept", ""))
        try:
            _check_method(request)
            if wants_page(request):
                return self._show_page()
            return await self._answer(request, media, visit)
        except REFUSALS as refusal:
            return _refuse(explain(refusal), media)
        except GatewayError as error:
            body = {"errors": [make_error(error.code, error.message)]}
            if error.retry:
                return _write(body, 503, media, {"retry-after": "1"})
            return _write(body, 500, media)

    def _show_page(self) -> Response:
        if self._operations.trusted.only:
            raise BadRequest(
                403,
                "DOCUMENT_NOT_TRUSTED",
                "This gateway carries out the documents of its list of trusted documents only: "
                "there is no GraphiQL here.",
            )
        return show_page()

    async def _answer(self, request: Request, media: str | None, visit: ExitStack) -> ASGIApp:
        if media is None:
            raise BadRequest(
                406,
                "NOT_ACCEPTABLE",
                f"Accept must allow {RESPONSE_JSON}, {PLAIN_JSON} or {EVENT_STREAM}.",
            )
        principal = await self._authenticate(request)
        asked = await self._read(request, principal)
        if self._operations.is_ready(asked):
            prepared = self._operations.read(asked, principal)
        else:
            prepared = await self._unless_gone(request, self._operations.prepare(asked, principal))
        if media == EVENT_STREAM:
            return self._stream(request, prepared, principal, visit)
        if isinstance(prepared, Prepared):
            _check_kind(request, prepared)
            cost = self._operations.charge(prepared, principal)
            answer = await self._carry_out(request, prepared, principal, cost)
        else:
            answer = prepared
        status = 400 if answer.refused and media == RESPONSE_JSON else 200
        return _write(answer.body, status, media)

    def _stream(
        self,
        request: Request,
        prepared: Prepared | Answer,
        principal: Principal,
        visit: ExitStack,
    ) -> EventStream:
        """The response that carries an operation of whatever kind as events."""
        visit.enter_context(self._visits.connection())
        if not isinstance(prepared, Prepared):
            answers = _tell(prepared)
        else:
            _check_get(request, prepared)
            if prepared.kind is OperationType.SUBSCRIPTION:
                visit.enter_context(self._visits.subscription(principal))
                cost = self._operations.charge(prepared, principal)
                answers = self._operations.subscribe(prepared, principal, cost)
            else:
                cost = self._operations.charge(prepared, principal)
                answers = self._tell_result(prepared, principal, cost)
        given = request.headers.get(HEADER)
        return EventStream(
            answers,
            wait_until_invalid=partial(self._visits.wait_until_invalid, principal, given),
            stopping=self._visits.stopping,
            send_seconds=self._send_seconds,
            heartbeat_seconds=self._heartbeat_seconds,
        )

    async def _tell_result(
        self, prepared: Prepared, principal: Principal, cost: Cost
    ) -> AsyncGenerator[Answer, None]:
        seconds = self._deadline_seconds
        try:
            async with asyncio.timeout(seconds):
                answer = await self._operations.execute(prepared, principal, cost)
        except TimeoutError:
            error = make_error("TIME_LIMIT", _describe_deadline(seconds), limit=seconds)
            answer = Answer(body={"errors": [error]}, refused=True)
        yield answer

    async def _authenticate(self, request: Request) -> Principal:
        database = self._operations.parts.database
        principal = await find_principal(database, request.headers.get(HEADER))
        if principal is None:
            raise BadRequest(
                401,
                "UNAUTHENTICATED",
                "Give a valid API key, as the header `Authorization: Bearer KEY`.",
                headers={"www-authenticate": "Bearer"},
            )
        return principal

    async def _read(self, request: Request, principal: Principal) -> Asked:
        if request.method == "GET":
            return read_request(_read_parameters(request.query_params), len(request.url.query))
        _check_content_type(request.headers.get("content-type", ""))
        try:
            async with asyncio.timeout(self._deadline_seconds):
                body = await self._read_body(request)
        except TimeoutError:
            limit = self._deadline_seconds
            message = f"The request took longer than {limit:g} s to arrive."
            # The rest may come yet: nothing else can be read from this connection.
            raise BadRequest(
                408, "TIME_LIMIT", message, headers={"connection": "close"}, limit=limit
            ) from None
        if len(body) <= LARGE_BYTES:
            return read_request(read_json(body), len(body))
        return await self._unless_gone(request, self._read_in_turn(principal, body))

    async def _read_in_turn(self, principal: Principal, body: bytes) -> Asked:
        async with self._operations.turn(principal, len(body)):
            return read_request(read_json(body), len(body))

    async def _read_body(self, request: Request) -> bytes:
        limit = self._operations.limits.body_bytes
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > limit:
                raise BadRequest(
                    413,
                    "BODY_LIMIT",
                    f"The body is larger than {limit} bytes.",
                    limit=limit,
                    actual=_find_size(request, len(body)),
                )
        return bytes(body)

    async def _carry_out(
        self, request: Request, prepared: Prepared, principal: Principal, cost: Cost
    ) -> Answer:
        return await self._unless_gone(request, self._operations.execute(prepared, principal, cost))

    async def _unless_gone(self, request: Request, work: Coroutine[Any, Any, T]) -> T:
        """Do it until the deadline, or until the client goes.

        Raises BadRequest (TIME_LIMIT), ClientDisconnect.
        """
        seconds = self._deadline_seconds
        async with asyncio.TaskGroup() as tasks:
            operation = tasks.create_task(_find_outcome(work))
            watch = tasks.create_task(_wait_until_gone(request))
            await asyncio.wait(
                {operation, watch}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED
            )
            is_gone = watch.done()
            watch.cancel()
            operation.cancel()
        if not operation.cancelled():
            outcome = operation.result()
            if isinstance(outcome, Exception):
                raise outcome
            return outcome
        if is_gone:
            raise ClientDisconnect
        raise BadRequest(503, "TIME_LIMIT", _describe_deadline(seconds), limit=seconds)


def negotiate(accept: str) -> str | None:
    """The media type to answer with; None where the client takes neither."""
    if not accept.strip():
        return PLAIN_JSON
    best, best_weight = None, 0.0
    for part in accept.split(","):
        name, *parameters = (piece.strip().lower() for piece in part.split(";"))
        weight = _read_weight(parameters)
        media = _ACCEPTED.get(name)
        if media is not None and weight > best_weight:
            best, best_weight = media, weight
    return best


def wants_page(request: Request) -> bool:
    """A browser that asks for a page, not a program that asks a query."""
    return (
        request.method == "GET"
        and not {"query", "documentId", "extensions"} & set(request.query_params)
        and "text/html" in request.headers.get("accept", "").lower()
    )


def _read_weight(parameters: list[str]) -> float:
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return float(parameter[2:])
            except ValueError:
                return 0.0
    return 1.0


def _check_method(request: Request) -> None:
    if request.method not in {"GET", "POST"}:
        raise BadRequest(
            405, "METHOD_NOT_ALLOWED", "Use POST, or GET.", headers={"allow": "GET, POST"}
        )


def _check_content_type(value: str) -> None:
    name, _, rest = value.partition(";")
    charset = "utf-8"
    for parameter in rest.lower().split(";"):
        key, _, text = parameter.strip().partition("=")
        if key == "charset":
            charset = text.strip('" ')
    if name.strip().lower() != PLAIN_JSON or charset not in {"utf-8", "utf8"}:
        raise BadRequest(
            415, "UNSUPPORTED_MEDIA_TYPE", f"Content-Type must be {PLAIN_JSON} in UTF-8."
        )


def _check_kind(request: Request, prepared: Prepared) -> None:
    if prepared.kind is OperationType.SUBSCRIPTION:
        raise BadRequest(
            400,
            "SUBSCRIPTION_NEEDS_STREAM",
            f"Subscriptions are served over a WebSocket, by the protocol graphql-transport-ws, and "
            f"as events, where Accept is {EVENT_STREAM}.",
        )
    _check_get(request, prepared)


def _check_get(request: Request, prepared: Prepared) -> None:
    if prepared.kind is OperationType.MUTATION and request.method == "GET":
        raise BadRequest(
            405, "METHOD_NOT_ALLOWED", "A mutation must be sent by POST.", headers={"allow": "POST"}
        )


def _find_size(request: Request, read: int) -> int:
    """The size of a body that is too large: as the client says it, or what was read of it."""
    said = request.headers.get("content-length", "")
    return max(read, int(said)) if said.isdecimal() and len(said) < len(str(2**63)) else read


def _describe_deadline(seconds: float) -> str:
    return f"The operation took longer than {seconds:g} s."


async def _tell(answer: Answer) -> AsyncGenerator[Answer, None]:
    yield answer


def _read_parameters(parameters: Mapping[str, str]) -> dict[str, Any]:
    body: dict[str, Any] = {
        name: parameters[name]
        for name in ("query", "documentId", "operationName")
        if name in parameters
    }
    for name in ("variables", "extensions"):
        if parameters.get(name):
            body[name] = read_json(parameters[name])
    return body


async def _find_outcome(work: Coroutine[Any, Any, T]) -> T | Exception:
    """What comes of it, as itself and not within a group."""
    try:
        return await work
    except Exception as error:  # noqa: BLE001 - it is raised by whoever asks for it
        return error


async def _wait_until_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _refuse(error: BadRequest, media: str | None) -> Response:
    body = {"errors": [make_error(error.code, error.message, **error.extensions)]}
    return _write(body, error.status, media, error.headers)


def _write(
    body: Mapping[str, Any],
    status: int,
    media: str | None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    try:
        content = orjson.dumps(body)
    except TypeError as error:
        content, status = orjson.dumps({"errors": [hide(error)]}), 500
    return Response(
        content,
        status_code=status,
        media_type=f"{RESPONSE_JSON if media == RESPONSE_JSON else PLAIN_JSON}; charset=utf-8",
        headers={"vary": "Accept", "cache-control": "no-store", **(headers or {})},
    )
