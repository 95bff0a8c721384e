"""Recorded cases: documents, and beside each what it answered and what it asked PostgreSQL.

A document's variables are the ids of the scene, by their names. A comment `# as VIEWER` at its top
chooses the key (else ADMIN); `# first 1` ends a subscription after so many events, `# then CASE`
carries out another case after the first one.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    InlineFragmentNode,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    get_named_type,
    parse,
)

from app.model.ids import decode_id
from app.postgres.statements import DB, load

CASES = Path(__file__).parent / "api" / "cases"

_AS = re.compile(r"^# as ([A-Z]+)$", re.MULTILINE)
_FIRST = re.compile(r"^# first ([0-9]+)$", re.MULTILINE)
_THEN = re.compile(r"^# then ([a-z_]+)$", re.MULTILINE)
_OPAQUE = re.compile(r"[A-Za-z0-9_-]{40,}")
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TOKEN = re.compile(r"(?<=>-)[0-9a-f]{8}(?=-[0-9]+)")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}(?:\.[0-9]{6})?Z")
_KEY_PREFIX = re.compile(r"[0-9a-f]{8,}")
_MEASURED = re.compile(r"PT[0-9.]*\.[0-9]+S")
_HIDDEN = {
    "cursor": "<cursor>",
    "startCursor": "<cursor>",
    "endCursor": "<cursor>",
    "secret": "<secret>",
    "address": "<address>",
    "left": "<left>",
}


@dataclass(frozen=True, kw_only=True)
class Case:
    path: Path
    text: str

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def key(self) -> str:
        found = _AS.search(self.text)
        return found[1] if found else "ADMIN"

    @property
    def events(self) -> int | None:
        """How many events of a subscription to wait for; None: until it completes."""
        found = _FIRST.search(self.text)
        return int(found[1]) if found else None

    @property
    def change(self) -> "Case | None":
        """The case to carry out, by its name, once a subscription has sent its first event."""
        found = _THEN.search(self.text)
        return read_case(self.path.with_name(f"{found[1]}.graphql")) if found else None

    @property
    def operation(self) -> OperationDefinitionNode:
        [operation] = (
            node
            for node in parse(self.text).definitions
            if isinstance(node, OperationDefinitionNode)
        )
        return operation

    @property
    def kind(self) -> OperationType:
        return self.operation.operation

    def choose_variables(self, ids: Mapping[str, str]) -> dict[str, Any]:
        """The scene's ids for the variables without a default."""
        wanted = self.operation.variable_definitions or ()
        return {
            node.variable.name.value: ids[node.variable.name.value]
            for node in wanted
            if node.default_value is None
        }

    def read_answers(self) -> list[dict[str, Any]]:
        """What was recorded; one answer unless it is a subscription."""
        recorded = orjson.loads(self.path.with_suffix(".json").read_bytes())
        return recorded if isinstance(recorded, list) else [recorded]


def find_cases() -> list[Case]:
    return [read_case(path) for path in sorted(CASES.glob("*.graphql"))]


def read_case(path: Path) -> Case:
    return Case(path=path, text=path.read_text(encoding="utf-8"))


# --- what differs from run to run ---------------------------------------------------------------


def normalise(value: Any, names: Mapping[UUID, str], key: str = "") -> Any:
    """The same answer with names instead of ids, times and cursors."""
    if isinstance(value, dict):
        return {name: normalise(inner, names, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [normalise(inner, names, key) for inner in value]
    if key in _HIDDEN and value is not None:
        return _HIDDEN[key]
    return _normalise_text(value, names, key) if isinstance(value, str) else value


def _normalise_text(value: str, names: Mapping[UUID, str], key: str) -> str:
    if key == "prefix" and _KEY_PREFIX.fullmatch(value):
        return "<prefix>"
    value = _OPAQUE.sub(lambda found: _name_id(found[0], names), value)
    value = _UUID.sub(lambda found: f"<{names.get(UUID(found[0]), 'new')}>", value)
    value = _TOKEN.sub("<token>", value)
    value = _TIME.sub("<time>", value)
    return _MEASURED.sub("<measured>", value)


def _name_id(text: str, names: Mapping[UUID, str]) -> str:
    decoded = decode_id(text)
    return text if decoded is None else f"<{decoded[0]} {names.get(decoded[1], 'new')}>"


def write_json(answer: Any) -> str:
    return orjson.dumps(answer, option=orjson.OPT_INDENT_2).decode() + "\n"


def write_sql(statements: list[str], kind: OperationType) -> str:
    """The statements with their names in db/queries; a query's side by side ones are sorted."""
    known = {
        text: f"{path.stem}.{name}"
        for path in sorted((DB / "queries").glob("*.sql"))
        for name, text in load(path.stem).items()
    }
    shown = [
        f"-- {known[text]}\n{text};\n" if text in known else f"{text.strip(';')};\n"
        for text in statements
        if text in known or text.upper().startswith(("BEGIN", "COMMIT", "ROLLBACK"))
    ]
    return "\n".join(shown if kind is OperationType.MUTATION else sorted(shown))


# --- what a case covers -------------------------------------------------------------------------


class Coverage:
    """Finds the fields of object types that answers show a value for."""

    def __init__(self, schema: GraphQLSchema, case: Case) -> None:
        self._schema = schema
        self._fragments = {
            node.name.value: node
            for node in parse(case.text).definitions
            if isinstance(node, FragmentDefinitionNode)
        }
        self._case = case

    def find(self) -> Iterator[str]:
        """`Type.field` of each value that is not null."""
        operation = self._case.operation
        root = self._schema.get_root_type(operation.operation)
        assert root is not None
        for answer in self._case.read_answers():
            yield from self._walk(operation.selection_set, answer.get("data"), root)

    def _walk(
        self, selections: SelectionSetNode | None, data: Any, type_: GraphQLNamedType
    ) -> Iterator[str]:
        for item in data if isinstance(data, list) else [data]:
            if isinstance(item, dict) and selections is not None:
                yield from self._walk_object(selections, item, self._concrete(type_, item))

    def _concrete(self, type_: GraphQLNamedType, item: dict[str, Any]) -> GraphQLObjectType:
        if not isinstance(type_, GraphQLObjectType):
            type_ = self._schema.type_map[item["__typename"]]
        assert isinstance(type_, GraphQLObjectType)
        return type_

    def _walk_object(
        self, selections: SelectionSetNode, item: dict[str, Any], type_: GraphQLObjectType
    ) -> Iterator[str]:
        for node in selections.selections:
            if isinstance(node, FieldNode):
                yield from self._walk_field(node, item, type_)
                continue
            if isinstance(node, FragmentSpreadNode):
                node = self._fragments[node.name.value]  # noqa: PLW2901 - what it stands for
            assert isinstance(node, InlineFragmentNode | FragmentDefinitionNode)
            condition = node.type_condition
            if condition is None or self._fits(type_, condition.name.value):
                yield from self._walk_object(node.selection_set, item, type_)

    def _walk_field(
        self, node: FieldNode, item: dict[str, Any], type_: GraphQLObjectType
    ) -> Iterator[str]:
        name = node.name.value
        value = item[node.alias.value if node.alias else name]
        if name.startswith("__") or value is None:
            return
        yield f"{type_.name}.{name}"
        yield from self._walk(node.selection_set, value, get_named_type(type_.fields[name].type))

    def _fits(self, type_: GraphQLObjectType, name: str) -> bool:
        return name == type_.name or name in {one.name for one in type_.interfaces}
