"""Instances: made, changed and taken away; their backups stay with the container."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import orjson

from app.errors import Conflict, InvalidInput, InvalidState, NotFound
from app.model.access import Capability, Principal
from app.model.containers import (
    Instance,
    InstanceState,
    NewInstance,
    check_folder,
    check_instance,
    check_state,
    check_variables,
    check_working_folder,
)
from app.model.sources import set_by_api
from app.postgres.listen import notify
from app.postgres.pool import Connection, Database
from app.queries import containers, doubts, instances
from app.service.containers import require_live
from app.service.engines import hold_engine
from app.service.idempotency import claim, keep
from app.service.secrets import Sealer, seal_variables


async def create_instance(
    database: Database,
    principal: Principal,
    *,
    new: NewInstance,
    default_host: str,
    sealer: Sealer,
    idempotency_key: str | None = None,
) -> Instance:
    """Raises NotPermitted, NotFound, InvalidInput, InvalidState (CONTAINER_DELETING), Conflict."""
    principal.require(Capability.CONFIGURE)
    check_instance(new)
    arguments: dict[str, Any] = {
        "containerId": str(new.container_id),
        "hostname": new.hostname,
        "state": new.state,
        "executor": new.executor,
        "host": new.host,
        "folder": new.folder,
        "variables": _fingerprint(sealer, new.variables),
        "scratch": new.scratch,
    }
    if new.executor == "docker":
        arguments |= {
            "engineId": str(new.engine_id),
            "engineContainer": new.engine_container,
            "user": new.user,
        }
    call = (principal, "createInstance", idempotency_key)
    async with database.transaction(principal.hub_id) as connection:
        done = await claim(connection, *call, arguments)
        if done is not None:
            return await _get(connection, principal, UUID(done["id"]))
        container = await containers.hold(connection, principal.hub_id, new.container_id)
        require_live(container, path=("containerId",))
        if new.scratch:
            await _refuse_saved(connection, principal, new)
        host: str | None = new.host or default_host
        if new.engine_id is not None:
            host = (await hold_engine(connection, principal, new.engine_id)).host
        id = uuid4()
        instance = await instances.create(
            connection,
            principal.hub_id,
            id,
            replace(new, host=host),
            sealed_variables=seal_variables(sealer, id, new.variables),
        )
        if instance is None:
            raise Conflict(
                f"The container has an instance {new.hostname} already; choose another hostname.",
                code="HOSTNAME_TAKEN",
                path=("hostname",),
            )
        await keep(connection, *call, {"id": str(id)})
        return instance


async def update_instance(
    database: Database,
    principal: Principal,
    *,
    id: UUID,
    sealer: Sealer,
    state: InstanceState | None = None,
    variables: Mapping[str, str] | None = None,
    folder: str | None = None,
    mark_as_well: bool = False,
    idempotency_key: str | None = None,
) -> Instance:
    """Change what is given; None keeps. Variables are replaced as a whole.

    `mark_as_well`: what a failed restore may have left there was put right.

    Raises NotPermitted, NotFound, InvalidInput, InvalidState, Conflict (INSTANCE_BUSY).
    """
    principal.require(Capability.CONFIGURE)
    _check_changes(state, variables)
    arguments = {
        "id": str(id),
        "state": state,
        "variables": None if variables is None else _fingerprint(sealer, variables),
        "folder": folder,
        "markAsWell": mark_as_well,
    }
    call = (principal, "updateInstance", idempotency_key)
    async with database.transaction(principal.hub_id) as connection:
        if await claim(connection, *call, arguments) is not None:
            return await _get(connection, principal, id)
        before = await instances.lock(connection, principal.hub_id, id)
        if before is None or before.removed_at is not None:
            raise NotFound(path=("id",))
        if folder is not None:
            (check_folder if before.engine_id is None else check_working_folder)(folder)
        if state is not None:
            _check_move(before.state, state)
        if folder not in {None, before.folder}:
            await _refuse_busy(connection, before)
        instance = await instances.update(
            connection,
            principal.hub_id,
            id,
            folder=folder,
            variable_names=None if variables is None else sorted(variables),
            sealed_variables=seal_variables(sealer, id, variables or {}),
            state=state,
            sources=set_by_api(
                before.sources,
                [
                    value
                    for value, given in (("folder", folder), ("variables", variables))
                    if given is not None
                ],
            ),
        )
        if instance is None:
            raise InvalidState(
                "The instance is being deleted.", code="INSTANCE_DELETING", path=("id",)
            )
        if mark_as_well:
            await doubts.close(connection, principal.hub_id, id)
        await keep(connection, *call, {"id": str(id)})
        await notify(connection, ["duty:runs"])
        return instance


async def delete_instance(
    database: Database,
    principal: Principal,
    *,
    id: UUID,
    idempotency_key: str | None = None,
) -> Instance:
    """Cancel its run; it is removed at once, or by a sweep when the run has ended.

    No backup is touched. One that was removed already stays as it is.
    Raises NotPermitted, NotFound.
    """
    principal.require(Capability.CONFIGURE)
    call = (principal, "deleteInstance", idempotency_key)
    async with database.transaction(principal.hub_id) as connection:
        if await claim(connection, *call, {"id": str(id)}) is not None:
            return await _get(connection, principal, id)
        instance = await instances.lock(connection, principal.hub_id, id)
        if instance is None:
            raise NotFound(path=("id",))
        if instance.removed_at is None:
            instance = await _begin_deletion(connection, instance)
        await keep(connection, *call, {"id": str(id)})
        return instance


async def _begin_deletion(connection: Connection, before: Instance) -> Instance:
    run_id = await instances.cancel_run(connection, before.hub_id, before.id)
    instance = await instances.begin_deletion(
        connection, before.hub_id, before.id, at_once=run_id is None
    )
    assert instance is not None
    if run_id is not None:
        await notify(connection, [f"run:{run_id}", "duty:runs"])
    return instance


def _check_changes(state: InstanceState | None, variables: Mapping[str, str] | None) -> None:
    if state is not None:
        check_state(state)
    if variables is not None:
        check_variables(variables)


def _check_move(before: InstanceState, state: InstanceState) -> None:
    """What an unreachable host left running may still write: only 'it is gone' can be confirmed."""
    if before is InstanceState.UNREACHABLE and state is not InstanceState.GONE:
        raise InvalidState(
            "The instance cannot be reached, and what ran there may still be running."
            " It comes back once a worker there has cleaned up;"
            " set GONE to confirm that its host is gone for good.",
            code="INSTANCE_UNREACHABLE",
            path=("state",),
        )


async def _refuse_busy(connection: Connection, instance: Instance) -> None:
    run = await instances.open_run(connection, instance.hub_id, instance.id)
    if run is not None:
        raise Conflict(
            f"The instance is busy with {run}; change its folder when that has ended.",
            code="INSTANCE_BUSY",
            path=("folder",),
        )


async def _refuse_saved(connection: Connection, principal: Principal, new: NewInstance) -> None:
    if await instances.was_saved(connection, principal.hub_id, new.container_id, new.hostname):
        raise InvalidInput(
            f"There are backups of {new.hostname}: it cannot be a scratch instance."
            " Choose another hostname.",
            code="SCRATCH_WAS_SAVED",
            path=("scratch",),
        )


def _fingerprint(sealer: Sealer, variables: Mapping[str, str]) -> str:
    plain = orjson.dumps(dict(variables), option=orjson.OPT_SORT_KEYS)
    return sealer.fingerprint(plain, context="variables")


async def _get(connection: Connection, principal: Principal, id: UUID) -> Instance:
    instance = await instances.get(connection, principal.hub_id, id)
    if instance is None:
        raise NotFound(path=("id",))
    return instance
