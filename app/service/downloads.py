"""Downloads: one-time addresses of backups, made by requests and spent by whoever has one."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from app.errors import GatewayError, NotFound
from app.model.access import Capability, Principal
from app.model.backups import Backup
from app.model.containers import Container
from app.model.downloads import (
    SECRET_BYTES,
    VALID_FOR,
    Download,
    hash_secret,
    is_secret,
    write_address,
)
from app.model.stored_objects import ExpectedObject
from app.postgres.pool import Database
from app.queries import backups, containers, downloads, stored_objects
from app.service.idempotency import claim, keep
from app.service.restores import require_live, require_reachable
from app.service.secrets import Sealer
from app.service.stored_objects import open_object, require_object


@dataclass(frozen=True, slots=True, kw_only=True)
class Redeemed:
    """What an address that was just spent stands for."""

    container: Container
    backup: Backup
    expected: ExpectedObject
    chunk_hashes: bytes


async def create_download(
    database: Database,
    principal: Principal,
    *,
    backup_id: UUID,
    idempotency_key: str | None = None,
) -> tuple[Download, str | None]:
    """Make an address of a LIVE backup; a replay gives no address again.

    Raises NotPermitted, NotFound, InvalidState (BACKUP_NOT_LIVE, INTEGRATION_NOT_LIVE),
    StorageRefused (OBJECT_MISSING).
    """
    principal.require(Capability.DOWNLOAD)
    hub_id = principal.hub_id
    call = (principal, "createDownload", idempotency_key)
    async with database.transaction(hub_id) as connection:
        done = await claim(connection, *call, {"backup": backup_id})
        if done is not None:
            before = await downloads.get(connection, hub_id, UUID(done["id"]))
            if before is None:
                raise NotFound(path=("backupId",))
            return before, None
        backup = require_live(await backups.get(connection, hub_id, backup_id), to="downloaded")
        require_object(backup, whole=False)
        await require_reachable(connection, backup)
        secret = secrets.token_urlsafe(SECRET_BYTES)
        made = await downloads.create(
            connection,
            hub_id,
            backup_id=backup_id,
            hash=hash_secret(secret),
            requested_by_id=principal.key_id,
            valid_for=VALID_FOR,
        )
        await keep(connection, *call, {"id": str(made.id)})
        return made, write_address(secret)


async def redeem_download(
    database: Database, secret: str, *, sealer: Sealer, admit: Callable[[UUID], None]
) -> Redeemed:
    """Spend an address, whatever becomes of it; but not where `admit`, given its hub, raises.

    Raises NotFound (there is none such, it was spent, is too old, or its API key or backup is
    gone), StorageCredentials, SecretUnreadable.
    """
    if not is_secret(secret):
        raise NotFound
    async with database.transaction(None) as connection:
        spent = await downloads.redeem(connection, hash_secret(secret))
        if spent is not None:
            admit(spent[0])
    if spent is None:
        raise NotFound
    hub_id, backup_id = spent
    async with database.connection(hub_id) as connection:
        backup = await backups.get(connection, hub_id, backup_id)
        sealed = (await stored_objects.expected(connection, hub_id, [backup_id])).get(backup_id)
        hashes = await stored_objects.chunk_hashes(connection, hub_id, backup_id)
        if backup is None or sealed is None or hashes is None:
            raise NotFound
        container = await containers.get(connection, hub_id, backup.container_id)
        assert container is not None
    expected = open_object(backup_id, sealed, sealer)
    if isinstance(expected, GatewayError):
        raise expected
    return Redeemed(container=container, backup=backup, expected=expected, chunk_hashes=hashes)


async def prune(database: Database) -> None:
    """Drop old addresses, of all hubs; for workers."""
    async with database.transaction(None) as connection:
        await downloads.prune(connection)
