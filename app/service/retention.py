"""Retention: what becomes of a container's backups, shown to people and carried out by workers."""

from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID
from zoneinfo import ZoneInfo

from app.model.containers import ContainerState
from app.model.policies import BackupPolicy, NewPolicy
from app.model.retention import (
    Candidate,
    RetentionCode,
    RetentionRule,
    Verdict,
    find_last_good,
    plan,
)
from app.model.runs import Requester
from app.postgres.listen import Wake, notify
from app.postgres.pool import Connection, Database
from app.queries import containers, policies, retention, runs
from app.service.topics import list_of

BATCH: Final = 100
"""How many backups of one container go in one transaction."""
CONTAINERS_AT_ONCE: Final = 10
SHORTEST_PAUSE: Final = timedelta(minutes=10)
"""Between two looks at a container of which nothing was left to do."""
GATEWAY: Final = Requester(kind="GATEWAY", id=None, name="retention")


def rule_of(policy: BackupPolicy | NewPolicy | None) -> RetentionRule | RetentionCode:
    """The rule of a policy, or why there is none that takes anything."""
    if policy is None:
        return RetentionCode.NO_POLICY
    if not policy.enabled:
        return RetentionCode.POLICY_OFF
    return RetentionRule(retention=policy.retention, zone=ZoneInfo(policy.time_zone))


async def plans(
    connection: Connection,
    hub_id: UUID,
    container_ids: Collection[UUID],
    given: NewPolicy | None = None,
) -> dict[UUID, dict[UUID, tuple[Candidate, Verdict]]]:
    """What becomes of each LIVE backup of these containers, by their ids, the newest first.

    By their policies, or by the one that is given. Changes nothing.
    """
    known = {} if given else await policies.by_containers(connection, hub_id, container_ids)
    found = await retention.candidates(connection, hub_id, container_ids)
    planned: dict[UUID, dict[UUID, tuple[Candidate, Verdict]]] = {}
    for container_id, backups in found.by_container.items():
        verdicts = _plan(backups, given or known.get(container_id), found.now)
        planned[container_id] = {backup.id: (backup, verdicts[backup.id]) for backup in backups}
    return planned


async def take_due(database: Database, *, again_in: timedelta) -> list[tuple[UUID, UUID]]:
    """Hub and id of containers whose rule is to be carried out now.

    Others do not take them before `again_in` has passed, unless that is over before.
    """
    async with database.transaction(None) as connection:
        return await retention.take_due(connection, CONTAINERS_AT_ONCE, again_in)


async def put_off(
    database: Database, hub_id: UUID, container_id: UUID, *, again_in: timedelta
) -> None:
    """Its rule could not be carried out; it is looked at again after that time."""
    async with database.transaction(None) as connection:
        await retention.put_off(connection, hub_id, container_id, again_in)


async def put_off_bucket(database: Database, integration_id: UUID) -> None:
    """A bucket is not this database's, or cannot be asked: what is due there waits for a while."""
    async with database.transaction(None) as connection:
        await retention.put_off_bucket(connection, integration_id, SHORTEST_PAUSE)


async def find_buckets(database: Database, hub_id: UUID, container_id: UUID) -> frozenset[UUID]:
    """The integrations that hold what the rule of a container takes now."""
    async with database.connection(None) as connection:
        found = await policies.by_containers(connection, hub_id, [container_id])
        planned, _ = await _read_plan(connection, hub_id, container_id, found.get(container_id))
        doomed = [backup.id for backup, verdict in planned if not verdict.keep]
        buckets = await retention.buckets(connection, hub_id, doomed) if doomed else {}
        return frozenset(buckets.values())


async def carry_out(
    database: Database, hub_id: UUID, container_id: UUID, *, is_ours: Callable[[UUID], bool]
) -> int:
    """Remove what the rule of a container takes, up to a batch; returns how many backups went.

    `is_ours`: whether the bucket of an integration is this database's; what is in others stays.
    What goes is planned, locked, and planned again: what was pinned, is read, or became the last
    good one meanwhile stays. The container is looked at again at once where more may be left.
    """
    async with database.transaction(None) as connection:
        # One at a time counts what is left in a container; its policy does not change meanwhile.
        container = await containers.lock(connection, hub_id, container_id)
        if container is None or container.state is not ContainerState.LIVE:
            await retention.look_again(connection, hub_id, container_id, None)
            return 0
        found = await policies.by_containers(connection, hub_id, [container_id])
        policy = found.get(container_id)
        planned, now = await _read_plan(connection, hub_id, container_id, policy)
        expired = [backup.id for backup, verdict in planned if not verdict.keep]
        buckets = await retention.buckets(connection, hub_id, expired) if expired else {}
        ours = [id for id in expired if is_ours(buckets[id])]
        gone: dict[UUID, tuple[str, str]] = {}
        if ours:
            doomed = set(ours[-BATCH:])
            backups = [backup for backup, _ in planned]
            held = doomed | set(find_last_good(backups).values())
            await runs.lock_backups(connection, hub_id, sorted(held))
            planned, now = await _read_plan(connection, hub_id, container_id, policy)
            # Others may have held the locks for long.
            gone = _find_gone(planned, {id for id in doomed if is_ours(buckets[id])})
            await _remove(connection, hub_id, container_id, gone)
        at = _next_look(planned, now, is_more_left=len(gone) == BATCH)
        if now is not None and not all(map(is_ours, buckets.values())):
            at = min(at or now + SHORTEST_PAUSE, now + SHORTEST_PAUSE)
        await retention.look_again(connection, hub_id, container_id, at)
        return len(gone)


def _plan(
    backups: list[Candidate], policy: BackupPolicy | NewPolicy | None, now: datetime | None
) -> dict[UUID, Verdict]:
    return plan(backups, rule_of(policy), now) if now is not None else {}


async def _read_plan(
    connection: Connection, hub_id: UUID, container_id: UUID, policy: BackupPolicy | None
) -> tuple[list[tuple[Candidate, Verdict]], datetime | None]:
    found = await retention.candidates(connection, hub_id, [container_id])
    backups = found.by_container[container_id]
    verdicts = _plan(backups, policy, found.now)
    return [(backup, verdicts[backup.id]) for backup in backups], found.now


def _find_gone(
    planned: list[tuple[Candidate, Verdict]], locked: Collection[UUID]
) -> dict[UUID, tuple[str, str]]:
    return {
        backup.id: (verdict.code, verdict.reason)
        for backup, verdict in planned
        if backup.id in locked and not verdict.keep
    }


async def _remove(
    connection: Connection,
    hub_id: UUID,
    container_id: UUID,
    reasons: Mapping[UUID, tuple[str, str]],
) -> None:
    await runs.retire_backups(connection, hub_id, reasons)
    await runs.record_deleter(connection, hub_id, list(reasons), GATEWAY)
    topics: list[str | Wake] = []
    for id in reasons:
        topics += [f"run:{id}", list_of(container_id, id)]
    await notify(connection, [*topics, "duty:reclaims"])


def _next_look(
    planned: list[tuple[Candidate, Verdict]], now: datetime | None, *, is_more_left: bool
) -> datetime | None:
    """When the next backup goes, if nothing else changes; None: none does."""
    if now is None or is_more_left:
        return now
    times = [verdict.expires_at for _, verdict in planned if verdict.keep and verdict.expires_at]
    return max(min(times), now + SHORTEST_PAUSE) if times else None
