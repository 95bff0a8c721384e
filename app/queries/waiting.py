"""Statements about runs that wait for a worker."""

from collections.abc import Collection
from uuid import UUID

from app.model.engines import EngineState
from app.model.waiting import Waiting, explain
from app.postgres.pool import Connection
from app.postgres.statements import load

_SQL = load("waiting")


async def reasons(
    connection: Connection, hub_id: UUID, run_ids: Collection[UUID]
) -> dict[UUID, str]:
    """Why those of the runs wait that wait for more than their turn."""
    rows = await connection.fetch(_SQL["states"], hub_id, list(run_ids))
    found = {
        row["id"]: explain(
            Waiting(
                place=row["place"],
                seen_at=row["seen_at"],
                engine=row["engine_name"],
                engine_state=row["engine_state"] and EngineState(row["engine_state"]),
                engine_error=row["error_message"],
                unreachable_since=row["unreachable_since"],
            ),
            now=row["now"],
        )
        for row in rows
    }
    return {id: reason for id, reason in found.items() if reason is not None}
