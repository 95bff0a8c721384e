"""Statements of workers that compare a bucket with its records."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import UUID

import asyncpg

from app.model.backups import BackupState, StorageStatus
from app.model.drifts import (
    MOST_KEPT,
    DriftDetail,
    DriftKind,
    Finding,
    ObjectRecord,
    Pending,
)
from app.model.scans import ScanStep
from app.postgres.pool import Connection
from app.postgres.statements import load

_SQL = load("workers_drifts")
_BOUNDED: Final = frozenset({DriftKind.ORPHAN, DriftKind.UNFINISHED, DriftKind.FOREIGN})
END_OF_NAMES: Final = "\U0010ffff" * 257
"""Above all names, which have 1,024 bytes at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unwitnessed:
    """Something that B2 is asked for by its id; `size_bytes`: what the record says of an object."""

    id: UUID
    detail: DriftDetail
    file_id: str
    size_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unapplied:
    id: UUID
    kind: DriftKind
    detail: DriftDetail
    name: str
    file_id: str
    backup_id: UUID | None
    is_new: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Marked:
    """A page of records that were marked; `found`: (backup, container) of those found again."""

    last_name: str | None
    size: int
    found: Sequence[tuple[UUID, UUID]]


async def records_between(
    connection: Connection, integration_id: UUID, start: str, end: str | None, limit: int
) -> list[ObjectRecord]:
    """Records by their objects' names in that range, in B2's order; `end` None: to the last."""
    rows = await connection.fetch(
        _SQL["records_between"], integration_id, start, end or END_OF_NAMES, limit
    )
    return [_record(row) for row in rows]


async def records_named(
    connection: Connection, integration_id: UUID, names: Collection[str]
) -> list[ObjectRecord]:
    rows = await connection.fetch(_SQL["records_named"], integration_id, list(names))
    return [_record(row) for row in rows]


async def taken_ids(connection: Connection, ids: Collection[UUID]) -> frozenset[UUID]:
    """Which of these backups have a record, whoever's it is."""
    rows = await connection.fetch(_SQL["taken_ids"], list(ids))
    return frozenset(row["id"] for row in rows)


async def pending(
    connection: Connection, integration_id: UUID, names: Collection[str]
) -> list[Pending]:
    """What is to be removed already, of these names."""
    rows = await connection.fetch(_SQL["pending"], integration_id, list(names))
    return [Pending(name=row["name"], file_id=row["file_id"]) for row in rows]


async def stage(connection: Connection, step: ScanStep, findings: Sequence[Finding]) -> None:
    """Keep what a walk found; of what nobody counts on, only up to a bound of each kind."""
    rows = await connection.fetch(
        _SQL["see_again"],
        step.integration_id,
        step.number,
        [finding.kind for finding in findings],
        [finding.file_id for finding in findings],
    )
    known = {(row["kind"], row["file_id"]) for row in rows}
    kept: dict[str, int] = {}
    if any(finding.kind in _BOUNDED for finding in findings):
        counted = await connection.fetch(_SQL["count_kept"], step.integration_id)
        kept = {row["kind"]: row["kept"] for row in counted}
    new = []
    for finding in findings:
        if (finding.kind, finding.file_id) in known:
            continue
        if finding.kind in _BOUNDED:
            kept[finding.kind] = kept.get(finding.kind, 0) + 1
            if kept[finding.kind] > MOST_KEPT:
                continue
        new.append(finding)
    if new:
        await connection.execute(
            _SQL["stage"],
            step.hub_id,
            step.integration_id,
            step.number,
            [one.kind for one in new],
            [one.detail for one in new],
            [one.name for one in new],
            [one.file_id for one in new],
            [one.size_bytes for one in new],
            [one.uploaded_at for one in new],
            [one.backup_id for one in new],
        )


async def unwitnessed(connection: Connection, step: ScanStep, limit: int) -> list[Unwitnessed]:
    rows = await connection.fetch(_SQL["unwitnessed"], step.integration_id, step.number, limit)
    return [
        Unwitnessed(
            id=row["id"],
            detail=DriftDetail(row["detail"]),
            file_id=row["file_id"],
            size_bytes=row["size_bytes"],
        )
        for row in rows
    ]


async def witness(connection: Connection, step: ScanStep, ids: Collection[UUID]) -> None:
    """B2 said of these what the listing had said."""
    await connection.execute(_SQL["witness"], list(ids), step.number)


async def forget(connection: Connection, ids: Collection[UUID]) -> None:
    """B2 has these as they should be."""
    await connection.execute(_SQL["forget"], list(ids))


async def discard(connection: Connection, step: ScanStep, up_to: int, limit: int) -> int:
    """Drop what walks up to that number found and nobody was shown. Returns how much."""
    return len(await connection.fetch(_SQL["discard"], step.integration_id, up_to, limit))


async def mark_present(connection: Connection, step: ScanStep, limit: int) -> Marked:
    """Mark the next records as they were found, from the walk's cursor on."""
    row = await connection.fetchrow(
        _SQL["mark_present"],
        step.integration_id,
        step.cursor or "",
        step.number,
        step.started_at,
        limit,
    )
    assert row is not None
    found = zip(row["ids"] or (), row["container_ids"] or (), strict=True)
    return Marked(last_name=row["last_name"], size=row["size"], found=list(found))


async def resolve(connection: Connection, step: ScanStep, limit: int, *, partial: bool) -> int:
    """What the walk did not see any more is over. Returns how much."""
    rows = await connection.fetch(_SQL["resolve"], step.integration_id, step.number, limit, partial)
    return len(rows)


async def unapplied(connection: Connection, step: ScanStep, limit: int) -> list[Unapplied]:
    rows = await connection.fetch(_SQL["unapplied"], step.integration_id, step.number, limit)
    return [
        Unapplied(
            id=row["id"],
            kind=DriftKind(row["kind"]),
            detail=DriftDetail(row["detail"]),
            name=row["name"],
            file_id=row["file_id"],
            backup_id=row["backup_id"],
            is_new=row["is_new"],
        )
        for row in rows
    ]


async def record(
    connection: Connection, seen: Sequence[tuple[UUID, str, StorageStatus]]
) -> dict[UUID, tuple[UUID, bool]]:
    """Keep what was seen of backups, each told with the file id that it had.

    Returns those that are still LIVE with that file: their containers, and whether they changed.
    """
    rows = await connection.fetch(
        _SQL["record"],
        [id for id, _, _ in seen],
        [file_id for _, file_id, _ in seen],
        [status for _, _, status in seen],
    )
    return {row["id"]: (row["container_id"], row["changed"]) for row in rows}


async def recorded(
    connection: Connection, integration_id: UUID, told: Sequence[tuple[UUID, str, str]]
) -> frozenset[UUID]:
    """Which of these, told as id, object's name and file id, a record accounts for by now."""
    rows = await connection.fetch(
        _SQL["recorded"],
        integration_id,
        [id for id, _, _ in told],
        [name for _, name, _ in told],
        [file_id for _, _, file_id in told],
    )
    return frozenset(row["id"] for row in rows)


async def show(connection: Connection, step: ScanStep, ids: Collection[UUID]) -> None:
    await connection.execute(_SQL["show"], list(ids), step.number)


async def drop(connection: Connection, ids: Collection[UUID]) -> None:
    await connection.execute(_SQL["drop"], list(ids))


async def prune(connection: Connection, keep: timedelta) -> None:
    """Drop what was resolved that long ago."""
    await connection.execute(_SQL["prune"], keep)


def _record(row: asyncpg.Record) -> ObjectRecord:
    return ObjectRecord(
        backup_id=row["id"],
        state=BackupState(row["state"]),
        object_name=row["object_name"],
        file_id=row["file_id"],
        manifest_file_id=row["manifest_file_id"],
        size_bytes=row["size_bytes"],
        storage_status=StorageStatus(row["storage_status"]),
        settled_at=row["finished_at"],
    )
