"""Payloads: what a key that may not read may ask of the objects that mutations answer."""

from collections.abc import Mapping
from types import MappingProxyType

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLSchema,
    OperationDefinitionNode,
    OperationType,
    TypeInfo,
    TypeInfoVisitor,
    Visitor,
    visit,
)

from app.api.documents import Prepared
from app.model.access import Capability, Principal

OPEN = frozenset({"__typename", "id", "state"})
"""What every key may ask of an object that a mutation answers it."""
_NODE = "Node"
_OTHERS: Mapping[str, Capability] = MappingProxyType(
    {"ApiKey": Capability.MANAGE_KEYS, "Webhook": Capability.CONFIGURE}
)
"""Types whose objects are no matter of READ."""


def refuse_reading(
    schema: GraphQLSchema, prepared: Prepared, principal: Principal
) -> GraphQLError | None:
    """Why the mutation is not carried out: it would show this key what it may not read.

    From a payload every way to anything that is stored leads through a Node; so it is enough to
    look at the fields of those, and a new type or field is closed unless it is opened here.
    """
    if prepared.operation.operation is not OperationType.MUTATION:
        return None  # Each root field of the others asks for its capability by itself.
    if principal.may(Capability.READ):
        return None
    fragments = {
        node.name.value: node
        for node in prepared.document.definitions
        if isinstance(node, FragmentDefinitionNode)
    }
    look = _Look(TypeInfo(schema), principal)
    look.at(prepared.operation)
    known: set[str] = set()
    while look.spreads - known:
        name = min(look.spreads - known)
        known.add(name)
        if name in fragments:
            look.at(fragments[name])
    return look.found


class _Look(Visitor):
    """Finds a field that the key may not read, and the fragments that are spread."""

    def __init__(self, types: TypeInfo, principal: Principal) -> None:
        super().__init__()
        self.found: GraphQLError | None = None
        self.spreads: set[str] = set()
        self._types = types
        self._principal = principal

    def at(self, node: OperationDefinitionNode | FragmentDefinitionNode) -> None:
        visit(node, TypeInfoVisitor(self._types, self))

    def enter_fragment_spread(self, node: FragmentSpreadNode, *_: object) -> None:
        self.spreads.add(node.name.value)

    def enter_field(self, node: FieldNode, *_: object) -> None:
        parent = self._types.get_parent_type()
        if node.name.value in OPEN or not isinstance(
            parent, GraphQLObjectType | GraphQLInterfaceType
        ):
            return
        is_node = _NODE in {parent.name, *(one.name for one in parent.interfaces)}
        needed = _OTHERS.get(parent.name, Capability.READ)
        if is_node and not self._principal.may(needed):
            self.found = self.found or GraphQLError(
                f"Your API key lacks the capability {needed}: of an object that a mutation answers "
                "it may ask for `id` and `state` only. Nothing was done.",
                nodes=[node],
                extensions={"code": "FORBIDDEN"},
            )
