"""Statements about API keys."""

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

import asyncpg

from app.model.access import CAPABILITIES, Capability, Principal, Role
from app.model.keys import ApiKey
from app.model.paging import Page, Slice, cut_slice, open_window
from app.postgres.pool import Connection
from app.postgres.statements import load

_QUERIES = load("keys")
_OPERATOR = load("workers_hubs")


async def create(
    connection: Connection,
    hub_id: UUID,
    *,
    name: str,
    prefix: str,
    hash: bytes,
    role: Role | None,
    capabilities: Collection[Capability] = (),
    expires_at: datetime | None = None,
) -> ApiKey:
    """Without a role it has the capabilities."""
    words = sorted(capabilities) if role is None else None
    row = await connection.fetchrow(
        _QUERIES["create"], hub_id, name, prefix, hash, role, words, expires_at
    )
    assert row is not None
    return _read_key(row)


async def get(connection: Connection, hub_id: UUID, id: UUID) -> ApiKey | None:
    return (await by_ids(connection, hub_id, [id])).get(id)


async def by_ids(connection: Connection, hub_id: UUID, ids: Collection[UUID]) -> dict[UUID, ApiKey]:
    rows = await connection.fetch(_QUERIES["by_ids"], hub_id, list(ids))
    return {row["id"]: _read_key(row) for row in rows}


async def page(connection: Connection, hub_id: UUID, page: Page) -> Slice[ApiKey]:
    window = open_window(page)
    rows = await connection.fetch(
        _QUERIES["page_down" if window.newest_first else "page_up"],
        hub_id,
        window.lower.at,
        window.lower.id,
        window.upper.at,
        window.upper.id,
        window.limit,
    )
    return cut_slice([_read_key(row) for row in rows], page)


async def count(connection: Connection, hub_id: UUID) -> int:
    return int(await connection.fetchval(_QUERIES["count"], hub_id))


async def revoke(connection: Connection, hub_id: UUID, id: UUID) -> ApiKey | None:
    """None where there is none."""
    row = await connection.fetchrow(_QUERIES["revoke"], hub_id, id)
    return None if row is None else _read_key(row)


async def authenticate(connection: Connection, hash: bytes) -> Principal | None:
    row = await connection.fetchrow(_OPERATOR["authenticate"], hash)
    return None if row is None else _read(row)


def _read(row: asyncpg.Record) -> Principal:
    role, capabilities = _read_access(row)
    return Principal(
        hub_id=row["hub_id"],
        key_id=row["key_id"],
        name=row["name"],
        role=role,
        capabilities=capabilities,
        expires_at=row["expires_at"],
    )


def _read_key(row: asyncpg.Record) -> ApiKey:
    role, capabilities = _read_access(row)
    return ApiKey(
        id=row["id"],
        hub_id=row["hub_id"],
        name=row["name"],
        prefix=row["prefix"],
        role=role,
        capabilities=capabilities,
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        revoked_at=row["revoked_at"],
    )


def _read_access(row: asyncpg.Record) -> tuple[Role | None, frozenset[Capability]]:
    if row["role"] is None:
        return None, frozenset(Capability(word) for word in row["capabilities"])
    role = Role(row["role"])
    return role, CAPABILITIES[role]


async def revoke_all(connection: Connection, hub_id: UUID) -> None:
    """No key of the hub opens anything from now on."""
    await connection.execute(_QUERIES["revoke_all"], hub_id)
