"""Statements about retention: what decides of backups, and when a container is looked at."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from app.model.backups import BackupTrigger, StorageStatus
from app.model.retention import Candidate
from app.model.verifications import CONCLUSIVE
from app.postgres.pool import Connection
from app.postgres.statements import load

_SQL = load("retention")
_WORKERS_SQL = load("workers_retention")


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """All LIVE backups of some containers, as they were at a moment."""

    by_container: dict[UUID, list[Candidate]]
    now: datetime | None
    """The database's time; None: there is no such backup."""


async def candidates(
    connection: Connection, hub_id: UUID, container_ids: Collection[UUID]
) -> Candidates:
    rows = await connection.fetch(
        _SQL["candidates"], hub_id, list(container_ids), sorted(CONCLUSIVE)
    )
    found: dict[UUID, list[Candidate]] = {id: [] for id in container_ids}
    for row in rows:
        found[row["container_id"]].append(
            Candidate(
                id=row["id"],
                container_id=row["container_id"],
                hostname=row["instance_hostname"],
                trigger=BackupTrigger(row["trigger"]),
                created_at=row["created_at"],
                live_at=row["live_at"],
                pinned=row["pinned"],
                storage_status=StorageStatus(row["storage_status"]),
                verification_failed=row["verification_failed"],
                in_doubt=row["in_doubt"],
                is_read=row["is_read"],
            )
        )
    return Candidates(by_container=found, now=rows[0]["now"] if rows else None)


async def take_due(
    connection: Connection, limit: int, again_in: timedelta
) -> list[tuple[UUID, UUID]]:
    """Hub and id of containers whose rule is due and that nobody else takes at this moment."""
    rows = await connection.fetch(_WORKERS_SQL["take_due"], limit, again_in)
    return [(row["hub_id"], row["container_id"]) for row in rows]


async def put_off(
    connection: Connection, hub_id: UUID, container_id: UUID, again_in: timedelta
) -> None:
    await connection.execute(_WORKERS_SQL["put_off"], hub_id, container_id, again_in)


async def put_off_bucket(connection: Connection, integration_id: UUID, again_in: timedelta) -> None:
    await connection.execute(_WORKERS_SQL["put_off_bucket"], integration_id, again_in)


async def buckets(connection: Connection, hub_id: UUID, ids: Collection[UUID]) -> dict[UUID, UUID]:
    """The integrations in whose buckets these backups are."""
    rows = await connection.fetch(_SQL["buckets"], hub_id, list(ids))
    return {row["id"]: row["integration_id"] for row in rows}


async def look_again(
    connection: Connection, hub_id: UUID, container_id: UUID, at: datetime | None
) -> None:
    """At that time, and within about a day anyway."""
    await connection.execute(_SQL["look_again"], hub_id, container_id, at)
