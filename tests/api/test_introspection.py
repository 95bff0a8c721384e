"""Introspection costs what it answers: a point a field, and one a thing that fields lead to."""

from typing import Any
from uuid import uuid4

import pytest
from graphql import execute_sync, get_introspection_query, parse, validate

from app.api.context import Parts
from app.api.documents import Prepared, prepare
from app.api.execution import Operations, Request, find_lists, find_sizes
from app.api.known_documents import KnownDocuments
from app.api.limits import Limits
from app.api.schema import export, make_schema
from app.model.access import Principal

FULL = get_introspection_query(
    descriptions=True,
    specified_by_url=True,
    directive_is_repeatable=True,
    schema_description=True,
    input_value_deprecation=True,
).replace("possibleTypes", "isOneOf possibleTypes", 1)
"""With all options of GraphiQL's, and its nine levels of `ofType`."""
WRAPPED = "kind name ofType { kind name ofType { kind name ofType { kind name } } }"
QUERIES = {
    "all options": FULL,
    "no options": get_introspection_query(descriptions=False),
    "one type": f'{{ __type(name: "Container") {{ name fields {{ type {{ {WRAPPED} }} }} }} }}',
    "by variable": (
        'query ($name: String! = "Backup") { __type(name: $name) { fields { args { name } } } }'
    ),
    "nothing": '{ __type(name: "Nothing") { fields { args { name } } } }',
    "no name": '{ __type(name: "[ID!]!") { name fields { name } } }',
    "roots": (
        "{ __schema { queryType { ...T } mutationType { ...T } subscriptionType { ...T } } } "
        "fragment T on __Type { __typename ... on __Type { interfaces { name } } fields { name } }"
    ),
    "possible types": '{ __type(name: "Node") { possibleTypes { name interfaces { name } } } }',
    "enums": "{ __schema { types { enumValues(includeDeprecated: true) { name } } } }",
    "inputs": (
        "{ __schema { types { inputFields(includeDeprecated: true) { type { ofType { name } } } } "
        "directives { args(includeDeprecated: true) { type { name } } locations } } }"
    ),
    "fragments": (
        "{ ...Q ... on Query { b: __schema { ...S } } } "
        "fragment Q on Query { a: __schema { ...S } } "
        "fragment S on __Schema { types { fields(includeDeprecated: true) { name } } }"
    ),
}


def price(query: str) -> int:
    """What is asked for, whatever the limits are."""
    return prepare(
        query,
        variables=None,
        operation_name=None,
        limits=Limits(cost=10**9),
        lists=find_lists(export()),
        sizes=find_sizes(export()),
        known=KnownDocuments(),
    ).cost


def count(value: Any) -> int:
    """The fields of an answer and the objects that hold them, each a point."""
    if isinstance(value, dict):
        return sum(1 + isinstance(one, dict) + count(one) for one in value.values())
    if isinstance(value, list):
        return sum(isinstance(one, dict) + count(one) for one in value)
    return 0


@pytest.mark.parametrize("name", QUERIES)
def test_introspection_costs_what_it_answers(name: str) -> None:
    query, schema = QUERIES[name], make_schema()._schema
    document = parse(query)
    assert validate(schema, document) == []
    answer = execute_sync(schema, document)
    assert answer.errors is None
    assert answer.data is not None
    # What stands at the top is the operation's.
    tops = sum(isinstance(one, dict) for one in answer.data.values())
    expected = count(answer.data) - tops
    assert price(query) == max(expected, document.token_count)


def test_what_tools_ask_leaves_most_of_the_limit(parts: Parts) -> None:
    id = uuid4()
    anyone = Principal(hub_id=id, key_id=id, name="x", role=None, capabilities=frozenset())
    prepared = Operations(parts, Limits()).read(
        Request(query=FULL, variables=None, operation_name=None), anyone
    )
    assert isinstance(prepared, Prepared)
    assert prepared.cost < Limits().cost / 2
    assert FULL.count("ofType") == 9
