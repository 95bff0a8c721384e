"""Adoptions: orphans handed to workers, and the backups that they become."""

from datetime import timedelta
from typing import Final

from app.errors import Fenced, GatewayError, NotAdoptable, StorageCredentials
from app.model.adoptions import AdoptionOrder
from app.model.containers import Container, ContainerState
from app.model.objects import manifest_name, parse_object_name
from app.postgres.pool import Connection, Database
from app.queries import adoptions, claims, containers
from app.queries.adoptions import TakenAdoption
from app.service.recoveries import FoundBackup, find_container, make_record
from app.service.scans import RETRY_AFTER, describe
from app.service.secrets import Sealer, open_access

UNKNOWN_HOSTNAME: Final = "recovered"


async def take_due(
    database: Database, sealer: Sealer, limit: int, *, lease: timedelta
) -> list[AdoptionOrder]:
    """Take orphans that are to be made backups, each for so long unless that is renewed."""
    async with database.transaction(None) as connection:
        orders = []
        for taken in await adoptions.take(connection, limit, lease):
            try:
                orders.append(await _order(connection, sealer, taken))
            except GatewayError as error:
                await adoptions.fail(connection, taken.id, taken.epoch, describe(error), None)
        return orders


async def renew(
    database: Database, order: AdoptionOrder, bytes_read: int, lease: timedelta
) -> bool:
    """The work goes on for so long. False: another worker has it, or may have it by now."""
    async with database.transaction(None) as connection:
        return await adoptions.renew(connection, order.id, order.epoch, bytes_read, lease)


async def adopted(database: Database, order: AdoptionOrder, found: FoundBackup) -> None:
    """Object and manifest are in the bucket and agree: they are a LIVE backup.

    Raises Fenced, NotAdoptable.
    """
    place = found.manifest.place
    async with database.transaction(None) as connection:
        if not await adoptions.fence(connection, order.id, order.epoch):
            raise Fenced
        container = await _container(connection, order, found)
        if container is None or container.state is not ContainerState.LIVE:
            raise NotAdoptable("The container of the backup is being deleted, or cannot be made.")
        if not await make_record(connection, order.integration_id, container, found):
            raise NotAdoptable("There is a record of this backup by now.")
        await adoptions.end(connection, order.id, place.backup_id)
        await adoptions.end_manifest(
            connection,
            order.integration_id,
            manifest_name(order.name),
            found.manifest_file_id,
            place.backup_id,
        )


async def failed(database: Database, order: AdoptionOrder, error: GatewayError) -> None:
    """It could not be done; what may work later is tried again by itself."""
    again_in: timedelta | None = RETRY_AFTER if error.retry else None
    async with database.transaction(None) as connection:
        await adoptions.fail(connection, order.id, order.epoch, describe(error), again_in)


async def _container(
    connection: Connection, order: AdoptionOrder, found: FoundBackup
) -> Container | None:
    if order.container_id is not None:
        return await containers.hold(connection, order.hub_id, order.container_id)
    return await find_container(connection, order.hub_id, found.manifest)


async def _order(connection: Connection, sealer: Sealer, taken: TakenAdoption) -> AdoptionOrder:
    """Raises StorageCredentials, SecretUnreadable, NotAdoptable."""
    sealed = await claims.sealed_access(connection, taken.integration_id)
    if sealed is None:
        raise StorageCredentials("The integration's key is gone.")
    place = parse_object_name(sealed.prefix, taken.name)
    if place is None:
        raise NotAdoptable("The object's name is none of a backup.")
    container = await containers.get(
        connection, taken.hub_id, taken.container_id or place.container_id
    )
    is_there = container is not None and container.state is ContainerState.LIVE
    return AdoptionOrder(
        id=taken.id,
        hub_id=taken.hub_id,
        integration_id=taken.integration_id,
        name=taken.name,
        file_id=taken.file_id,
        size=taken.size,
        uploaded_at=taken.uploaded_at,
        epoch=taken.epoch,
        container_id=taken.container_id,
        container_identifier=container.identifier if container and is_there else None,
        hostname=taken.hostname,
        storage=open_access(sealer, sealed),
    )
