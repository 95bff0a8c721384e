"""The capability that each root field declares, and what happens to a key that lacks it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from inspect import isawaitable
from typing import Any

import strawberry
from strawberry.extensions import FieldExtension
from strawberry.types.field import StrawberryField

from app import errors
from app.api.context import Info
from app.api.user_errors import UserError, show
from app.model.access import Capability

Next = Callable[..., Awaitable[Any] | AsyncIterator[Any]]

IDEMPOTENCY = (
    "With an `idempotencyKey` a repeated call does nothing a second time and answers the object as "
    "it is now, for 24 hours; other arguments with the same key are a `ConflictError`."
)


class Requires(FieldExtension):
    """A query or subscription that only keys with the capability may ask. None: every key."""

    def __init__(self, capability: Capability | None) -> None:
        self.capability = capability

    def apply(self, field: StrawberryField) -> None:
        field.description = f"{field.description}\n\n{describe(self.capability)}"

    async def resolve_async(self, next_: Next, source: object, info: Info, **kwargs: object) -> Any:  # noqa: ANN401
        if self.capability is not None:
            info.context.principal.require(self.capability)
        answer = next_(source, info, **kwargs)
        return await answer if isawaitable(answer) else answer


class Mutates(FieldExtension):
    """A mutation: refusals become the payload's `errors`."""

    def __init__(self, capability: Capability, payload: Callable[..., object]) -> None:
        self.capability = capability
        self.payload = payload

    def apply(self, field: StrawberryField) -> None:
        field.description = f"{field.description}\n\n{describe(self.capability)} {IDEMPOTENCY}"

    async def resolve_async(self, next_: Next, source: object, info: Info, **kwargs: object) -> Any:  # noqa: ANN401
        try:
            info.context.principal.require(self.capability)
            answer = next_(source, info, **kwargs)
            return await answer if isawaitable(answer) else answer
        except errors.UserError as error:
            refusal: UserError = show(error)
            return self.payload(errors=[refusal])


def describe(capability: Capability | None) -> str:
    if capability is None:
        return "Needs no capability: every key may ask."
    return f"Needs the capability `{capability}`."


def query(capability: Capability | None, *, description: str) -> Any:  # noqa: ANN401
    """Declare a field of Query."""
    return strawberry.field(description=description, extensions=[Requires(capability)])


def subscription(capability: Capability, *, description: str) -> Any:  # noqa: ANN401
    """Declare a field of Subscription."""
    return strawberry.subscription(description=description, extensions=[Requires(capability)])


def mutation(capability: Capability, payload: Callable[..., object], *, description: str) -> Any:  # noqa: ANN401
    """Declare a field of Mutation that answers this payload."""
    return strawberry.mutation(description=description, extensions=[Mutates(capability, payload)])
