"""Keyset pages: what a list is asked for, and the slice that it answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Generic, TypeVar
from uuid import UUID

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """A place in a list ordered by creation time and id."""

    at: datetime
    id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """`limit` rows before or after a place.

    `backwards`: the last ones before `before` (or of the list).
    `ascending`: oldest first. Exactly one of `after` and `before` at most is given by a client that
    pages; both together bound the window.
    """

    limit: int = 25
    after: Cursor | None = None
    before: Cursor | None = None
    backwards: bool = False
    ascending: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice(Generic[T]):
    items: Sequence[T]
    has_next: bool
    has_previous: bool


_FIRST_ID = UUID(int=0)
_LAST_ID = UUID(int=2**128 - 1)
_BEGINNING = datetime(1, 1, 2, tzinfo=UTC)
_END = datetime(9999, 12, 30, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The open interval of (time, id) that a page may read, and the direction it is read in.

    Both bounds are always there, so that one statement with one plan serves every page.
    """

    lower: Cursor
    upper: Cursor
    newest_first: bool
    limit: int
    """One more than the page: it shows whether the list goes on."""


def open_window(
    page: Page, *, created_after: datetime | None = None, created_before: datetime | None = None
) -> Window:
    """What to read for a page of the records created at or after one time and before another."""
    lowest = [Cursor(at=created_after or _BEGINNING, id=_FIRST_ID)]
    highest = [Cursor(at=created_before, id=_FIRST_ID)] if created_before else []
    highest.append(Cursor(at=_END, id=_LAST_ID))
    after, before = (page.after, page.before) if page.ascending else (page.before, page.after)
    return Window(
        lower=max(lowest + ([after] if after else []), key=_place),
        upper=min(highest + ([before] if before else []), key=_place),
        newest_first=page.ascending == page.backwards,
        limit=page.limit + 1,
    )


def cut_slice(read: Sequence[T], page: Page) -> Slice[T]:
    """The page out of what its window gave, in the order that the client sees."""
    more = len(read) > page.limit
    items = list(read[: page.limit])
    if page.backwards:
        items.reverse()
        return Slice(items=items, has_next=page.before is not None, has_previous=more)
    return Slice(items=items, has_next=more, has_previous=page.after is not None)


def _place(cursor: Cursor) -> tuple[datetime, UUID]:
    return cursor.at, cursor.id
