"""Statements about schedules, and of the tick that makes the runs that are due in every hub."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from app.model.backups import BackupState
from app.model.containers import InstanceState
from app.model.integrations import IntegrationState
from app.model.runs import RunError, RunKind
from app.model.schedules import (
    DueSchedule,
    InstanceSelection,
    Outcome,
    Schedule,
    ScheduleState,
    Target,
)
from app.postgres.pool import Connection
from app.postgres.statements import load

_SQL = load("schedules")
_TICK = load("workers_schedules")


@dataclass(frozen=True, slots=True, kw_only=True)
class Overdue:
    """A container whose backup did not come."""

    container_id: UUID
    hub_id: UUID
    identifier: str
    expected_by: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """Where a schedule goes once its time was carried out."""

    container_id: UUID
    due_at: datetime
    next_at: datetime
    expected_by: datetime


async def by_containers(
    connection: Connection, hub_id: UUID, container_ids: Collection[UUID]
) -> dict[UUID, ScheduleState]:
    """Of those containers that have a schedule that is enabled."""
    rows = await connection.fetch(_SQL["by_containers"], hub_id, list(container_ids))
    return {
        row["container_id"]: ScheduleState(
            due_at=row["due_at"], next_at=row["next_at"], overdue_since=row["overdue_since"]
        )
        for row in rows
    }


async def put(
    connection: Connection, hub_id: UUID, container_id: UUID, due_at: datetime, next_at: datetime
) -> None:
    """Make a container's schedule, or set it to another time."""
    await connection.execute(_SQL["put"], hub_id, container_id, due_at, next_at)


async def remove(connection: Connection, hub_id: UUID, container_ids: Collection[UUID]) -> None:
    """Nothing is due any more in these containers."""
    await connection.execute(_SQL["remove"], hub_id, list(container_ids))


async def lock(connection: Connection, hub_id: UUID, container_id: UUID) -> bool:
    """Lock a container's schedule, before any of its runs. False: there is none."""
    return await connection.fetchval(_SQL["lock"], hub_id, container_id) is not None


async def answer(
    connection: Connection,
    hub_id: UUID,
    container_id: UUID,
    asked_at: datetime,
    started_at: datetime,
) -> None:
    """A backup that was asked for and begun then is LIVE now; its schedule is locked."""
    await connection.execute(_SQL["answer"], hub_id, container_id, asked_at, started_at)


async def due(connection: Connection, limit: int) -> list[DueSchedule]:
    """Lock those whose time has come."""
    rows = await connection.fetch(_TICK["due"], limit)
    return [
        DueSchedule(
            container_id=row["container_id"],
            hub_id=row["hub_id"],
            next_at=row["next_at"],
            last_duration=row["last_duration"],
            schedule=Schedule(cron=row["cron"], time_zone=row["time_zone"]),
            instances=InstanceSelection(row["instances"]),
            overdue_after=row["overdue_after"],
            integration_name=row["integration_name"],
            integration_state=IntegrationState(row["integration_state"]),
            now=row["now"],
        )
        for row in rows
    ]


async def targets(
    connection: Connection, container_ids: Collection[UUID]
) -> dict[UUID, list[Target]]:
    """The instances of each container, scratch ones left out, by hostname; they are held."""
    found: dict[UUID, list[Target]] = {id: [] for id in container_ids}
    for row in await connection.fetch(_TICK["instances"], list(container_ids)):
        open_kind = row["open_kind"]
        found[row["container_id"]].append(
            Target(
                instance_id=row["id"],
                hostname=row["hostname"],
                state=InstanceState(row["state"]),
                executor=row["executor"],
                host=row["host"],
                open_kind=None if open_kind is None else RunKind(open_kind),
            )
        )
    return found


async def create_runs(
    connection: Connection, made: Sequence[tuple[Outcome, datetime]]
) -> set[UUID]:
    """Queue the runs of outcomes, each with when it must have begun; returns those that could be.

    In the instances of the others a run was opened meanwhile.
    """
    await connection.execute(
        _TICK["make_leases"], [outcome.target.instance_id for outcome, _ in made if outcome.target]
    )
    rows = await connection.fetch(
        _TICK["create_runs"],
        [outcome.id for outcome, _ in made],
        [outcome.container_id for outcome, _ in made],
        [outcome.instance_id for outcome, _ in made],
        [outcome.place for outcome, _ in made],
        [start_by for _, start_by in made],
    )
    return {row["id"] for row in rows}


async def create_ended_runs(
    connection: Connection, made: Sequence[tuple[Outcome, RunError]]
) -> None:
    await connection.execute(
        _TICK["create_ended_runs"],
        [outcome.id for outcome, _ in made],
        [outcome.container_id for outcome, _ in made],
        [outcome.instance_id for outcome, _ in made],
        [outcome.place for outcome, _ in made],
        [error.code for _, error in made],
        [error.message for _, error in made],
    )


async def create_backups(
    connection: Connection, made: Sequence[tuple[Outcome, BackupState]]
) -> None:
    """The records of runs that were made before."""
    await connection.execute(
        _TICK["create_backups"],
        [outcome.id for outcome, _ in made],
        [outcome.container_id for outcome, _ in made],
        [outcome.instance_id for outcome, _ in made],
        [outcome.hostname for outcome, _ in made],
        [state for _, state in made],
    )


async def move_on(connection: Connection, moves: Sequence[Move]) -> None:
    await connection.execute(
        _TICK["move_on"],
        [move.container_id for move in moves],
        [move.due_at for move in moves],
        [move.next_at for move in moves],
        [move.expected_by for move in moves],
    )


async def overdue(connection: Connection, limit: int) -> list[Overdue]:
    """Lock those that nobody was told of."""
    rows = await connection.fetch(_TICK["overdue"], limit)
    return [
        Overdue(
            container_id=row["container_id"],
            hub_id=row["hub_id"],
            identifier=row["identifier"],
            expected_by=row["expected_by"],
        )
        for row in rows
    ]


async def tell_overdue(connection: Connection, container_ids: Collection[UUID]) -> None:
    await connection.execute(_TICK["tell_overdue"], list(container_ids))
