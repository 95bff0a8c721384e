"""Authentication: from a bearer token to the principal behind it, for HTTP and sockets alike."""

from collections.abc import Mapping

from app.model.access import Principal
from app.postgres.pool import Database
from app.service.keys import authenticate

HEADER = "authorization"


def read_bearer(value: object) -> str | None:
    """The token of an `Authorization: Bearer ...` value; None where it is something else."""
    if not isinstance(value, str):
        return None
    scheme, _, token = value.strip().partition(" ")
    token = token.strip()
    return token if scheme.lower() == "bearer" and token else None


def find_authorization(payload: Mapping[str, object]) -> object:
    """The value under `authorization`, in any letter case; None where there is none."""
    for name, value in payload.items():
        if name.lower() == HEADER:
            return value
    return None


async def find_principal(database: Database, value: object) -> Principal | None:
    """Who an `Authorization` value stands for; None for nobody."""
    token = read_bearer(value)
    return None if token is None else await authenticate(database, token)
