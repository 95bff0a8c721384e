"""Checks of integrations: handed to workers, and what follows from their answers."""

from datetime import timedelta
from typing import Final
from uuid import UUID

from app.errors import GatewayError, PrefixInUse, SecretUnreadable
from app.model.events import EventKind, NewEvent
from app.model.integrations import GOING, Integration, IntegrationCheck, IntegrationState
from app.postgres.listen import notify
from app.postgres.pool import Connection, Database
from app.queries import integrations
from app.queries.integrations import DueCheck, LockedCheck
from app.service.events import record_event
from app.service.ownership import add_owner
from app.service.secrets import Sealer, open_access

RETRY_AFTER: Final = timedelta(minutes=1)
FAILED_AFTER: Final = timedelta(hours=1)
CHECKED_AFTER: Final = timedelta(days=1)
TOLD_AFTER: Final = timedelta(minutes=10)
"""What is unreachable for less passes by itself more often than not."""


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
        locked = await _lock_same(connection, check)
        if locked is None:
            return False
        integration = locked.integration
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
        failed = integration.error_code and integration.state is not IntegrationState.LIVE
        if failed or locked.unreachable_told:
            message = f"The integration {integration.name} works again."
            await _tell(connection, integration, EventKind.INTEGRATION_RECOVERED, message)
    return True


async def check_failed(database: Database, check: IntegrationCheck, error: GatewayError) -> None:
    """It is FAILED; but one that works stays LIVE where only its new key or the network failed.

    Where that goes on for long it is told all the same. A new key that was refused is dropped.
    Nothing happens where the row has changed since the check was handed out: it is then due again.
    """
    async with database.transaction(None) as connection:
        locked = await _lock_same(connection, check)
        if locked is not None:
            new_key = check.next_access is not None
            await _fail(connection, locked.integration, error, new_key=new_key)


async def check_soon(database: Database, integration_id: UUID) -> None:
    """Something could not reach B2: a worker finds out whether the integration is unreachable."""
    async with database.transaction(None) as connection:
        if await integrations.check_soon(connection, integration_id):
            await notify(connection, ["duty:integrations"])


def _open(sealer: Sealer, due: DueCheck, sample: tuple[str, str] | None) -> IntegrationCheck:
    return IntegrationCheck(
        integration=due.integration,
        access=open_access(sealer, due.access),
        next_access=None if due.next_access is None else open_access(sealer, due.next_access),
        sample=sample,
        version=due.version,
    )


async def _lock_same(connection: Connection, check: IntegrationCheck) -> LockedCheck | None:
    """The row, locked; None where it is not as it was when the check was handed out."""
    id: UUID = check.integration.id
    found = await integrations.lock_check(connection, id)
    if found is None or found.version != check.version:
        return None
    return None if found.integration.state in GOING else found


async def _fail(
    connection: Connection, integration: Integration, error: GatewayError, *, new_key: bool
) -> None:
    works = integration.state is IntegrationState.LIVE and (new_key or error.retry)
    is_late = await integrations.fail_check(
        connection,
        integration.id,
        code=error.code,
        message=f"The new key was not taken: {error.message}" if new_key else error.message,
        state=IntegrationState.LIVE if works else IntegrationState.FAILED,
        drop_next_key=new_key and not error.retry,
        again_in=RETRY_AFTER if error.retry else FAILED_AFTER,
        unreachable=works and error.retry,
        told_after=TOLD_AFTER,
    )
    # Told once: one that is tried again after a failure still bears its error.
    known = integration.error_code and integration.state is not IntegrationState.LIVE
    if not works and not known:
        message = f"The integration {integration.name} does not work: {error.message}"
        await _tell(connection, integration, EventKind.INTEGRATION_FAILED, message, code=error.code)
    elif is_late:
        minutes = TOLD_AFTER // timedelta(minutes=1)
        message = (
            f"The integration {integration.name} cannot be reached for more than {minutes} minutes:"
            f" {error.message}"
        )
        await _tell(connection, integration, EventKind.INTEGRATION_FAILED, message, code=error.code)
        await integrations.told_unreachable(connection, integration.id)


async def _tell(
    connection: Connection, integration: Integration, kind: EventKind, message: str, **data: str
) -> None:
    event = NewEvent(kind=kind, message=message, integration_id=integration.id, data=data)
    await record_event(connection, integration.hub_id, event)
