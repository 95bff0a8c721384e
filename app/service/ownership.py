"""Whose a bucket's place is: turns to ask, what follows from the answer, the operator's claim."""

import contextlib
from datetime import timedelta
from typing import Final
from uuid import UUID, uuid4

from app.errors import GatewayError, NameUnclear, NotTheOwner, OwnerBusy, StorageCredentials
from app.model.events import EventKind, NewEvent
from app.model.ids import decode_id_of
from app.model.ownership import Turn
from app.postgres.listen import notify
from app.postgres.pool import Connection, Database
from app.queries import claims, ownership
from app.queries.ownership import LockedOwner, NamedIntegration
from app.service.events import record_event
from app.service.secrets import Sealer, open_access

ASKED_AGAIN: Final = timedelta(hours=1)
MOVED: Final = (
    "This database is a copy, or it was moved to another server: if the backups there are its own"
    " and no other gateway uses them, claim the integration."
)


async def add_owner(connection: Connection, hub_id: UUID, integration_id: UUID) -> None:
    """The integration works: a worker writes its owner object, where nobody else has one."""
    await ownership.add(connection, hub_id, integration_id)
    await notify(connection, ["duty:ownership"])


async def due_owners(database: Database, limit: int) -> list[UUID]:
    """Integrations whose owner object is to be read now; each is due again 5 minutes later."""
    async with database.transaction(None) as connection:
        return await ownership.take_due(connection, limit)


async def begin_turn(
    database: Database, sealer: Sealer, integration_id: UUID, *, lease: timedelta
) -> Turn:
    """Take the only turn to read and advance an integration's owner object, for so long.

    Raises NotTheOwner where that is known without asking the bucket, OwnerBusy while another
    worker has its turn, StorageCredentials or SecretUnreadable where its key cannot be used.
    """
    token = uuid4()
    async with database.transaction(None) as connection:
        locked = await ownership.lock(connection, integration_id)
        refusal = _refuse(locked)
        if locked is not None and refusal is None:
            turn = await _open(connection, sealer, integration_id, token, locked)
            await ownership.begin_turn(connection, integration_id, token, lease)
            return turn
        if locked is not None and locked.stopped_because is None and _is_moved(locked):
            await _stop(connection, integration_id, None, locked, MOVED)
    assert refusal is not None
    raise refusal


async def renew_turn(database: Database, turn: Turn, lease: timedelta) -> bool:
    """Go on with a turn for so long. False: it was over, and may be another worker's by now."""
    async with database.transaction(None) as connection:
        return await ownership.renew_turn(connection, turn.integration_id, turn.token, lease)


async def issue_mark(database: Database, turn: Turn) -> UUID:
    """A mark for the next version, known here before it is in the bucket. Raises OwnerBusy."""
    mark = uuid4()
    async with database.transaction(None) as connection:
        if not await ownership.issue(connection, turn.integration_id, turn.token, mark):
            raise OwnerBusy
    return mark


async def confirm(database: Database, turn: Turn, generation: int) -> None:
    """The bucket holds the version that was written, and no other one's: the place is ours.

    What waited for that is due at once. Raises OwnerBusy where the turn was over.
    """
    id = turn.integration_id
    async with database.transaction(None) as connection:
        locked = await ownership.lock(connection, id)
        if locked is None or not await ownership.confirm(
            connection, id, turn.token, generation, ASKED_AGAIN
        ):
            raise OwnerBusy
        if locked.stopped_because is not None:
            await ownership.wake_reclaims(connection, id)
            await _tell(
                connection,
                locked.hub_id,
                id,
                EventKind.OWNER_AGAIN,
                "This database owns the bucket and prefix of the integration again.",
            )
            await notify(connection, ["duty:reclaims"])


async def stop(database: Database, turn: Turn, because: str) -> None:
    """The place is not ours: nothing is deleted there by itself; it is asked again in an hour."""
    async with database.transaction(None) as connection:
        locked = await ownership.lock(connection, turn.integration_id)
        if locked is not None:
            await _stop(connection, turn.integration_id, turn.token, locked, because)


async def end_turn(database: Database, turn: Turn) -> None:
    """The bucket could not be asked: nothing is known, and others may try."""
    async with database.transaction(None) as connection:
        await ownership.end_turn(connection, turn.integration_id, turn.token)


async def claim_in(connection: Connection, hub_id: UUID, integration_id: UUID) -> None:
    """Somebody who may has said that the bucket's place is this database's, whoever else's it is.

    A worker writes it into the bucket within moments; what held the place until then is stopped.
    """
    await ownership.claim(connection, hub_id, integration_id)
    await notify(connection, ["duty:ownership"])


async def claim_integration(database: Database, integration: NamedIntegration) -> None:
    """The operator's claim; as the database's owner."""
    async with database.transaction(None) as connection:
        await claim_in(connection, integration.hub_id, integration.id)


async def claim_all_stopped(database: Database, limit: int = 10_000) -> int:
    """Claim every integration in whose bucket this database is not the owner. Returns how many."""
    async with database.transaction(None) as connection:
        found = await ownership.stopped(connection, limit)
        for hub_id, integration_id in found:
            await claim_in(connection, hub_id, integration_id)
    return len(found)


async def find_integration(database: Database, name_or_id: str) -> NamedIntegration:
    """For the operator: by its id, as clients know it or as the database does, or by its name.

    Raises NameUnclear where there is none, or several have the name.
    """
    id = decode_id_of("Integration", name_or_id)
    if id is None:
        with contextlib.suppress(ValueError):
            id = UUID(name_or_id)
    async with database.connection(None) as connection:
        found = await ownership.find(connection, id, name_or_id)
    if not found:
        raise NameUnclear(f"There is no integration {name_or_id!r}.")
    if len(found) > 1:
        ids = ", ".join(f"{one.id} of {one.hub_name}" for one in found)
        raise NameUnclear(
            f"There are {len(found)} integrations {name_or_id!r}: name one by its id ({ids})."
        )
    return found[0]


def _is_moved(locked: LockedOwner) -> bool:
    return locked.is_elsewhere and not locked.is_claimed


def _refuse(locked: LockedOwner | None) -> GatewayError | None:
    """Why there is no turn now; None: there is."""
    if locked is None:
        return NotTheOwner("The integration was never seen to work.")
    if locked.is_taken:
        return OwnerBusy()
    if locked.is_claimed:
        return None
    if locked.is_elsewhere:
        return NotTheOwner(MOVED)
    return NotTheOwner(locked.stopped_because) if locked.waits else None


async def _stop(
    connection: Connection,
    integration_id: UUID,
    token: UUID | None,
    locked: LockedOwner,
    because: str,
) -> None:
    stopped = await ownership.stop(connection, integration_id, token, ASKED_AGAIN, because)
    if stopped and locked.stopped_because is None:
        message = f"Nothing is deleted in the bucket of the integration: {because}"
        await _tell(connection, locked.hub_id, integration_id, EventKind.NOT_THE_OWNER, message)


async def _tell(
    connection: Connection, hub_id: UUID, integration_id: UUID, kind: EventKind, message: str
) -> None:
    event = NewEvent(kind=kind, message=message, integration_id=integration_id)
    await record_event(connection, hub_id, event)


async def _open(
    connection: Connection,
    sealer: Sealer,
    integration_id: UUID,
    token: UUID,
    locked: LockedOwner,
) -> Turn:
    sealed = await claims.sealed_access(connection, integration_id)
    if sealed is None:
        raise StorageCredentials("The integration's key is gone.")
    return Turn(
        integration_id=integration_id,
        token=token,
        installation_id=await claims.installation(connection),
        generation=locked.generation,
        marks=locked.marks,
        is_claim=locked.is_claimed,
        storage=open_access(sealer, sealed),
    )
