"""Engines: made known, given new certificates, looked at by workers, taken away when unused."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final
from uuid import UUID, uuid4

from app.errors import ExecutorUnavailable, GatewayError, InvalidState, NotFound
from app.model.access import Capability, Principal
from app.model.containers import InstanceState
from app.model.engines import (
    EngineAccess,
    EngineRecord,
    EngineState,
    EngineTls,
    NewEngine,
    check_certificates,
    check_engine,
    parse_address,
)
from app.model.labels import Problem
from app.model.texts import check_name
from app.postgres.listen import notify
from app.postgres.pool import Connection, Database
from app.queries import engines
from app.queries.engines import EngineInstance, SealedEngine
from app.service.idempotency import claim, keep
from app.service.secrets import Sealer, open_engine_key, seal_engine_key

LOOKED_AT_AFTER: Final = timedelta(seconds=15)
LEFT_FOR: Final = timedelta(seconds=2)
REMEMBERED_FOR: Final = timedelta(minutes=1)
WATCHED_FOR: Final = timedelta(seconds=15)
"""A worker that is gone leaves an engine's events to others after so long."""
MOST_INSTANCES: Final = 1_000


async def create_engine(
    database: Database,
    principal: Principal,
    *,
    new: NewEngine,
    default_host: str,
    sealer: Sealer,
    idempotency_key: str | None = None,
) -> EngineRecord:
    """It is VERIFYING until a worker has looked. Raises NotPermitted, InvalidInput, Conflict."""
    principal.require(Capability.CONFIGURE)
    address = check_engine(new)
    # A socket is another one on each host; without TLS only this machine's engine is reached.
    host = new.host or (None if address.is_tls else default_host)
    wanted = replace(new, address=str(address), host=host)
    arguments = {
        "name": new.name,
        "address": wanted.address,
        "host": new.host,
        "authority": new.authority,
        "certificate": new.certificate,
        "key": _fingerprint(sealer, new.key),
    }
    call = (principal, "createEngine", idempotency_key)
    async with database.transaction(principal.hub_id) as connection:
        done = await claim(connection, *call, arguments)
        if done is not None:
            return await _get(connection, principal, UUID(done["id"]))
        id = uuid4()
        sealed = None if new.key is None else seal_engine_key(sealer, id, new.key)
        engine = await engines.create(connection, principal.hub_id, id, wanted, sealed_key=sealed)
        await keep(connection, *call, {"id": str(id)})
        await notify(connection, ["duty:engines", "duty:watches"])
        return engine


async def update_engine(
    database: Database,
    principal: Principal,
    *,
    id: UUID,
    sealer: Sealer,
    name: str | None = None,
    tls: EngineTls,
    idempotency_key: str | None = None,
) -> EngineRecord:
    """Change what is given; None keeps. It is looked at again at once.

    Raises NotPermitted, NotFound, InvalidInput.
    """
    principal.require(Capability.CONFIGURE)
    if name is not None:
        check_name(name, what="The name", path=("name",))
    arguments = {
        "id": str(id),
        "name": name,
        "authority": tls.authority,
        "certificate": tls.certificate,
        "key": _fingerprint(sealer, tls.key),
    }
    call = (principal, "updateEngine", idempotency_key)
    async with database.transaction(principal.hub_id) as connection:
        if await claim(connection, *call, arguments) is not None:
            return await _get(connection, principal, id)
        before = await _lock(connection, principal, id)
        check_certificates(parse_address(before.address), tls.authority, tls.certificate, tls.key)
        engine = await engines.change(
            connection,
            principal.hub_id,
            id,
            name=name,
            authority=tls.authority,
            certificate=tls.certificate,
            sealed_key=None if tls.key is None else seal_engine_key(sealer, id, tls.key),
        )
        await keep(connection, *call, {"id": str(id)})
        await notify(connection, ["duty:engines", "duty:watches"])
        return engine


async def delete_engine(
    database: Database,
    principal: Principal,
    *,
    id: UUID,
    idempotency_key: str | None = None,
) -> EngineRecord:
    """Its key is wiped. Raises NotPermitted, NotFound, InvalidState (ENGINE_IN_USE)."""
    principal.require(Capability.CONFIGURE)
    call = (principal, "deleteEngine", idempotency_key)
    async with database.transaction(principal.hub_id) as connection:
        if await claim(connection, *call, {"id": str(id)}) is not None:
            return await _get(connection, principal, id)
        await _lock(connection, principal, id)
        if used := await engines.count_instances(connection, principal.hub_id, id):
            raise InvalidState(
                f"{used} instances are containers of this engine; delete them first.",
                code="ENGINE_IN_USE",
                path=("id",),
            )
        engine = await engines.delete(connection, principal.hub_id, id)
        await keep(connection, *call, {"id": str(id)})
        return engine


async def hold_engine(connection: Connection, principal: Principal, id: UUID) -> EngineRecord:
    """The engine of a new instance. Raises NotFound."""
    engine = await engines.hold(connection, principal.hub_id, id)
    if engine is None or engine.state is EngineState.DELETED:
        raise NotFound(path=("engineId",))
    return engine


async def _lock(connection: Connection, principal: Principal, id: UUID) -> EngineRecord:
    engine = await engines.lock(connection, principal.hub_id, id)
    if engine is None or engine.state is EngineState.DELETED:
        raise NotFound(path=("id",))
    return engine


async def _get(connection: Connection, principal: Principal, id: UUID) -> EngineRecord:
    engine = await engines.get(connection, principal.hub_id, id)
    if engine is None:
        raise NotFound(path=("id",))
    return engine


def _fingerprint(sealer: Sealer, key: str | None) -> str | None:
    return None if key is None else sealer.fingerprint(key.encode(), context="engine")


# --- for workers --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class DueEngine:
    """An engine to look at, and the instances that are its containers."""

    engine: EngineRecord
    instances: Collection[EngineInstance]
    changes: int
    """How often it had said, until now, that something changed."""


async def take_due(database: Database, limit: int, places: Collection[str]) -> list[DueEngine]:
    async with database.transaction(None) as connection:
        return [
            DueEngine(
                engine=due.engine,
                changes=due.changes,
                instances=await engines.instances(connection, due.engine.id, MOST_INSTANCES),
            )
            for due in await engines.take_due(connection, limit, places)
        ]


async def open_access(database: Database, sealer: Sealer, engine_id: UUID) -> EngineAccess:
    """How to reach it. Raises SecretUnreadable, ExecutorUnavailable (it was deleted)."""
    async with database.connection(None) as connection:
        sealed = await engines.access(connection, engine_id)
    if sealed is None:
        raise ExecutorUnavailable("The instance's engine was deleted.")
    return _open(sealer, sealed)


def _open(sealer: Sealer, sealed: SealedEngine) -> EngineAccess:
    engine, key = sealed.engine, sealed.sealed_key
    tls = EngineTls(
        authority=engine.authority,
        certificate=engine.certificate,
        key=None if key is None else open_engine_key(sealer, engine.id, key),
    )
    return EngineAccess(address=parse_address(engine.address), tls=tls)


async def leave(database: Database, due: DueEngine) -> bool:
    """Leave it to another worker, where one was there lately. Returns whether one was."""
    async with database.transaction(None) as connection:
        return await engines.leave(connection, due.engine.id, LEFT_FOR, REMEMBERED_FOR)


async def answered(
    database: Database,
    due: DueEngine,
    version: str,
    seen: Mapping[UUID, InstanceState],
    problems: Iterable[Problem] = (),
) -> None:
    """It works, and its containers were seen so."""
    async with database.transaction(None) as connection:
        await engines.answered(
            connection,
            due.engine.id,
            version,
            problems=problems,
            changes=due.changes,
            again_in=LOOKED_AT_AFTER,
        )
        for instance in due.instances:
            state = seen.get(instance.id, instance.state)
            if state is not instance.state:
                await engines.see_instance(connection, instance.id, state)


async def failed(database: Database, due: DueEngine, error: GatewayError) -> None:
    async with database.transaction(None) as connection:
        await engines.failed(
            connection,
            due.engine.id,
            code=error.code,
            message=error.message,
            changes=due.changes,
            again_in=LOOKED_AT_AFTER,
        )


async def take_watches(
    database: Database, owner: str, places: Collection[str], *, but: Collection[UUID], limit: int
) -> dict[UUID, UUID]:
    """Engines, with their hubs, whose events this worker reads until it is asked again."""
    async with database.transaction(None) as connection:
        return await engines.take_watches(
            connection, owner, places, but=but, limit=limit, lease=WATCHED_FOR
        )


async def give_back_watches(
    database: Database, owner: str, ids: Collection[UUID] | None = None
) -> None:
    """Others may read their events; None: of all that it has."""
    async with database.transaction(None) as connection:
        await engines.give_back_watches(connection, owner, ids)


async def changed(database: Database, engine_id: UUID) -> None:
    """Something changed there, or may have: have a look at once."""
    async with database.transaction(None) as connection:
        await engines.changed(connection, engine_id)
        await notify(connection, ["duty:engines"])
