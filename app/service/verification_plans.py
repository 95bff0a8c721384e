"""Verification plans: what policies want verified by themselves is queued when it is due."""

from datetime import timedelta
from typing import Final
from uuid import UUID

from app.errors import Conflict, UserError
from app.model.events import EventKind, NewEvent
from app.model.policies import BackupPolicy
from app.model.runs import Requester
from app.model.steps import PassStep, Step, pass_step
from app.model.verifications import choose_due, levels_from
from app.postgres.pool import Connection, Database
from app.queries import policies, verification_plans
from app.service.events import record_event
from app.service.verifications import queue_verification

MOST_CANDIDATES: Final = 200
BUSY_FOR: Final = timedelta(minutes=1)
START_WITHIN: Final = timedelta(hours=24)
SCHEDULE: Final = Requester(kind="SCHEDULE", id=None, name="the verification plan")


async def queue_due(database: Database, limit: int, step: PassStep = pass_step) -> int:
    """Look at the plans that are due and queue what they want; returns how many were due."""
    async with database.transaction(None) as connection:
        due = await verification_plans.take_due(connection, limit)
    if due:
        await step(Step.PLAN_TAKEN)
    for hub_id, container_id in due:
        await _look(database, hub_id, container_id, step)
    return len(due)


async def _look(database: Database, hub_id: UUID, container_id: UUID, step: PassStep) -> None:
    async with database.connection(None) as connection:
        policy = (await policies.by_containers(connection, hub_id, [container_id])).get(
            container_id
        )
        if policy is None or policy.verification is None:
            return
        found, now = await verification_plans.candidates(
            connection,
            hub_id,
            container_id,
            levels_from(policy.verification.level),
            limit=MOST_CANDIDATES,
        )
    if now is None:
        # The first backup wakes those that verify each; the others are looked at in their turn.
        return
    chosen, again_at = choose_due(policy.verification, found, since=policy.updated_at, now=now)
    for backup_id in chosen:
        refusal = await _queue(database, policy, backup_id)
        if isinstance(refusal, Conflict):
            again_at = min(again_at, now + BUSY_FOR)
            break
        if refusal is None:
            await step(Step.PLAN_QUEUED)
        else:
            await _tell(database, policy, backup_id, refusal)
    async with database.transaction(None) as connection:
        await verification_plans.look_at(connection, container_id, again_at)


async def _queue(database: Database, policy: BackupPolicy, backup_id: UUID) -> UserError | None:
    """Queue one verification in a transaction of its own; returns why that was not possible."""
    assert policy.verification is not None
    try:
        async with database.transaction(None) as connection:
            await queue_verification(
                connection,
                policy.hub_id,
                backup_id=backup_id,
                level=policy.verification.level,
                start_within=START_WITHIN,
                requested_by=SCHEDULE,
            )
    except UserError as refusal:
        return refusal
    return None


async def _tell(
    database: Database, policy: BackupPolicy, backup_id: UUID, refusal: UserError
) -> None:
    """A verification that could not even be queued is told of; it says nothing of the backup."""
    async with database.transaction(None) as connection:
        await _record(connection, policy, backup_id, refusal)


async def _record(
    connection: Connection, policy: BackupPolicy, backup_id: UUID, refusal: UserError
) -> None:
    event = NewEvent(
        kind=EventKind.VERIFICATION_FAILED,
        message=f"A planned verification could not begin: {refusal.message}",
        container_id=policy.container_id,
        backup_id=backup_id,
        data={"code": refusal.reason},
    )
    await record_event(connection, policy.hub_id, event)
