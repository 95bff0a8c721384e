"""Reads of verifications."""

from collections.abc import Sequence
from uuid import UUID

import asyncpg

from app.model.paging import Page, Slice, Window, cut_slice, open_window
from app.model.verifications import (
    Verification,
    VerificationFilter,
    VerificationLevel,
    VerificationState,
)
from app.postgres.pool import Connection
from app.postgres.statements import load
from app.queries.backups import requester, run_error

_SQL = load("verifications")


async def get(connection: Connection, hub_id: UUID, id: UUID) -> Verification | None:
    return (await by_ids(connection, hub_id, [id])).get(id)


async def by_ids(
    connection: Connection, hub_id: UUID, ids: Sequence[UUID]
) -> dict[UUID, Verification]:
    rows = await connection.fetch(_SQL["by_ids"], hub_id, list(ids))
    return {row["id"]: _verification(row) for row in rows}


async def last_by_backup(
    connection: Connection, hub_id: UUID, backup_ids: Sequence[UUID]
) -> dict[UUID, Verification]:
    """The newest verification of each backup that has one."""
    rows = await connection.fetch(_SQL["last_ids"], hub_id, list(backup_ids))
    known = await by_ids(connection, hub_id, [row["id"] for row in rows])
    return {row["parent_id"]: known[row["id"]] for row in rows if row["id"] in known}


async def pages_by_backup(
    connection: Connection,
    hub_id: UUID,
    backup_ids: Sequence[UUID],
    filter: VerificationFilter,
    page: Page,
) -> dict[UUID, Slice[Verification]]:
    """The same page of each backup's verifications."""
    window: Window = open_window(page)
    name = "newest_ids_by_backup" if window.newest_first else "oldest_ids_by_backup"
    lower, upper = window.lower, window.upper
    rows = await connection.fetch(
        _SQL[name],
        hub_id,
        lower.at,
        lower.id,
        upper.at,
        upper.id,
        *_conditions(filter),
        window.limit,
        list(backup_ids),
    )
    known = await by_ids(connection, hub_id, [row["id"] for row in rows])
    read: dict[UUID, list[Verification]] = {backup_id: [] for backup_id in backup_ids}
    for row in rows:
        if row["id"] in known:
            read[row["parent_id"]].append(known[row["id"]])
    return {backup_id: cut_slice(found, page) for backup_id, found in read.items()}


async def counts_by_backup(
    connection: Connection, hub_id: UUID, backup_ids: Sequence[UUID], filter: VerificationFilter
) -> dict[UUID, int]:
    rows = await connection.fetch(
        _SQL["count_by_backup"], hub_id, *_conditions(filter), list(backup_ids)
    )
    found = {row["parent_id"]: row["verifications"] for row in rows}
    return dict.fromkeys(backup_ids, 0) | found


def _conditions(filter: VerificationFilter) -> tuple[list[str], list[str]]:
    levels = tuple(VerificationLevel) if filter.levels is None else filter.levels
    states = tuple(VerificationState) if filter.states is None else filter.states
    return [str(level) for level in levels], [str(state) for state in states]


def _verification(row: asyncpg.Record) -> Verification:
    return Verification(
        id=row["id"],
        hub_id=row["hub_id"],
        container_id=row["container_id"],
        instance_id=row["instance_id"],
        backup_id=row["backup_id"],
        level=VerificationLevel(row["level"]),
        state=VerificationState(row["state"]),
        bytes_total=row["bytes_total"],
        bytes_checked=row["bytes_checked"],
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
