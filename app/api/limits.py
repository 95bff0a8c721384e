"""Limits: what one document may hold and cost, found in one pass before anything is carried out."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from graphql import (
    ArgumentNode,
    BooleanValueNode,
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    InlineFragmentNode,
    IntValueNode,
    ListValueNode,
    ObjectValueNode,
    OperationDefinitionNode,
    SelectionNode,
    SelectionSetNode,
    ValueNode,
    VariableNode,
    value_from_ast_untyped,
)
from graphql.language.parser import MAX_NESTING_DEPTH

from app.api.introspection import SchemaSizes, price_introspection
from app.api.paging import DEFAULT_PAGE, LARGEST_PAGE, read_limit
from app.model.containers import MOST_LABELS
from app.model.discovery import MOST_PROBLEMS
from app.model.recipes import RECIPES
from app.model.schedules import MOST_NEXT_RUNS
from app.model.sources import POLICY_VALUES

LIVE_POINTS = 100
"""What a field costs, each time, whose argument `live: true` has Backblaze B2 asked."""
PREVIEW_POINTS = 500
"""What a dry run of retention costs, each time: it looks at all `LIVE` backups of a container."""
ENTRIES: Mapping[str, int] = MappingProxyType(
    {
        "labels": MOST_LABELS,
        "details": 10,
        "entries": LARGEST_PAGE,
        "problems": MOST_PROBLEMS,
        "sources": len(POLICY_VALUES),
        "backupRecipes": len(RECIPES),
        "variables": 10,
    }
)
"""How many objects a field answers, as far as is known, that is a list and no connection."""

LARGEST_INT = 2**31 - 1
_CEILING = 10**9
_PHRASES = {
    "depth": "levels of depth",
    "nesting": "brackets within each other",
    "directives": "directives in one place",
    "nodes": "entries in all its lists",
    "list": "entries in one list or object",
    "values": "values in its variables",
    "cost": "points of cost",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How large a request may be, what its document may hold, and how much a key may ask."""

    body_bytes: int = 256 * 1024
    tokens: int = 1000
    operations: int = 10
    depth: int = 15
    aliases: int = 30
    fields: int = 500
    directives: int = 4
    """In one place."""
    nesting: int = MAX_NESTING_DEPTH
    """Brackets within each other; the parser takes no more in any case."""
    list: int = 1000
    """Entries of one list or object in an argument or variable."""
    values: int = 5000
    """In all variables together, within their lists and objects too."""
    page: int = LARGEST_PAGE
    """Entries of one page that `first` or `last` may ask for; never less than the default page."""
    nodes: int = 20_000
    """Entries that the lists can answer, multiplied through."""
    cost: int = 50_000
    """Points: one a field (some more), multiplied by the entries of the lists around it."""
    points_per_minute: int = 1_000_000
    """Of one key at one gateway."""
    sockets: int = 100
    """Open at a time, of one key at one gateway."""
    subscriptions: int = 500
    """Open at a time over sockets and streams, of one key at one gateway."""
    connections: int = 5000
    """Sockets and streams open at a time, of all keys at one gateway."""
    socket_operations: int = 100
    """Under way at a time over one socket."""
    seconds: int = 30
    """For a request to arrive, and for its query or mutation to be carried out."""
    introspection: bool = True


@dataclass(frozen=True, slots=True)
class Size:
    """What a selection amounts to."""

    depth: int = 0
    aliases: int = 0
    fields: int = 0
    nodes: int = 0
    cost: int = 0

    def beside(self, other: "Size") -> "Size":
        return Size(
            max(self.depth, other.depth),
            min(self.aliases + other.aliases, _CEILING),
            min(self.fields + other.fields, _CEILING),
            min(self.nodes + other.nodes, _CEILING),
            min(self.cost + other.cost, _CEILING),
        )


def measure(
    document: DocumentNode,
    operation: OperationDefinitionNode,
    variables: Mapping[str, Any],
    *,
    limits: Limits,
    lists: Collection[str],
    sizes: SchemaSizes,
) -> Size:
    """The size of an operation within the limits. Raises GraphQLError, with a code, above them.

    `lists`: the names of the fields that answer a connection. `sizes`: of the schema, which
    introspection tells.
    """
    _check_variables(variables, limits)
    measuring = _Measure(document, variables, limits, lists)
    size = measuring.measure_operation(operation)
    for name in ("depth", "aliases", "fields", "nodes"):
        refuse_above(name, getattr(size, name), getattr(limits, name))
    # Only now: what this takes grows with the number of fields.
    size = size.beside(Size(cost=measuring.price_introspection(operation, sizes)))
    refuse_above("cost", size.cost, limits.cost)
    return size


def refuse(code: str, message: str, **extensions: object) -> GraphQLError:
    """The error of a request that is not carried out."""
    return GraphQLError(message, extensions={"code": code, **extensions})


def refuse_above(name: str, found: int, limit: int, **extensions: object) -> None:
    """Raise GraphQLError where more was found than the limit lets through."""
    if found > limit:
        number = "more than 10^9" if found >= _CEILING else str(found)
        raise refuse(
            f"{name.upper()}_LIMIT",
            f"The request has {number} {_PHRASES.get(name, name)}; the limit is {limit}.",
            limit=limit,
            actual=found,
            **extensions,
        )


class _Measure:
    """Counts each fragment once, however often it is spread."""

    def __init__(
        self,
        document: DocumentNode,
        variables: Mapping[str, Any],
        limits: Limits,
        lists: Collection[str],
    ) -> None:
        self._fragments = {
            node.name.value: node
            for node in document.definitions
            if isinstance(node, FragmentDefinitionNode)
        }
        self._variables = variables
        self._defaults: dict[str, ValueNode] = {}
        self._limits = limits
        self._lists = lists
        self._known: dict[str, Size] = {}
        self._open: set[str] = set()
        self._is_circular = False

    def measure_operation(self, operation: OperationDefinitionNode) -> Size:
        for definition in operation.variable_definitions or ():
            self._check_directives(definition)
            if definition.default_value is not None:
                name = definition.variable.name.value
                self._check_literal(name, definition.default_value)
                self._defaults[name] = definition.default_value
        self._check_directives(operation)
        return self._measure(operation.selection_set)

    def price_introspection(self, operation: OperationDefinitionNode, sizes: SchemaSizes) -> int:
        """What the schema tells of itself, besides a point for `__schema` or `__type`.

        Other than at the top there is no such field, and circles are none: validation tells of it.
        """
        if self._is_circular:
            return 0

        def find_fragment(node: FragmentSpreadNode) -> SelectionSetNode | None:
            # None of nothing, nor of what doubles endlessly without a single field.
            if self._known.get(node.name.value, Size()).fields == 0:
                return None
            return self._fragments[node.name.value].selection_set

        price = 0
        waiting: list[SelectionNode] = list(operation.selection_set.selections)
        while waiting:
            node = waiting.pop()
            if isinstance(node, FieldNode):
                at = self._find_introspected(node, sizes)
                if at is not None:
                    price += price_introspection(sizes, node.selection_set, {at: 1}, find_fragment)
            elif isinstance(node, FragmentSpreadNode):
                found = find_fragment(node)
                waiting += found.selections if found else ()
            elif isinstance(node, InlineFragmentNode):
                waiting += node.selection_set.selections
        return min(price, _CEILING)

    def _find_introspected(self, node: FieldNode, sizes: SchemaSizes) -> int | None:
        if node.name.value == "__schema":
            return sizes.root
        if node.name.value == "__type":
            for argument in node.arguments or ():
                if argument.name.value == "name":
                    return sizes.find_type(self._read_value(argument.value))
        return None

    def _check_directives(self, node: Any) -> None:  # noqa: ANN401 - whatever can have some
        refuse_above("directives", len(node.directives or ()), self._limits.directives)

    def _measure(self, selections: SelectionSetNode | None) -> Size:
        size = Size()
        for node in selections.selections if selections else ():
            self._check_directives(node)
            size = size.beside(self._measure_one(node))
        return size

    def _measure_one(self, node: SelectionNode) -> Size:
        if isinstance(node, FieldNode):
            return self._measure_field(node)
        if isinstance(node, FragmentSpreadNode):
            return self._measure_fragment(node.name.value)
        assert isinstance(node, InlineFragmentNode)
        return self._measure(node.selection_set)

    def _measure_field(self, node: FieldNode) -> Size:
        alias = 1 if node.alias else 0
        inner = self._measure(node.selection_set)
        name = node.name.value
        if name.startswith("__"):
            return self._measure_introspection(name, alias, inner)
        for argument in node.arguments or ():
            self._check_literal(argument.name.value, argument.value)
        entries = self._read_page(node) if name in self._lists else 0
        times = entries or ENTRIES.get(name, 0) or self._read_ids(node)
        points = 1 + self._price_work(node)
        nodes = entries * (1 + inner.nodes) if entries else times * inner.nodes
        return Size(
            inner.depth + 1,
            inner.aliases + alias,
            inner.fields + 1,
            min(nodes, _CEILING),
            min(points + times * inner.cost, _CEILING),
        )

    def _measure_introspection(self, name: str, alias: int, inner: Size) -> Size:
        """It has no lists of ours, and core bounds how deep it goes; its price comes later."""
        if name != "__typename" and not self._limits.introspection:
            raise refuse("INTROSPECTION_DISABLED", "This gateway does not tell its schema.")
        return Size(aliases=inner.aliases + alias, fields=inner.fields + 1, cost=1)

    def _measure_fragment(self, name: str) -> Size:
        # Validation tells of circles and unknown names.
        self._is_circular |= name in self._open
        if name in self._open or name not in self._fragments:
            return Size()
        if name not in self._known:
            self._open.add(name)
            fragment = self._fragments[name]
            self._check_directives(fragment)
            self._known[name] = self._measure(fragment.selection_set)
            self._open.discard(name)
        return self._known[name]

    def _check_literal(self, argument: str, value: ValueNode) -> None:
        if isinstance(value, ListValueNode):
            refuse_above("list", len(value.values), self._limits.list, argument=argument)
            for entry in value.values:
                self._check_literal(argument, entry)
        elif isinstance(value, ObjectValueNode):
            for field in value.fields:
                self._check_literal(argument, field.value)

    def _read_page(self, node: FieldNode) -> int:
        for argument in node.arguments or ():
            if argument.name.value in {"first", "last"}:
                number = self._read_number(argument)
                if number is not None:
                    most = self._limits.page
                    if abs(number) > LARGEST_INT or LARGEST_PAGE > most < number:
                        # Nothing could say it later: it is no `Int`, or resolvers know no limits.
                        both = {"first": None, "last": None, argument.name.value: number}
                        read_limit(**both, most=most)
                    return min(max(number, 1), LARGEST_PAGE)
        return DEFAULT_PAGE

    def _read_number(self, argument: ArgumentNode) -> int | None:
        value = argument.value
        if isinstance(value, IntValueNode):
            return int(value.value)  # Of bounded length: what is longer was refused before.
        if isinstance(value, VariableNode):
            number = self._read_variable(value.name.value)
            # A JSON number like 100.0 or 1e2 is an Int of GraphQL.
            if isinstance(number, float) and number.is_integer():
                return int(number)
            return number if isinstance(number, int) else None
        return None

    def _read_value(self, value: ValueNode) -> object:
        if isinstance(value, VariableNode):
            return self._read_variable(value.name.value)
        return value_from_ast_untyped(value)

    def _read_variable(self, name: str) -> object:
        """As execution takes it: what was given, a null too, else the default."""
        if name in self._variables or name not in self._defaults:
            return self._variables.get(name)
        return value_from_ast_untyped(self._defaults[name])

    def _price_work(self, node: FieldNode) -> int:
        """What a field takes besides being shown."""
        if node.name.value == "retentionPreview":
            return PREVIEW_POINTS
        if node.name.value == "nextRuns":
            return MOST_NEXT_RUNS
        return LIVE_POINTS if self._is_live(node) else 0

    def _is_live(self, node: FieldNode) -> bool:
        for argument in node.arguments or ():
            if argument.name.value == "live":
                value = argument.value
                if isinstance(value, VariableNode):
                    return self._read_variable(value.name.value) is True
                return isinstance(value, BooleanValueNode) and value.value
        return False

    def _read_ids(self, node: FieldNode) -> int:
        """How many objects a field answers that takes their ids; 1 for every other field."""
        for argument in node.arguments or ():
            if argument.name.value == "ids":
                value: object = argument.value
                if isinstance(value, VariableNode):
                    value = self._read_variable(value.name.value)
                elif isinstance(value, ListValueNode):
                    value = value.values
                if isinstance(value, list | tuple):
                    return max(1, len(value))
        return 1


def _check_variables(variables: Mapping[str, Any], limits: Limits) -> None:
    """Raises GraphQLError above the limits of one list or object, and of all values together."""
    seen = 0
    for name, value in variables.items():
        values = [value]
        while values:
            found = values.pop()
            seen += 1
            if isinstance(found, dict | list):
                refuse_above("list", len(found), limits.list, argument=name)
                values += found if isinstance(found, list) else found.values()
                # Now, not at the end: there may be very many.
                refuse_above("values", seen + len(values), limits.values, argument=name)
    refuse_above("values", seen, limits.values)
