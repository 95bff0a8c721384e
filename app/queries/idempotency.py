"""Statements about idempotency keys."""

from typing import Any
from uuid import UUID

from app.postgres.pool import Connection
from app.postgres.statements import load

_QUERIES = load("idempotency")
_WORKERS = load("workers_idempotency")


async def claim(connection: Connection, hub_id: UUID, *key: object, arguments: bytes) -> bool:
    """Whether the key was free. Waits for a call that has it and is still going.

    `key`: the credential's id, the mutation and the client's key.
    """
    return bool(await connection.fetchval(_QUERIES["claim"], hub_id, *key, arguments))


async def find(
    connection: Connection, hub_id: UUID, *key: object
) -> tuple[bytes, dict[str, Any] | None] | None:
    """The hash of the arguments, and what was kept."""
    row = await connection.fetchrow(_QUERIES["find"], hub_id, *key)
    return None if row is None else (row["arguments"], row["result"])


async def keep(connection: Connection, hub_id: UUID, *key: object, result: dict[str, Any]) -> None:
    await connection.execute(_QUERIES["keep"], hub_id, *key, result)


async def prune(connection: Connection) -> None:
    """For workers: drop the keys of all hubs that count no more."""
    await connection.execute(_WORKERS["prune"])
