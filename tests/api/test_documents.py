"""Limits: one pass over a document, each with a clear answer; attacks cost next to nothing."""

from itertools import product
from pathlib import Path
from typing import Any

import pytest
from graphql import (
    GraphQLError,
    GraphQLObjectType,
    GraphQLResolveInfo,
    OperationDefinitionNode,
    OperationType,
    TokenKind,
    build_schema,
    execute_sync,
    get_named_type,
    get_nullable_type,
    is_leaf_type,
    is_list_type,
    parse,
)

from app.api.documents import Prepared, count_lexemes, prepare
from app.api.execution import find_lists, find_sizes, read_schema
from app.api.introspection import SchemaSizes
from app.api.known_documents import KnownDocuments
from app.api.limits import ENTRIES, Limits, measure
from app.api.paging import LARGEST_PAGE, read_limit
from app.api.schema import export
from app.api.top_level_errors import show_error

EXAMPLES = sorted((Path(__file__).parents[2] / "app/web/static/examples").glob("*.graphql"))
LISTS = frozenset({"containers", "backups", "restores", "logs"})


def read(
    query: str, variables: dict[str, Any] | None = None, name: str | None = None, **limits: int
) -> Prepared:
    return prepare(
        query,
        variables=variables,
        operation_name=name,
        limits=Limits(**limits),
        lists=LISTS,
        sizes=find_sizes(export()),
        known=KnownDocuments(),
    )


def refuse(query: str, variables: dict[str, Any] | None = None, **limits: int) -> dict[str, Any]:
    with pytest.raises(GraphQLError) as caught:
        read(query, variables, **limits)
    extensions: dict[str, Any] = show_error(caught.value, code="PARSE_FAILED")["extensions"]
    return extensions


def test_the_operation_that_was_named_is_chosen() -> None:
    query = "query A { a } mutation B { b } subscription C { c }"
    assert read(query, name="A").kind is OperationType.QUERY
    assert read(query, name="B").kind is OperationType.MUTATION
    assert read(query, name="C").kind is OperationType.SUBSCRIPTION


def test_only_the_chosen_operation_is_measured() -> None:
    query = "query A { a } query B { a { b { c } } }"
    assert read(query, name="A", depth=1).kind is OperationType.QUERY
    with pytest.raises(GraphQLError):
        read(query, name="B", depth=1)


@pytest.mark.parametrize(
    ("query", "limits", "code", "actual"),
    [
        ("{ a { b { c } } }", {"depth": 2}, "DEPTH_LIMIT", 3),
        ("{ ...F } fragment F on Q { a { b { c } } }", {"depth": 2}, "DEPTH_LIMIT", 3),
        ("{ ... on Q { a { b { c } } } }", {"depth": 2}, "DEPTH_LIMIT", 3),
        ("{ x: a y: a }", {"aliases": 1}, "ALIASES_LIMIT", 2),
        ("{ x: __typename y: __typename }", {"aliases": 1}, "ALIASES_LIMIT", 2),
        ("{ ...F ...F } fragment F on Q { x: a }", {"aliases": 1}, "ALIASES_LIMIT", 2),
        ("{ a b c }", {"fields": 2}, "FIELDS_LIMIT", 3),
        ("{ a @include(if: true) @skip(if: false) }", {"directives": 1}, "DIRECTIVES_LIMIT", 2),
        ("query A { a } query B { a } query C { a }", {"operations": 2}, "OPERATIONS_LIMIT", 3),
        ("{ containers { nodes { a } } }", {"nodes": 24}, "NODES_LIMIT", 25),
        ("{ containers(first: 7) { nodes { a } } }", {"nodes": 6}, "NODES_LIMIT", 7),
        (
            "{ containers(first: 7) { nodes { backups(last: 3) { nodes { a } } } } }",
            {"nodes": 27},
            "NODES_LIMIT",
            28,
        ),
    ],
    ids=range(12),
)
def test_each_limit_says_what_it_is_and_what_was_found(
    query: str, limits: dict[str, int], code: str, actual: int
) -> None:
    [limit] = limits.values()
    assert refuse(query, **limits) == {"code": code, "limit": limit, "actual": actual}
    [name] = limits
    assert read(query, name=None if "query A" not in query else "A", **{name: actual})


def test_a_page_in_a_variable_counts_as_what_it_holds() -> None:
    query = "query($n: Int) { containers(first: $n) { nodes { a } } }"
    assert refuse(query, {"n": 9}, nodes=8)["actual"] == 9
    assert refuse(query, {"n": 10**9}, nodes=8)["actual"] == 100
    assert refuse(query, {}, nodes=8)["actual"] == 25
    assert refuse(query, {"n": "x"}, nodes=8)["actual"] == 25


def test_too_many_tokens_are_never_parsed() -> None:
    refused = {"code": "TOKENS_LIMIT", "limit": 1000, "actual": 2002}
    assert refuse("{ " + "a " * 2000 + "}") == refused
    refused = {"code": "COMMENTS_LIMIT", "limit": 1000, "actual": 2001}
    assert refuse("#\n" * 2000 + "{ a #\n}") == refused


@pytest.mark.parametrize(
    "query",
    [
        *(path.read_text() for path in EXAMPLES),
        '{ a(b: "x # \\\\ \\" y", c: """ # "q" \\""" """, e: -1.5e-3) ...F ... { b } } # "c"',
        "query ($a: [I!]! = [1]) @x { a(b: $a) } fragment F on Q { a } #\r#\n",
    ],
    ids=range(8),
)
def test_what_is_counted_is_what_the_parser_reads(query: str) -> None:
    document = parse(query)
    assert document.loc
    comments, token = 0, document.loc.start_token.next
    while token:
        comments += token.kind is TokenKind.COMMENT
        token = token.next
    found = count_lexemes(query)
    assert found.pop("nesting") > 0
    assert found == {
        "tokens": document.token_count - comments,
        "comments": comments,
    }


@pytest.mark.parametrize("text", ['"""' + '\\"""' * 60_000, '"' * 250_000, '\\"' * 100_000])
def test_counting_takes_one_pass_whatever_the_text_is(text: str) -> None:
    count_lexemes(text)


def test_asking_b2_now_costs_points_each_time() -> None:
    def cost(query: str, **variables: Any) -> int:
        return read(query, variables).cost

    one = "query ($l: Boolean = true) { a { storage(live: $l) { status } } }"
    assert cost("{ a { storage { status } } }") == 9
    assert cost("{ a { storage(live: false) { status } } }") == 14
    assert cost("{ a { storage(live: true) { status } } }") == 103
    assert [cost(one), cost(one, l=True), cost(one, l=False), cost(one, l=None)] == [
        103,
        103,
        24,
        24,
    ]
    page = "{ backups(first: 50) { nodes { storage(live: true) { status } } } }"
    assert cost(page) == 1 + 50 * (1 + 100 + 1 + 1)


def test_brackets_too_deep_for_the_parser_are_told_as_such() -> None:
    for query, deep in (
        ("{ a " * 250 + "}" * 250, 250),
        (f"{{ a(b: {'[' * 300}{']' * 300}) }}", 301),
    ):
        refused = {"code": "NESTING_LIMIT", "limit": 200, "actual": deep}
        assert refuse(query) == refused


def test_a_page_that_is_no_int_is_refused_like_any_other() -> None:
    refused = {"code": "BAD_USER_INPUT", "argument": "first", "limit": 100}
    query = "query ($n: Int) { containers(first: $n) { nodes { a } } }"
    for number in (2**31, -(2**31), 10**20, 2.0**31):
        assert refuse(query, {"n": number}) == refused
        assert refuse(f"{{ containers(first: {number:.0f}) {{ a }} }}") == refused
    assert refuse("{ containers(last: -%s) { nodes { a } } }" % ("9" * 90))["argument"] == "last"


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        ("100000000000000000000", "100000000000000000000"),
        ("-100000000000000000000", "-100000000000000000000"),
        ("12345" * 60, "12345" * 8 + "... (300 digits)"),
    ],
)
def test_a_page_that_is_no_int_is_told_as_it_was_written(number: str, shown: str) -> None:
    with pytest.raises(GraphQLError) as caught:
        read(f"{{ containers(first: {number}) {{ a }} }}")
    assert caught.value.message == f"`first` must be 1 to 100, not {shown}."


def test_a_document_costs_at_least_what_it_takes_to_read_it() -> None:
    chain = "".join(f"fragment F{n} on Q {{ ...F{n + 1} }} " for n in range(100))
    assert read("{ ...F0 } " + chain + "fragment F100 on Q { __typename }").cost >= 8 * 100
    assert read("{ a }").cost == 3
    assert read("{ a }" + " " * 64_000).cost == 1000


def test_type_names_cost_a_point_each() -> None:
    query = "{ containers(first: 100) { nodes { %s } } }"
    names = " ".join(f"a{n}: __typename" for n in range(30))
    assert read(query % names).cost == 1 + 100 * (1 + 30)


def test_lists_that_are_no_connections_multiply_too() -> None:
    query = "{ containers(first: 100) { nodes { labels { name value } } } }"
    assert read(query).cost == 1 + 100 * (1 + 1 + 64 * 2)
    query = "{ containers(first: 9) { nodes { a { nextRuns } retentionPreview { totalCount } } } }"
    assert read(query).cost == 1 + 9 * (1 + 1 + 26 + 501 + 1)


def test_every_list_of_objects_has_a_price() -> None:
    few = {"errors", "results"}  # Of a mutation: about its own arguments, which are counted.
    known = {*find_lists(export()), *ENTRIES, *few, "nodes", "edges"}
    for type_ in read_schema(export()).type_map.values():
        if isinstance(type_, GraphQLObjectType) and not type_.name.startswith("__"):
            for name, field in type_.fields.items():
                if is_list_type(get_nullable_type(field.type)):
                    inner = get_named_type(field.type)
                    assert is_leaf_type(inner) or name in known, f"{type_.name}.{name}"


def test_pages_can_be_limited_further() -> None:
    for query, variables in (
        ("{ containers(first: 31) { nodes { a } } }", None),
        ("query ($n: Int) { containers(last: $n) { nodes { a } } }", {"n": 31}),
        ("query ($n: Int = 31) { containers(first: $n) { nodes { a } } }", None),
    ):
        with pytest.raises(GraphQLError, match="must be 1 to 30, not 31") as caught:
            read(query, variables, page=30)
        assert (caught.value.extensions or {})["limit"] == 30
        assert read(query, variables, page=31).kind is OperationType.QUERY
    assert Limits().page == LARGEST_PAGE


def test_nesting_can_be_limited_further() -> None:
    query = "{ a(b: [[1]]) { c } }"
    assert refuse(query, nesting=2) == {"code": "NESTING_LIMIT", "limit": 2, "actual": 3}
    assert read(query, nesting=3).kind is OperationType.QUERY


def test_what_is_no_document_is_told_as_such() -> None:
    for query in ("{", "}", "query", "{ a(b: ) }", '{ a(b: "\\ud800") }', "\0"):
        assert refuse(query) == {"code": "PARSE_FAILED"}


def test_spreads_that_double_are_counted_once_each() -> None:
    """2^60 fields in 120 lines: walking them would take for ever."""
    fragments = "".join(f"fragment F{n} on Q {{ ...F{n + 1} ...F{n + 1} }} " for n in range(60))
    query = "{ ...F0 } " + fragments + "fragment F60 on Q { a }"
    assert refuse(query) == {"code": "FIELDS_LIMIT", "limit": 500, "actual": 10**9}


def test_spreads_in_a_circle_or_of_nothing_are_left_to_validation() -> None:
    query = "{ ...A ...Nothing } fragment A on Q { ...B } fragment B on Q { ...A }"
    assert read(query).kind is OperationType.QUERY


def test_what_the_schema_says_of_itself_has_no_depth() -> None:
    query = "{ __schema { types { fields { type { ofType { ofType { name } } } } } } }"
    assert read(query, depth=1).kind is OperationType.QUERY


def test_a_nul_is_found_however_deep_it_stands() -> None:
    refusal = {"code": "BAD_USER_INPUT", "argument": "x"}
    for value in ("\0", ["a", ["\0"]], {"a": {"b": "c\0"}}, {"a\0": 1}):
        assert refuse("{ a }", {"x": value}) == refusal
    assert read("{ a }", {"x": ["a", {"b": None, "c": 1.5}]}).kind is OperationType.QUERY


@pytest.mark.parametrize(
    "query",
    [
        '{ a(b: "\\u0000") }',
        '{ a(b: "\\u{0}") }',
        '{ a(b: """x\0""") }',
        '{ a(b: {c: ["""\0"""]}) }',
        'query ($x: String = """\0""") { a(b: $x) }',
    ],
)
def test_a_nul_in_a_literal_is_found_however_it_is_written(query: str) -> None:
    assert refuse(query) == {"code": "BAD_USER_INPUT"}


@pytest.mark.parametrize(
    "number", ["9" * 5000, "-" + "9" * 5000, "9" * 5000 + ".5", "1e" + "9" * 5000]
)
@pytest.mark.parametrize(
    "query",
    ["{ containers(first: %s) { a } }", "query ($n: Int = %s) { containers(first: $n) { a } }"],
)
def test_a_number_of_thousands_of_digits_is_the_clients_error(query: str, number: str) -> None:
    assert refuse(query % number) == {"code": "BAD_USER_INPUT"}


def test_digits_in_a_text_may_be_many() -> None:
    assert read('{ a(b: "%s") }' % ("9" * 5000)).kind is OperationType.QUERY


ONE_LIST = build_schema(
    "type Query { containers(first: Int, last: Int): Page } type Page { a: ID }"
)
DEFAULTS = ("", " = null", " = 90")
ABSENT = object()
GIVEN = (ABSENT, None, 3, 80.0, 1e2, "7")


def page_of(query: str, variables: dict[str, Any]) -> int | None:
    """How many entries execution would answer; None where it refuses to."""
    limits: list[int] = []

    def containers(
        source: object,
        info: GraphQLResolveInfo[Any],
        first: int | None = None,
        last: int | None = None,
    ) -> None:
        del source, info
        limits.append(read_limit(first, last)[0])

    assert ONE_LIST.query_type is not None
    ONE_LIST.query_type.fields["containers"].resolve = containers
    execute_sync(ONE_LIST, parse(query), variable_values=variables)
    return limits[0] if limits else None


@pytest.mark.parametrize("default", DEFAULTS)
@pytest.mark.parametrize("first", [None, "null", "7", "$first"])
@pytest.mark.parametrize("last", [None, "null", "100", "$last"])
def test_a_page_is_measured_as_execution_reads_it(
    default: str, first: str | None, last: str | None
) -> None:
    written = [f"{name}: {value}" for name, value in (("first", first), ("last", last)) if value]
    call = f"containers({', '.join(written)})" if written else "containers"
    query = f"query ($first: Int{default}, $last: Int{default}) {{ {call} {{ a }} }}"
    document = parse(query)
    [operation] = document.definitions
    assert isinstance(operation, OperationDefinitionNode)
    sizes = SchemaSizes(ONE_LIST)
    accepted = 0
    for one, other in product(GIVEN, GIVEN):
        both = {"first": one, "last": other}
        variables = {name: value for name, value in both.items() if value is not ABSENT}
        expected = page_of(query, variables)
        if expected is not None:
            size = measure(
                document, operation, variables, limits=Limits(), lists=LISTS, sizes=sizes
            )
            assert size.nodes == expected, variables
            accepted += 1
    always_both = first == "7" and last == "100"
    assert (accepted > 0) is not always_both


def test_ids_of_a_default_count_like_any_others() -> None:
    query = 'query ($ids: [ID!]! = ["a", "b", "c"]) { nodes(ids: $ids) { a b c d e f g h i j } }'
    assert read(query).cost == 1 + 3 * 10 + 7
    assert read(query, {"ids": ["a"] * 9}).cost == 1 + 9 * 10


def test_a_long_list_in_a_default_is_refused() -> None:
    query = 'query ($ids: [ID!]! = ["a", "b", "c"]) { nodes(ids: $ids) { id } }'
    assert refuse(query, list=2)["code"] == "LIST_LIMIT"
