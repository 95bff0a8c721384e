"""Statements about what workers found on engines."""

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from app.model.containers import Container, Instance, InstanceState
from app.model.sources import Sources
from app.postgres.pool import Connection
from app.postgres.statements import load
from app.queries import containers as containers_queries
from app.queries import instances as instances_queries

_WORKERS = load("workers_discovery")


@dataclass(frozen=True, slots=True, kw_only=True)
class Dismissed:
    """A container of an engine that was taken away through the API."""

    engine_container: str
    identifier: str
    is_whole: bool
    """Its Container was, and not the instance only."""


async def containers(
    connection: Connection, hub_id: UUID, identifiers: Collection[str]
) -> dict[str, Container]:
    rows = await connection.fetch(_WORKERS["containers"], hub_id, list(identifiers))
    return {row["identifier"]: containers_queries.read(row) for row in rows}


async def lock(connection: Connection, hub_id: UUID, identifier: str) -> Container | None:
    """Nobody else changes it until the transaction ends."""
    row = await connection.fetchrow(_WORKERS["lock"], hub_id, identifier)
    return None if row is None else containers_queries.read(row)


async def follow(
    connection: Connection, hub_id: UUID, id: UUID, *, name: str, stateful: bool, sources: Sources
) -> None:
    await connection.execute(_WORKERS["follow"], hub_id, id, name, stateful, dict(sources))


async def instances(
    connection: Connection, hub_id: UUID, container_ids: Collection[UUID], limit: int
) -> dict[UUID, list[Instance]]:
    """The replicas that are known, by container."""
    rows = await connection.fetch(_WORKERS["instances"], hub_id, list(container_ids), limit)
    found: dict[UUID, list[Instance]] = {id: [] for id in container_ids}
    for row in rows:
        found[row["container_id"]].append(instances_queries.read(row))
    return found


async def lock_instances(
    connection: Connection, hub_id: UUID, container_id: UUID, limit: int
) -> list[Instance]:
    """The replicas that are known; nobody else changes them until the transaction ends."""
    rows = await connection.fetch(_WORKERS["lock_instances"], hub_id, container_id, limit)
    return [instances_queries.read(row) for row in rows]


async def follow_instance(
    connection: Connection,
    hub_id: UUID,
    id: UUID,
    *,
    state: InstanceState,
    engine_container: str,
    folder: str | None,
    user: str | None,
    sources: Sources,
) -> None:
    await connection.execute(
        _WORKERS["follow_instance"],
        hub_id,
        id,
        state,
        engine_container,
        folder,
        user,
        dict(sources),
    )


async def lose(
    connection: Connection, hub_id: UUID, engine_id: UUID, there: Collection[UUID]
) -> list[UUID]:
    """Replicas of the engine that are not there any more are GONE."""
    rows = await connection.fetch(_WORKERS["lose"], hub_id, engine_id, list(there))
    return [row["id"] for row in rows]


async def dismissed(
    connection: Connection,
    hub_id: UUID,
    engine_id: UUID,
    engine_containers: Collection[str],
    limit: int,
) -> list[Dismissed]:
    rows = await connection.fetch(
        _WORKERS["dismissed"], hub_id, engine_id, list(engine_containers), limit
    )
    return [
        Dismissed(
            engine_container=row["engine_container"],
            identifier=row["identifier"],
            is_whole=row["is_whole"],
        )
        for row in rows
    ]


async def integrations(
    connection: Connection, hub_id: UUID, name: str | None
) -> list[tuple[UUID, str]]:
    """At most two that keep backups and have the name, where one is given."""
    rows = await connection.fetch(_WORKERS["integrations"], hub_id, name)
    return [(row["id"], row["name"]) for row in rows]
