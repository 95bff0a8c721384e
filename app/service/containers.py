"""Containers: made, renamed, and deleted with all their backups."""

from collections.abc import Mapping
from datetime import timedelta
from uuid import UUID

from app.errors import Conflict, InvalidInput, InvalidState, NotFound
from app.model.access import Capability, Principal
from app.model.containers import (
    Container,
    ContainerState,
    NewContainer,
    check_container,
    check_labels,
)
from app.model.schedules import MOST_JITTER
from app.model.sources import forget_api, set_by_api
from app.model.steps import PassStep, Step, pass_step
from app.model.texts import check_name
from app.postgres.listen import notify
from app.postgres.pool import Connection, Database
from app.queries import containers, runs
from app.service.idempotency import claim, keep
from app.service.schedules import end_schedule, resume_schedule
from app.service.topics import list_of


async def create_container(
    database: Database,
    principal: Principal,
    *,
    new: NewContainer,
    idempotency_key: str | None = None,
) -> Container:
    """Raises NotPermitted, InvalidInput, Conflict (IDENTIFIER_TAKEN)."""
    principal.require(Capability.CONFIGURE)
    check_container(new)
    arguments = {
        "identifier": new.identifier,
        "name": new.name,
        "stateful": new.stateful,
        "labels": dict(new.labels),
    }
    call = (principal, "createContainer", idempotency_key)
    async with database.transaction(principal.hub_id) as connection:
        done = await claim(connection, *call, arguments)
        if done is not None:
            return await _get(connection, principal, UUID(done["id"]))
        container = await containers.create(connection, principal.hub_id, new)
        if container is None:
            raise Conflict(
                f"There is a container {new.identifier} already; choose another identifier.",
                code="IDENTIFIER_TAKEN",
                path=("identifier",),
            )
        await keep(connection, *call, {"id": str(container.id)})
        return container


async def update_container(
    database: Database,
    principal: Principal,
    *,
    id: UUID,
    name: str | None = None,
    labels: Mapping[str, str] | None = None,
    follow_labels: bool = False,
    idempotency_key: str | None = None,
) -> Container:
    """Change what is given; None keeps. Labels are replaced as a whole.

    `follow_labels`: what was set through the API before is given back to the engine's labels.

    Raises NotPermitted, NotFound, InvalidInput, InvalidState (CONTAINER_DELETING).
    """
    principal.require(Capability.CONFIGURE)
    if name is not None:
        check_name(name, what="The name", path=("name",))
    if labels is not None:
        check_labels(labels)
    arguments = {
        "id": str(id),
        "name": name,
        "labels": None if labels is None else dict(labels),
    } | ({"followLabels": True} if follow_labels else {})
    call = (principal, "updateContainer", idempotency_key)
    async with database.transaction(principal.hub_id) as connection:
        if await claim(connection, *call, arguments) is not None:
            return await _get(connection, principal, id)
        before = await containers.lock(connection, principal.hub_id, id)
        require_live(before, path=("id",))
        assert before is not None
        if follow_labels and before.found_engine_id is None:
            raise InvalidInput(
                "The container was made through the API: no labels of an engine speak of it.",
                path=("followLabels",),
            )
        container = await containers.update(
            connection,
            principal.hub_id,
            id,
            name=before.name if name is None else name,
            labels=before.labels if labels is None else labels,
            sources=set_by_api(
                forget_api(before.sources) if follow_labels else before.sources,
                [name for name, value in (("name", name), ("labels", labels)) if value is not None],
            ),
        )
        assert container is not None
        if follow_labels:
            await containers.follow_labels(connection, principal.hub_id, id)
            await notify(connection, ["duty:engines"])
        await keep(connection, *call, {"id": str(id)})
        return container


async def delete_container(
    database: Database,
    principal: Principal,
    *,
    id: UUID,
    confirm: str,
    grace: timedelta,
    idempotency_key: str | None = None,
    step: PassStep = pass_step,
) -> tuple[Container, list[str]]:
    """Mark the container and all its backups, and cancel its runs; objects go after `grace`.

    The warnings say how much that is. One that goes already stays as it is.
    Raises NotPermitted, NotFound, InvalidInput (CONFIRM_MISMATCH).
    """
    principal.require(Capability.DELETE_CONTAINERS)
    arguments = {"id": str(id), "confirm": confirm}
    call = (principal, "deleteContainer", idempotency_key)
    async with database.transaction(principal.hub_id) as connection:
        done = await claim(connection, *call, arguments)
        if done is not None:
            return await _get(connection, principal, id), list(done["warnings"])
        before = await containers.lock(connection, principal.hub_id, id)
        if before is None:
            raise NotFound(path=("id",))
        if confirm != before.identifier:
            raise InvalidInput(
                "This is not the container's identifier; type the identifier to confirm.",
                code="CONFIRM_MISMATCH",
                path=("confirm",),
            )
        container, warnings = before, list[str]()
        if before.state is ContainerState.LIVE:
            container, warnings = await begin_deletion(connection, before, grace)
        await keep(connection, *call, {"id": str(id), "warnings": warnings})
        await step(Step.CASCADE_MARKING)
    await step(Step.CASCADE_MARKED)
    return container, warnings


async def undelete_container(
    database: Database,
    principal: Principal,
    *,
    id: UUID,
    most_jitter: timedelta = MOST_JITTER,
    idempotency_key: str | None = None,
) -> Container:
    """Bring a container back with all that went with it, while its grace lasts.

    Its schedule goes on; what was due meanwhile is not caught up.
    Backups that were deleted by themselves stay so, and runs that were cancelled stay cancelled.
    One that is LIVE stays as it is.
    Raises NotPermitted, NotFound, InvalidState (CONTAINER_DELETED, DELETION_BEGUN).
    """
    principal.require(Capability.DELETE_CONTAINERS)
    call = (principal, "undeleteContainer", idempotency_key)
    async with database.transaction(principal.hub_id) as connection:
        if await claim(connection, *call, {"id": str(id)}) is not None:
            return await _get(connection, principal, id)
        container = await containers.lock(connection, principal.hub_id, id)
        if container is None:
            raise NotFound(path=("id",))
        if container.state is ContainerState.DELETED:
            raise InvalidState(
                "The container and its backups are gone.", code="CONTAINER_DELETED", path=("id",)
            )
        if container.state is ContainerState.DELETING:
            container = await _end_deletion(connection, principal.hub_id, id)
            await resume_schedule(connection, principal.hub_id, id, most_jitter=most_jitter)
        await keep(connection, *call, {"id": str(id)})
        return container


def require_live(container: Container | None, *, path: tuple[str, ...]) -> None:
    """Raise NotFound where there is none, InvalidState (CONTAINER_DELETING) where it goes."""
    if container is None:
        raise NotFound(path=path)
    if container.state is not ContainerState.LIVE:
        raise InvalidState(
            f"The container {container.identifier} is being deleted.",
            code="CONTAINER_DELETING",
            path=path,
        )


async def _end_deletion(connection: Connection, hub_id: UUID, id: UUID) -> Container:
    container = await containers.end_deletion(connection, hub_id, id)
    back = None if container is None else await runs.bring_backups_back(connection, hub_id, id)
    if container is None or back is None:
        raise InvalidState(
            "The grace is over: the removal of the container's backups has begun.",
            code="DELETION_BEGUN",
            path=("id",),
        )
    lists = (list_of(id, backup_id) for backup_id in back)
    await notify(
        connection, [f"container:{id}", *(f"run:{backup_id}" for backup_id in back), *lists]
    )
    return container


async def begin_deletion(
    connection: Connection, before: Container, grace: timedelta
) -> tuple[Container, list[str]]:
    """Mark a locked container that is LIVE and all that goes with it; returns the warnings too."""
    hub_id, id = before.hub_id, before.id
    container = await containers.begin_deletion(connection, hub_id, id, grace)
    assert container is not None
    await end_schedule(connection, hub_id, id)
    cancelled = await containers.cancel_runs(connection, hub_id, id)
    count, size, pinned = await runs.mark_backups_deleting_with_container(
        connection, hub_id, id, grace
    )
    topics = [f"container:{id}", "duty:runs", "duty:reclaims"]
    await notify(connection, [*topics, *(f"run:{run_id}" for run_id in cancelled)])
    warnings = []
    if count:
        goes_at = container.goes_at
        assert goes_at is not None
        warnings.append(
            f"{count} {'backup' if count == 1 else 'backups'} of {size} bytes in all will be"
            f" removed from storage from {goes_at:%Y-%m-%dT%H:%M:%SZ} on."
        )
    if pinned:
        warnings.append(f"{pinned} of them {'is' if pinned == 1 else 'are'} pinned.")
    if cancelled:
        warnings.append(
            f"{len(cancelled)} {'run' if len(cancelled) == 1 else 'runs'} will be cancelled."
        )
    return container, warnings


async def _get(connection: Connection, principal: Principal, id: UUID) -> Container:
    container = await containers.get(connection, principal.hub_id, id)
    if container is None:
        raise NotFound(path=("id",))
    return container
