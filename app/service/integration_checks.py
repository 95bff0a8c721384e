"""Checks of integrations: handed to workers, and what follows from their answers."""

from datetime import timedelta
from typing import Final
from uuid import UUID

from app.errors import GatewayError, PrefixInUse, SecretUnreadable
from app.model.events import EventKind, NewEvent
from app.model.integrations import Integration, IntegrationCheck, IntegrationState
from app.postgres.pool import Connection, Database
from app.queries import integrations
from app.queries.integrations import DueCheck
from app.service.events import record_event
from app.service.ownership import add_owner
from app.service.secrets import Sealer, open_access

RETRY_AFTER: Final = timedelta(minutes=1)
FAILED_AFTER: Final = timedelta(hours=1)
CHECKED_AFTER: Final = timedelta(days=1)


async def due_checks(database: Database, sealer: Sealer, limit: int) -> list[IntegrationCheck]:
    """Take checks that are due; one without an answer is due again after 5 minutes.

    An integration whose key cannot be unsealed is FAILED here and not handed out.
    """
    async with database.transaction(None) as connection:
        taken = [
            (due, await integrations.sample(connection, due.integration.id))
            for due in await integrations.take_due(connection, limit)
        ]
    checks = []
    for due, sample in taken:
        try:
            checks.append(_open(sealer, due, sample))
        except SecretUnreadable as error:
            async with database.transaction(None) as connection:
                await _fail(connection, due.integration, error, new_key=False)
    return checks


async def check_passed(database: Database, check: IntegrationCheck) -> bool:
    """It is LIVE, and the key that was checked is the one from now on.

    Its place belongs to whoever was verified first, of any hub: one that was never verified owns
    nothing, or anybody could block a bucket of others by naming it.
    False, and nothing or FAILED is written, where the row has changed since the check was handed
    out (it is then due again) or where another integration took the place meanwhile.
    """
    async with database.transaction(None) as connection:
        integration = await _lock_same(connection, check)
        if integration is None:
            return False
        if integration.verified_at is None:
            await integrations.lock_place(connection, integration)
            if await integrations.overlaps(connection, integration):
                await _fail(connection, integration, PrefixInUse(), new_key=False)
                return False
        await integrations.pass_check(
            connection,
            integration.id,
            take_next_key=check.next_access is not None,
            again_in=CHECKED_AFTER,
        )
        if integration.verified_at is None:
            await add_owner(connection, integration.hub_id, integration.id)
        if integration.error_code and integration.state is not IntegrationState.LIVE:
            message = f"The integration {integration.name} works again."
            await _tell(connection, integration, EventKind.INTEGRATION_RECOVERED, message)
    return True


async def check_failed(database: Database, check: IntegrationCheck, error: GatewayError) -> None:
    """It is FAILED; but one that works stays LIVE where only its new key or the network failed.

    A new key that was refused is dropped. Nothing happens where the row has changed since the
    check was handed out: it is then due again.
    """
    async with database.transaction(None) as connection:
        integration = await _lock_same(connection, check)
        if integration is not None:
            await _fail(connection, integration, error, new_key=check.next_access is not None)


def _open(sealer: Sealer, due: DueCheck, sample: tuple[str, str] | None) -> IntegrationCheck:
    return IntegrationCheck(
        integration=due.integration,
        access=open_access(sealer, due.access),
        next_access=None if due.next_access is None else open_access(sealer, due.next_access),
        sample=sample,
        version=due.version,
    )


async def _lock_same(connection: Connection, check: IntegrationCheck) -> Integration | None:
    """The row, locked; None where it is not as it was when the check was handed out."""
    id: UUID = check.integration.id
    found = await integrations.lock_check(connection, id)
    if found is None or found[1] != check.version:
        return None
    integration, _ = found
    gone = integration.state in {IntegrationState.DELETING, IntegrationState.DELETED}
    return None if gone else integration


async def _fail(
    connection: Connection, integration: Integration, error: GatewayError, *, new_key: bool
) -> None:
    works = integration.state is IntegrationState.LIVE and (new_key or error.retry)
    await integrations.fail_check(
        connection,
        integration.id,
        code=error.code,
        message=f"The new key was not taken: {error.message}" if new_key else error.message,
        state=IntegrationState.LIVE if works else IntegrationState.FAILED,
        drop_next_key=new_key and not error.retry,
        again_in=RETRY_AFTER if error.retry else FAILED_AFTER,
    )
    # Told once: one that is tried again after a failure still bears its error.
    known = integration.error_code and integration.state is not IntegrationState.LIVE
    if not works and not known:
        message = f"The integration {integration.name} does not work: {error.message}"
        await _tell(connection, integration, EventKind.INTEGRATION_FAILED, message, code=error.code)


async def _tell(
    connection: Connection, integration: Integration, kind: EventKind, message: str, **data: str
) -> None:
    event = NewEvent(kind=kind, message=message, integration_id=integration.id, data=data)
    await record_event(connection, integration.hub_id, event)
