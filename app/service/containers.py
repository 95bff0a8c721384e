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
from app.model.texts import check_name
from app.postgres.listen import notify
from app.postgres.pool import Connection, Database
from app.queries import containers, runs
from app.service.idempotency import claim, keep


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
    idempotency_key: str | None = None,
) -> Container:
    """Change what is given; None keeps. Labels are replaced as a whole.

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
    }
    call = (principal, "updateContainer", idempotency_key)
    async with database.transaction(principal.hub_id) as connection:
        if await claim(connection, *call, arguments) is not None:
            return await _get(connection, principal, id)
        before = await containers.lock(connection, principal.hub_id, id)
        require_live(before, path=("id",))
        assert before is not None
        container = await containers.update(
            connection,
            principal.hub_id,
            id,
            name=before.name if name is None else name,
            labels=before.labels if labels is None else labels,
        )
        assert container is not None
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
            container, warnings = await _begin_deletion(connection, before, grace)
        await keep(connection, *call, {"id": str(id), "warnings": warnings})
        return container, warnings


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


async def _begin_deletion(
    connection: Connection, before: Container, grace: timedelta
) -> tuple[Container, list[str]]:
    hub_id, id = before.hub_id, before.id
    container = await containers.begin_deletion(connection, hub_id, id)
    assert container is not None
    cancelled = await containers.cancel_runs(connection, hub_id, id)
    count, size, pinned = await runs.mark_backups_deleting_with_container(
        connection, hub_id, id, grace
    )
    topics = [f"container:{id}", "duty:runs", "duty:reclaims"]
    await notify(connection, [*topics, *(f"run:{run_id}" for run_id in cancelled)])
    warnings = []
    if count:
        assert container.deleting_since is not None
        goes_at = container.deleting_since + grace
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
