"""Carrying out operations: from a request's text to an answer that can be sent as JSON."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from functools import cache
from typing import Any

from graphql import (
    GraphQLError,
    GraphQLObjectType,
    GraphQLSchema,
    build_schema,
    get_named_type,
)
from strawberry.types import ExecutionResult
from strawberry.types.execution import PreExecutionError

from app.api.context import Context, Parts
from app.api.documents import Prepared, prepare
from app.api.known_documents import KnownDocuments
from app.api.limits import Limits
from app.api.payloads import refuse_reading
from app.api.rates import Rates
from app.api.schema import make_context, make_schema
from app.api.top_level_errors import show_error
from app.api.trusted_documents import TrustedDocuments
from app.model.access import Principal

Cost = dict[str, int]
"""What `extensions.cost` says: points requested, the limit of one operation, what is left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a client asks for, over whatever transport."""

    query: str | None = None
    document_id: str | None = None
    """In place of `query`: that of a trusted document."""
    document_hash: str | None = None
    """The same as a SHA-256 in hex; or that of the `query`, where that is there."""
    variables: dict[str, Any] | None
    operation_name: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    body: dict[str, Any]
    refused: bool
    """The request itself was wrong: nothing was carried out, and there is no `data`."""


class Operations:
    """Prepares and carries out operations on the schema."""

    def __init__(
        self, parts: Parts, limits: Limits, trusted: TrustedDocuments | None = None
    ) -> None:
        self.parts = parts
        self.limits = limits
        self.trusted = trusted or TrustedDocuments()
        self._known = KnownDocuments()
        self._rates = Rates(limits.points_per_minute)
        self._schema = make_schema()
        self._types = read_schema(self._schema.as_str())
        self._lists = find_lists(self._schema.as_str())

    def prepare(self, request: Request) -> Prepared | Answer:
        """The operation ready to be carried out, or the answer that refuses it."""
        try:
            return prepare(
                self._find_text(request),
                variables=request.variables,
                operation_name=request.operation_name,
                limits=self.limits,
                lists=self._lists,
                known=self._known,
            )
        except GraphQLError as error:
            return Answer(body={"errors": [show_error(error, code="PARSE_FAILED")]}, refused=True)

    def _find_text(self, request: Request) -> str:
        """The document that is asked for. Raises GraphQLError where it is not to be had."""
        if request.document_id is not None:
            return self.trusted.find(request.document_id)
        if request.query is not None:
            self.trusted.check(request.query)
            return request.query
        assert request.document_hash is not None
        return self.trusted.find_by_hash(request.document_hash)

    def charge(self, prepared: Prepared, principal: Principal) -> Cost:
        """Take an operation's points from its key. Raises RateSpent."""
        left = self._rates.spend(principal.key_id, prepared.cost)
        return {
            "requested": prepared.cost,
            "limit": self.limits.cost,
            "left": left,
            "perMinute": self.limits.points_per_minute,
        }

    async def execute(self, prepared: Prepared, principal: Principal, cost: Cost) -> Answer:
        """Carry out a query or mutation that was charged."""
        refusal = refuse_reading(self._types, prepared, principal)
        if refusal is not None:
            errors = [show_error(refusal, code="FORBIDDEN")]
            return Answer(body={"errors": errors, "extensions": {"cost": cost}}, refused=True)
        result = await self._schema.execute(
            prepared.query,
            variable_values=prepared.variables,
            context_value=self._make_context(prepared, principal),
            operation_name=prepared.operation_name,
        )
        self._remember(prepared, result)
        return _show(result, cost)

    async def subscribe(
        self, prepared: Prepared, principal: Principal, cost: Cost
    ) -> AsyncGenerator[Answer, None]:
        """Carry out a subscription that was charged; close the generator to end it."""
        results: Any = await self._schema.subscribe(
            prepared.query,
            variable_values=prepared.variables,
            context_value=self._make_context(prepared, principal),
            operation_name=prepared.operation_name,
        )
        told: Cost | None = cost
        async with aclosing(results):
            async for result in results:
                if told is not None:
                    self._remember(prepared, result)
                yield _show(result, told)
                told = None  # It was paid for once.

    def _make_context(self, prepared: Prepared, principal: Principal) -> Context:
        return make_context(self.parts, principal, prepared.document, is_valid=prepared.is_known)

    def _remember(self, prepared: Prepared, result: ExecutionResult) -> None:
        if not isinstance(result, PreExecutionError):
            self._known.keep(prepared.query, prepared.document)


@cache
def read_schema(text: str) -> GraphQLSchema:
    """The types of a schema by its text."""
    return build_schema(text)


@cache
def find_lists(text: str) -> frozenset[str]:
    """The names of the fields of a schema that answer a connection."""
    found: set[str] = set()
    for type_ in read_schema(text).type_map.values():
        if isinstance(type_, GraphQLObjectType):
            found.update(
                name
                for name, field in type_.fields.items()
                if get_named_type(field.type).name.endswith("Connection")
            )
    return frozenset(found)


def _show(result: ExecutionResult, cost: Cost | None) -> Answer:
    errors = result.errors or []
    # Without a path it is no field's error: nothing was carried out.
    is_early = isinstance(result, PreExecutionError) or not any(error.path for error in errors)
    refused = result.data is None and bool(errors) and is_early
    shown = [show_error(error, code=_choose_code(result, error)) for error in errors]
    body: dict[str, Any] = {} if refused else {"data": result.data}
    if shown:
        body["errors"] = shown
    if cost is not None:
        body["extensions"] = {"cost": cost}
    return Answer(body=body, refused=refused)


def _choose_code(result: ExecutionResult, error: GraphQLError) -> str:
    """Of an error that has no code of its own: the document's fault, or the variables'."""
    of_values = isinstance(error.original_error, GraphQLError)
    if isinstance(result, PreExecutionError) and not of_values:
        return "VALIDATION_FAILED"
    return "BAD_USER_INPUT"
