"""Statements about integrations."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg

from app.model.integrations import (
    Integration,
    IntegrationFilter,
    IntegrationState,
    NewIntegration,
    Realm,
    SealedAccess,
)
from app.model.paging import Page, Slice, Window, cut_slice, open_window
from app.postgres.pool import Connection
from app.postgres.statements import load

_QUERIES = load("integrations")
_WORKERS = load("workers_integrations")
_THERE = tuple(state for state in IntegrationState if state is not IntegrationState.DELETED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Uses:
    """How many things still need an integration."""

    policies: int
    backups: int
    reclaims: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DueCheck:
    """An integration whose check was taken, with its keys as they are stored."""

    integration: Integration
    access: SealedAccess
    next_access: SealedAccess | None
    version: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedCheck:
    """An integration for the end of its check."""

    integration: Integration
    version: datetime
    unreachable_told: bool
    """People were told that B2 cannot be reached."""


async def get(connection: Connection, hub_id: UUID, id: UUID) -> Integration | None:
    return await _one(connection, "get", hub_id, id)


async def lock(connection: Connection, hub_id: UUID, id: UUID) -> Integration | None:
    """Nobody else changes or holds it until the transaction ends."""
    return await _one(connection, "lock", hub_id, id)


async def hold(connection: Connection, hub_id: UUID, id: UUID) -> Integration | None:
    """Nobody changes it until the transaction ends; others may hold it too."""
    return await _one(connection, "hold", hub_id, id)


async def by_ids(
    connection: Connection, hub_id: UUID, ids: Collection[UUID]
) -> dict[UUID, Integration]:
    rows = await connection.fetch(_QUERIES["by_ids"], hub_id, list(ids))
    return {row["id"]: _read(row) for row in rows}


async def page(
    connection: Connection, hub_id: UUID, filter: IntegrationFilter, page: Page
) -> Slice[Integration]:
    window = open_window(page)
    rows = await connection.fetch(
        _QUERIES["page_down" if window.newest_first else "page_up"],
        hub_id,
        *_bounds(window),
        _states(filter),
        window.limit,
    )
    return cut_slice([_read(row) for row in rows], page)


async def count(connection: Connection, hub_id: UUID, filter: IntegrationFilter) -> int:
    return int(await connection.fetchval(_QUERIES["count"], hub_id, _states(filter)))


async def create(
    connection: Connection,
    hub_id: UUID,
    id: UUID,
    new: NewIntegration,
    *,
    realm: Realm,
    sealed_key: bytes,
) -> Integration:
    row = await connection.fetchrow(
        _QUERIES["create"],
        hub_id,
        id,
        new.name,
        realm,
        new.key_id,
        sealed_key,
        new.bucket,
        new.prefix,
    )
    assert row is not None
    return _read(row)


async def rename(connection: Connection, hub_id: UUID, id: UUID, name: str) -> Integration | None:
    return await _one(connection, "rename", hub_id, id, name)


async def change_key(
    connection: Connection, hub_id: UUID, id: UUID, *, key_id: str, sealed_key: bytes
) -> Integration | None:
    """It waits for its check beside the old key; where no key ever worked it replaces that one."""
    return await _one(connection, "change_key", hub_id, id, key_id, sealed_key)


async def request_check(connection: Connection, hub_id: UUID, id: UUID) -> Integration | None:
    return await _one(connection, "request_check", hub_id, id)


async def delete(connection: Connection, hub_id: UUID, id: UUID) -> Integration | None:
    return await _one(connection, "delete", hub_id, id)


async def remove_policies(connection: Connection, hub_id: UUID, id: UUID) -> list[UUID]:
    """Nothing is saved to it any more; returns the containers whose policies these were."""
    rows = await connection.fetch(_QUERIES["remove_policies"], hub_id, id)
    return [row["container_id"] for row in rows]


async def cancel_runs(connection: Connection, hub_id: UUID, id: UUID) -> list[UUID]:
    """Ask all runs that save to it or read from it to end, and return which these are."""
    rows = await connection.fetch(_QUERIES["cancel_runs"], hub_id, id)
    return [row["id"] for row in rows]


async def there(connection: Connection, hub_id: UUID, limit: int) -> list[UUID]:
    rows = await connection.fetch(_QUERIES["there"], hub_id, limit)
    return [row["id"] for row in rows]


async def ending(connection: Connection, limit: int) -> list[UUID]:
    """For workers: integrations in deletion of which nothing is left in the bucket."""
    rows = await connection.fetch(_WORKERS["ending"], limit)
    return [row["id"] for row in rows]


async def end(connection: Connection, id: UUID) -> bool:
    """For workers: its key is wiped, it is DELETED. False: something needs it still."""
    return await connection.fetchval(_WORKERS["end"], id) is not None


async def forget_owner(connection: Connection, id: UUID) -> None:
    """For workers: what was known of its owner object."""
    await connection.execute(_WORKERS["forget_owner"], id)


async def uses(connection: Connection, hub_id: UUID, id: UUID) -> Uses:
    row = await connection.fetchrow(_QUERIES["uses"], hub_id, id)
    assert row is not None
    return Uses(policies=row["policies"], backups=row["backups"], reclaims=row["reclaims"])


async def take_due(connection: Connection, limit: int) -> list[DueCheck]:
    """For workers: checks that are due, handed to this caller alone for 5 minutes."""
    rows = await connection.fetch(_WORKERS["take_due"], limit)
    return [
        DueCheck(
            integration=_read(row),
            access=_sealed(row, row["key_id"], row["sealed_key"]),
            next_access=(
                None
                if row["next_key_id"] is None
                else _sealed(row, row["next_key_id"], row["next_sealed_key"])
            ),
            version=row["check_at"],
        )
        for row in rows
    ]


async def sample(connection: Connection, id: UUID) -> tuple[str, str] | None:
    """For workers: file id and name of the newest object that can be restored."""
    row = await connection.fetchrow(_WORKERS["sample"], id)
    return None if row is None else (row["file_id"], row["object_name"])


async def lock_check(connection: Connection, id: UUID) -> LockedCheck | None:
    """For workers: nobody else changes it until the transaction ends."""
    row = await connection.fetchrow(_WORKERS["lock"], id)
    if row is None:
        return None
    return LockedCheck(
        integration=_read(row), version=row["check_at"], unreachable_told=row["unreachable_told"]
    )


async def lock_place(connection: Connection, integration: Integration) -> None:
    """For workers: until the transaction ends nobody else settles who owns what in the bucket."""
    await connection.execute(_WORKERS["lock_place"], integration.realm, integration.bucket)


async def overlaps(connection: Connection, integration: Integration) -> bool:
    """For workers: whether another integration has proved to own names below the prefix."""
    return bool(
        await connection.fetchval(
            _WORKERS["overlaps"],
            integration.realm,
            integration.bucket,
            integration.id,
            integration.prefix,
        )
    )


async def pass_check(
    connection: Connection, id: UUID, *, take_next_key: bool, again_in: timedelta
) -> None:
    """For workers: it works."""
    await connection.execute(_WORKERS["pass"], id, take_next_key, again_in)


async def fail_check(
    connection: Connection,
    id: UUID,
    *,
    code: str,
    message: str,
    state: IntegrationState,
    drop_next_key: bool,
    again_in: timedelta,
    unreachable: bool,
    told_after: timedelta,
) -> bool:
    """For workers: it does not work, or not by its new key.

    True: it was unreachable at every check for so long, and nobody was told.
    """
    return bool(
        await connection.fetchval(
            _WORKERS["fail"],
            id,
            code,
            message,
            state,
            drop_next_key,
            again_in,
            unreachable,
            told_after,
        )
    )


async def told_unreachable(connection: Connection, id: UUID) -> None:
    """For workers: people were told."""
    await connection.execute(_WORKERS["told_unreachable"], id)


async def check_soon(connection: Connection, id: UUID) -> bool:
    """For workers: check it now. False: a check is due soon anyway, or somebody has the row."""
    return await connection.fetchval(_WORKERS["check_soon"], id) is not None


def _bounds(window: Window) -> tuple[datetime, UUID, datetime, UUID]:
    upper, lower = window.upper, window.lower
    return upper.at, upper.id, lower.at, lower.id


async def _one(connection: Connection, name: str, *arguments: object) -> Integration | None:
    row = await connection.fetchrow(_QUERIES[name], *arguments)
    return None if row is None else _read(row)


def _states(filter: IntegrationFilter) -> list[str]:
    return list(_THERE if filter.states is None else filter.states)


def _sealed(row: asyncpg.Record, key_id: str, sealed_key: bytes) -> SealedAccess:
    return SealedAccess(
        integration_id=row["id"],
        realm=Realm(row["realm"]),
        key_id=key_id,
        sealed_key=sealed_key,
        bucket=row["bucket"],
        prefix=row["prefix"],
    )


def _read(row: asyncpg.Record) -> Integration:
    return Integration(
        id=row["id"],
        hub_id=row["hub_id"],
        name=row["name"],
        realm=Realm(row["realm"]),
        key_id=row["key_id"],
        next_key_id=row["next_key_id"],
        bucket=row["bucket"],
        prefix=row["prefix"],
        state=IntegrationState(row["state"]),
        error_code=row["error_code"],
        error_message=row["error_message"],
        verified_at=row["verified_at"],
        created_at=row["created_at"],
    )
