"""Calls written from the schema, of root fields and others: ids are variables to be filled in."""

from collections.abc import Iterator
from dataclasses import dataclass

from graphql import (
    GraphQLArgument,
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLInterfaceType,
    GraphQLList,
    GraphQLNamedType,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLSchema,
    Undefined,
    get_named_type,
)

SAMPLES = {
    "String": '"x"',
    "Boolean": "true",
    "Int": "1",
    "Float": "1",
    "BigInt": "1",
    "Duration": '"PT1H"',
    "DateTime": '"2030-01-01T00:00:00Z"',
}
NEEDED = {"folder", "engineContainer", "backup", "command"}
"""Arguments and fields that are optional, but without which a call is about nothing else."""
VALUES = {("createInstance", "executor"): '"docker"', ("createInstance", "folder"): '"/x"'}
"""What a call needs to be about all of its ids."""

ANY = "Backup"
"""The type to take where the id of any object is asked for."""


@dataclass(frozen=True, kw_only=True)
class RootCall:
    """An operation that calls one root field, or a field of the node `$node`."""

    kind: str
    name: str
    text: str
    ids: dict[str, str]
    """The type of object that each variable is the id of."""
    of: str | None = None
    """The type of the node; None: it is a root field."""

    @property
    def label(self) -> str:
        return f"{self.of or self.kind} {self.name}"


def write_calls(schema: GraphQLSchema) -> Iterator[RootCall]:
    """A call of each root field."""
    for kind, root in (
        ("query", schema.query_type),
        ("mutation", schema.mutation_type),
        ("subscription", schema.subscription_type),
    ):
        assert root is not None
        for name, field in root.fields.items():
            yield _Writer(schema, kind, name).write(field)


def write_nested_calls(schema: GraphQLSchema) -> Iterator[RootCall]:
    """A call of each field of a node that takes ids."""
    for type_ in find_nodes(schema):
        for name, field in type_.fields.items():
            if any(_holds_id(argument.type) for argument in field.args.values()):
                yield _Writer(schema, "query", name).write(field, of=type_.name)


def find_nodes(schema: GraphQLSchema) -> list[GraphQLObjectType]:
    return [
        type_
        for type_ in schema.type_map.values()
        if isinstance(type_, GraphQLObjectType)
        and "Node" in {interface.name for interface in type_.interfaces}
    ]


class _Writer:
    def __init__(self, schema: GraphQLSchema, kind: str, name: str) -> None:
        self._nodes = [type_.name for type_ in find_nodes(schema)]
        self._kind = kind
        self._name = name
        self._ids: dict[str, str] = {}

    def write(self, field: GraphQLField, *, of: str | None = None) -> RootCall:
        given = [
            f"{name}: {VALUES.get((self._name, name)) or self._write_value(argument.type, name)}"
            for name, argument in field.args.items()
            if name in NEEDED or (self._name, name) in VALUES or _is_wanted(argument)
        ]
        call = self._name + (f"({', '.join(given)})" if given else "")
        names = [*self._ids, *(["node"] if of else [])]
        variables = ", ".join(f"${name}: ID!" for name in names)
        head = self._kind + (f" ({variables})" if variables else "")
        asked = f"{call} {select(field.type)}"
        if of:
            asked = f"node(id: $node) {{ ... on {of} {{ {asked} }} }}"
        return RootCall(
            kind=self._kind, name=self._name, text=f"{head} {{ {asked} }}", ids=self._ids, of=of
        )

    def _write_value(self, type_: GraphQLInputType, place: str) -> str:
        if isinstance(type_, GraphQLNonNull):
            return self._write_value(type_.of_type, place)
        if isinstance(type_, GraphQLList):
            return f"[{self._write_value(type_.of_type, place)}]"
        if isinstance(type_, GraphQLInputObjectType):
            fields = [
                f"{name}: {self._write_value(field.type, name)}"
                for name, field in type_.fields.items()
                if name in NEEDED or _is_wanted(field)
            ]
            return "{" + ", ".join(fields) + "}"
        if isinstance(type_, GraphQLEnumType):
            return next(iter(type_.values))
        if type_.name == "ID":
            self._ids[place] = self._find_type(place)
            return f"${place}"
        return SAMPLES[type_.name]

    def _find_type(self, argument: str) -> str:
        """By the argument's name, or the field's where the argument is just `id` or `ids`."""
        if argument == "runId":
            return ANY
        noun = self._name if argument in {"id", "ids"} else argument.removesuffix("Id")
        if noun in {"node", "nodes"}:
            return ANY
        noun = noun.replace("Orphan", "Drift")
        words = [name for name in self._nodes if name.lower() in noun.lower()]
        assert words, f"whose id is {self._name}({argument}:)?"
        # `restoreBackup` names a verb and an object: the object comes last.
        return max(words, key=lambda word: noun.lower().rindex(word.lower()))


def _is_wanted(value: GraphQLArgument | GraphQLInputField) -> bool:
    """What must be given, and whatever can hold an id."""
    is_required = isinstance(value.type, GraphQLNonNull) and value.default is None
    return is_required or _holds_id(value.type)


def _holds_id(type_: GraphQLInputType) -> bool:
    named = get_named_type(type_)
    if isinstance(named, GraphQLInputObjectType):
        return any(_holds_id(field.type) for field in named.fields.values())
    return named.name == "ID"


def select(type_: object) -> str:
    """A selection that shows whether there was anything, and each refusal."""
    named: GraphQLNamedType = get_named_type(type_)  # type: ignore[call-overload]
    if isinstance(named, GraphQLInterfaceType):
        fields = "code message path" if named.name == "UserError" else "id"
        return f"{{ __typename {fields} }}"
    if not isinstance(named, GraphQLObjectType):
        return ""
    if "id" in named.fields and named.interfaces:
        return "{ id }"
    if named.name.endswith("Connection"):
        return "{ totalCount }"
    parts = [
        f"{name} {select(field.type)}"
        for name, field in named.fields.items()
        if not any(argument.default is Undefined for argument in field.args.values())
    ]
    return "{ " + " ".join(parts) + " }"
