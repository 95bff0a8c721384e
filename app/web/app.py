"""The ASGI application: its routes, joined with the parts that it is given."""

from collections.abc import Collection
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute

from app.api.context import Parts
from app.api.execution import Operations
from app.api.limits import Limits
from app.api.top_level_errors import make_error
from app.api.trusted_documents import TrustedDocuments
from app.web.downloads import PATH as DOWNLOADS
from app.web.downloads import DownloadEndpoint
from app.web.graphiql import send_asset
from app.web.graphql import GraphQLEndpoint
from app.web.health import Health
from app.web.visits import Visits
from app.web.websocket import SocketEndpoint

PATH = "/graphql"


def create_app(
    parts: Parts,
    *,
    allowed_origins: Collection[str] = (),
    limits: Limits | None = None,
    trusted: TrustedDocuments | None = None,
    deadline_seconds: float | None = None,
) -> Starlette:
    """Make the application. Parts are opened and closed by the caller.

    `allowed_origins`: other origins whose pages may use it; none by default.
    `trusted`: the documents that requests may name; none by default, and others are taken too.
    `deadline_seconds`: for a request to arrive, and for each query and mutation; subscriptions have
    none. The limit `seconds` by default.
    `app.state.stopping` is an event to be set when the server stops: it ends the streams.
    """
    limits = limits or Limits()
    if deadline_seconds is None:
        deadline_seconds = limits.seconds
    operations = Operations(parts, limits, trusted)
    visits = Visits(parts, limits)
    health = Health(parts.database, parts.listen)
    sockets = SocketEndpoint(
        operations,
        visits,
        allowed_origins=allowed_origins,
        deadline_seconds=deadline_seconds,
        most_operations=limits.socket_operations,
    )
    middleware = []
    if allowed_origins:
        middleware.append(
            Middleware(
                CORSMiddleware,
                allow_origins=list(allowed_origins),
                allow_methods=["GET", "POST"],
                allow_headers=["authorization", "content-type"],
                expose_headers=["retry-after"],
                max_age=600,
            )
        )
    app = Starlette(
        routes=[
            Route(PATH, GraphQLEndpoint(operations, visits, deadline_seconds=deadline_seconds)),
            WebSocketRoute(PATH, sockets),
            Route(DOWNLOADS, DownloadEndpoint(parts)),
            Route(f"{PATH}/assets/{{name}}", send_asset),
            Route("/healthz", health.tell_alive),
            Route("/readyz", health.tell_ready),
        ],
        middleware=middleware,
        exception_handlers={HTTPException: _tell},
    )
    app.state.stopping = visits.stopping
    return app


async def _tell(request: Request, error: Exception) -> Response:
    """Where no route answers: as JSON, like every other refusal."""
    assert isinstance(error, HTTPException)
    code = "NOT_FOUND" if error.status_code == HTTPStatus.NOT_FOUND else "METHOD_NOT_ALLOWED"
    message = f"There is nothing for {request.method} at this path; the API is at {PATH}."
    return JSONResponse(
        {"errors": [make_error(code, message)]},
        status_code=error.status_code,
        headers=error.headers,
    )
