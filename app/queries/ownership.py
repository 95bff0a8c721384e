"""Statements about owner objects."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from app.postgres.pool import Connection
from app.postgres.statements import load

_QUERIES = load("ownership")
_WORKERS = load("workers_ownership")
MARKS_KEPT = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedOwner:
    """What is known of an integration's owner object."""

    hub_id: UUID
    generation: int
    marks: tuple[UUID, ...]
    stopped_because: str | None
    """None: nothing is known against it."""
    waits: bool
    """It was found to be another's a short while ago."""
    is_taken: bool
    """A worker has its turn now."""
    is_claimed: bool
    is_elsewhere: bool
    """This database is not the one that held the place: a copy, or it was moved."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """Since when nothing is deleted by itself in an integration's bucket, and why."""

    stopped_at: datetime
    because: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedIntegration:
    id: UUID
    hub_id: UUID
    name: str
    hub_name: str


async def add(connection: Connection, hub_id: UUID, integration_id: UUID) -> None:
    await connection.execute(_WORKERS["add"], integration_id, hub_id)


async def take_due(connection: Connection, limit: int) -> list[UUID]:
    rows = await connection.fetch(_WORKERS["take_due"], limit)
    return [row["integration_id"] for row in rows]


async def lock(connection: Connection, integration_id: UUID) -> LockedOwner | None:
    row = await connection.fetchrow(_WORKERS["lock"], integration_id)
    if row is None:
        return None
    return LockedOwner(
        hub_id=row["hub_id"],
        generation=row["generation"],
        marks=tuple(row["marks"]),
        stopped_because=row["stopped_because"],
        waits=row["waits"],
        is_taken=row["taken"],
        is_claimed=row["claimed"],
        is_elsewhere=row["elsewhere"],
    )


async def begin_turn(
    connection: Connection, integration_id: UUID, token: UUID, within: timedelta
) -> None:
    await connection.execute(_WORKERS["begin_turn"], integration_id, token, within)


async def renew_turn(
    connection: Connection, integration_id: UUID, token: UUID, within: timedelta
) -> bool:
    """False: the turn is over."""
    row = await connection.fetchrow(_WORKERS["renew_turn"], integration_id, token, within)
    return row is not None


async def issue(connection: Connection, integration_id: UUID, token: UUID, mark: UUID) -> bool:
    """Know a mark before it is in the bucket. False: the turn is over."""
    row = await connection.fetchrow(_WORKERS["issue"], integration_id, token, mark, MARKS_KEPT)
    return row is not None


async def confirm(
    connection: Connection,
    integration_id: UUID,
    token: UUID,
    generation: int,
    again_in: timedelta,
) -> bool:
    """False: the turn is over."""
    row = await connection.fetchrow(
        _WORKERS["confirm"], integration_id, token, generation, again_in
    )
    return row is not None


async def stop(
    connection: Connection,
    integration_id: UUID,
    token: UUID | None,
    again_in: timedelta,
    because: str,
) -> bool:
    """False: the turn is over, and what it found may be so, too."""
    row = await connection.fetchrow(_WORKERS["stop"], integration_id, token, again_in, because)
    return row is not None


async def end_turn(connection: Connection, integration_id: UUID, token: UUID) -> None:
    await connection.execute(_WORKERS["end_turn"], integration_id, token)


async def wake_reclaims(connection: Connection, integration_id: UUID) -> None:
    """What waited for the place to be ours is due at once."""
    await connection.execute(_WORKERS["wake_reclaims"], integration_id)


async def claim(connection: Connection, hub_id: UUID, integration_id: UUID) -> None:
    await connection.execute(_QUERIES["claim"], hub_id, integration_id)


async def look(connection: Connection, hub_id: UUID, ids: Collection[UUID]) -> dict[UUID, Stop]:
    """Those of the integrations whose place is not this database's."""
    rows = await connection.fetch(_QUERIES["look"], hub_id, list(ids))
    return {
        row["integration_id"]: Stop(stopped_at=row["stopped_at"], because=row["stopped_because"])
        for row in rows
    }


async def find(connection: Connection, id: UUID | None, name: str) -> list[NamedIntegration]:
    """For the operator: integrations by id or name."""
    rows = await connection.fetch(_WORKERS["find"], id, name)
    return [
        NamedIntegration(
            id=row["id"], hub_id=row["hub_id"], name=row["name"], hub_name=row["hub_name"]
        )
        for row in rows
    ]


async def stopped(connection: Connection, limit: int) -> list[tuple[UUID, UUID]]:
    """For the operator: hub and id of integrations whose place is not this database's."""
    rows = await connection.fetch(_WORKERS["stopped"], limit)
    return [(row["hub_id"], row["integration_id"]) for row in rows]
