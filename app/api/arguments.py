"""Arguments that many fields take, and how they become values."""

from collections.abc import Mapping, Sequence
from typing import Annotated, TypeVar
from uuid import UUID

import strawberry

from app.api.paging import NOBODY
from app.errors import InvalidInput
from app.model.ids import decode_id_of

T = TypeVar("T")

IdempotencyKey = Annotated[
    str | None,
    strawberry.argument(
        description="Your own name for this call, 1 to 200 characters, so that a repeated call is "
        "not carried out twice."
    ),
]


@strawberry.type(description="A label of a container.")
class Label:
    name: str = strawberry.field(description="The name, unique in its container.")
    value: str = strawberry.field(description="The value; may be empty.")


@strawberry.input(description="A label of a container.")
class LabelInput:
    name: str = strawberry.field(description="The name, unique in its container.")
    value: str = strawberry.field(description="The value; may be empty.")


@strawberry.input(description="An environment variable of an instance's commands.")
class VariableInput:
    name: str = strawberry.field(
        description="The name: letters, digits and underscores, no digit first."
    )
    value: str = strawberry.field(
        description="The value. It is sealed at once, can never be read again, and is replaced in "
        "logs and errors."
    )


def given(value: T | None) -> T | None:
    """The value of an argument; None where the client left it out or gave null."""
    return None if value is strawberry.UNSET else value


def name_id(type_name: str, id: str) -> UUID:
    """The uuid of an id; one that is none of ours names nothing, and is refused where that is."""
    return decode_id_of(type_name, id) or NOBODY


def filter_id(type_name: str, id: str | None) -> UUID | None:
    """The uuid to filter by; an id that is none of ours matches nothing."""
    wanted = given(id)
    return None if wanted is None else name_id(type_name, wanted)


def collect(
    pairs: Sequence[LabelInput] | Sequence[VariableInput], argument: str
) -> Mapping[str, str]:
    """Name to value. Raises InvalidInput where a name comes twice."""
    values = {pair.name: pair.value for pair in pairs}
    if len(values) != len(pairs):
        raise InvalidInput("Each name may be given only once.", path=(argument,))
    return values
