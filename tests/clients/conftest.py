"""The gateway as clients meet it."""

from tests.graphql_server import (  # noqa: F401
    admin,
    app,
    client_as,
    http,
    hub,
    listen,
    listening,
    objects,
    parts,
)
