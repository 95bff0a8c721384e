"""Valid documents are parsed and validated once; refused ones are not kept, and all is bounded."""

import pytest
from graphql import parse

from app.api.context import Parts
from app.api.documents import Prepared
from app.api.execution import Operations, Request
from app.api.known_documents import KnownDocuments
from app.api.limits import Limits
from app.model.access import Principal
from tests.graphql_server import Client


def test_those_not_used_for_longest_go_first() -> None:
    known = KnownDocuments(tokens=10)
    texts = ["{ a }", "{ b }", "{ c }"]
    documents = {text: parse(text) for text in texts}
    assert {document.token_count for document in documents.values()} == {3}
    for text in texts:
        known.keep(text, documents[text])
    assert known.find("{ a }") is documents["{ a }"]
    known.keep("{ d }", parse("{ d }"))
    assert known.find("{ b }") is None
    assert known.find("{ a }") is documents["{ a }"]
    known.keep("{ a }", parse("{ a }"))
    assert known.find("{ a }") is documents["{ a }"]


def test_a_document_that_is_too_large_is_not_kept() -> None:
    known = KnownDocuments(tokens=4)
    known.keep("{ a }", parse("{ a }"))
    known.keep("{ a b c }", parse("{ a b c }"))
    assert known.find("{ a b c }") is None


@pytest.fixture
def operations(parts: Parts) -> Operations:
    return Operations(parts, Limits())


async def carry_out(operations: Operations, principal: Principal, query: str) -> Prepared:
    prepared = operations.read(Request(query=query, variables=None, operation_name=None), principal)
    assert isinstance(prepared, Prepared)
    await operations.execute(prepared, principal, operations.charge(prepared, principal))
    return prepared


async def test_a_valid_document_is_known_from_the_second_time_on(
    operations: Operations, admin: Client
) -> None:
    query = "{ viewer { name } }"
    first = await carry_out(operations, admin.principal, query)
    second = await carry_out(operations, admin.principal, query)
    assert (first.is_known, second.is_known) == (False, True)
    assert second.document is first.document


async def test_an_invalid_document_is_refused_each_time(
    operations: Operations, admin: Client
) -> None:
    query = "{ viewer { nothing } }"
    for _ in range(2):
        prepared = await carry_out(operations, admin.principal, query)
        assert not prepared.is_known
        answer = await operations.execute(
            prepared, admin.principal, operations.charge(prepared, admin.principal)
        )
        assert answer.refused
        assert answer.body["errors"][0]["extensions"] == {"code": "VALIDATION_FAILED"}


async def test_the_limits_of_variables_hold_for_a_known_document_too(
    parts: Parts, admin: Client
) -> None:
    operations = Operations(parts, Limits(cost=100))
    query = "query ($first: Int) { containers(first: $first) { nodes { id } } }"
    request = Request(query=query, variables={"first": 1}, operation_name=None)
    prepared = operations.read(request, admin.principal)
    assert isinstance(prepared, Prepared)
    await operations.execute(
        prepared, admin.principal, operations.charge(prepared, admin.principal)
    )
    many = Request(query=query, variables={"first": 100}, operation_name=None)
    answer = operations.read(many, admin.principal)
    assert not isinstance(answer, Prepared)
    assert answer.body["errors"][0]["extensions"]["code"] == "COST_LIMIT"
