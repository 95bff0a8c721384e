"""Documents: parsed and measured in one pass before anything is carried out."""

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    FloatValueNode,
    FragmentDefinitionNode,
    GraphQLError,
    GraphQLSyntaxError,
    IntValueNode,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    StringValueNode,
    Visitor,
    parse,
    visit,
)
from graphql.language.parser import MAX_NESTING_DEPTH

from app.api.introspection import SchemaSizes
from app.api.known_documents import KnownDocuments
from app.api.limits import Limits, measure, refuse, refuse_above

LONGEST_NUMBER = 400
"""Characters of a number in a document; Python itself refuses to read some thousands."""

_NUL = re.compile(r"\x00|\\u(?:0000|\{0+\})")
"""Block strings hold characters as they are, other strings escaped."""
_LONG_NUMBER = re.compile(rf"[0-9]{{{LONGEST_NUMBER // 4}}}")
"""Whatever has none of it has no number that is too long: `-`, `.` and `e` part it in three."""

_TOO_MUCH = re.compile(r"more than [0-9]+ (tokens|comments)|nested too deeply")
_TEXTS = r'"""(?:\\"""|[^"]|"(?!""))*+(?:""")?|"(?:\\.|[^"\\\n])*+"?'
"""Each goes on to its end or to that of the document: one pass, whatever it holds."""
_LEXEMES = re.compile(rf"#[^\r\n]*+|{_TEXTS}|\.\.\.|[\w.+-]++|[!$&()\[\]{{|}}:=@]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A document within the limits, and the operation of it that was asked for."""

    query: str
    variables: dict[str, Any] | None
    operation_name: str | None
    document: DocumentNode
    is_known: bool
    """It was found valid before."""
    operation: OperationDefinitionNode
    """The one that was asked for."""
    cost: int
    """In points: of what it asks for, and at least what it takes to read it."""
    faults: tuple[GraphQLError, ...] = ()
    """What makes it invalid, where that is known."""

    @property
    def kind(self) -> OperationType:
        return self.operation.operation


def prepare(
    query: str,
    *,
    variables: dict[str, Any] | None,
    operation_name: str | None,
    limits: Limits,
    lists: Collection[str],
    sizes: SchemaSizes,
    known: KnownDocuments,
) -> Prepared:
    """Parse, choose the operation, and measure it. Raises GraphQLError with a code.

    `lists`: the names of the fields that answer a connection. `sizes`: of the schema, which
    introspection tells.
    """
    found = known.find(query)
    document = found or _parse(query, limits)
    operation = _choose(document, operation_name, limits)
    _check_literals(query, document)
    size = measure(document, operation, variables or {}, limits=limits, lists=lists, sizes=sizes)
    # Only now: there are not too many.
    _check_variables(variables)
    return Prepared(
        query=query,
        variables=variables,
        operation_name=operation_name,
        document=document,
        is_known=found is not None,
        operation=operation,
        cost=max(size.cost, document.token_count, _price_text(query), _price_repeats(document)),
    )


def _parse(query: str, limits: Limits) -> DocumentNode:
    """Raises GraphQLError; above a limit of tokens, comments or nesting with what there is."""
    if limits.nesting < MAX_NESTING_DEPTH:
        refuse_above("nesting", count_lexemes(query)["nesting"], limits.nesting)
    most = limits.tokens
    try:
        return parse(query, max_lexical_tokens=most, max_comments=most)
    except GraphQLSyntaxError as error:
        match = _TOO_MUCH.search(error.message)
        if match is None:
            raise
    what = "nesting" if match[1] is None else match[1]
    most = MAX_NESTING_DEPTH if match[1] is None else most
    # Whatever was counted in a text that is no document: the parser saw one more than it takes.
    refuse_above(what, max(count_lexemes(query)[what], most + 1), most)
    raise AssertionError


def count_lexemes(query: str) -> dict[str, int]:
    """How many tokens and comments a text has, and how deep its brackets, without parsing it."""
    comments = tokens = depth = nesting = 0
    for match in _LEXEMES.finditer(query):
        mark = query[match.start()]
        if mark == "#":
            comments += 1
            continue
        tokens += 1
        if mark in "{[":
            depth += 1
            nesting = max(nesting, depth)
        elif mark in "}]":
            depth -= 1
    return {"tokens": tokens, "comments": comments, "nesting": nesting}


def price_refusal(query: str, most_tokens: int) -> int:
    """What a document costs that is not carried out: about as much as it takes to find that out.

    A point a token, as far as they are read, or for 64 characters where these are more.
    """
    tokens = sum(1 for _ in islice(_LEXEMES.finditer(query), most_tokens))
    return max(1, tokens, _price_text(query))


def _price_text(query: str) -> int:
    return len(query) // 64


def _price_repeats(document: DocumentNode) -> int:
    """Half a point a pair of fields that answer under one name: validation compares each."""
    repeats = Counter(_find_names(document))
    return sum(count * (count - 1) for count in repeats.values()) // 4


def _find_names(document: DocumentNode) -> Iterator[str]:
    """Under which name each field of a document answers."""
    sets: list[SelectionSetNode] = [
        node.selection_set
        for node in document.definitions
        if isinstance(node, OperationDefinitionNode | FragmentDefinitionNode)
    ]
    while sets:
        for node in sets.pop().selections:
            if isinstance(node, FieldNode):
                yield (node.alias or node.name).value
            inner = getattr(node, "selection_set", None)
            if inner is not None:
                sets.append(inner)


def _choose(document: DocumentNode, name: str | None, limits: Limits) -> OperationDefinitionNode:
    operations = [
        node for node in document.definitions if isinstance(node, OperationDefinitionNode)
    ]
    refuse_above("operations", len(operations), limits.operations)
    if name is None:
        if len(operations) == 1:
            return operations[0]
        message = (
            "The document has several operations: `operationName` must say which one."
            if operations
            else "The document has no operation."
        )
        raise refuse("BAD_USER_INPUT", message, argument="operationName")
    for operation in operations:
        if operation.name is not None and operation.name.value == name:
            return operation
    raise refuse(
        "BAD_USER_INPUT", "The document has no operation of this name.", argument="operationName"
    )


class _CheckLiterals(Visitor):
    """Raises at the first literal that nothing behind the gateway can hold."""

    def enter_string_value(self, node: StringValueNode, *_: object) -> None:
        if "\0" in node.value:
            raise refuse("BAD_USER_INPUT", "A text must not hold a NUL character.")

    def enter_int_value(self, node: IntValueNode, *_: object) -> None:
        self._check_number(node.value)

    def enter_float_value(self, node: FloatValueNode, *_: object) -> None:
        self._check_number(node.value)

    @staticmethod
    def _check_number(text: str) -> None:
        if len(text) > LONGEST_NUMBER:
            message = f"A number must not have more than {LONGEST_NUMBER} characters."
            raise refuse("BAD_USER_INPUT", message)


def _check_literals(query: str, document: DocumentNode) -> None:
    if _NUL.search(query) or _LONG_NUMBER.search(query):
        visit(document, _CheckLiterals())


def _check_variables(variables: Mapping[str, Any] | None) -> None:
    for name, value in (variables or {}).items():
        if any("\0" in text for text in _find_texts(value)):
            raise refuse("BAD_USER_INPUT", "A text must not hold a NUL character.", argument=name)


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
