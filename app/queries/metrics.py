"""Statements about all hubs together, for the operator's monitoring."""

from app.model.metrics import Metrics, Waiting
from app.model.runs import RunKind
from app.postgres.pool import Connection
from app.postgres.statements import load

_SQL = load("workers_metrics")
_OUTCOMES = ("succeeded", "failed", "canceled")


async def read(connection: Connection) -> Metrics:
    """In the worker's role, which sees every hub. What there is none of is 0."""
    open_runs = {
        (kind, is_running): Waiting(count=0, oldest=None)
        for kind in RunKind
        for is_running in (False, True)
    }
    for row in await connection.fetch(_SQL["open_runs"]):
        key = RunKind(row["kind"]), row["is_running"]
        open_runs[key] = Waiting(count=row["runs"], oldest=row["oldest"])
    ended = dict.fromkeys(((kind, outcome) for kind in RunKind for outcome in _OUTCOMES), 0)
    for row in await connection.fetch(_SQL["ended_runs"]):
        ended[RunKind(row["kind"]), row["outcome"]] = row["runs"]
    last = {}
    for kind in RunKind:
        if (at := await connection.fetchval(_SQL["last_success"], kind)) is not None:
            last[kind] = at
    late = await connection.fetchrow(_SQL["overdue"])
    assert late is not None
    return Metrics(
        now=await connection.fetchval("select now()"),
        open_runs=open_runs,
        ended_runs=ended,
        last_success=last,
        waiting={
            row["work"]: Waiting(count=row["waiting"], oldest=row["oldest"])
            for row in await connection.fetch(_SQL["waiting_work"])
        },
        scheduled=late["scheduled"],
        overdue=Waiting(count=late["waiting"], oldest=late["oldest"]),
        drifts={row["kind"]: row["drifts"] for row in await connection.fetch(_SQL["drifts"])},
        integrations={
            row["state"]: row["integrations"]
            for row in await connection.fetch(_SQL["integrations"])
        },
        events={row["kind"]: row["events"] for row in await connection.fetch(_SQL["events"])},
    )
