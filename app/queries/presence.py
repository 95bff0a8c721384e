"""Statements about workers: which are there, and what they reach."""

from collections.abc import Collection
from datetime import timedelta

from app.postgres.pool import Connection
from app.postgres.statements import load

_WORKERS = load("workers_presence")


async def show(connection: Connection, owner: str, places: Collection[str]) -> None:
    await connection.execute(_WORKERS["show"], owner, list(places))


async def prune(connection: Connection, after: timedelta) -> None:
    await connection.execute(_WORKERS["prune"], after)
