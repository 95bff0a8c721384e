"""The ASGI application: its routes, joined with the parts that it is given."""

from collections.abc import Collection

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Route, WebSocketRoute

from app.api.context import Parts
from app.api.documents import Limits
from app.api.execution import Operations
from app.web.graphql import GraphQLEndpoint
from app.web.health import Health
from app.web.websocket import SocketEndpoint

DEADLINE_SECONDS = 30.0
PATH = "/graphql"


def create_app(
    parts: Parts,
    *,
    allowed_origins: Collection[str] = (),
    limits: Limits | None = None,
    deadline_seconds: float = DEADLINE_SECONDS,
) -> Starlette:
    """Make the application. Parts are opened and closed by the caller.

    `allowed_origins`: other origins whose pages may use it; none by default.
    `deadline_seconds`: for each query and mutation; subscriptions have none.
    """
    operations = Operations(parts, limits or Limits())
    health = Health(parts.database, parts.listen)
    sockets = SocketEndpoint(
        operations, allowed_origins=allowed_origins, deadline_seconds=deadline_seconds
    )
    middleware = []
    if allowed_origins:
        middleware.append(
            Middleware(
                CORSMiddleware,
                allow_origins=list(allowed_origins),
                allow_methods=["GET", "POST"],
                allow_headers=["authorization", "content-type"],
                max_age=600,
            )
        )
    return Starlette(
        routes=[
            Route(PATH, GraphQLEndpoint(operations, deadline_seconds=deadline_seconds)),
            WebSocketRoute(PATH, sockets),
            Route("/healthz", health.tell_alive),
            Route("/readyz", health.tell_ready),
        ],
        middleware=middleware,
    )
