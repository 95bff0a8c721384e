"""Reads of restores."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import asyncpg

from app.model.paging import Page, Slice, Window, cut_slice, open_window
from app.model.restores import Restore, RestoreFilter, RestorePhase, RestoreState, RestoreTrigger
from app.postgres.pool import Connection
from app.postgres.statements import load
from app.queries.backups import requester, run_error

_SQL = load("restores")


async def get(connection: Connection, hub_id: UUID, id: UUID) -> Restore | None:
    return (await by_ids(connection, hub_id, [id])).get(id)


async def by_ids(connection: Connection, hub_id: UUID, ids: Sequence[UUID]) -> dict[UUID, Restore]:
    rows = await connection.fetch(_SQL["by_ids"], hub_id, list(ids))
    return {row["id"]: _restore(row) for row in rows}


async def page(
    connection: Connection, hub_id: UUID, filter: RestoreFilter, page: Page
) -> Slice[Restore]:
    """A page of the hub's restores, or of the container's or the backup's that the filter names.

    Raises ValueError where it names both.
    """
    if filter.container_id is not None and filter.backup_id is not None:
        raise ValueError("a list of restores has one parent")
    if filter.container_id is not None:
        by_container = await pages_by_container(
            connection, hub_id, [filter.container_id], filter, page
        )
        return by_container[filter.container_id]
    if filter.backup_id is not None:
        by_backup = await pages_by_backup(connection, hub_id, [filter.backup_id], filter, page)
        return by_backup[filter.backup_id]
    window = _window(filter, page)
    name = "newest_ids" if window.newest_first else "oldest_ids"
    rows = await connection.fetch(
        _SQL[name], hub_id, *_bounds(window), *_conditions(filter), window.limit
    )
    ids = [row["id"] for row in rows]
    known = await by_ids(connection, hub_id, ids)
    return cut_slice([known[id] for id in ids if id in known], page)


async def pages_by_container(
    connection: Connection,
    hub_id: UUID,
    container_ids: Sequence[UUID],
    filter: RestoreFilter,
    page: Page,
) -> dict[UUID, Slice[Restore]]:
    """The same page of each container's restores; the filter's parents do not count."""
    return await _pages(connection, hub_id, container_ids, filter, page, parent="container")


async def pages_by_backup(
    connection: Connection,
    hub_id: UUID,
    backup_ids: Sequence[UUID],
    filter: RestoreFilter,
    page: Page,
) -> dict[UUID, Slice[Restore]]:
    """The same page of each backup's restores; the filter's parents do not count."""
    return await _pages(connection, hub_id, backup_ids, filter, page, parent="backup")


async def count(connection: Connection, hub_id: UUID, filter: RestoreFilter) -> int:
    """How many restores there are, of one parent or of the hub. Raises ValueError for both."""
    if filter.container_id is not None and filter.backup_id is not None:
        raise ValueError("a list of restores has one parent")
    if filter.container_id is not None:
        by_container = await counts_by_container(connection, hub_id, [filter.container_id], filter)
        return by_container[filter.container_id]
    if filter.backup_id is not None:
        by_backup = await counts_by_backup(connection, hub_id, [filter.backup_id], filter)
        return by_backup[filter.backup_id]
    window = _window(filter, Page())
    found: int = await connection.fetchval(
        _SQL["count_all"], hub_id, *_bounds(window), *_conditions(filter)
    )
    return found


async def counts_by_container(
    connection: Connection, hub_id: UUID, container_ids: Sequence[UUID], filter: RestoreFilter
) -> dict[UUID, int]:
    return await _counts(connection, hub_id, container_ids, filter, parent="container")


async def counts_by_backup(
    connection: Connection, hub_id: UUID, backup_ids: Sequence[UUID], filter: RestoreFilter
) -> dict[UUID, int]:
    return await _counts(connection, hub_id, backup_ids, filter, parent="backup")


async def _pages(
    connection: Connection,
    hub_id: UUID,
    parent_ids: Sequence[UUID],
    filter: RestoreFilter,
    page: Page,
    *,
    parent: str,
) -> dict[UUID, Slice[Restore]]:
    window = _window(filter, page)
    order = "newest" if window.newest_first else "oldest"
    rows = await connection.fetch(
        _SQL[f"{order}_ids_by_{parent}"],
        hub_id,
        *_bounds(window),
        *_conditions(filter),
        window.limit,
        list(parent_ids),
    )
    known = await by_ids(connection, hub_id, [row["id"] for row in rows])
    read: dict[UUID, list[Restore]] = {parent_id: [] for parent_id in parent_ids}
    for row in rows:
        if row["id"] in known:
            read[row["parent_id"]].append(known[row["id"]])
    return {parent_id: cut_slice(restores, page) for parent_id, restores in read.items()}


async def _counts(
    connection: Connection,
    hub_id: UUID,
    parent_ids: Sequence[UUID],
    filter: RestoreFilter,
    *,
    parent: str,
) -> dict[UUID, int]:
    rows = await connection.fetch(
        _SQL[f"count_by_{parent}"],
        hub_id,
        *_bounds(_window(filter, Page())),
        *_conditions(filter),
        list(parent_ids),
    )
    return dict.fromkeys(parent_ids, 0) | {row["parent_id"]: row["restores"] for row in rows}


def _window(filter: RestoreFilter, page: Page) -> Window:
    return open_window(
        page, created_after=filter.created_after, created_before=filter.created_before
    )


def _bounds(window: Window) -> tuple[Any, ...]:
    return window.lower.at, window.lower.id, window.upper.at, window.upper.id


def _conditions(filter: RestoreFilter) -> tuple[Any, ...]:
    states = tuple(RestoreState) if filter.states is None else filter.states
    return list(states), filter.instance_id


def _restore(row: asyncpg.Record) -> Restore:
    return Restore(
        id=row["id"],
        hub_id=row["hub_id"],
        container_id=row["container_id"],
        instance_id=row["instance_id"],
        backup_id=row["backup_id"],
        safety_backup_id=row["safety_backup_id"],
        check_command=row["check_command"],
        state=RestoreState(row["state"]),
        trigger=RestoreTrigger(row["trigger"]),
        phase=RestorePhase(row["phase"]),
        bytes_total=row["bytes_total"],
        bytes_delivered=row["bytes_delivered"],
        bytes_per_second=row["bytes_per_second"],
        progress_at=row["progress_at"],
        created_at=row["created_at"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        exit_code=row["exit_code"],
        error=run_error(row),
        log_bytes=row["log_bytes"],
        log_truncated=row["log_truncated"],
        requested_by=requester(row),
    )
