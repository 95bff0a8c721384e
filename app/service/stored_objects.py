"""Objects of backups: how to reach them, and keeping what was seen of them."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from app.errors import (
    GatewayError,
    ObjectMismatch,
    ObjectMissing,
    SecretUnreadable,
    StorageCredentials,
    StorageRefused,
)
from app.model.backups import Backup, StorageStatus
from app.model.stored_objects import ExpectedObject, Look, advise
from app.postgres.listen import notify
from app.postgres.pool import Connection, Database
from app.queries import stored_objects
from app.queries.stored_objects import SealedObject
from app.service.secrets import Sealer, open_access
from app.service.topics import list_of


async def find_objects(
    database: Database, hub_id: UUID, ids: Sequence[UUID], *, sealer: Sealer
) -> dict[UUID, ExpectedObject | GatewayError]:
    """The objects of those backups that are LIVE, each with access to it or why there is none."""
    async with database.connection(hub_id) as connection:
        found = await stored_objects.expected(connection, hub_id, ids)
    return {id: open_object(id, sealed, sealer) for id, sealed in found.items()}


async def record_looks(
    database: Database,
    hub_id: UUID,
    seen: Mapping[UUID, StorageStatus],
    *,
    is_whole: bool = False,
) -> dict[UUID, Look]:
    """Keep what was seen of objects; returns what the records of LIVE backups say now.

    `is_whole`: all of the bytes were read and checked. Only that clears a mismatch.
    """
    async with database.transaction(hub_id) as connection:
        return await record_in(connection, hub_id, seen, is_whole=is_whole)


async def record_in(
    connection: Connection,
    hub_id: UUID,
    seen: Mapping[UUID, StorageStatus],
    *,
    is_whole: bool = False,
) -> dict[UUID, Look]:
    """As `record_looks`, in the caller's transaction."""
    recorded = await stored_objects.record(connection, hub_id, seen, is_whole=is_whole)
    changed = {id: found for id, found in recorded.items() if found.is_changed}
    if changed:
        lists = (list_of(found.container_id, id) for id, found in changed.items())
        await notify(connection, [*(f"run:{id}" for id in changed), *lists])
    return {id: found.look for id, found in recorded.items()}


def read_status(error: GatewayError) -> StorageStatus | None:
    """What a failure says of the object that was read; None: nothing."""
    if isinstance(error, ObjectMissing):
        return StorageStatus.MISSING
    return StorageStatus.MISMATCH if isinstance(error, ObjectMismatch) else None


def require_object(backup: Backup, *, whole: bool) -> None:
    """Refuse what is known to be lost, and, where it must be `whole`, what is known to differ.

    Raises StorageRefused (OBJECT_MISSING, OBJECT_MISMATCH).
    """
    status, path = backup.storage_status, ("backupId",)
    if status in {StorageStatus.MISSING, StorageStatus.LOSS_ACCEPTED}:
        message = "The backup's object is not in the bucket any more."
        raise StorageRefused(_advise(message, status), code="OBJECT_MISSING", path=path)
    if whole and status is StorageStatus.MISMATCH:
        message = "The backup's object in the bucket is not the one that was saved."
        raise StorageRefused(_advise(message, status), code="OBJECT_MISMATCH", path=path)


def _advise(message: str, status: StorageStatus) -> str:
    advice = advise(status)
    return message if advice is None else f"{message} {advice}"


def open_object(id: UUID, sealed: SealedObject, sealer: Sealer) -> ExpectedObject | GatewayError:
    """A backup's object with access to it, or why there is none."""
    if sealed.access is None:
        return StorageCredentials()
    try:
        access = open_access(sealer, sealed.access)
    except SecretUnreadable as error:
        return error
    return ExpectedObject(
        backup_id=id,
        name=sealed.name,
        file_id=sealed.file_id,
        size_bytes=sealed.size_bytes,
        sha256=sealed.sha256,
        access=access,
    )
