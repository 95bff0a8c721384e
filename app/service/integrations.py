"""Integrations: made, given new keys, checked on request, taken away when nothing needs them."""

from uuid import UUID, uuid4

from app.errors import InvalidInput, InvalidState, NotFound
from app.model.access import Capability, Principal
from app.model.drifts import DriftResolution
from app.model.integrations import (
    GOING,
    Integration,
    IntegrationState,
    NewIntegration,
    check_integration,
    check_key,
    realm_of,
)
from app.model.steps import PassStep, Step, pass_step
from app.model.texts import check_name
from app.postgres.listen import notify
from app.postgres.pool import Connection, Database
from app.queries import drifts, integrations, reclaims, runs, scans, schedules
from app.queries.integrations import Uses
from app.service.idempotency import claim, keep
from app.service.reclaims import end_backup
from app.service.secrets import Sealer, seal_key

NAMED = 20


async def create_integration(
    database: Database,
    principal: Principal,
    *,
    new: NewIntegration,
    sealer: Sealer,
    embedded_key_prefix: str | None,
    idempotency_key: str | None = None,
) -> Integration:
    """It is VERIFYING until a worker has checked it. Raises NotPermitted, InvalidInput, Conflict.

    `embedded_key_prefix`: how ids of the embedded B2's keys begin; None: there is none.
    """
    principal.require(Capability.CONFIGURE)
    check_integration(new)
    arguments = {
        "name": new.name,
        "keyId": new.key_id,
        "key": sealer.fingerprint(new.key.encode(), context="key"),
        "bucket": new.bucket,
        "prefix": new.prefix,
    }
    call = (principal, "createIntegration", idempotency_key)
    async with database.transaction(principal.hub_id) as connection:
        done = await claim(connection, *call, arguments)
        if done is not None:
            return await _get(connection, principal, UUID(done["id"]))
        id = uuid4()
        integration = await integrations.create(
            connection,
            principal.hub_id,
            id,
            new,
            realm=realm_of(new.key_id, embedded_key_prefix),
            sealed_key=seal_key(sealer, id, new.key),
        )
        await scans.add(connection, principal.hub_id, id)
        await keep(connection, *call, {"id": str(id)})
        await notify(connection, ["duty:integrations"])
        return integration


async def update_integration(
    database: Database,
    principal: Principal,
    *,
    id: UUID,
    sealer: Sealer,
    embedded_key_prefix: str | None,
    name: str | None = None,
    key_id: str | None = None,
    key: str | None = None,
    idempotency_key: str | None = None,
) -> Integration:
    """Change what is given; None keeps. A new key waits for its check where an old one works.

    Raises NotPermitted, NotFound, InvalidInput, InvalidState (INTEGRATION_DELETED).
    """
    principal.require(Capability.CONFIGURE)
    if name is not None:
        check_name(name, what="The name", path=("name",))
    if (key_id is None) != (key is None):
        missing = "keyId" if key_id is None else "key"
        raise InvalidInput("A new key needs both its id and the key.", path=(missing,))
    if key_id is not None and key is not None:
        check_key(key_id, key)
    arguments = {
        "id": str(id),
        "name": name,
        "keyId": key_id,
        "key": None if key is None else sealer.fingerprint(key.encode(), context="key"),
    }
    call = (principal, "updateIntegration", idempotency_key)
    async with database.transaction(principal.hub_id) as connection:
        if await claim(connection, *call, arguments) is not None:
            return await _get(connection, principal, id)
        integration = await _lock(connection, principal, id)
        if name is not None:
            renamed = await integrations.rename(connection, principal.hub_id, id, name)
            assert renamed is not None
            integration = renamed
        if key_id is not None and key is not None:
            if realm_of(key_id, embedded_key_prefix) is not integration.realm:
                raise InvalidInput(
                    "The new key belongs to another B2 than this integration;"
                    " create another integration for it.",
                    path=("keyId",),
                )
            sealed = seal_key(sealer, id, key)
            await integrations.change_key(
                connection, principal.hub_id, id, key_id=key_id, sealed_key=sealed
            )
            integration = await _request_check(connection, principal, id)
        await keep(connection, *call, {"id": str(id)})
        return integration


async def verify_integration(
    database: Database,
    principal: Principal,
    *,
    id: UUID,
    idempotency_key: str | None = None,
) -> Integration:
    """Have it checked now. Raises NotPermitted, NotFound, InvalidState (INTEGRATION_DELETED)."""
    principal.require(Capability.CONFIGURE)
    call = (principal, "verifyIntegration", idempotency_key)
    async with database.transaction(principal.hub_id) as connection:
        if await claim(connection, *call, {"id": str(id)}) is not None:
            return await _get(connection, principal, id)
        await _lock(connection, principal, id)
        integration = await _request_check(connection, principal, id)
        await keep(connection, *call, {"id": str(id)})
        return integration


async def delete_integration(
    database: Database,
    principal: Principal,
    *,
    id: UUID,
    force: bool = False,
    idempotency_key: str | None = None,
    step: PassStep = pass_step,
) -> tuple[Integration, list[str]]:
    """Its key stays until nothing is to be removed by it; a worker then wipes it.

    `force`: its policies are removed, its runs cancelled, its backups deleted. Said again while it
    is DELETING, what could not be removed by then is given up; the warnings name it.
    Raises NotPermitted, NotFound, InvalidState (INTEGRATION_IN_USE).
    """
    principal.require(Capability.CONFIGURE)
    if force:
        principal.require(Capability.DELETE_CONTAINERS)
    call = (principal, "deleteIntegration", idempotency_key)
    async with database.transaction(principal.hub_id) as connection:
        done = await claim(connection, *call, {"id": str(id), "force": force})
        if done is not None:
            return await _get(connection, principal, id), list(done["warnings"])
        integration = await integrations.lock(connection, principal.hub_id, id)
        if integration is None:
            raise NotFound(path=("id",))
        warnings: list[str] = []
        if integration.state is IntegrationState.DELETING and force:
            warnings = await give_up(connection, integration)
        elif integration.state not in GOING:
            if not force:
                _refuse_used(await integrations.uses(connection, principal.hub_id, id))
            integration, warnings = await begin_deletion(connection, integration)
        await keep(connection, *call, {"id": str(id), "warnings": warnings})
        await step(Step.CASCADE_MARKING)
    await step(Step.CASCADE_MARKED)
    return integration, warnings


async def begin_deletion(
    connection: Connection, before: Integration
) -> tuple[Integration, list[str]]:
    """Mark a locked integration and all that is in its bucket; returns the warnings too."""
    hub_id, id = before.hub_id, before.id
    policies = await integrations.remove_policies(connection, hub_id, id)
    await schedules.remove(connection, hub_id, policies)
    cancelled = await integrations.cancel_runs(connection, hub_id, id)
    count, size, pinned = await runs.mark_backups_deleting_with_integration(connection, hub_id, id)
    integration = await integrations.delete(connection, hub_id, id)
    assert integration is not None
    await drifts.resolve_of_integration(connection, hub_id, id, DriftResolution.GONE)
    topics = ["duty:runs", "duty:reclaims", "duty:sweep"]
    await notify(connection, [*topics, *(f"run:{run_id}" for run_id in cancelled)])
    told = (
        (len(policies), f"Policies that are removed: {len(policies)}."),
        (count, f"Backups that will be removed from storage: {count}, {size} bytes in all."),
        (pinned, f"Pinned ones among these: {pinned}."),
        (len(cancelled), f"Runs that will be cancelled: {len(cancelled)}."),
    )
    return integration, [sentence for number, sentence in told if number]


async def give_up(connection: Connection, integration: Integration) -> list[str]:
    """Promise no more to remove what could not be removed so far, and name it."""
    abandoned = await reclaims.abandon(connection, integration.hub_id, integration.id)
    for backup_id in sorted({one.backup_id for one in abandoned if one.backup_id is not None}):
        await end_backup(connection, backup_id)
    await notify(connection, ["duty:sweep"])
    if not abandoned:
        return []
    names = sorted({one.name for one in abandoned})
    shown = ", ".join(names[:NAMED])
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return [
        f"{len(names)} names are given up and may still be in {integration.bucket}: {shown}{more}."
    ]


def _refuse_used(uses: Uses) -> None:
    reasons = []
    if uses.policies:
        reasons.append(f"policies that save to it: {uses.policies}")
    if uses.backups:
        reasons.append(f"backups that have an object there: {uses.backups}")
    if uses.reclaims:
        reasons.append(f"objects that are still to be removed there: {uses.reclaims}")
    if reasons:
        raise InvalidState(
            f"The integration is still needed ({'; '.join(reasons)})."
            " Remove or change these first.",
            code="INTEGRATION_IN_USE",
            path=("id",),
        )


async def _lock(connection: Connection, principal: Principal, id: UUID) -> Integration:
    integration = await integrations.lock(connection, principal.hub_id, id)
    if integration is None:
        raise NotFound(path=("id",))
    if integration.state in GOING:
        raise InvalidState(
            "The integration was deleted; create a new one.",
            code="INTEGRATION_DELETED",
            path=("id",),
        )
    return integration


async def _request_check(connection: Connection, principal: Principal, id: UUID) -> Integration:
    integration = await integrations.request_check(connection, principal.hub_id, id)
    assert integration is not None
    await notify(connection, ["duty:integrations"])
    return integration


async def _get(connection: Connection, principal: Principal, id: UUID) -> Integration:
    integration = await integrations.get(connection, principal.hub_id, id)
    if integration is None:
        raise NotFound(path=("id",))
    return integration


async def ending(database: Database, limit: int) -> list[UUID]:
    """For workers: integrations in deletion that nothing needs any more."""
    async with database.connection(None) as connection:
        return await integrations.ending(connection, limit)


async def end(database: Database, id: UUID) -> bool:
    """For workers: wipe its key; it is DELETED. False: something needs it still."""
    async with database.transaction(None) as connection:
        ended = await integrations.end(connection, id)
        if ended:
            await integrations.forget_owner(connection, id)
        return ended
