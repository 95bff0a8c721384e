"""Statements of workers about policies that plan verifications, in every hub."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from app.model.verifications import Attempt, Candidate, VerificationLevel, VerificationState
from app.postgres.pool import Connection
from app.postgres.statements import load

_SQL = load("workers_verifications")


async def take_due(connection: Connection, limit: int) -> list[tuple[UUID, UUID]]:
    """Hub and id of the containers whose plan is to be looked at now."""
    rows = await connection.fetch(_SQL["take_due"], limit)
    return [(row["hub_id"], row["container_id"]) for row in rows]


async def candidates(
    connection: Connection,
    hub_id: UUID,
    container_id: UUID,
    levels: Sequence[VerificationLevel],
    *,
    limit: int,
) -> tuple[list[Candidate], datetime | None]:
    """What could be verified, newest first, and the database's time; None: nothing could."""
    wanted = [str(level) for level in levels]
    rows = await connection.fetch(_SQL["candidates"], hub_id, container_id, wanted, limit)
    found = [
        Candidate(
            backup_id=row["id"],
            hostname=row["instance_hostname"],
            live_at=row["live_at"],
            attempt=None
            if row["attempted_at"] is None
            else Attempt(
                at=row["attempted_at"],
                state=VerificationState(row["attempt_state"]),
                error_code=row["attempt_error"],
            ),
        )
        for row in rows
    ]
    return found, rows[0]["read_at"] if rows else None


async def look_at(connection: Connection, container_id: UUID, at: datetime) -> None:
    await connection.execute(_SQL["look_at"], container_id, at)


async def look_now(connection: Connection, container_id: UUID) -> None:
    """A backup of the container became LIVE."""
    await connection.execute(_SQL["look_now"], container_id)
