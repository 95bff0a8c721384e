"""Statements about the sessions of the gateway's own programs."""

from datetime import timedelta

from app.postgres.pool import Connection
from app.postgres.statements import load

_WORKERS = load("workers_sessions")


async def end_stalled(connection: Connection, after: timedelta) -> int:
    """For workers: end those of which nothing came for so long within a statement. How many."""
    # The role of a worker may end none; who logged in may end its own.
    await connection.execute("set local role none")
    return int(await connection.fetchval(_WORKERS["end_stalled"], after))
