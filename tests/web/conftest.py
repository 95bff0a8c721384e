"""The gateway as clients meet it."""

from tests.gateway_process import run_gateway  # noqa: F401
from tests.graphql_server import (  # noqa: F401
    admin,
    app,
    client_as,
    http,
    hub,
    listen,
    listening,
    logged_database,
    objects,
    parts,
    stranger,
)
