"""The Node interface: everything that has an id of its own."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import strawberry
from strawberry.types.lazy_type import LazyType

from app.api.loaders import Fetch
from app.model.access import Capability


@strawberry.interface(
    description="An object with an id. `node(id)` finds it again, whatever its type is."
)
class Node:
    id: strawberry.ID = strawberry.field(
        description="Opaque, unique among all types, at most 200 characters, stable for ever."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeKind:
    """How one type of node is read by id, and shown."""

    fetch: Fetch[Any]
    show: Callable[[Any], Node]
    needs: Capability = Capability.READ
    """Without it a key sees nothing by such an id."""


def refer(type_name: str, module: str) -> LazyType[Any, Any]:
    """The type of a field that points back up, to a module that imports this one."""
    return LazyType(type_name, module)
