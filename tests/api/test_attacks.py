"""Attacks: a document of a thousand tokens cannot cost seconds. Calls are counted, not time."""

import sys
from collections.abc import Callable
from dataclasses import replace
from types import FrameType
from typing import Any
from uuid import uuid4

import pytest

from app.api.context import Parts
from app.api.documents import Prepared
from app.api.execution import Answer, Operations, Request
from app.api.limits import Limits
from app.model.access import Principal

MOST_CALLS = 1_000_000
"""Functions of Python: about a quarter of a second."""


def count_calls(work: Callable[[], object]) -> int:
    """How many functions of Python a piece of work calls; the same number every time."""
    calls = 0

    def notice(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        del frame, argument
        calls += event == "call"

    before = sys.getprofile()
    sys.setprofile(notice)
    try:
        work()
    finally:
        sys.setprofile(before)
    return calls


def doubling(levels: int, inner: str) -> str:
    """Fragments that each spread the next one twice: 2^levels of what is inside."""
    parts = "".join(f"fragment F{n} on Query {{ ...F{n + 1} ...F{n + 1} }} " for n in range(levels))
    return f"{{ ...F0 }} {parts} fragment F{levels} on Query {{ {inner} }}"


def deep(levels: int) -> str:
    return "{ containers { nodes { backups { nodes { container " * levels


ATTACKS = {
    "tokens": ("{ " + "a " * 100_000 + "}", "TOKENS_LIMIT"),
    "comments": ("#\n" * 100_000 + "{ a }", "COMMENTS_LIMIT"),
    "nested": ("{ a " * 490, "NESTING_LIMIT"),
    "lists in a value": (f"{{ a(b: {'[' * 400}{']' * 400}) }}", "NESTING_LIMIT"),
    "fields": ("{ " + "viewer { name } " * 240 + "}", None),
    "overlap": ("{ " + "hub { id name " * 1 + "} hub { id name } " * 160 + "}", None),
    "aliases": ("{ " + "".join(f"a{n}: viewer {{ name }} " for n in range(150)) + "}", "ALIASES"),
    "aliases of __typename": (
        "{ " + "".join(f"a{n}: __typename " for n in range(300)) + "}",
        "ALIASES",
    ),
    "aliases in introspection": (
        "{ __schema { " + "".join(f"a{n}: types {{ name }} " for n in range(150)) + "} }",
        "ALIASES",
    ),
    "directives": (
        "{ viewer { name " + "@include(if: true) " * 100 + "} }",
        "DIRECTIVES",
    ),
    "directives of the operation": ("query " + "@a " * 400 + "{ viewer { name } }", "DIRECTIVES"),
    "doubling fields": (doubling(60, "viewer { name }"), "FIELDS"),
    "doubling aliases": (doubling(60, "a: viewer { name }"), "ALIASES"),
    "introspection again and again": (
        "{ "
        + "".join(f"a{n}: __schema {{ ...S }} " for n in range(25))
        + "} fragment S on __Schema { types { fields { args { type { kind ofType { kind "
        "ofType { kind ofType { kind } } } } } type { fields { name } } } } }",
        "COST",
    ),
    "doubling what the schema tells of nothing": (
        '{ __type(name: "String") { fields { ...F0 } } } '
        + "".join(f"fragment F{n} on __Field {{ ...F{n + 1} ...F{n + 1} }} " for n in range(60))
        + "fragment F60 on __Field { ...Nothing }",
        "VALIDATION",
    ),
    "a circle in introspection": (
        (
            "{ __schema { types { ...A } } } fragment A on __Type { name ofType { ...B ...B } } "
            "fragment B on __Type { kind ofType { ...A ...A } }"
        ),
        "VALIDATION",
    ),
    "doubling introspection": (doubling(60, "__schema { types { name } }"), "FIELDS"),
    "circle": ("{ ...A } fragment A on Query { ...B } fragment B on Query { ...A }", "VALIDATION"),
    "depth": (deep(4) + "{ id } " + "} } } } } " * 4, "DEPTH"),
    "pages": (
        (
            "{ containers(first: 100) { nodes { backups(first: 100) { nodes { "
            "restores(first: 100) { nodes { id } } } } } } }"
        ),
        "NODES",
    ),
    "cost": (
        (
            "{ containers(first: 100) { nodes { backups(first: 100) { nodes { id state createdAt "
            "sizeBytes sha256 } } } } }"
        ),
        "COST",
    ),
    "a page of many digits": ("{ containers(first: " + "9" * 200_000 + ") { totalCount } }", None),
    "operations": ("query A { viewer { name } } " * 100, "OPERATIONS"),
}


@pytest.fixture
def operations(parts: Parts) -> Operations:
    return Operations(parts, Limits())


def a_principal() -> Principal:
    """One that has spent nothing yet."""
    id = uuid4()
    return Principal(hub_id=id, key_id=id, name="x", role=None, capabilities=frozenset())


def refuse(operations: Operations, query: str, variables: dict[str, Any] | None = None) -> str:
    """The code of the refusal, before or by validation; none where it would be carried out."""
    request = Request(query=query, variables=variables, operation_name=None)
    prepared = operations.read(request, a_principal())
    if isinstance(prepared, Answer):
        return str(prepared.body["errors"][0]["extensions"]["code"])
    assert isinstance(prepared, Prepared)
    return "VALIDATION_FAILED" if prepared.faults else ""


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_takes_few_calls(operations: Operations, name: str) -> None:
    query, code = ATTACKS[name]
    refuse(operations, "{ viewer { name } }")
    found = ""

    def attack() -> None:
        nonlocal found
        found = refuse(operations, query)

    calls = count_calls(attack)
    assert found.startswith(code or ""), found
    assert calls < MOST_CALLS, f"{calls} calls"


def test_a_long_list_in_a_variable_is_refused(operations: Operations) -> None:
    query = "mutation($ids: [ID!]!) { deleteBackups(ids: $ids) { errors { code } } }"
    assert refuse(operations, query, {"ids": ["x"] * 1001}) == "LIST_LIMIT"
    assert refuse(operations, query, {"ids": ["x"] * 1000}) == ""
    matrix = {"ids": [["x"] * 10, ["x"] * 1001]}
    assert refuse(operations, query, matrix) == "LIST_LIMIT"


def test_a_long_list_in_the_document_is_refused(parts: Parts) -> None:
    narrow = Operations(parts, replace(Limits(), list=2))
    query = "mutation { deleteBackups(ids: [%s]) { errors { code } } }"
    assert refuse(narrow, query % '"a", "b", "c"') == "LIST_LIMIT"
    assert refuse(narrow, query % '"a", "b"') == ""


def test_ids_multiply_what_is_asked_of_each(operations: Operations) -> None:
    query = "query($ids: [ID!]!) { nodes(ids: $ids) { id __typename } }"
    request = Request(query=query, variables={"ids": ["x"] * 100}, operation_name=None)
    prepared = operations.read(request, a_principal())
    assert isinstance(prepared, Prepared)
    assert prepared.cost == 1 + 2 * 100
