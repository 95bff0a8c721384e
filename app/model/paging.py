"""Keyset pages: what a list is asked for, and the slice that it answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
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
