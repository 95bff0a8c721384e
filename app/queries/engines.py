"""Statements about container engines."""

from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from uuid import UUID

import asyncpg

from app.model.containers import InstanceState
from app.model.engines import EngineRecord, EngineState, NewEngine
from app.model.labels import Problem
from app.model.paging import Page, Slice, cut_slice, open_window
from app.postgres.pool import Connection
from app.postgres.statements import load

_SQL = load("engines")
_WORKERS = load("workers_engines")


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedEngine:
    """An engine with its key as it is stored."""

    engine: EngineRecord
    sealed_key: bytes | None = field(repr=False)
    changes: int
    """How often it had said, until now, that something changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineInstance:
    """An instance that is a container of an engine."""

    id: UUID
    container: str
    state: InstanceState


async def create(
    connection: Connection, hub_id: UUID, id: UUID, new: NewEngine, *, sealed_key: bytes | None
) -> EngineRecord:
    row = await connection.fetchrow(
        _SQL["create"],
        hub_id,
        id,
        new.name,
        new.address,
        new.host,
        new.authority,
        new.certificate,
        sealed_key,
    )
    assert row is not None
    return _read(row)


async def get(connection: Connection, hub_id: UUID, id: UUID) -> EngineRecord | None:
    return (await by_ids(connection, hub_id, [id])).get(id)


async def by_ids(
    connection: Connection, hub_id: UUID, ids: Collection[UUID]
) -> dict[UUID, EngineRecord]:
    rows = await connection.fetch(_SQL["by_ids"], hub_id, list(ids))
    return {row["id"]: _read(row) for row in rows}


async def lock(connection: Connection, hub_id: UUID, id: UUID) -> EngineRecord | None:
    row = await connection.fetchrow(_SQL["lock"], hub_id, id)
    return None if row is None else _read(row)


async def hold(connection: Connection, hub_id: UUID, id: UUID) -> EngineRecord | None:
    """Nobody changes it until the transaction ends; others may hold it too."""
    row = await connection.fetchrow(_SQL["hold"], hub_id, id)
    return None if row is None else _read(row)


async def change(
    connection: Connection,
    hub_id: UUID,
    id: UUID,
    *,
    name: str | None,
    authority: str | None,
    certificate: str | None,
    sealed_key: bytes | None,
) -> EngineRecord:
    """None keeps."""
    row = await connection.fetchrow(
        _SQL["change"], hub_id, id, name, authority, certificate, sealed_key
    )
    assert row is not None
    return _read(row)


async def delete(connection: Connection, hub_id: UUID, id: UUID) -> EngineRecord:
    row = await connection.fetchrow(_SQL["delete"], hub_id, id)
    assert row is not None
    return _read(row)


async def count_instances(connection: Connection, hub_id: UUID, id: UUID) -> int:
    return int(await connection.fetchval(_SQL["count_instances"], hub_id, id))


async def page(connection: Connection, hub_id: UUID, page: Page) -> Slice[EngineRecord]:
    window = open_window(page)
    rows = await connection.fetch(
        _SQL["page_down" if window.newest_first else "page_up"],
        hub_id,
        window.lower.at,
        window.lower.id,
        window.upper.at,
        window.upper.id,
        window.limit,
    )
    return cut_slice([_read(row) for row in rows], page)


async def count(connection: Connection, hub_id: UUID) -> int:
    return int(await connection.fetchval(_SQL["count"], hub_id))


# --- workers ------------------------------------------------------------------------------------


async def take_due(
    connection: Connection, limit: int, places: Collection[str]
) -> list[SealedEngine]:
    """Engines to look at from these places, which nobody else takes now."""
    rows = await connection.fetch(_WORKERS["take_due"], limit, list(places))
    return [_read_sealed(row) for row in rows]


async def access(connection: Connection, id: UUID) -> SealedEngine | None:
    row = await connection.fetchrow(_WORKERS["access"], id)
    return None if row is None else _read_sealed(row)


async def leave(
    connection: Connection, id: UUID, again_in: timedelta, remembered_for: timedelta
) -> bool:
    """False: nobody has reached it for so long."""
    found = await connection.fetchval(_WORKERS["leave"], id, again_in, remembered_for)
    return found is not None


async def answered(
    connection: Connection,
    id: UUID,
    version: str,
    *,
    problems: Iterable[Problem],
    changes: int,
    again_in: timedelta,
) -> None:
    """Look again then, or at once where it said meanwhile that something changed."""
    written = [asdict(problem) for problem in problems]
    await connection.execute(_WORKERS["answered"], id, version, again_in, changes, written)


async def failed(
    connection: Connection, id: UUID, *, code: str, message: str, changes: int, again_in: timedelta
) -> None:
    """Look again then, or at once where it said meanwhile that something changed."""
    await connection.execute(_WORKERS["failed"], id, code, message, again_in, changes)


async def take_watches(
    connection: Connection,
    owner: str,
    places: Collection[str],
    *,
    but: Collection[UUID],
    limit: int,
    lease: timedelta,
) -> dict[UUID, UUID]:
    """Engines, with their hubs, whose events this worker reads from now on."""
    rows = await connection.fetch(
        _WORKERS["take_watches"], owner, list(places), limit, lease, list(but)
    )
    return {row["id"]: row["hub_id"] for row in rows}


async def give_back_watches(
    connection: Connection, owner: str, ids: Collection[UUID] | None
) -> None:
    """None: all that it has."""
    wanted = None if ids is None else list(ids)
    await connection.execute(_WORKERS["give_back_watches"], owner, wanted)


async def changed(connection: Connection, id: UUID) -> None:
    await connection.execute(_WORKERS["changed"], id)


async def instances(connection: Connection, id: UUID, limit: int) -> list[EngineInstance]:
    rows = await connection.fetch(_WORKERS["instances"], id, limit)
    return [
        EngineInstance(
            id=row["id"], container=row["engine_container"], state=InstanceState(row["state"])
        )
        for row in rows
    ]


async def see_instance(connection: Connection, id: UUID, state: InstanceState) -> None:
    await connection.execute(_WORKERS["see_instance"], id, state)


def _read(row: asyncpg.Record) -> EngineRecord:
    return EngineRecord(
        id=row["id"],
        hub_id=row["hub_id"],
        name=row["name"],
        address=row["address"],
        host=row["host"],
        authority=row["authority"],
        certificate=row["certificate"],
        state=EngineState(row["state"]),
        version=row["version"],
        error_code=row["error_code"],
        error_message=row["error_message"],
        unreachable_since=row["unreachable_since"],
        checked_at=row["checked_at"],
        created_at=row["created_at"],
        problems=tuple(Problem(**problem) for problem in row["problems"]),
    )


def _read_sealed(row: asyncpg.Record) -> SealedEngine:
    return SealedEngine(engine=_read(row), sealed_key=row["sealed_key"], changes=row["changes"])
