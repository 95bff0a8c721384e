"""Statements of sweeps, which look after the runs, containers and instances of every hub."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from app.model.orders import WaitingRun
from app.postgres.pool import Connection
from app.postgres.statements import load

_SQL = load("workers_sweeps")


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """What a lost owner may have left running in an instance."""

    instance_id: UUID
    hub_id: UUID
    leftover: dict[str, Any]


async def next_in_turn(
    connection: Connection,
    place: str,
    *,
    after: UUID,
    full: Collection[UUID],
    taken: Collection[UUID],
) -> WaitingRun | None:
    row = await connection.fetchrow(_SQL["next_in_turn"], place, after, list(full), list(taken))
    return None if row is None else WaitingRun(id=row["id"], hub_id=row["hub_id"])


async def unstarted(connection: Connection, limit: int) -> list[UUID]:
    rows = await connection.fetch(_SQL["unstarted"], limit)
    return [row["id"] for row in rows]


async def canceled_waiting(connection: Connection, limit: int) -> list[UUID]:
    rows = await connection.fetch(_SQL["canceled_waiting"], limit)
    return [row["id"] for row in rows]


async def past_deadline(connection: Connection, margin: timedelta, limit: int) -> list[UUID]:
    rows = await connection.fetch(_SQL["past_deadline"], margin, limit)
    return [row["id"] for row in rows]


async def owner_lost(connection: Connection, after: timedelta, limit: int) -> list[UUID]:
    rows = await connection.fetch(_SQL["owner_lost"], after, limit)
    return [row["id"] for row in rows]


async def is_still_lost(connection: Connection, run_id: UUID, after: timedelta) -> bool:
    """Whether nobody has renewed or taken the lease since the run was found."""
    return bool(await connection.fetchval(_SQL["is_still_lost"], run_id, after))


async def leave_unreachable(connection: Connection, instance_id: UUID) -> None:
    await connection.execute(_SQL["leave_unreachable"], instance_id)


async def left(connection: Connection, places: Collection[str], limit: int) -> list[Left]:
    rows = await connection.fetch(_SQL["left"], list(places), limit)
    return [
        Left(instance_id=row["instance_id"], hub_id=row["hub_id"], leftover=row["leftover"])
        for row in rows
    ]


async def lock_left(connection: Connection, instance_id: UUID) -> dict[str, Any] | None:
    """What is recorded as left in an instance that no run has; nobody changes it meanwhile."""
    leftover: dict[str, Any] | None = await connection.fetchval(_SQL["lock_left"], instance_id)
    return leftover


async def forget_left(connection: Connection, instance_id: UUID) -> None:
    await connection.execute(_SQL["forget_left"], instance_id)


async def reach_again(connection: Connection, instance_id: UUID) -> None:
    await connection.execute(_SQL["reach_again"], instance_id)


async def ending_containers(
    connection: Connection, grace: timedelta, limit: int
) -> list[tuple[UUID, UUID]]:
    """Hub and id of containers that may be gone by now."""
    rows = await connection.fetch(_SQL["ending_containers"], grace, limit)
    return [(row["hub_id"], row["id"]) for row in rows]


async def end_container(connection: Connection, id: UUID) -> bool:
    """False: something of it is still going or still stored."""
    ended = await connection.fetchval(_SQL["end_container"], id)
    if ended is None:
        return False
    await connection.execute(_SQL["remove_instances"], id)
    return True


async def end_instances(connection: Connection) -> int:
    return len(await connection.fetch(_SQL["end_instances"]))


async def prune_records(connection: Connection, keep: timedelta, limit: int) -> int:
    """Drop up to `limit` restores, verifications and backups each, with their logs; backups last.

    Returns how many records went.
    """
    restores = await connection.fetch(_SQL["prune_restores"], keep, limit)
    verifications = await connection.fetch(_SQL["prune_verifications"], keep, limit)
    await connection.execute(_SQL["prune_restores_of"], [row["id"] for row in verifications])
    backups = await connection.fetch(_SQL["prune_backups"], keep, limit)
    ids = [row["id"] for row in (*restores, *verifications, *backups)]
    await connection.execute(_SQL["prune_logs"], ids)
    await connection.execute(_SQL["prune_runs"], ids)
    return len(ids)


async def prune_reclaims(connection: Connection, keep: timedelta) -> None:
    await connection.execute(_SQL["prune_reclaims"], keep)


async def prune_events(connection: Connection, keep: timedelta, limit: int) -> int:
    """Drop up to `limit` events that are older. Returns how many went."""
    return len(await connection.fetch(_SQL["prune_events"], keep, limit))
