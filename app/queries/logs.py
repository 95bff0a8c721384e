"""Reads of what runs printed."""

from collections.abc import Sequence
from uuid import UUID

import asyncpg

from app.model.logs import as_text
from app.model.paging import Slice
from app.model.runs import LogEntry, LogStream, LogTail, RunKind
from app.postgres.pool import Connection
from app.postgres.statements import load

_SQL = load("logs")
_BEGINNING = -1
_END = 2**63 - 1


async def pages(
    connection: Connection,
    hub_id: UUID,
    run_ids: Sequence[UUID],
    *,
    limit: int,
    after: int | None = None,
    before: int | None = None,
    backwards: bool = False,
) -> dict[UUID, Slice[LogEntry]]:
    """A page of each run's log in the order of sequences; `after` and `before` are sequences.

    `backwards`: the last entries before `before`, or of the log.
    """
    rows = await connection.fetch(
        _SQL["latest_by_run" if backwards else "earliest_by_run"],
        hub_id,
        list(run_ids),
        _BEGINNING if after is None else after,
        _END if before is None else before,
        limit + 1,
    )
    read: dict[UUID, list[LogEntry]] = {run_id: [] for run_id in run_ids}
    for row in rows:
        read[row["run_id"]].append(_read(row))
    return {
        run_id: _cut(entries, limit, backwards=backwards, after=after, before=before)
        for run_id, entries in read.items()
    }


async def counts(connection: Connection, hub_id: UUID, run_ids: Sequence[UUID]) -> dict[UUID, int]:
    """How many entries each run's log has."""
    rows = await connection.fetch(_SQL["count_by_run"], hub_id, list(run_ids))
    return dict.fromkeys(run_ids, 0) | {row["run_id"]: row["entries"] for row in rows}


async def tail(
    connection: Connection, hub_id: UUID, run_id: UUID, *, after: int | None, limit: int
) -> LogTail | None:
    """What follows a sequence of a run's log, as of one moment; None: there is no such run."""
    rows = await connection.fetch(
        _SQL["tail"], hub_id, run_id, _BEGINNING if after is None else after, limit
    )
    if not rows:
        return None
    return LogTail(
        kind=RunKind(rows[0]["kind"]),
        attempt=rows[0]["started_epoch"],
        is_ended=rows[0]["is_ended"],
        total_bytes=rows[0]["log_bytes"],
        truncated=rows[0]["log_truncated"],
        entries=[_read(row) for row in rows if row["sequence"] is not None],
    )


def _read(row: asyncpg.Record) -> LogEntry:
    return LogEntry(
        sequence=row["sequence"],
        at=row["at"],
        stream=LogStream(row["stream"]),
        text=as_text(row["bytes"]),
    )


def _cut(
    entries: list[LogEntry], limit: int, *, backwards: bool, after: int | None, before: int | None
) -> Slice[LogEntry]:
    more, items = len(entries) > limit, entries[:limit]
    if backwards:
        return Slice(items=items[::-1], has_next=before is not None, has_previous=more)
    return Slice(items=items, has_next=more, has_previous=after is not None)
