"""Statements of workers about runs that they claim and carry out, in every hub."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg

from app.model.integrations import Realm, SealedAccess
from app.model.orders import Heard, NewLogEntry, RunProgress
from app.model.restores import RestorePhase
from app.model.runs import Run, RunKind
from app.postgres.pool import Connection
from app.postgres.statements import load

_SQL = load("workers_runs")


@dataclass(frozen=True, slots=True, kw_only=True)
class Belonging:
    """Where a run belongs: this never changes, so that it can be read before anything is locked."""

    hub_id: UUID
    container_id: UUID
    instance_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedRun:
    """A run that nobody else changes until the transaction ends."""

    run: Run
    started_epoch: int
    is_due: bool
    is_late: bool
    """Its deadline has passed, or the time by which it should have been started."""

    @property
    def is_started(self) -> bool:
        """Whether this epoch has begun its try."""
        return self.started_epoch == self.run.epoch


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedLease:
    """The lease of an instance; `is_alive`: its owner still counts on it."""

    run_id: UUID | None
    is_alive: bool
    leftover: dict[str, Any] | None


async def find(connection: Connection, run_id: UUID) -> Belonging | None:
    row = await connection.fetchrow(_SQL["find"], run_id)
    if row is None or row["instance_id"] is None:
        return None
    return Belonging(
        hub_id=row["hub_id"], container_id=row["container_id"], instance_id=row["instance_id"]
    )


async def lock(connection: Connection, run_id: UUID) -> LockedRun | None:
    row = await connection.fetchrow(_SQL["lock"], run_id)
    return None if row is None else _locked(row)


async def lock_carried(connection: Connection, run_id: UUID) -> LockedRun | None:
    """The open run that this locked one carries."""
    row = await connection.fetchrow(_SQL["lock_carried"], run_id)
    return None if row is None else _locked(row)


async def lock_if_free(connection: Connection, run_id: UUID) -> LockedRun | None:
    """None also where somebody else has it: a worker that was paused may keep it for long."""
    row = await connection.fetchrow(_SQL["lock_if_free"], run_id)
    return None if row is None else _locked(row)


async def count_going(connection: Connection, hub_id: UUID) -> int:
    """How many runs of a hub are going; nobody else counts them until the transaction ends."""
    await connection.execute(_SQL["lock_hub"], str(hub_id))
    return int(await connection.fetchval(_SQL["count_going"], hub_id))


async def put_off(connection: Connection, run_id: UUID, delay: timedelta) -> None:
    await connection.execute(_SQL["put_off"], run_id, delay)


async def lock_lease(
    connection: Connection, instance_id: UUID | None, run_id: UUID
) -> LockedLease | None:
    """The lease of an instance, or of a run that needs none. None: there was none so far."""
    if instance_id is None:
        row = await connection.fetchrow(_SQL["lock_lease_of_run"], run_id)
    else:
        row = await connection.fetchrow(_SQL["lock_lease"], instance_id)
    if row is None:
        return None
    return LockedLease(run_id=row["run_id"], is_alive=row["alive"], leftover=row["leftover"])


async def keep_leftover(
    connection: Connection, instance_id: UUID, leftover: Mapping[str, Any] | None
) -> None:
    """Keep what must be killed before anything starts in the instance; None: all of it is dead."""
    value = None if leftover is None else dict(leftover)
    await connection.execute(_SQL["keep_leftover"], instance_id, value)


async def claim(connection: Connection, run_id: UUID, owner: str) -> None:
    await connection.execute(_SQL["claim"], run_id, owner)


async def carry(connection: Connection, id: UUID, carrier: Run) -> None:
    """Let a new run that another one carries begin in that one's epoch."""
    await connection.execute(_SQL["carry"], id, carrier.epoch, carrier.owner)


async def record_trace(
    connection: Connection, run_id: UUID, epoch: int, trace: Mapping[str, Any]
) -> bool:
    """False: fenced. So with the next ones."""
    return await _write(connection, "record_trace", run_id, epoch, dict(trace))


async def mark_touched(connection: Connection, run_id: UUID, epoch: int) -> bool:
    return await _write(connection, "mark_touched", run_id, epoch)


async def record_upload(connection: Connection, run_id: UUID, epoch: int, file_id: str) -> bool:
    return await _write(connection, "record_upload", run_id, epoch, file_id)


async def set_phase(connection: Connection, run_id: UUID, epoch: int, phase: RestorePhase) -> bool:
    return await _write(connection, "set_phase", run_id, epoch, phase)


async def count_log(
    connection: Connection, run_id: UUID, epoch: int, *, total_bytes: int, truncated: bool
) -> UUID | None:
    """The run's hub; None: fenced."""
    hub_id: UUID | None = await connection.fetchval(
        _SQL["count_log"], run_id, epoch, total_bytes, truncated
    )
    return hub_id


async def add_log(
    connection: Connection, run_id: UUID, hub_id: UUID, entries: Sequence[NewLogEntry]
) -> None:
    await connection.execute(
        _SQL["add_log"],
        run_id,
        hub_id,
        [entry.sequence for entry in entries],
        [entry.stream for entry in entries],
        [entry.data for entry in entries],
    )


async def drop_log(connection: Connection, run_id: UUID, start: int, end: int) -> None:
    """Drop the entries from one sequence up to another."""
    await connection.execute(_SQL["drop_log"], run_id, start, end)


async def clear_log(connection: Connection, run_id: UUID) -> None:
    await connection.execute(_SQL["clear_log"], run_id)


async def record_progress(connection: Connection, progress: Sequence[RunProgress]) -> list[Heard]:
    rows = await connection.fetch(
        _SQL["record_progress"],
        [told.run_id for told in progress],
        [told.epoch for told in progress],
        [told.bytes_read for told in progress],
        [told.bytes_stored for told in progress],
        [told.bytes_delivered for told in progress],
        [told.bytes_per_second for told in progress],
    )
    return [Heard(run_id=row["id"], cancel=row["cancel"]) for row in rows]


async def installation(connection: Connection) -> UUID:
    """Which installation this database is."""
    id: UUID = await connection.fetchval(_SQL["installation"])
    return id


async def sealed_variables(connection: Connection, instance_id: UUID) -> bytes | None:
    sealed: bytes | None = await connection.fetchval(_SQL["sealed_variables"], instance_id)
    return sealed


async def sealed_access(connection: Connection, integration_id: UUID) -> SealedAccess | None:
    """None where its key is gone."""
    row = await connection.fetchrow(_SQL["sealed_access"], integration_id)
    if row is None or row["sealed_key"] is None:
        return None
    return SealedAccess(
        integration_id=row["id"],
        realm=Realm(row["realm"]),
        key_id=row["key_id"],
        sealed_key=row["sealed_key"],
        bucket=row["bucket"],
        prefix=row["prefix"],
    )


async def _write(connection: Connection, name: str, *arguments: object) -> bool:
    return await connection.fetchval(_SQL[name], *arguments) is not None


def _locked(row: asyncpg.Record) -> LockedRun:
    return LockedRun(
        run=_run(row),
        started_epoch=row["started_epoch"],
        is_due=row["due"],
        is_late=row["late"],
    )


def _run(row: asyncpg.Record) -> Run:
    return Run(
        id=row["id"],
        hub_id=row["hub_id"],
        kind=RunKind(row["kind"]),
        container_id=row["container_id"],
        instance_id=row["instance_id"],
        place=row["place"],
        command=row["command"],
        timeout=row["timeout"],
        epoch=row["epoch"],
        attempt=row["attempt"],
        owner=row["owner"],
        cancel=row["cancel"],
        touched=row["touched"],
        trace=row["trace"],
        start_by=row["start_by"],
        deadline_at=row["deadline_at"],
        created_at=row["created_at"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        carried_by=row["carried_by"],
    )
