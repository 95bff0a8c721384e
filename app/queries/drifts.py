"""Statements of requests about drift: what is shown, and what people decide about it."""

from collections.abc import Collection
from typing import Any
from uuid import UUID

import asyncpg

from app.model.drifts import Drift, DriftDetail, DriftFilter, DriftKind, DriftResolution
from app.model.paging import Page, Slice, cut_slice, open_window
from app.model.runs import RunError
from app.postgres.pool import Connection
from app.postgres.statements import load

_SQL = load("drifts")


async def by_ids(connection: Connection, hub_id: UUID, ids: Collection[UUID]) -> dict[UUID, Drift]:
    rows = await connection.fetch(_SQL["by_ids"], hub_id, list(ids))
    return {row["id"]: _read(row) for row in rows}


async def lock(connection: Connection, hub_id: UUID, id: UUID) -> Drift | None:
    """Nobody else decides about it until the transaction ends."""
    row = await connection.fetchrow(_SQL["lock"], hub_id, id)
    return None if row is None else _read(row)


async def page(
    connection: Connection, hub_id: UUID, filter: DriftFilter, page: Page
) -> Slice[Drift]:
    """What is not resolved."""
    window = open_window(page)
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


async def count(connection: Connection, hub_id: UUID, filter: DriftFilter) -> int:
    return int(await connection.fetchval(_SQL["count"], hub_id, *_conditions(filter)))


async def resolve(
    connection: Connection, hub_id: UUID, id: UUID, resolution: DriftResolution
) -> None:
    await connection.execute(_SQL["resolve"], hub_id, id, resolution)


async def resolve_of_backup(
    connection: Connection, hub_id: UUID, backup_id: UUID, resolution: DriftResolution
) -> None:
    """What is wrong with a backup's object, not with its manifest."""
    await connection.execute(_SQL["resolve_of_backup"], hub_id, backup_id, resolution)


async def resolve_of_integration(
    connection: Connection, hub_id: UUID, integration_id: UUID, resolution: DriftResolution
) -> None:
    """Of an integration that goes."""
    await connection.execute(_SQL["resolve_of_integration"], hub_id, integration_id, resolution)


async def is_recorded(connection: Connection, drift: Drift, object_name: str) -> bool:
    """Whether a record accounts for the version, or may come to."""
    return bool(
        await connection.fetchval(
            _SQL["is_recorded"], drift.hub_id, drift.integration_id, object_name, drift.file_id
        )
    )


async def has_other_objects(connection: Connection, drift: Drift) -> bool:
    """Whether something else of the orphan's name is left that a manifest may belong to."""
    return bool(
        await connection.fetchval(
            _SQL["other_objects"], drift.hub_id, drift.integration_id, drift.name, drift.id
        )
    )


async def manifests_of(
    connection: Connection, drift: Drift, manifest: str
) -> list[tuple[UUID, str]]:
    """Ids and file ids of the orphaned manifests of this name."""
    rows = await connection.fetch(
        _SQL["manifests_of"], drift.hub_id, drift.integration_id, manifest
    )
    return [(row["id"], row["file_id"]) for row in rows]


async def reclaim(
    connection: Connection, drift: Drift, *, kind: str, name: str, file_id: str
) -> None:
    """Promise to remove exactly this version (OBJECT) or unfinished upload (UPLOAD)."""
    await connection.execute(
        _SQL["reclaim"], drift.hub_id, drift.integration_id, kind, name, file_id
    )


async def request_adoption(
    connection: Connection, drift: Drift, *, container_id: UUID | None, hostname: str | None
) -> None:
    await connection.execute(
        _SQL["request_adoption"], drift.hub_id, drift.id, container_id, hostname
    )


async def accept_loss(connection: Connection, hub_id: UUID, backup_id: UUID) -> bool:
    """False: the backup is not LIVE with its object MISSING."""
    return await connection.fetchval(_SQL["accept_loss"], hub_id, backup_id) is not None


def _conditions(filter: DriftFilter) -> tuple[Any, ...]:
    return filter.integration_id, None if filter.kinds is None else list(filter.kinds)


def _read(row: asyncpg.Record) -> Drift:
    error = None
    if row["error_code"] is not None:
        error = RunError(code=row["error_code"], message=row["error_message"])
    return Drift(
        id=row["id"],
        hub_id=row["hub_id"],
        integration_id=row["integration_id"],
        kind=DriftKind(row["kind"]),
        detail=DriftDetail(row["detail"]),
        name=row["name"],
        file_id=row["file_id"],
        size_bytes=row["size_bytes"],
        uploaded_at=row["uploaded_at"],
        backup_id=row["backup_id"],
        created_at=row["created_at"],
        resolved_at=row["resolved_at"],
        resolution=None if row["resolution"] is None else DriftResolution(row["resolution"]),
        adopting=row["adopting"],
        bytes_read=row["bytes_read"],
        error=error,
    )
