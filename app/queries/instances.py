"""Statements about instances."""

from collections.abc import Collection, Sequence
from datetime import datetime
from uuid import UUID

import asyncpg

from app.model.containers import Instance, InstanceFilter, InstanceState, NewInstance
from app.model.paging import Page, Slice, Window, cut_slice, open_window
from app.model.runs import OpenRun, RunKind
from app.model.sources import Sources
from app.postgres.pool import Connection
from app.postgres.statements import load
from app.queries.sources import read_sources

_QUERIES = load("instances")


async def get(connection: Connection, hub_id: UUID, id: UUID) -> Instance | None:
    """Also one that was removed: `removed_at` tells."""
    return await _one(connection, "get", hub_id, id)


async def lock(connection: Connection, hub_id: UUID, id: UUID) -> Instance | None:
    """Nobody else changes or holds it until the transaction ends."""
    return await _one(connection, "lock", hub_id, id)


async def hold(connection: Connection, hub_id: UUID, id: UUID) -> Instance | None:
    """Nobody changes it until the transaction ends; others may hold it too."""
    return await _one(connection, "hold", hub_id, id)


async def by_ids(
    connection: Connection, hub_id: UUID, ids: Collection[UUID]
) -> dict[UUID, Instance]:
    """Also those that were removed."""
    rows = await connection.fetch(_QUERIES["by_ids"], hub_id, list(ids))
    return {row["id"]: read(row) for row in rows}


async def running(
    connection: Connection, hub_id: UUID, container_id: UUID, *, limit: int
) -> list[Instance]:
    """Those of a container on which a command can run, oldest first."""
    rows = await connection.fetch(_QUERIES["running"], hub_id, container_id, limit)
    return [read(row) for row in rows]


async def page(
    connection: Connection, hub_id: UUID, filter: InstanceFilter, page: Page
) -> Slice[Instance]:
    window = open_window(page)
    rows = await connection.fetch(
        _QUERIES["page_down" if window.newest_first else "page_up"],
        hub_id,
        *_bounds(window),
        filter.container_id,
        *_filter(filter),
        window.limit,
    )
    return cut_slice([read(row) for row in rows], page)


async def count(connection: Connection, hub_id: UUID, filter: InstanceFilter) -> int:
    return int(
        await connection.fetchval(_QUERIES["count"], hub_id, filter.container_id, *_filter(filter))
    )


async def pages(
    connection: Connection,
    hub_id: UUID,
    container_ids: Collection[UUID],
    filter: InstanceFilter,
    page: Page,
) -> dict[UUID, Slice[Instance]]:
    """The same page of each container, by one statement; `filter.container_id` does not count."""
    window = open_window(page)
    rows = await connection.fetch(
        _QUERIES["pages_down" if window.newest_first else "pages_up"],
        hub_id,
        list(container_ids),
        *_bounds(window),
        *_filter(filter),
        window.limit,
    )
    found: dict[UUID, list[Instance]] = {id: [] for id in container_ids}
    for row in rows:
        found[row["container_id"]].append(read(row))
    return {id: cut_slice(of_one, page) for id, of_one in found.items()}


async def counts(
    connection: Connection, hub_id: UUID, container_ids: Collection[UUID], filter: InstanceFilter
) -> dict[UUID, int]:
    """How many each container has; `filter.container_id` does not count."""
    rows = await connection.fetch(_QUERIES["counts"], hub_id, list(container_ids), *_filter(filter))
    return dict.fromkeys(container_ids, 0) | {row["container_id"]: row["instances"] for row in rows}


async def create(
    connection: Connection,
    hub_id: UUID,
    id: UUID,
    new: NewInstance,
    *,
    sealed_variables: bytes | None,
) -> Instance | None:
    """None where the hostname is taken in its container."""
    return await _one(
        connection,
        "create",
        hub_id,
        id,
        new.container_id,
        new.hostname,
        new.state,
        new.executor,
        new.host,
        new.folder,
        sorted(new.variables),
        sealed_variables,
        new.scratch,
        new.engine_id,
        new.engine_container,
        new.user,
        new.replica,
        dict(new.sources),
    )


async def update(
    connection: Connection,
    hub_id: UUID,
    id: UUID,
    *,
    folder: str | None,
    variable_names: Sequence[str] | None,
    sealed_variables: bytes | None,
    state: InstanceState | None,
    sources: Sources,
) -> Instance | None:
    """None keeps what is there. Returns None where it is being deleted."""
    return await _one(
        connection,
        "update",
        hub_id,
        id,
        folder,
        variable_names,
        sealed_variables,
        state,
        dict(sources),
    )


async def begin_deletion(
    connection: Connection, hub_id: UUID, id: UUID, *, at_once: bool
) -> Instance | None:
    """None where it was removed already."""
    return await _one(connection, "begin_deletion", hub_id, id, at_once)


async def open_runs(
    connection: Connection, hub_id: UUID, ids: Collection[UUID]
) -> dict[UUID, OpenRun]:
    """The run of each of these instances that waits or is going; there is never more than one."""
    rows = await connection.fetch(_QUERIES["open_runs"], hub_id, list(ids))
    return {row["instance_id"]: OpenRun(id=row["id"], kind=RunKind(row["kind"])) for row in rows}


async def open_run(connection: Connection, hub_id: UUID, id: UUID) -> OpenRun | None:
    return (await open_runs(connection, hub_id, [id])).get(id)


async def cancel_run(connection: Connection, hub_id: UUID, id: UUID) -> UUID | None:
    """Ask its run to end; None where none was open."""
    run_id: UUID | None = await connection.fetchval(_QUERIES["cancel_run"], hub_id, id)
    return run_id


async def was_saved(
    connection: Connection, hub_id: UUID, container_id: UUID, hostname: str
) -> bool:
    return bool(await connection.fetchval(_QUERIES["was_saved"], hub_id, container_id, hostname))


def _bounds(window: Window) -> tuple[datetime, UUID, datetime, UUID]:
    upper, lower = window.upper, window.lower
    return upper.at, upper.id, lower.at, lower.id


async def _one(connection: Connection, name: str, *arguments: object) -> Instance | None:
    row = await connection.fetchrow(_QUERIES[name], *arguments)
    return None if row is None else read(row)


def _filter(
    filter: InstanceFilter,
) -> tuple[str | None, list[str] | None, bool | None]:
    states: list[str] | None = None if filter.states is None else list(filter.states)
    return filter.hostname, states, filter.scratch


def read(row: asyncpg.Record) -> Instance:
    return Instance(
        id=row["id"],
        hub_id=row["hub_id"],
        container_id=row["container_id"],
        hostname=row["hostname"],
        state=InstanceState(row["state"]),
        executor=row["executor"],
        host=row["host"],
        folder=row["folder"],
        engine_id=row["engine_id"],
        engine_container=row["engine_container"],
        user=row["command_user"],
        variable_names=tuple(row["variable_names"]),
        scratch=row["scratch"],
        created_at=row["created_at"],
        removed_at=row["removed_at"],
        replica=row["replica"],
        sources=read_sources(row),
    )
