"""Carrying out operations: from a request's text to an answer that can be sent as JSON."""

import hashlib
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import orjson
from graphql import (
    FieldNode,
    GraphQLError,
    GraphQLObjectType,
    GraphQLSchema,
    OperationDefinitionNode,
    build_schema,
    get_named_type,
)
from strawberry.types import ExecutionResult
from strawberry.types.execution import PreExecutionError

from app.api.context import Context, Parts
from app.api.documents import Prepared, prepare, price_refusal
from app.api.introspection import SchemaSizes
from app.api.known_documents import KnownDocuments
from app.api.limits import Limits
from app.api.loaders import Line
from app.api.payloads import refuse_reading
from app.api.rates import Rates
from app.api.schema import export, make_context, make_schema
from app.api.top_level_errors import show_error
from app.api.trusted_documents import TrustedDocuments
from app.api.turns import Turns
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
    size: int = 0
    """Bytes that it took to say so."""


LARGE_BYTES = 16 * 1024
"""From which on a request takes long to read, whatever it asks for."""
SMALL_BYTES = 1024
"""Up to which variables cannot be wrong in ways that take long to tell."""
_BYTES_A_POINT = 64


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
        self._turns = Turns()
        self._line = Line()
        self._schema = make_schema()
        self._types = read_schema(export())
        self._lists = find_lists(export())
        self._sizes = find_sizes(export())

    async def prepare(self, request: Request, principal: Principal) -> Prepared | Answer:
        """What `read` gives; new documents and large requests wait until it is their key's turn."""
        if self.is_ready(request):
            return self.read(request, principal)
        async with self._turns.take(principal.key_id):
            return self.read(request, principal)

    @asynccontextmanager
    async def turn(self, principal: Principal, size: int) -> AsyncIterator[None]:
        """Wait for the key's turn where something of so many bytes is to be read."""
        if size <= LARGE_BYTES:
            yield
            return
        async with self._turns.take(principal.key_id):
            yield

    def read(self, request: Request, principal: Principal) -> Prepared | Answer:
        """The operation ready to be carried out, or the answer that refuses it.

        A refusal costs the key points as well. Raises RateSpent where it has none left for that:
        then nothing is parsed.
        """
        text = ""
        try:
            text = self._find_text(request)
            if not self._known.has(text):
                self._rates.check(principal.key_id)
            prepared = prepare(
                text,
                variables=request.variables,
                operation_name=request.operation_name,
                limits=self.limits,
                lists=self._lists,
                sizes=self._sizes,
                known=self._known,
            )
            prepared = replace(prepared, cost=max(prepared.cost, _price_size(request)))
            if not prepared.is_known:
                faults = self._schema.find_faults(prepared.document)
                prepared = replace(prepared, faults=faults)
            if request.size > SMALL_BYTES and not prepared.faults:
                self._schema.check_values(prepared.operation, prepared.variables)
        except GraphQLError as error:
            price = max(self._price_refusal(text), _price_size(request))
            cost = self._show_cost(price, self._rates.take(principal.key_id, price))
            errors = [show_error(error, code="PARSE_FAILED")]
            return Answer(body={"errors": errors, "extensions": {"cost": cost}}, refused=True)
        return prepared

    def is_ready(self, request: Request) -> bool:
        """Whether it can be read at once, for it takes no time."""
        if request.size > LARGE_BYTES:
            return False
        try:
            return self._known.has(self._find_text(request))
        except GraphQLError:
            return True  # It is refused without being read.

    def _find_text(self, request: Request) -> str:
        """The document that is asked for. Raises GraphQLError where it is not to be had."""
        if request.document_id is not None:
            return self.trusted.find(request.document_id)
        if request.query is not None:
            self.trusted.check(request.query)
            return request.query
        assert request.document_hash is not None
        return self.trusted.find_by_hash(request.document_hash)

    def _price_refusal(self, text: str) -> int:
        return price_refusal(text, self.limits.tokens)

    def charge(self, prepared: Prepared, principal: Principal) -> Cost:
        """Take an operation's points from its key. Raises RateSpent."""
        refusal = 0 if prepared.is_known else self._price_refusal(prepared.query)
        left = self._rates.spend(principal.key_id, prepared.cost, refusal=refusal)
        return self._show_cost(prepared.cost, left)

    def _show_cost(self, charged: int, left: int) -> Cost:
        return {
            "requested": charged,
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
        if _asks_schema_only(prepared.operation):
            # It waits for nothing, so all of it is done at once.
            async with self._turns.take(principal.key_id):
                result = await self._execute(prepared, principal)
        else:
            result = await self._execute(prepared, principal)
        self._remember(prepared, result)
        return _show(result, cost)

    async def _execute(self, prepared: Prepared, principal: Principal) -> ExecutionResult:
        return await self._schema.execute(
            prepared.query,
            variable_values=prepared.variables,
            context_value=self._make_context(prepared, principal),
            operation_name=prepared.operation_name,
        )

    async def subscribe(
        self, prepared: Prepared, principal: Principal, cost: Cost
    ) -> AsyncGenerator[Answer, None]:
        """Carry out a subscription that was charged; close the generator to end it.

        Of a state that is read again and again only what differs from the answer before is passed
        on, and the last one.
        """
        context = self._make_context(prepared, principal)
        results: Any = await self._schema.subscribe(
            prepared.query,
            variable_values=prepared.variables,
            context_value=context,
            operation_name=prepared.operation_name,
        )
        told: Cost | None = cost
        sent, held = b"", None
        async with aclosing(results):
            async for result in results:
                if told is not None:
                    self._remember(prepared, result)
                answer, held = _show(result, told), None
                if context.shows_state:
                    digest = _digest(result.data, answer.body.get("errors"))
                    if digest == sent:
                        held = answer
                        continue
                    sent = digest
                yield answer
                told = None  # It was paid for once.
            if held is not None:
                yield held

    def _make_context(self, prepared: Prepared, principal: Principal) -> Context:
        return make_context(
            self.parts, principal, prepared.document, faults=prepared.faults, line=self._line
        )

    def _remember(self, prepared: Prepared, result: ExecutionResult) -> None:
        """Keep a document that is valid."""
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


@cache
def find_sizes(text: str) -> SchemaSizes:
    """How much a schema has to tell of itself."""
    return SchemaSizes(read_schema(text))


def _price_size(request: Request) -> int:
    return request.size // _BYTES_A_POINT if request.size > LARGE_BYTES else 0


def _asks_schema_only(operation: OperationDefinitionNode) -> bool:
    return all(
        isinstance(node, FieldNode) and node.name.value.startswith("__")
        for node in operation.selection_set.selections
    )


def _digest(*values: object) -> bytes:
    """Stands for an answer, which may be large, until the next one is there."""
    return hashlib.blake2b(orjson.dumps(values), digest_size=16).digest()


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
