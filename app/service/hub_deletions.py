"""Deleting a hub: everything it has goes, and its row last of all."""

from datetime import timedelta
from typing import Final

from app.errors import InvalidInput, NotFound
from app.model.access import Capability, Principal
from app.model.containers import ContainerState
from app.model.hubs import Hub
from app.model.steps import PassStep, Step, pass_step
from app.postgres.listen import notify
from app.postgres.pool import Database
from app.queries import containers, hubs, integrations, keys
from app.service import containers as container_service
from app.service import integrations as integration_service
from app.service.idempotency import claim, keep

MOST_AT_ONCE: Final = 5_000
"""Rows of each table that one step of the end removes."""
BATCH: Final = 10_000


async def delete_hub(
    database: Database,
    principal: Principal,
    *,
    confirm: str,
    grace: timedelta,
    idempotency_key: str | None = None,
    step: PassStep = pass_step,
) -> tuple[Hub, list[str]]:
    """Mark all that the hub has, in one transaction; its keys, this one too, open nothing more.

    Objects of containers go after `grace`; the sealed keys that this needs stay until then. The
    warnings say how much that is. Raises NotPermitted, InvalidInput (CONFIRM_MISMATCH).
    """
    principal.require(Capability.DELETE_HUB)
    hub_id = principal.hub_id
    async with database.transaction(hub_id) as connection:
        hub = await hubs.get(connection, hub_id)
        if hub is None:
            raise NotFound
        call = (principal, "deleteHub", idempotency_key)
        done = await claim(connection, *call, {"confirm": confirm})
        if done is not None:
            return hub, list(done["warnings"])
        if confirm != hub.name:
            raise InvalidInput(
                "This is not the hub's name; type the name to confirm.",
                code="CONFIRM_MISMATCH",
                path=("confirm",),
            )
        await hubs.begin_deletion(connection, hub_id)
        warnings = []
        for id in await containers.live(connection, hub_id, BATCH):
            container = await containers.lock(connection, hub_id, id)
            if container is not None and container.state is ContainerState.LIVE:
                _, told = await container_service.begin_deletion(connection, container, grace)
                warnings += [f"{container.identifier}: {one}" for one in told]
        for id in await integrations.there(connection, hub_id, BATCH):
            integration = await integrations.lock(connection, hub_id, id)
            if integration is not None:
                await integration_service.begin_deletion(connection, integration)
        await keep(connection, *call, {"warnings": warnings})
        await keys.revoke_all(connection, hub_id)
        await notify(connection, ["duty:reclaims", "duty:runs", "duty:sweep"])
        await step(Step.CASCADE_MARKING)
    await step(Step.CASCADE_MARKED)
    return hub, warnings


async def finish_hub_deletions(database: Database) -> int:
    """Hubs in deletion of which everything is settled are gone. Returns how many."""
    async with database.connection(None) as connection:
        found = await hubs.ending(connection, BATCH)
    gone = 0
    for hub_id in found:
        async with database.transaction(None) as connection:
            gone += await hubs.forget(connection, hub_id, MOST_AT_ONCE)
    return gone
