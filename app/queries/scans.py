"""Statements about scans, the walks over buckets."""

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg

from app.model.runs import RunError
from app.model.scans import FIRST_PHASES, Scan, ScanCounts, ScanKind, ScanPhase, ScanStep
from app.postgres.pool import Connection
from app.postgres.statements import load

_SQL = load("scans")
_WORKERS = load("workers_scans")


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenScan:
    """A scan whose next step was handed to this caller."""

    hub_id: UUID
    integration_id: UUID
    kind: ScanKind
    number: int
    epoch: int
    phase: ScanPhase
    cursor: str | None
    counts: ScanCounts
    believed: bool
    started_at: datetime
    former_hub_id: UUID | None


async def by_integrations(
    connection: Connection, hub_id: UUID, ids: Collection[UUID], kind: ScanKind
) -> dict[UUID, Scan]:
    """The scans of one kind, by the ids of their integrations."""
    rows = await connection.fetch(_SQL["by_integrations"], hub_id, list(ids))
    return {row["integration_id"]: _read(row) for row in rows if row["kind"] == kind}


async def add(connection: Connection, hub_id: UUID, integration_id: UUID) -> None:
    """A new integration is reconciled daily from now on."""
    await connection.execute(_SQL["add"], hub_id, integration_id)


async def request(
    connection: Connection,
    hub_id: UUID,
    integration_id: UUID,
    kind: ScanKind,
    *,
    believed: bool = False,
    former_hub_id: UUID | None = None,
) -> None:
    """To be begun at once; one that is under way goes on."""
    await connection.execute(_SQL["request"], hub_id, integration_id, kind, believed, former_hub_id)


async def take_due(
    connection: Connection, kind: ScanKind, limit: int, lease: timedelta
) -> list[TakenScan]:
    """For workers: scans of which a step is due; one that is not under way begins."""
    rows = await connection.fetch(_WORKERS["take_due"], kind, limit, lease, FIRST_PHASES[kind])
    return [
        TakenScan(
            hub_id=row["hub_id"],
            integration_id=row["integration_id"],
            kind=ScanKind(row["kind"]),
            number=row["number"],
            epoch=row["epoch"],
            phase=ScanPhase(row["phase"]),
            cursor=row["cursor"],
            counts=read_counts(row["counts"]),
            believed=row["believed"],
            started_at=row["started_at"],
            former_hub_id=row["former_hub_id"],
        )
        for row in rows
    ]


async def fence(connection: Connection, step: ScanStep) -> bool:
    """For workers: False where another worker has taken the scan."""
    return bool(
        await connection.fetchval(_WORKERS["fence"], step.integration_id, step.kind, step.epoch)
    )


async def advance(
    connection: Connection,
    step: ScanStep,
    *,
    phase: ScanPhase,
    cursor: str | None,
    counts: ScanCounts,
    former_hub_id: UUID | None = None,
) -> None:
    """For workers: the step is done, and what comes next is due."""
    await connection.execute(
        _WORKERS["advance"],
        step.integration_id,
        step.kind,
        phase,
        cursor,
        asdict(counts),
        former_hub_id,
    )


async def renew(connection: Connection, step: ScanStep, lease: timedelta) -> bool:
    """For workers: go on with a step. False: another worker has it, or may have it by now."""
    row = await connection.fetchrow(
        _WORKERS["renew"], step.integration_id, step.kind, step.epoch, lease
    )
    return row is not None


async def put_off(
    connection: Connection, step: ScanStep | TakenScan, error: RunError, after: timedelta
) -> None:
    """For workers: the same step again, later; nothing where another worker has taken it."""
    await connection.execute(
        _WORKERS["put_off"],
        step.integration_id,
        step.kind,
        step.epoch,
        error.code,
        error.message,
        after,
    )


async def end(
    connection: Connection,
    step: ScanStep,
    counts: ScanCounts,
    *,
    error: RunError | None = None,
    again_in: timedelta | None,
    forget_hub: bool = False,
) -> None:
    """For workers: it came to its end, or `error` says why not."""
    await connection.execute(
        _WORKERS["end"],
        step.integration_id,
        step.kind,
        asdict(counts),
        again_in,
        error is None,
        None if error is None else error.code,
        None if error is None else error.message,
        forget_hub,
    )


async def reconcile_now(connection: Connection, integration_id: UUID) -> None:
    """For workers: what was changed in the bucket or the records is compared at once."""
    await connection.execute(_WORKERS["request"], integration_id)


async def other_hubs(
    connection: Connection, ids: Collection[UUID], hub_id: UUID
) -> frozenset[UUID]:
    """For workers: which of these are hubs of this database, beside the one."""
    rows = await connection.fetch(_WORKERS["other_hubs"], list(ids), hub_id)
    return frozenset(row["id"] for row in rows)


def read_counts(stored: Mapping[str, Any]) -> ScanCounts:
    """The counts as they were stored; those that this program does not know are left out."""
    known = ScanCounts.__dataclass_fields__
    return ScanCounts(**{name: value for name, value in stored.items() if name in known})


def _read(row: asyncpg.Record) -> Scan:
    error = None
    if row["error_code"] is not None:
        error = RunError(code=row["error_code"], message=row["error_message"])
    return Scan(
        integration_id=row["integration_id"],
        kind=ScanKind(row["kind"]),
        phase=None if row["phase"] is None else ScanPhase(row["phase"]),
        is_due=row["is_due"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        counts=read_counts(row["counts"]),
        last_counts=None if row["last_counts"] is None else read_counts(row["last_counts"]),
        error=error,
    )
