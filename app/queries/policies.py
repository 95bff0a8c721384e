"""Statements about backup policies."""

from collections.abc import Collection
from uuid import UUID

import asyncpg

from app.model.policies import BackupPolicy, NewPolicy
from app.model.retention import Retention
from app.model.schedules import InstanceSelection, Schedule
from app.model.sources import Sources
from app.model.verifications import VerificationLevel, VerificationPlan
from app.postgres.pool import Connection
from app.postgres.statements import load
from app.queries.sources import read_sources

_QUERIES = load("policies")


async def by_containers(
    connection: Connection, hub_id: UUID, container_ids: Collection[UUID]
) -> dict[UUID, BackupPolicy]:
    """The policies of those containers that have one."""
    rows = await connection.fetch(_QUERIES["by_containers"], hub_id, list(container_ids))
    return {row["container_id"]: _read(row) for row in rows}


async def put(
    connection: Connection, hub_id: UUID, container_id: UUID, new: NewPolicy, sources: Sources
) -> BackupPolicy:
    """Replace the whole policy; without sources it is the API's."""
    retention, plan = new.retention, new.verification
    row = await connection.fetchrow(
        _QUERIES["put"],
        hub_id,
        container_id,
        new.integration_id,
        new.backup_command,
        new.backup_timeout,
        new.min_bytes,
        new.restore_command,
        new.restore_timeout,
        new.restore_check,
        new.restore_safety_backup,
        new.enabled,
        new.cron,
        new.time_zone,
        new.instances,
        new.overdue_after,
        retention.max_age,
        retention.keep_last,
        retention.keep_hourly,
        retention.keep_daily,
        retention.keep_weekly,
        retention.keep_monthly,
        retention.keep_yearly,
        retention.pre_restore_max_age,
        plan and plan.level,
        plan and plan.every,
        plan is not None and plan.after_each,
        plan and plan.check,
        dict(sources),
    )
    assert row is not None
    return _read(row)


async def remove(connection: Connection, hub_id: UUID, container_id: UUID) -> None:
    await connection.execute(_QUERIES["remove"], hub_id, container_id)


def _read(row: asyncpg.Record) -> BackupPolicy:
    return BackupPolicy(
        container_id=row["container_id"],
        hub_id=row["hub_id"],
        integration_id=row["integration_id"],
        backup_command=row["backup_command"],
        backup_timeout=row["backup_timeout"],
        min_bytes=row["min_bytes"],
        restore_command=row["restore_command"],
        restore_timeout=row["restore_timeout"],
        restore_check=row["restore_check"],
        restore_safety_backup=row["restore_safety_backup"],
        enabled=row["enabled"],
        schedule=read_schedule(row),
        time_zone=row["time_zone"],
        instances=InstanceSelection(row["instances"]),
        overdue_after=row["overdue_after"],
        retention=Retention(
            max_age=row["max_age"],
            keep_last=row["keep_last"],
            keep_hourly=row["keep_hourly"],
            keep_daily=row["keep_daily"],
            keep_weekly=row["keep_weekly"],
            keep_monthly=row["keep_monthly"],
            keep_yearly=row["keep_yearly"],
            pre_restore_max_age=row["pre_restore_max_age"],
        ),
        verification=_read_plan(row),
        updated_at=row["updated_at"],
        sources=read_sources(row),
    )


def read_schedule(row: asyncpg.Record) -> Schedule | None:
    """The schedule that a row of a policy says."""
    if row["cron"] is None:
        return None
    return Schedule(cron=row["cron"], time_zone=row["time_zone"])


def _read_plan(row: asyncpg.Record) -> VerificationPlan | None:
    if row["verification_level"] is None:
        return None
    return VerificationPlan(
        level=VerificationLevel(row["verification_level"]),
        every=row["verification_every"],
        after_each=row["verification_after_each"],
        check=row["verification_check"],
    )
