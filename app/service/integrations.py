"""Integrations: made, given new keys, checked on request, taken away when nothing needs them."""

from uuid import UUID, uuid4

from app.errors import InvalidInput, InvalidState, NotFound
from app.model.access import Capability, Principal
from app.model.drifts import DriftResolution
from app.model.integrations import (
    Integration,
    IntegrationState,
    NewIntegration,
    check_integration,
    check_key,
    realm_of,
)
from app.model.texts import check_name
from app.postgres.listen import notify
from app.postgres.pool import Connection, Database
from app.queries import drifts, integrations, scans
from app.queries.integrations import Uses
from app.service.idempotency import claim, keep
from app.service.secrets import Sealer, seal_key

_GOING = frozenset({IntegrationState.DELETING, IntegrationState.DELETED})


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
    idempotency_key: str | None = None,
) -> Integration:
    """Its keys are forgotten at once. One that was deleted already stays as it is.

    Raises NotPermitted, NotFound, InvalidState (INTEGRATION_IN_USE).
    """
    principal.require(Capability.CONFIGURE)
    call = (principal, "deleteIntegration", idempotency_key)
    async with database.transaction(principal.hub_id) as connection:
        if await claim(connection, *call, {"id": str(id)}) is not None:
            return await _get(connection, principal, id)
        integration = await integrations.lock(connection, principal.hub_id, id)
        if integration is None:
            raise NotFound(path=("id",))
        if integration.state is not IntegrationState.DELETED:
            _refuse_used(await integrations.uses(connection, principal.hub_id, id))
            deleted = await integrations.delete(connection, principal.hub_id, id)
            assert deleted is not None
            integration = deleted
            await drifts.resolve_of_integration(
                connection, principal.hub_id, id, DriftResolution.GONE
            )
        await keep(connection, *call, {"id": str(id)})
        return integration


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
    if integration.state in _GOING:
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
