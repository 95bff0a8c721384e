"""Connections: keyset pages as Relay wants them, and what a client may ask of them."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Annotated, Generic, Protocol, TypeVar
from uuid import UUID

import strawberry
from graphql import GraphQLError

from app.api.enums import CreationOrder
from app.model.ids import decode_cursor, decode_sequence, encode_cursor
from app.model.paging import Cursor, Page, Slice

DEFAULT_PAGE = 25
LARGEST_PAGE = 100
_LONGEST_SHOWN = 40
"""Digits of a number in an error."""
NOBODY = UUID(int=0)
"""Stands for an id in a filter that is none of ours: it matches nothing."""

T = TypeVar("T")

First = Annotated[
    int | None,
    strawberry.argument(
        description="How many to answer, from the start or after `after`: 1 to 100; 25 where "
        "neither `first` nor `last` is given. Not together with `last`."
    ),
]
After = Annotated[
    str | None,
    strawberry.argument(
        description="Only what follows this cursor, taken from the same list with the same order "
        "and filter."
    ),
]
Last = Annotated[
    int | None,
    strawberry.argument(
        description="How many to answer, from the end or before `before`: 1 to 100."
    ),
]
Before = Annotated[
    str | None,
    strawberry.argument(
        description="Only what comes before this cursor, taken from the same list with the same "
        "order and filter."
    ),
]
OrderBy = Annotated[CreationOrder, strawberry.argument(description="The order of the list.")]


@strawberry.type(description="Where a page lies in its list.")
class PageInfo:
    has_next_page: bool = strawberry.field(description="Something follows this page.")
    has_previous_page: bool = strawberry.field(description="Something comes before this page.")
    start_cursor: str | None = strawberry.field(
        description="Give it as `before`, with `last`, for the page before; null on an empty page."
    )
    end_cursor: str | None = strawberry.field(
        description="Give it as `after`, with `first`, for the next page; null on an empty page."
    )


@strawberry.type(description="One entry of a list, with its place there.")
class Edge(Generic[T]):
    cursor: str = strawberry.field(
        description="The place of this entry in this list, order and filter; opaque."
    )
    node: T = strawberry.field(description="The entry itself.")


@strawberry.type(
    description="A page of a list. No page costs more than the first one, however far it is."
)
class Connection(Generic[T]):
    edges: list[Edge[T]] = strawberry.field(description="The entries, each with its cursor.")
    nodes: list[T] = strawberry.field(description="The entries without their cursors.")
    page_info: PageInfo = strawberry.field(description="Where this page lies in the list.")
    count: strawberry.Private[Callable[[], Awaitable[int | None]]]

    @strawberry.field(
        description="How many entries the whole list has under this filter. Counted only when "
        "asked for."
    )
    async def total_count(self) -> int:
        return await self.count() or 0


class Dated(Protocol):
    """What is listed by its time of creation."""

    @property
    def id(self) -> UUID: ...
    @property
    def created_at(self) -> datetime: ...


M = TypeVar("M", bound=Dated)


def read_limit(
    first: int | None, last: int | None, *, most: int = LARGEST_PAGE
) -> tuple[int, bool]:
    """How many entries, and whether from the end. Raises GraphQLError for what is no page."""
    if isinstance(first, int) and isinstance(last, int):
        raise refuse("last", "`first` and `last` exclude each other; give one.")
    for name, number in (("first", first), ("last", last)):
        if isinstance(number, int) and not 1 <= number <= most:
            raise refuse(name, f"`{name}` must be 1 to {most}, not {_show(number)}.", most)
    if isinstance(last, int):
        return last, True
    return first if isinstance(first, int) else DEFAULT_PAGE, False


def read_page(
    scope: str,
    order: CreationOrder,
    *,
    first: int | None,
    after: str | None,
    last: int | None,
    before: str | None,
) -> Page:
    """The page that the arguments ask for. Raises GraphQLError for what is no page."""
    limit, backwards = read_limit(first, last)
    return Page(
        limit=limit,
        after=_read_cursor(scope, "after", after),
        before=_read_cursor(scope, "before", before),
        backwards=backwards,
        ascending=order is CreationOrder.OLDEST_FIRST,
    )


def read_sequence(scope: str, argument: str, text: str | None) -> int | None:
    """The place of a cursor of a list that is ordered by a number."""
    if not isinstance(text, str):
        return None
    sequence = decode_sequence(scope, text)
    if sequence is None:
        raise _refuse_cursor(argument)
    return sequence


def show_page(
    found: Slice[M] | None,
    scope: str,
    *,
    show: Callable[[M], T],
    count: Callable[[], Awaitable[int | None]],
) -> Connection[T]:
    """The connection of a slice that was read."""
    items: Sequence[M] = found.items if found else ()
    edges = [
        Edge(
            cursor=encode_cursor(scope, Cursor(at=item.created_at, id=item.id)),
            node=show(item),
        )
        for item in items
    ]
    return Connection(
        edges=edges,
        nodes=[edge.node for edge in edges],
        page_info=PageInfo(
            has_next_page=found is not None and found.has_next,
            has_previous_page=found is not None and found.has_previous,
            start_cursor=edges[0].cursor if edges else None,
            end_cursor=edges[-1].cursor if edges else None,
        ),
        count=count,
    )


def refuse(argument: str, message: str, limit: int | None = LARGEST_PAGE) -> GraphQLError:
    """The error of an argument that cannot be used."""
    return GraphQLError(
        message, extensions={"code": "BAD_USER_INPUT", "argument": argument, "limit": limit}
    )


def _show(number: int) -> str:
    """The number as it was written; of a very long one its begin and how long it is."""
    text = str(number)
    digits = len(text.lstrip("-"))
    return text if digits <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}... ({digits} digits)"


def _read_cursor(scope: str, argument: str, text: str | None) -> Cursor | None:
    if not isinstance(text, str):
        return None
    cursor = decode_cursor(scope, text)
    if cursor is None:
        raise _refuse_cursor(argument)
    return cursor


def _refuse_cursor(argument: str) -> GraphQLError:
    return refuse(argument, f"`{argument}` is not a cursor of this list, order and filter.", None)
