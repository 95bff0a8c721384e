"""Schedules: set with their policy, carried out by a tick, missed when no backup came."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID, uuid4

from app.errors import GatewayError, PreviousRunGoing
from app.model.backups import BackupState
from app.model.events import EventKind, NewEvent
from app.model.policies import BackupPolicy
from app.model.runs import RunError
from app.model.schedules import (
    MOST_JITTER,
    DueSchedule,
    Outcome,
    Schedule,
    due_after,
    grace,
    jitter,
    plan_due,
)
from app.model.steps import PassStep, Step, pass_step
from app.postgres.listen import Wake, notify
from app.postgres.pool import Connection, Database
from app.postgres.queue import enqueue_all
from app.queries import containers, policies, schedules
from app.queries.schedules import Move
from app.service.events import record_event
from app.service.topics import list_of

BATCH: Final = 200
"""How many due times one transaction carries out."""


async def set_schedule(
    connection: Connection,
    policy: BackupPolicy,
    *,
    before: BackupPolicy | None,
    most_jitter: timedelta = MOST_JITTER,
) -> None:
    """Make, change or end the schedule of a policy that was just set; its container is locked.

    One that says what it said `before` goes on as it is: what is due stays due.
    """
    hub_id, id = policy.hub_id, policy.container_id
    if not policy.enabled or policy.schedule is None:
        await schedules.remove(connection, hub_id, [id])
        return
    if before is not None and before.enabled and before.schedule == policy.schedule:
        return
    due_at, next_at = _next(policy.schedule, id, policy.updated_at, most_jitter)
    await schedules.put(connection, hub_id, id, due_at, next_at)


async def resume_schedule(
    connection: Connection, hub_id: UUID, container_id: UUID, *, most_jitter: timedelta
) -> None:
    """The container, which is locked, is back: what its policy wants is due from now on again."""
    found = await policies.by_containers(connection, hub_id, [container_id])
    policy = found.get(container_id)
    if policy is None or policy.schedule is None or not policy.enabled:
        return
    seen = await containers.look(connection, hub_id, container_id, since=timedelta(0), limit=1)
    assert seen is not None
    due_at, next_at = _next(policy.schedule, container_id, seen[1], most_jitter)
    await schedules.put(connection, hub_id, container_id, due_at, next_at)


async def end_schedule(connection: Connection, hub_id: UUID, container_id: UUID) -> None:
    """Nothing is due any more: the policy goes, or the container does."""
    await schedules.remove(connection, hub_id, [container_id])


async def tick(
    database: Database,
    *,
    start_within: timedelta,
    most_jitter: timedelta = MOST_JITTER,
    limit: int = BATCH,
    step: PassStep = pass_step,
) -> int:
    """Carry out the times that have come, in one transaction; returns how many there were.

    What was missed while nothing ran is caught up by one backup. Any number of workers may do this
    at the same time: each schedule is taken by one of them.
    """
    async with database.transaction(None) as connection:
        found = await schedules.due(connection, limit)
        if not found:
            return 0
        targets = await schedules.targets(connection, [due.container_id for due in found])
        moves = {due.container_id: _move(due, most_jitter) for due in found}
        runs, ended = list[tuple[Outcome, datetime]](), list[tuple[Outcome, GatewayError]]()
        for due in found:
            start_by = min(due.now + start_within, moves[due.container_id].next_at)
            for outcome in plan_due(due, targets[due.container_id], uuid4):
                if outcome.error is None:
                    runs.append((outcome, start_by))
                else:
                    ended.append((outcome, outcome.error))
        queued = await schedules.create_runs(connection, runs)
        ended += [(made, PreviousRunGoing()) for made, _ in runs if made.id not in queued]
        await _record(connection, [made for made, _ in runs if made.id in queued], ended)
        await schedules.move_on(connection, list(moves.values()))
        await step(Step.SCHEDULE_MAKING)
    await step(Step.SCHEDULE_MADE)
    return len(found)


async def tell_overdue(database: Database, limit: int = BATCH) -> int:
    """Tell, once, of containers whose backup did not come in time; returns of how many."""
    async with database.transaction(None) as connection:
        found = await schedules.overdue(connection, limit)
        for late in found:
            await record_event(
                connection,
                late.hub_id,
                NewEvent(
                    kind=EventKind.BACKUP_OVERDUE,
                    message=f"No backup of {late.identifier} came by the time it was expected,"
                    f" {late.expected_by:%Y-%m-%d %H:%M:%S} UTC.",
                    container_id=late.container_id,
                    data={"expectedBy": late.expected_by.isoformat()},
                ),
            )
        await schedules.tell_overdue(connection, [late.container_id for late in found])
        return len(found)


def _next(
    schedule: Schedule, container_id: UUID, now: datetime, most_jitter: timedelta
) -> tuple[datetime, datetime]:
    late = jitter(container_id, most_jitter)
    due_at = due_after(schedule, now - late)
    return due_at, due_at + late


def _move(due: DueSchedule, most_jitter: timedelta) -> Move:
    due_at, next_at = _next(due.schedule, due.container_id, due.now, most_jitter)
    return Move(
        container_id=due.container_id,
        due_at=due_at,
        next_at=next_at,
        expected_by=due.next_at + grace(due.overdue_after, due.last_duration),
    )


async def _record(
    connection: Connection,
    queued: Sequence[Outcome],
    ended: Sequence[tuple[Outcome, GatewayError]],
) -> None:
    """Make the records of runs, say what came of those that cannot be, and wake the workers."""
    await schedules.create_ended_runs(
        connection,
        [(made, RunError(code=error.code, message=error.message)) for made, error in ended],
    )
    await schedules.create_backups(
        connection,
        [(made, BackupState.QUEUED) for made in queued]
        + [(made, _end_state(error)) for made, error in ended],
    )
    for made, error in ended:
        await record_event(connection, made.hub_id, _tell(made, error))
    await enqueue_all(connection, [(made.place, made.id) for made in queued])
    topics: list[str | Wake] = ["duty:runs"] if queued else []
    topics += [
        list_of(made.container_id, made.id) for made in [*queued, *(made for made, _ in ended)]
    ]
    await notify(connection, topics)


def _end_state(error: GatewayError) -> BackupState:
    return BackupState.SKIPPED if isinstance(error, PreviousRunGoing) else BackupState.FAILED


def _tell(made: Outcome, error: GatewayError) -> NewEvent:
    is_skipped = _end_state(error) is BackupState.SKIPPED
    where = f" of {made.hostname}" if made.hostname else ""
    return NewEvent(
        kind=EventKind.BACKUP_SKIPPED if is_skipped else EventKind.BACKUP_FAILED,
        message=f"The scheduled backup{where}"
        f" {'was skipped' if is_skipped else 'could not start'}: {error.message}",
        container_id=made.container_id,
        instance_id=made.instance_id,
        backup_id=made.id,
        data={"code": error.code, "hostname": made.hostname, "trigger": "SCHEDULE"},
    )
