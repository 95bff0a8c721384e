"""Reads of backups."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import asyncpg

from app.model.backups import Backup, BackupFilter, BackupState, BackupTrigger, StorageStatus
from app.model.paging import Page, Slice, Window, cut_slice, open_window
from app.model.runs import Requester, RunError
from app.postgres.pool import Connection
from app.postgres.statements import load

_SQL = load("backups")
_SHOWN = tuple(state for state in BackupState if state is not BackupState.DELETED)


async def get(connection: Connection, hub_id: UUID, id: UUID) -> Backup | None:
    return (await by_ids(connection, hub_id, [id])).get(id)


async def by_ids(connection: Connection, hub_id: UUID, ids: Sequence[UUID]) -> dict[UUID, Backup]:
    rows = await connection.fetch(_SQL["by_ids"], hub_id, list(ids))
    return {row["id"]: _backup(row) for row in rows}


async def page(
    connection: Connection, hub_id: UUID, filter: BackupFilter, page: Page
) -> Slice[Backup]:
    """A page of the hub's backups, or of the container's that the filter names."""
    if filter.container_id is not None:
        by_container = await pages(connection, hub_id, [filter.container_id], filter, page)
        return by_container[filter.container_id]
    window = _window(filter, page)
    name = "newest_ids" if window.newest_first else "oldest_ids"
    rows = await connection.fetch(
        _SQL[name], hub_id, *_bounds(window), *_conditions(filter), window.limit
    )
    ids = [row["id"] for row in rows]
    known = await by_ids(connection, hub_id, ids)
    return cut_slice([known[id] for id in ids if id in known], page)


async def pages(
    connection: Connection,
    hub_id: UUID,
    container_ids: Sequence[UUID],
    filter: BackupFilter,
    page: Page,
) -> dict[UUID, Slice[Backup]]:
    """The same page of each container's backups; `filter.container_id` does not count."""
    window = _window(filter, page)
    name = "newest_ids_by_container" if window.newest_first else "oldest_ids_by_container"
    rows = await connection.fetch(
        _SQL[name],
        hub_id,
        *_bounds(window),
        *_conditions(filter),
        window.limit,
        list(container_ids),
    )
    known = await by_ids(connection, hub_id, [row["id"] for row in rows])
    read: dict[UUID, list[Backup]] = {container_id: [] for container_id in container_ids}
    for row in rows:
        if row["id"] in known:
            read[row["parent_id"]].append(known[row["id"]])
    return {container_id: cut_slice(backups, page) for container_id, backups in read.items()}


async def count(connection: Connection, hub_id: UUID, filter: BackupFilter) -> int:
    if filter.container_id is not None:
        by_container = await counts(connection, hub_id, [filter.container_id], filter)
        return by_container[filter.container_id]
    window = _window(filter, Page())
    found: int = await connection.fetchval(
        _SQL["count_all"], hub_id, *_bounds(window), *_conditions(filter)
    )
    return found


async def counts(
    connection: Connection, hub_id: UUID, container_ids: Sequence[UUID], filter: BackupFilter
) -> dict[UUID, int]:
    """How many backups of each container there are; `filter.container_id` does not count."""
    window = _window(filter, Page())
    rows = await connection.fetch(
        _SQL["count_by_container"],
        hub_id,
        *_bounds(window),
        *_conditions(filter),
        list(container_ids),
    )
    return dict.fromkeys(container_ids, 0) | {row["parent_id"]: row["backups"] for row in rows}


async def last_live(
    connection: Connection, hub_id: UUID, container_ids: Sequence[UUID]
) -> dict[UUID, Backup]:
    """The newest LIVE backup of each container that has one, by container."""
    rows = await connection.fetch(_SQL["last_live_ids"], hub_id, list(container_ids))
    known = await by_ids(connection, hub_id, [row["id"] for row in rows])
    return {row["parent_id"]: known[row["id"]] for row in rows if row["id"] in known}


async def stored_bytes(
    connection: Connection, hub_id: UUID, container_ids: Sequence[UUID]
) -> dict[UUID, int]:
    """The bytes that each container's backups have in the bucket, until B2 confirmed they went."""
    rows = await connection.fetch(_SQL["stored_bytes"], hub_id, list(container_ids))
    return dict.fromkeys(container_ids, 0) | {row["container_id"]: row["bytes"] for row in rows}


async def stored_bytes_of_hub(connection: Connection, hub_id: UUID) -> int:
    """The bytes that the hub's backups have in buckets, until B2 confirmed that they went."""
    found: int = await connection.fetchval(_SQL["stored_bytes_of_hub"], hub_id)
    return found


async def annotate(
    connection: Connection, hub_id: UUID, id: UUID, *, pinned: bool, note: str | None
) -> None:
    """Say of a locked backup what people think of it."""
    await connection.execute(_SQL["annotate"], hub_id, id, pinned, note)


def _window(filter: BackupFilter, page: Page) -> Window:
    return open_window(
        page, created_after=filter.created_after, created_before=filter.created_before
    )


def _bounds(window: Window) -> tuple[Any, ...]:
    return window.lower.at, window.lower.id, window.upper.at, window.upper.id


def _conditions(filter: BackupFilter) -> tuple[Any, ...]:
    states = _SHOWN if filter.states is None else filter.states
    return list(states), filter.instance_id, filter.trigger


def _backup(row: asyncpg.Record) -> Backup:
    return Backup(
        id=row["id"],
        hub_id=row["hub_id"],
        container_id=row["container_id"],
        instance_id=row["instance_id"],
        instance_hostname=row["instance_hostname"],
        integration_id=row["integration_id"],
        bucket=row["bucket"],
        state=BackupState(row["state"]),
        trigger=BackupTrigger(row["trigger"]),
        created_at=row["created_at"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        backup_command=row["backup_command"],
        restore_command=row["restore_command"],
        object_name=row["object_name"],
        file_id=row["file_id"],
        size_bytes=row["size_bytes"],
        sha256=row["sha256"],
        size_dropped=row["size_dropped"],
        pinned=row["pinned"],
        note=row["note"],
        storage_status=StorageStatus(row["storage_status"]),
        storage_checked_at=row["storage_checked_at"],
        exit_code=row["exit_code"],
        error=run_error(row),
        bytes_read=row["bytes_read"],
        bytes_stored=row["bytes_stored"],
        bytes_per_second=row["bytes_per_second"],
        progress_at=row["progress_at"],
        log_bytes=row["log_bytes"],
        log_truncated=row["log_truncated"],
        requested_by=requester(row),
        deletion_requested_by=None
        if row["deletion_requested_by_kind"] is None
        else requester(row, "deletion_requested_by"),
        retention_code=row["retention_code"],
        retention_reason=row["retention_reason"],
    )


def run_error(row: asyncpg.Record) -> RunError | None:
    """Why a run failed, out of a row with its columns."""
    if row["error_code"] is None:
        return None
    return RunError(code=row["error_code"], message=row["error_message"])


def requester(row: asyncpg.Record, of: str = "requested_by") -> Requester:
    """Who asked for a run, or for what `of` names, out of a row with its columns."""
    return Requester(kind=row[f"{of}_kind"], id=row[f"{of}_id"], name=row[f"{of}_name"])
