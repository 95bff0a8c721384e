"""Cutting a connection: for clients that take nothing, a goodbye would only wait with the rest."""

from collections.abc import Callable
from typing import Final, TypedDict

from starlette.types import Scope

EXTENSION: Final = "backup_gateway.cutting"
"""Of an ASGI scope: what a server offers that can cut a connection."""


class Cutting(TypedDict):
    cut: Callable[[], None]
    """End the connection at once, dropping what was not sent."""
    hurry: Callable[[float], None]
    """Do that from now on as soon as the client has taken nothing for so many seconds."""


def cut(scope: Scope) -> None:
    """End the client's connection, where the server offers that."""
    offered = _find(scope)
    if offered is not None:
        offered["cut"]()


def hurry(scope: Scope, seconds: float) -> None:
    """Let the client be cut once it takes nothing for so long, where the server offers that."""
    offered = _find(scope)
    if offered is not None:
        offered["hurry"](seconds)


def _find(scope: Scope) -> Cutting | None:
    offered: Cutting | None = (scope.get("extensions") or {}).get(EXTENSION)
    return offered
