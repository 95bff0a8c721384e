"""Statements about events."""

from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

import asyncpg

from app.model.events import Event, EventFilter, NewEvent
from app.model.paging import Page, Slice, cut_slice, open_window
from app.postgres.pool import Connection
from app.postgres.statements import load

_SQL = load("events")


async def add(connection: Connection, hub_id: UUID, event: NewEvent) -> UUID:
    """The id of the new event."""
    added: UUID = await connection.fetchval(
        _SQL["add"],
        hub_id,
        event.kind,
        event.message,
        event.container_id,
        event.instance_id,
        event.backup_id,
        event.restore_id,
        event.verification_id,
        event.integration_id,
        dict(event.data),
    )
    return added


async def by_ids(connection: Connection, hub_id: UUID, ids: Collection[UUID]) -> dict[UUID, Event]:
    rows = await connection.fetch(_SQL["by_ids"], hub_id, list(ids))
    return {row["id"]: _read(row) for row in rows}


async def page(
    connection: Connection, hub_id: UUID, filter: EventFilter, page: Page
) -> Slice[Event]:
    window = open_window(
        page, created_after=filter.created_after, created_before=filter.created_before
    )
    rows = await connection.fetch(
        _SQL["page_down" if window.newest_first else "page_up"],
        hub_id,
        window.lower.at,
        window.lower.id,
        window.upper.at,
        window.upper.id,
        *_conditions(filter),
        window.limit,
    )
    return cut_slice([_read(row) for row in rows], page)


async def count(connection: Connection, hub_id: UUID, filter: EventFilter) -> int:
    window = open_window(
        Page(), created_after=filter.created_after, created_before=filter.created_before
    )
    found: int = await connection.fetchval(
        _SQL["count"],
        hub_id,
        window.lower.at,
        window.lower.id,
        window.upper.at,
        window.upper.id,
        *_conditions(filter),
    )
    return found


async def last_number(connection: Connection, hub_id: UUID) -> int:
    """The number of the hub's newest event; 0 where it has none."""
    found: int = await connection.fetchval(_SQL["last_number"], hub_id)
    return found


async def following(
    connection: Connection, hub_id: UUID, number: int, kinds: Sequence[str] | None, limit: int
) -> list[tuple[int, Event]]:
    """The events after a number, each with its own; none is ever added among those seen."""
    words = None if kinds is None else list(kinds)
    rows = await connection.fetch(_SQL["following"], hub_id, number, words, limit)
    return [(row["number"], _read(row)) for row in rows]


def _conditions(filter: EventFilter) -> tuple[Any, ...]:
    return None if filter.kinds is None else list(filter.kinds), filter.container_id


def _read(row: asyncpg.Record) -> Event:
    return Event(
        id=row["id"],
        hub_id=row["hub_id"],
        kind=row["kind"],
        message=row["message"],
        container_id=row["container_id"],
        instance_id=row["instance_id"],
        backup_id=row["backup_id"],
        restore_id=row["restore_id"],
        verification_id=row["verification_id"],
        integration_id=row["integration_id"],
        data=row["data"],
        created_at=row["created_at"],
    )
