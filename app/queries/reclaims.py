"""Statements about reclaims, the durable promises to remove something from B2."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import asyncpg

from app.model.backups import BackupState
from app.model.paging import Page, Slice, cut_slice, open_window
from app.model.reclaims import Reclaim
from app.postgres.pool import Connection
from app.postgres.statements import load

_QUERIES = load("reclaims")
_SQL = load("workers_reclaims")


@dataclass(frozen=True, slots=True, kw_only=True)
class DueReclaim:
    """A reclaim that was taken: it is due again later unless it is settled."""

    id: UUID
    hub_id: UUID
    integration_id: UUID
    backup_id: UUID | None
    kind: str
    name: str
    file_id: str | None
    attempts: int
    age: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class ReclaimedBackup:
    """A backup whose reclaims nobody else settles until the transaction ends."""

    hub_id: UUID
    container_id: UUID
    state: BackupState


@dataclass(frozen=True, slots=True, kw_only=True)
class Abandoned:
    """What was promised to be removed and is not any more."""

    backup_id: UUID | None
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stuck:
    """The first reclaim of an integration that has failed for long."""

    hub_id: UUID
    integration_id: UUID
    backup_id: UUID | None
    attempts: int


async def take_due(connection: Connection, limit: int) -> list[DueReclaim]:
    """Take reclaims that are due and that nobody else takes at this moment."""
    rows = await connection.fetch(_SQL["take_due"], limit)
    return [
        DueReclaim(
            id=row["id"],
            hub_id=row["hub_id"],
            integration_id=row["integration_id"],
            backup_id=row["backup_id"],
            kind=row["kind"],
            name=row["name"],
            file_id=row["file_id"],
            attempts=row["attempts"],
            age=row["age"],
        )
        for row in rows
    ]


async def find(connection: Connection, id: UUID) -> tuple[UUID, UUID | None] | None:
    """The reclaim's hub and backup."""
    row = await connection.fetchrow(_SQL["find"], id)
    return None if row is None else (row["hub_id"], row["backup_id"])


async def lock_backup(connection: Connection, backup_id: UUID) -> ReclaimedBackup | None:
    row = await connection.fetchrow(_SQL["lock_backup"], backup_id)
    if row is None:
        return None
    return ReclaimedBackup(
        hub_id=row["hub_id"], container_id=row["container_id"], state=BackupState(row["state"])
    )


async def settle(connection: Connection, id: UUID, again_at: timedelta | None) -> UUID | None:
    """B2 has confirmed; it is settled now, or once it was asked again after that time.

    Returns its integration where it had been stuck.
    """
    integration_id: UUID | None = await connection.fetchval(_SQL["settle"], id, again_at)
    return integration_id


async def any_stuck(connection: Connection, integration_id: UUID) -> bool:
    return bool(await connection.fetchval(_SQL["any_stuck"], integration_id))


async def mark_stuck(
    connection: Connection, ids: Sequence[UUID], attempts: int, age: timedelta
) -> list[Stuck]:
    """Mark those that have failed so often or for so long; returns what is to be told."""
    rows = await connection.fetch(_SQL["mark_stuck"], list(ids), attempts, age)
    return [
        Stuck(
            hub_id=row["hub_id"],
            integration_id=row["integration_id"],
            backup_id=row["backup_id"],
            attempts=row["attempts"],
        )
        for row in rows
    ]


async def abandon(connection: Connection, hub_id: UUID, integration_id: UUID) -> list[Abandoned]:
    """Promise no more what was tried in vain."""
    rows = await connection.fetch(_QUERIES["abandon"], hub_id, integration_id)
    return [Abandoned(backup_id=row["backup_id"], name=row["name"]) for row in rows]


async def page(connection: Connection, hub_id: UUID, page: Page) -> Slice[Reclaim]:
    """What is still to be removed."""
    window = open_window(page)
    upper, lower = window.upper, window.lower
    rows = await connection.fetch(
        _QUERIES["page_down" if window.newest_first else "page_up"],
        hub_id,
        upper.at,
        upper.id,
        lower.at,
        lower.id,
        window.limit,
    )
    return cut_slice([_read(row) for row in rows], page)


async def by_ids(
    connection: Connection, hub_id: UUID, ids: Collection[UUID]
) -> dict[UUID, Reclaim]:
    """Those that are still to be removed."""
    rows = await connection.fetch(_QUERIES["by_ids"], hub_id, list(ids))
    return {row["id"]: _read(row) for row in rows}


async def count(connection: Connection, hub_id: UUID) -> int:
    return int(await connection.fetchval(_QUERIES["count"], hub_id))


async def put_off(
    connection: Connection,
    id: UUID,
    *,
    code: str,
    message: str,
    again_in: timedelta | None = None,
) -> None:
    await connection.execute(_SQL["put_off"], id, code, message, again_in)


def _read(row: asyncpg.Record) -> Reclaim:
    return Reclaim(
        id=row["id"],
        integration_id=row["integration_id"],
        backup_id=row["backup_id"],
        kind=row["kind"],
        name=row["name"],
        created_at=row["created_at"],
        age=row["age"],
        attempts=row["attempts"],
        error_code=row["error_code"],
        error_message=row["error_message"],
        next_attempt_at=row["not_before"],
        confirmed_at=row["confirmed_at"],
        stuck_at=row["stuck_at"],
    )
