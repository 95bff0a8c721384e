"""Scans of buckets: asked for by requests, and handed to workers step by step."""

from datetime import timedelta
from typing import Final
from uuid import UUID

from app.errors import Fenced, GatewayError, InvalidState, NotFound, StorageCredentials
from app.model.access import Capability, Principal
from app.model.integrations import Integration, IntegrationState, StorageAccess
from app.model.runs import RunError
from app.model.scans import ScanKind, ScanStep
from app.postgres.listen import notify
from app.postgres.pool import Connection, Database
from app.queries import claims, integrations, scans
from app.queries.scans import TakenScan
from app.service.idempotency import claim, keep
from app.service.secrets import Sealer, open_access

DAILY: Final = timedelta(days=1)
RETRY_AFTER: Final = timedelta(seconds=15)
FAILED_AFTER: Final = timedelta(hours=1)
TOPICS: Final = {ScanKind.RECONCILE: "duty:reconciles", ScanKind.RECOVER: "duty:recoveries"}


async def reconcile_storage(
    database: Database,
    principal: Principal,
    *,
    id: UUID,
    believe_listing: bool = False,
    idempotency_key: str | None = None,
) -> Integration:
    """Have bucket and records compared now; one that is under way goes on.

    Raises NotPermitted, NotFound, InvalidState (INTEGRATION_NOT_LIVE).
    """
    principal.require(Capability.CONFIGURE)
    call = (principal, "reconcileStorage", idempotency_key)
    arguments = {"id": id, "believeListing": believe_listing}
    async with database.transaction(principal.hub_id) as connection:
        if await claim(connection, *call, arguments) is None:
            await require_live(connection, principal, id)
            await scans.request(
                connection, principal.hub_id, id, ScanKind.RECONCILE, believed=believe_listing
            )
            await notify(connection, [TOPICS[ScanKind.RECONCILE]])
            await keep(connection, *call, {"id": str(id)})
        return await _get(connection, principal, id)


async def require_live(connection: Connection, principal: Principal, id: UUID) -> Integration:
    """The integration, which nobody changes until the transaction ends.

    Raises NotFound, InvalidState (INTEGRATION_NOT_LIVE).
    """
    integration = await integrations.hold(connection, principal.hub_id, id)
    if integration is None:
        raise NotFound(path=("integrationId",))
    if integration.state is not IntegrationState.LIVE:
        raise InvalidState(
            f"The integration is {integration.state}, not LIVE.",
            code="INTEGRATION_NOT_LIVE",
            path=("integrationId",),
        )
    return integration


async def take_due(
    database: Database, sealer: Sealer, kind: ScanKind, limit: int, *, lease: timedelta
) -> list[ScanStep]:
    """Take the next steps of scans that are due, each for so long unless that is renewed.

    One whose key cannot be used is put off here.
    """
    async with database.transaction(None) as connection:
        installation_id = await claims.installation(connection)
        steps = []
        for scan in await scans.take_due(connection, kind, limit, lease):
            try:
                access = await _open(connection, sealer, scan.integration_id)
            except GatewayError as error:
                await _put_off(connection, scan, error)
                continue
            steps.append(
                ScanStep(
                    hub_id=scan.hub_id,
                    integration_id=scan.integration_id,
                    kind=scan.kind,
                    number=scan.number,
                    epoch=scan.epoch,
                    phase=scan.phase,
                    cursor=scan.cursor,
                    counts=scan.counts,
                    believed=scan.believed,
                    started_at=scan.started_at,
                    former_hub_id=scan.former_hub_id,
                    installation_id=installation_id,
                    storage=access,
                )
            )
        return steps


async def renew(database: Database, step: ScanStep, lease: timedelta) -> bool:
    """Go on with a step for so long. False: another worker has it, or may have it by now."""
    async with database.transaction(None) as connection:
        return await scans.renew(connection, step, lease)


async def put_off(database: Database, step: ScanStep, error: GatewayError) -> None:
    """The step could not be done; the reason is kept, and it is tried again from there."""
    async with database.transaction(None) as connection:
        await _put_off(connection, step, error)


async def require_own(connection: Connection, step: ScanStep) -> None:
    """Nobody else works on the scan until the transaction ends. Raises Fenced."""
    if not await scans.fence(connection, step):
        raise Fenced


def describe(error: GatewayError) -> RunError:
    return RunError(code=error.code, message=error.message)


async def _put_off(connection: Connection, scan: TakenScan | ScanStep, error: GatewayError) -> None:
    after = RETRY_AFTER if error.retry else FAILED_AFTER
    await scans.put_off(connection, scan, describe(error), after)


async def _open(connection: Connection, sealer: Sealer, integration_id: UUID) -> StorageAccess:
    """Raises StorageCredentials, SecretUnreadable."""
    sealed = await claims.sealed_access(connection, integration_id)
    if sealed is None:
        raise StorageCredentials("The integration's key is gone.")
    return open_access(sealer, sealed)


async def _get(connection: Connection, principal: Principal, id: UUID) -> Integration:
    integration = await integrations.get(connection, principal.hub_id, id)
    if integration is None:
        raise NotFound(path=("integrationId",))
    return integration
