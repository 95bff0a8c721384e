"""Introspection: how much the schema tells of itself, counted before it is told."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from graphql import (
    FieldNode,
    FragmentSpreadNode,
    GraphQLArgument,
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLType,
    GraphQLUnionType,
    GraphQLWrappingType,
    InlineFragmentNode,
    SelectionNode,
    SelectionSetNode,
)

Things = Mapping[int, int]
"""Numbers of types, fields, arguments ... of a schema, each with how often it is reached."""


class SchemaSizes:
    """What leads where in a schema: from a type to its fields, from a field to its arguments."""

    def __init__(self, schema: GraphQLSchema) -> None:
        self._ways: list[dict[str, list[int]]] = []
        self._types: dict[str, int] = {}
        self._schema = schema
        types = [self._add_type(type_) for type_ in schema.type_map.values()]
        for type_ in schema.type_map.values():
            self._ways[self._types[type_.name]] |= self._find_ways(type_)
        roots = (schema.query_type, schema.mutation_type, schema.subscription_type)
        names = ("queryType", "mutationType", "subscriptionType")
        self.root = self._add(
            types=types,
            directives=[self._add(args=self._add_inputs(one.args)) for one in schema.directives],
            **{
                name: [self._add_type(root)]
                for name, root in zip(names, roots, strict=True)
                if root
            },
        )

    def find_type(self, name: object) -> int | None:
        """The type of a name; not of a wrapped one, such as `[ID!]`."""
        is_one = isinstance(name, str) and name in self._schema.type_map
        return self._types[str(name)] if is_one else None

    def follow(self, things: Things, name: str) -> Things:
        """All that a field of introspection leads to from all these."""
        found: Counter[int] = Counter()
        for thing, times in things.items():
            for next_one in self._ways[thing].get(name, ()):
                found[next_one] += times
        return found

    def _add(self, **ways: list[int]) -> int:
        self._ways.append(ways)
        return len(self._ways) - 1

    def _add_type(self, type_: GraphQLType) -> int:
        name = str(type_)
        if name not in self._types:
            if isinstance(type_, GraphQLWrappingType):
                self._types[name] = self._add(ofType=[self._add_type(type_.of_type)])
            else:
                self._types[name] = self._add()
        return self._types[name]

    def _add_inputs(
        self, inputs: Mapping[str, GraphQLArgument] | Mapping[str, GraphQLInputField]
    ) -> list[int]:
        return [self._add(type=[self._add_type(one.type)]) for one in inputs.values()]

    def _add_fields(self, fields: Mapping[str, GraphQLField]) -> list[int]:
        return [
            self._add(type=[self._add_type(one.type)], args=self._add_inputs(one.args))
            for one in fields.values()
        ]

    def _find_ways(self, type_: GraphQLType) -> dict[str, list[int]]:
        ways: dict[str, list[int]] = {}
        if isinstance(type_, GraphQLObjectType | GraphQLInterfaceType):
            ways["fields"] = self._add_fields(type_.fields)
            ways["interfaces"] = self._add_types(type_.interfaces)
        if isinstance(type_, GraphQLInterfaceType | GraphQLUnionType):
            ways["possibleTypes"] = self._add_types(self._schema.get_possible_types(type_))
        if isinstance(type_, GraphQLEnumType):
            ways["enumValues"] = [self._add() for _ in type_.values]
        if isinstance(type_, GraphQLInputObjectType):
            ways["inputFields"] = self._add_inputs(type_.fields)
        return ways

    def _add_types(self, types: Iterable[GraphQLType]) -> list[int]:
        return [self._add_type(one) for one in types]


def price_introspection(
    sizes: SchemaSizes,
    selections: SelectionSetNode | None,
    things: Things,
    find_fragment: Callable[[FragmentSpreadNode], SelectionSetNode | None],
) -> int:
    """What a selection of all these costs: a point a field, and one a thing that fields lead to.

    Deprecated ones count too, asked for or not. `find_fragment` gives what a spread stands for;
    None where that is nothing.
    """
    if not things or selections is None:
        return 0
    here = sum(things.values())

    def price(node: SelectionNode) -> int:
        if isinstance(node, FieldNode):
            if node.selection_set is None:
                return here
            found = sizes.follow(things, node.name.value)
            inner = price_introspection(sizes, node.selection_set, found, find_fragment)
            return here + sum(found.values()) + inner
        if isinstance(node, FragmentSpreadNode):
            return price_introspection(sizes, find_fragment(node), things, find_fragment)
        assert isinstance(node, InlineFragmentNode)
        return price_introspection(sizes, node.selection_set, things, find_fragment)

    return sum(map(price, selections.selections))
