"""Reclaims: handed to workers when due, and settled once B2 has confirmed."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final
from uuid import UUID

from app.errors import GatewayError, NotTheOwner, SecretUnreadable, StorageCredentials
from app.model.backups import BackupState
from app.model.events import EventKind, NewEvent
from app.model.integrations import StorageAccess
from app.model.orders import ReclaimOrder
from app.postgres.listen import notify
from app.postgres.pool import Connection, Database
from app.queries import claims, reclaims, runs
from app.service.events import record_event
from app.service.secrets import Sealer, open_access
from app.service.topics import list_of

STUCK_ATTEMPTS: Final = 8
"""About two hours."""
STUCK_AFTER: Final = timedelta(hours=6)


async def take_due(database: Database, sealer: Sealer, limit: int) -> list[ReclaimOrder]:
    """Take reclaims that are due; each is due again after a growing while unless it is settled.

    One whose bucket cannot be reached for want of a key is put off here, with the reason.
    """
    async with database.transaction(None) as connection:
        due = await reclaims.take_due(connection, limit)
        access: dict[UUID, StorageAccess | GatewayError] = {}
        orders = []
        for reclaim in due:
            id = reclaim.integration_id
            if id not in access:
                access[id] = await _open(connection, sealer, id)
            storage = access[id]
            if isinstance(storage, GatewayError):
                await reclaims.put_off(
                    connection, reclaim.id, code=storage.code, message=storage.message
                )
                await _tell_of_stuck(connection, [reclaim.id], storage)
                continue
            orders.append(
                ReclaimOrder(
                    id=reclaim.id,
                    hub_id=reclaim.hub_id,
                    backup_id=reclaim.backup_id,
                    kind=reclaim.kind,
                    name=reclaim.name,
                    file_id=reclaim.file_id,
                    attempts=reclaim.attempts,
                    age=reclaim.age,
                    storage=storage,
                )
            )
        return orders


async def settle(database: Database, id: UUID, *, again_at: timedelta | None = None) -> None:
    """B2 has confirmed that it is gone; `again_at`: it is asked once more after that time.

    A DELETING backup of which nothing is unconfirmed any more is DELETED.
    """
    async with database.transaction(None) as connection:
        found = await reclaims.find(connection, id)
        if found is None:
            return
        hub_id, backup_id = found
        # Locked before the reclaim: of two that settle the last two, one must see the other.
        if backup_id is not None:
            await reclaims.lock_backup(connection, backup_id)
        integration_id = await reclaims.settle(connection, id, again_at)
        if integration_id is not None and not await reclaims.any_stuck(connection, integration_id):
            event = NewEvent(
                kind=EventKind.RECLAIM_SETTLED,
                message="What could not be removed from storage for long is gone.",
                integration_id=integration_id,
            )
            await record_event(connection, hub_id, event)
        if backup_id is not None:
            await end_backup(connection, backup_id)


async def end_backup(connection: Connection, backup_id: UUID) -> None:
    """A DELETING backup of which nothing is unconfirmed any more is DELETED."""
    backup = await reclaims.lock_backup(connection, backup_id)
    if backup is None or backup.state is not BackupState.DELETING:
        return
    if await runs.is_unconfirmed(connection, backup.hub_id, backup_id):
        return
    await runs.move_backup(
        connection, backup.hub_id, backup_id, BackupState.DELETING, BackupState.DELETED
    )
    await notify(connection, [f"run:{backup_id}", list_of(backup.container_id, backup_id)])


async def put_off(
    database: Database,
    ids: Sequence[UUID],
    error: GatewayError,
    *,
    again_in: timedelta | None = None,
) -> None:
    """They could not be done; the reason is kept, and they are tried again when they are due.

    `again_in`: not by their own growing while, but after this time.
    Where that goes on for long it is told, once for an integration.
    """
    async with database.transaction(None) as connection:
        for id in ids:
            await reclaims.put_off(
                connection, id, code=error.code, message=error.message, again_in=again_in
            )
        # Whose the place is, is told by an event of its own.
        if not isinstance(error, NotTheOwner):
            await _tell_of_stuck(connection, ids, error)


async def _tell_of_stuck(connection: Connection, ids: Sequence[UUID], error: GatewayError) -> None:
    for stuck in await reclaims.mark_stuck(connection, ids, STUCK_ATTEMPTS, STUCK_AFTER):
        event = NewEvent(
            kind=EventKind.RECLAIM_STUCK,
            message=f"Something could not be removed from storage in {stuck.attempts} attempts:"
            f" {error.message}",
            backup_id=stuck.backup_id,
            integration_id=stuck.integration_id,
            data={"attempts": stuck.attempts, "code": error.code},
        )
        await record_event(connection, stuck.hub_id, event)


async def _open(
    connection: Connection, sealer: Sealer, integration_id: UUID
) -> StorageAccess | GatewayError:
    sealed = await claims.sealed_access(connection, integration_id)
    if sealed is None:
        return StorageCredentials("The integration's key is gone.")
    try:
        return open_access(sealer, sealed)
    except SecretUnreadable as error:
        return error
