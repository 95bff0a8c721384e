"""Statements about containers."""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg

from app.model.containers import Container, ContainerFilter, ContainerState, NewContainer
from app.model.paging import Page, Slice, Window, cut_slice, open_window
from app.model.sources import Sources
from app.postgres.pool import Connection
from app.postgres.statements import load
from app.queries.sources import read_sources

_QUERIES = load("containers")
_THERE = (ContainerState.LIVE, ContainerState.DELETING)


async def get(connection: Connection, hub_id: UUID, id: UUID) -> Container | None:
    return await _one(connection, "get", hub_id, id)


async def look(
    connection: Connection, hub_id: UUID, id: UUID, *, since: timedelta, limit: int
) -> tuple[ContainerState, datetime, list[UUID]] | None:
    """The state of a container, the database's time, and its backups not older than `since`.

    At most `limit` of them, the newest; all as of one moment.
    """
    row = await connection.fetchrow(_QUERIES["look"], hub_id, id, since, limit)
    return None if row is None else (ContainerState(row["state"]), row["at"], row["recent"])


async def lock(connection: Connection, hub_id: UUID, id: UUID) -> Container | None:
    """Nobody else changes or holds it until the transaction ends."""
    return await _one(connection, "lock", hub_id, id)


async def hold(connection: Connection, hub_id: UUID, id: UUID) -> Container | None:
    """Nobody changes it until the transaction ends; others may hold it too."""
    return await _one(connection, "hold", hub_id, id)


async def hold_identifier(
    connection: Connection, hub_id: UUID, identifier: str
) -> Container | None:
    """Nobody changes it until the transaction ends; others may hold it too."""
    return await _one(connection, "hold_identifier", hub_id, identifier)


async def by_ids(
    connection: Connection, hub_id: UUID, ids: Collection[UUID]
) -> dict[UUID, Container]:
    rows = await connection.fetch(_QUERIES["by_ids"], hub_id, list(ids))
    return {row["id"]: read(row) for row in rows}


async def page(
    connection: Connection, hub_id: UUID, filter: ContainerFilter, page: Page
) -> Slice[Container]:
    window = open_window(page)
    rows = await connection.fetch(
        _QUERIES["page_down" if window.newest_first else "page_up"],
        hub_id,
        *_bounds(window),
        *_filter(filter),
        window.limit,
    )
    return cut_slice([read(row) for row in rows], page)


async def count(connection: Connection, hub_id: UUID, filter: ContainerFilter) -> int:
    return int(await connection.fetchval(_QUERIES["count"], hub_id, *_filter(filter)))


async def create(connection: Connection, hub_id: UUID, new: NewContainer) -> Container | None:
    """None where the identifier is taken."""
    return await _one(
        connection,
        "create",
        hub_id,
        new.identifier,
        new.name,
        new.stateful,
        dict(new.labels),
        new.found_engine_id,
        new.found_project,
        new.found_service,
        dict(new.sources),
    )


async def update(
    connection: Connection,
    hub_id: UUID,
    id: UUID,
    *,
    name: str,
    labels: Mapping[str, str],
    sources: Sources,
) -> Container | None:
    """None unless it is LIVE."""
    return await _one(connection, "update", hub_id, id, name, dict(labels), dict(sources))


async def set_sources(connection: Connection, hub_id: UUID, id: UUID, sources: Sources) -> None:
    await connection.execute(_QUERIES["set_sources"], hub_id, id, dict(sources))


async def follow_labels(connection: Connection, hub_id: UUID, id: UUID) -> None:
    """Its policy and instances are those of labels, and its engine is looked at again."""
    await connection.execute(_QUERIES["follow_labels"], hub_id, id)


async def begin_deletion(
    connection: Connection, hub_id: UUID, id: UUID, grace: timedelta
) -> Container | None:
    """None unless it is LIVE."""
    return await _one(connection, "begin_deletion", hub_id, id, grace)


async def end_deletion(connection: Connection, hub_id: UUID, id: UUID) -> Container | None:
    """It stays after all. None unless it is DELETING and its grace lasts."""
    return await _one(connection, "end_deletion", hub_id, id)


async def live(connection: Connection, hub_id: UUID, limit: int) -> list[UUID]:
    rows = await connection.fetch(_QUERIES["live"], hub_id, limit)
    return [row["id"] for row in rows]


async def cancel_runs(connection: Connection, hub_id: UUID, id: UUID) -> list[UUID]:
    """Ask all runs of a locked container to end, and return which these are."""
    rows = await connection.fetch(_QUERIES["cancel_runs"], hub_id, id)
    return [row["id"] for row in rows]


def _bounds(window: Window) -> tuple[datetime, UUID, datetime, UUID]:
    upper, lower = window.upper, window.lower
    return upper.at, upper.id, lower.at, lower.id


async def _one(connection: Connection, name: str, *arguments: object) -> Container | None:
    row = await connection.fetchrow(_QUERIES[name], *arguments)
    return None if row is None else read(row)


def _filter(filter: ContainerFilter) -> tuple[str | None, bool | None, list[str]]:
    states = _THERE if filter.states is None else filter.states
    return filter.identifier, filter.stateful, list(states)


def read(row: asyncpg.Record) -> Container:
    return Container(
        id=row["id"],
        hub_id=row["hub_id"],
        identifier=row["identifier"],
        name=row["name"],
        stateful=row["stateful"],
        labels=row["labels"],
        state=ContainerState(row["state"]),
        deleting_since=row["deleting_since"],
        goes_at=row["goes_at"],
        created_at=row["created_at"],
        found_engine_id=row["found_engine_id"],
        found_project=row["found_project"],
        found_service=row["found_service"],
        sources=read_sources(row),
    )
