"""GraphQL over HTTP: negotiation, bodies, statuses, deadlines."""

import asyncio
from collections.abc import Mapping
from typing import Any

import orjson
from graphql import OperationType
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, Response
from starlette.types import Receive, Scope, Send
from strawberry.http.ides import get_graphql_ide_html

from app.api.documents import Prepared
from app.api.execution import Answer, Operations
from app.api.top_level_errors import hide, make_error
from app.errors import GatewayError
from app.model.access import Principal
from app.web.authentication import HEADER, find_principal
from app.web.messages import BadRequest, read_json, read_request

RESPONSE_JSON = "application/graphql-response+json"
PLAIN_JSON = "application/json"

_ACCEPTED = {
    RESPONSE_JSON: RESPONSE_JSON,
    PLAIN_JSON: PLAIN_JSON,
    "application/*": PLAIN_JSON,
    "*/*": PLAIN_JSON,
}


class GraphQLEndpoint:
    """The ASGI application behind `/graphql` for everything but sockets."""

    def __init__(self, operations: Operations, *, deadline_seconds: float) -> None:
        self._operations = operations
        self._deadline_seconds = deadline_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            response = await self._respond(request)
        except ClientDisconnect:
            return
        await response(scope, receive, send)

    async def _respond(self, request: Request) -> Response:
        media = negotiate(request.headers.get("accept", ""))
        try:
            _check_method(request)
            if wants_page(request):
                return HTMLResponse(get_graphql_ide_html(), headers={"vary": "Accept"})
            answer = await self._answer(request, media)
        except BadRequest as error:
            body = {"errors": [make_error(error.code, error.message, **error.extensions)]}
            return _write(body, error.status, media, error.headers)
        except GatewayError as error:
            body = {"errors": [make_error(error.code, error.message)]}
            if error.retry:
                return _write(body, 503, media, {"retry-after": "1"})
            return _write(body, 500, media)
        return _write(answer.body, 400 if answer.refused and media == RESPONSE_JSON else 200, media)

    async def _answer(self, request: Request, media: str | None) -> Answer:
        if media is None:
            raise BadRequest(
                406, "NOT_ACCEPTABLE", f"Accept must allow {RESPONSE_JSON} or {PLAIN_JSON}."
            )
        principal = await self._authenticate(request)
        prepared = self._operations.prepare(read_request(await self._read(request)))
        if not isinstance(prepared, Prepared):
            return prepared
        _check_kind(request, prepared)
        return await self._carry_out(request, prepared, principal)

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

    async def _read(self, request: Request) -> object:
        if request.method == "GET":
            return _read_parameters(request.query_params)
        _check_content_type(request.headers.get("content-type", ""))
        limit = self._operations.limits.body_bytes
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > limit:
                raise BadRequest(
                    413, "BODY_LIMIT", f"The body is larger than {limit} bytes.", limit=limit
                )
        return read_json(bytes(body))

    async def _carry_out(
        self, request: Request, prepared: Prepared, principal: Principal
    ) -> Answer:
        """Execute until the deadline, or until the client goes."""
        seconds = self._deadline_seconds
        async with asyncio.TaskGroup() as tasks:
            operation = tasks.create_task(self._operations.execute(prepared, principal))
            watch = tasks.create_task(_wait_until_gone(request))
            await asyncio.wait(
                {operation, watch}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED
            )
            is_gone = watch.done()
            watch.cancel()
            operation.cancel()
        if not operation.cancelled():
            return operation.result()
        if is_gone:
            raise ClientDisconnect
        raise BadRequest(
            503, "TIME_LIMIT", f"The operation took longer than {seconds:g} s.", limit=seconds
        )


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
        and "query" not in request.query_params
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
            "SUBSCRIPTION_NEEDS_SOCKET",
            "Subscriptions are served over a WebSocket, by the protocol graphql-transport-ws.",
        )
    if prepared.kind is OperationType.MUTATION and request.method == "GET":
        raise BadRequest(
            405, "METHOD_NOT_ALLOWED", "A mutation must be sent by POST.", headers={"allow": "POST"}
        )


def _read_parameters(parameters: Mapping[str, str]) -> dict[str, Any]:
    body: dict[str, Any] = {
        name: parameters[name] for name in ("query", "operationName") if name in parameters
    }
    for name in ("variables", "extensions"):
        if parameters.get(name):
            body[name] = read_json(parameters[name])
    return body


async def _wait_until_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


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
        media_type=f"{media or PLAIN_JSON}; charset=utf-8",
        headers={"vary": "Accept", "cache-control": "no-store", **(headers or {})},
    )
