"""Statements about API keys."""

from uuid import UUID

import asyncpg

from app.model.access import CAPABILITIES, Capability, Principal, Role
from app.postgres.pool import Connection
from app.postgres.statements import load

_QUERIES = load("keys")
_OPERATOR = load("workers_hubs")


async def create(
    connection: Connection, hub_id: UUID, *, name: str, prefix: str, hash: bytes, role: Role
) -> UUID:
    return UUID(
        str(await connection.fetchval(_QUERIES["create"], hub_id, name, prefix, hash, role))
    )


async def authenticate(connection: Connection, hash: bytes) -> Principal | None:
    row = await connection.fetchrow(_OPERATOR["authenticate"], hash)
    return None if row is None else _read(row)


def _read(row: asyncpg.Record) -> Principal:
    role = None if row["role"] is None else Role(row["role"])
    return Principal(
        hub_id=row["hub_id"],
        key_id=row["key_id"],
        name=row["name"],
        role=role,
        capabilities=(
            frozenset(Capability(word) for word in row["capabilities"])
            if role is None
            else CAPABILITIES[role]
        ),
        expires_at=row["expires_at"],
    )
