"""Keyset pages: what a statement is told of a page, and the slice that its rows make."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TypeVar
from uuid import UUID

import asyncpg

from app.model.paging import Page, Slice

T = TypeVar("T")

Bounds = tuple[datetime | None, UUID | None, datetime | None, UUID | None]


def goes_down(page: Page) -> bool:
    """Whether the rows are read newest first; a page from the end is read from the end."""
    return page.ascending == page.backwards


def bounds(page: Page) -> Bounds:
    """Time and id below which, then those above which all rows of the page are; None: no bound."""
    upper, lower = (page.before, page.after) if page.ascending else (page.after, page.before)
    return (
        upper.at if upper else None,
        upper.id if upper else None,
        lower.at if lower else None,
        lower.id if lower else None,
    )


def cut(
    rows: Sequence[asyncpg.Record], page: Page, read: Callable[[asyncpg.Record], T]
) -> Slice[T]:
    """The slice; a row more than the page holds only says that there are more."""
    items = [read(row) for row in rows[: page.limit]]
    more = len(rows) > page.limit
    if page.backwards:
        items.reverse()
        return Slice(items=items, has_next=page.before is not None, has_previous=more)
    return Slice(items=items, has_next=more, has_previous=page.after is not None)
