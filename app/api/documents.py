"""Documents: parsed and measured in one pass before anything is carried out."""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    InlineFragmentNode,
    IntValueNode,
    OperationDefinitionNode,
    OperationType,
    SelectionNode,
    SelectionSetNode,
    StringValueNode,
    VariableNode,
    Visitor,
    parse,
    visit,
)

from app.api.paging import DEFAULT_PAGE, LARGEST_PAGE

_CEILING = 10**9
_PHRASES = {
    "depth": "levels of depth",
    "directives": "directives in one place",
    "nodes": "entries in all its lists",
}
_ESCAPED_NUL = re.compile(r"\\u(?:0000|\{0+\})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one document may hold, and how large a request may be."""

    body_bytes: int = 256 * 1024
    tokens: int = 1000
    operations: int = 10
    depth: int = 15
    aliases: int = 30
    fields: int = 500
    directives: int = 4
    """In one place."""
    nodes: int = 20_000
    """Entries that the lists can answer, multiplied through."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A document within the limits, and the operation of it that was asked for."""

    query: str
    variables: dict[str, Any] | None
    operation_name: str | None
    document: DocumentNode
    kind: OperationType


@dataclass(frozen=True, slots=True)
class _Size:
    depth: int = 0
    aliases: int = 0
    fields: int = 0
    nodes: int = 0

    def beside(self, other: "_Size") -> "_Size":
        return _Size(
            max(self.depth, other.depth),
            min(self.aliases + other.aliases, _CEILING),
            min(self.fields + other.fields, _CEILING),
            min(self.nodes + other.nodes, _CEILING),
        )


def prepare(
    query: str,
    *,
    variables: dict[str, Any] | None,
    operation_name: str | None,
    limits: Limits,
    lists: Collection[str],
) -> Prepared:
    """Parse, choose the operation, and measure it. Raises GraphQLError with a code.

    `lists`: the names of the fields that answer a connection.
    """
    document = parse(query, max_lexical_tokens=limits.tokens, max_comments=limits.tokens)
    operation = _choose(document, operation_name, limits)
    _refuse_nul(query, document, variables)
    size = _Measure(document, variables or {}, limits, lists).measure(operation.selection_set)
    for name, found in (
        ("depth", size.depth),
        ("aliases", size.aliases),
        ("fields", size.fields),
        ("nodes", size.nodes),
    ):
        _refuse_above(name, found, getattr(limits, name))
    return Prepared(
        query=query,
        variables=variables,
        operation_name=operation_name,
        document=document,
        kind=operation.operation,
    )


def _choose(document: DocumentNode, name: str | None, limits: Limits) -> OperationDefinitionNode:
    operations = [
        node for node in document.definitions if isinstance(node, OperationDefinitionNode)
    ]
    _refuse_above("operations", len(operations), limits.operations)
    if name is None:
        if len(operations) == 1:
            return operations[0]
        message = (
            "The document has several operations: `operationName` must say which one."
            if operations
            else "The document has no operation."
        )
        raise _refuse("BAD_USER_INPUT", message, argument="operationName")
    for operation in operations:
        if operation.name is not None and operation.name.value == name:
            return operation
    raise _refuse(
        "BAD_USER_INPUT", "The document has no operation of this name.", argument="operationName"
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
        self._limits = limits
        self._lists = lists
        self._known: dict[str, _Size] = {}
        self._open: set[str] = set()

    def measure(self, selections: SelectionSetNode | None) -> _Size:
        size = _Size()
        for node in selections.selections if selections else ():
            _refuse_above("directives", len(node.directives or ()), self._limits.directives)
            size = size.beside(self._measure_one(node))
        return size

    def _measure_one(self, node: SelectionNode) -> _Size:
        if isinstance(node, FieldNode):
            return self._measure_field(node)
        if isinstance(node, FragmentSpreadNode):
            return self._measure_fragment(node.name.value)
        assert isinstance(node, InlineFragmentNode)
        return self.measure(node.selection_set)

    def _measure_field(self, node: FieldNode) -> _Size:
        alias = 1 if node.alias else 0
        if node.name.value.startswith("__"):
            # What the schema says of itself is bounded by core; only its aliases multiply it.
            return _Size(aliases=alias, fields=1)
        inner = self.measure(node.selection_set)
        entries = self._read_page(node) if node.name.value in self._lists else 0
        nodes = entries * (1 + inner.nodes) if entries else inner.nodes
        return _Size(inner.depth + 1, inner.aliases + alias, inner.fields + 1, min(nodes, _CEILING))

    def _measure_fragment(self, name: str) -> _Size:
        # Validation tells of circles and unknown names.
        if name in self._open or name not in self._fragments:
            return _Size()
        if name not in self._known:
            self._open.add(name)
            self._known[name] = self.measure(self._fragments[name].selection_set)
            self._open.discard(name)
        return self._known[name]

    def _read_page(self, node: FieldNode) -> int:
        for argument in node.arguments or ():
            if argument.name.value in {"first", "last"}:
                value = argument.value
                number: object = None
                if isinstance(value, IntValueNode):
                    number = int(value.value)
                elif isinstance(value, VariableNode):
                    number = self._variables.get(value.name.value)
                if isinstance(number, int):
                    return min(max(number, 1), LARGEST_PAGE)
        return DEFAULT_PAGE


class _FindNul(Visitor):
    """Raises at the first string literal that holds a NUL."""

    def enter_string_value(self, node: StringValueNode, *_: object) -> None:
        if "\0" in node.value:
            raise _refuse("BAD_USER_INPUT", "A text must not hold a NUL character.")


def _refuse_nul(query: str, document: DocumentNode, variables: Mapping[str, Any] | None) -> None:
    if _ESCAPED_NUL.search(query):
        visit(document, _FindNul())
    for name, value in (variables or {}).items():
        if any("\0" in text for text in _find_texts(value)):
            raise _refuse("BAD_USER_INPUT", "A text must not hold a NUL character.", argument=name)


def _find_texts(value: object) -> Iterator[str]:
    values = [value]
    while values:
        found = values.pop()
        if isinstance(found, str):
            yield found
        elif isinstance(found, list):
            values += found
        elif isinstance(found, dict):
            values += found.keys()
            values += found.values()


def _refuse_above(name: str, found: int, limit: int) -> None:
    if found > limit:
        number = "more than 10^9" if found >= _CEILING else str(found)
        raise _refuse(
            f"{name.upper()}_LIMIT",
            f"The request has {number} {_PHRASES.get(name, name)}; the limit is {limit}.",
            limit=limit,
            actual=found,
        )


def _refuse(code: str, message: str, **extensions: object) -> GraphQLError:
    return GraphQLError(message, extensions={"code": code, **extensions})
