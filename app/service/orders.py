"""Orders: a try begins, and its worker is told all that it needs; or why it cannot be."""

import secrets
from datetime import timedelta
from uuid import UUID

from app.errors import BackupNotLive, SafetyBackupFailed, SecretUnreadable, StorageCredentials
from app.model.backups import Backup, BackupState
from app.model.containers import Container
from app.model.integrations import StorageAccess
from app.model.objects import TOKEN_BYTES, BackupPlace, parse_object_name
from app.model.orders import (
    ClaimedRun,
    Order,
    RestoreOrder,
    SaveOrder,
    StoredObject,
    VerificationOrder,
)
from app.model.restores import Restore, RestoreState
from app.model.runs import Run, RunError, RunKind
from app.model.verifications import VerificationState
from app.postgres.listen import notify
from app.postgres.pool import Connection, Database
from app.queries import (
    backups,
    claims,
    containers,
    instances,
    policies,
    restores,
    runs,
    verifications,
)
from app.queries.claims import LockedRun
from app.service.endings import describe, end_locked, lock_own, queue_again
from app.service.safety_backups import save_again
from app.service.secrets import Sealer, open_access, open_variables
from app.service.topics import list_of

NO_TIME = timedelta(0)


async def make_order(
    connection: Connection, locked: LockedRun, container: Container, sealer: Sealer
) -> Order | RunError:
    """Begin the try of a locked run unless this epoch did, and say all that it needs."""
    if locked.run.kind is RunKind.BACKUP:
        return await _order_save(connection, locked, container, sealer)
    if locked.run.kind is RunKind.RESTORE:
        return await _order_restore(connection, locked, sealer)
    return await _order_verification(connection, locked, sealer)


async def start_safety_backup(
    database: Database, claimed: ClaimedRun, *, sealer: Sealer
) -> SaveOrder | None:
    """Begin to save the instance of a restore that has begun; None: it is saved already.

    Starting it again, because the answer was lost, gives the same order. Raises Fenced,
    SafetyBackupFailed.
    """
    run = claimed.run
    async with database.transaction(None) as connection:
        container = await containers.hold(connection, run.hub_id, run.container_id)
        assert container is not None
        if await lock_own(connection, run.id, run.epoch) is None:
            return None
        restore = await restores.get(connection, run.hub_id, run.id)
        assert restore is not None
        assert restore.safety_backup_id is not None
        carried = await claims.lock_carried(connection, run.id)
        if carried is None:
            backup = await backups.get(connection, run.hub_id, restore.safety_backup_id)
            if backup is not None and backup.state is BackupState.LIVE:
                return None
            raise _not_saved(backup.error if backup else None)
        order = await _order_save(connection, carried, container, sealer)
        if isinstance(order, RunError):
            await end_locked(connection, carried, error=order)
        id = carried.run.id
        await notify(connection, [f"run:{id}", list_of(run.container_id, id)])
    if isinstance(order, RunError):
        raise _not_saved(order)
    return order


def _not_saved(error: RunError | None) -> SafetyBackupFailed:
    """Why a restore does not begin; no error: its safety backup was cancelled."""
    reason = "that was cancelled." if error is None else error.message
    return SafetyBackupFailed(
        f"The instance could not be saved first, so the restore did not begin: {reason}"
    )


async def _order_save(
    connection: Connection, locked: LockedRun, container: Container, sealer: Sealer
) -> SaveOrder | RunError:
    run, hub_id = locked.run, locked.run.hub_id
    backup = await backups.get(connection, hub_id, run.id)
    assert backup is not None
    instance_id = backup.instance_id
    assert instance_id is not None
    access = await _open(connection, sealer, backup.integration_id, instance_id)
    if isinstance(access, RunError):
        return access
    storage, variables = access
    if not locked.is_started:
        await queue_again(connection, run)
        await runs.move_backup(connection, hub_id, run.id, BackupState.QUEUED, BackupState.SAVING)
        place = BackupPlace(
            installation_id=await claims.installation(connection),
            hub_id=hub_id,
            container_id=run.container_id,
            backup_id=run.id,
            token=secrets.token_hex(TOKEN_BYTES),
            epoch=run.epoch,
        )
        object_name = place.object_name(storage.prefix)
        await runs.name_object(connection, hub_id, run.id, object_name)
        run = await _begin(connection, run)
        backup = await backups.get(connection, hub_id, run.id)
        assert backup is not None
    assert backup.object_name is not None
    named = parse_object_name(storage.prefix, backup.object_name)
    assert named is not None
    instance = await instances.get(connection, hub_id, instance_id)
    assert instance is not None
    policy = await policies.by_containers(connection, hub_id, [run.container_id])
    min_bytes, _ = await runs.order_facts(connection, hub_id, run.id)
    return SaveOrder(
        run=run,
        backup=backup,
        container=container,
        instance=instance,
        policy=policy.get(run.container_id),
        variables=variables,
        storage=storage,
        place=named,
        object_name=backup.object_name,
        min_bytes=min_bytes,
    )


async def _order_restore(
    connection: Connection, locked: LockedRun, sealer: Sealer
) -> RestoreOrder | RunError:
    run, hub_id, instance_id = locked.run, locked.run.hub_id, locked.run.instance_id
    assert instance_id is not None
    restore = await _restore(connection, run)
    held = await _hold_backup(connection, locked, restore.backup_id)
    if isinstance(held, RunError):
        return held
    access = await _open(connection, sealer, held.integration_id, instance_id)
    if isinstance(access, RunError):
        return access
    storage, variables = access
    if not locked.is_started:
        await queue_again(connection, run)
        await runs.move_restore(
            connection, hub_id, run.id, RestoreState.QUEUED, RestoreState.RUNNING
        )
        await save_again(connection, run, restore)
        run = await _begin(connection, run)
    # What this try has saved already need not be waited for any more, but its time is given.
    carried = await claims.lock_carried(connection, run.id)
    instance = await instances.get(connection, hub_id, instance_id)
    assert instance is not None
    return RestoreOrder(
        run=run,
        restore=await _restore(connection, run),
        backup=held,
        instance=instance,
        variables=variables,
        storage=storage,
        object=await _stored_object(connection, held),
        safety_timeout=carried.run.timeout if carried else NO_TIME,
    )


async def _order_verification(
    connection: Connection, locked: LockedRun, sealer: Sealer
) -> VerificationOrder | RunError:
    run, hub_id = locked.run, locked.run.hub_id
    verification = await verifications.get(connection, hub_id, run.id)
    assert verification is not None
    held = await _hold_backup(connection, locked, verification.backup_id)
    if isinstance(held, RunError):
        return held
    access = await _open(connection, sealer, held.integration_id, run.instance_id)
    if isinstance(access, RunError):
        return access
    storage, variables = access
    restore = await restores.get(connection, hub_id, run.id)
    if not locked.is_started:
        await queue_again(connection, run)
        await runs.move_verification(
            connection, hub_id, run.id, VerificationState.QUEUED, VerificationState.RUNNING
        )
        if restore is not None:
            await runs.move_restore(
                connection, hub_id, run.id, RestoreState.QUEUED, RestoreState.RUNNING
            )
        run = await _begin(connection, run)
        await notify(connection, [f"run:{held.id}", list_of(held.container_id, held.id)])
    instance = None
    if run.instance_id is not None:
        instance = await instances.get(connection, hub_id, run.instance_id)
        assert instance is not None
    started = await verifications.get(connection, hub_id, run.id)
    assert started is not None
    return VerificationOrder(
        run=run,
        verification=started,
        backup=held,
        instance=instance,
        restore=await restores.get(connection, hub_id, run.id),
        variables=variables,
        storage=storage,
        object=await _stored_object(connection, held),
    )


async def _restore(connection: Connection, run: Run) -> Restore:
    restore = await restores.get(connection, run.hub_id, run.id)
    assert restore is not None
    return restore


async def _hold_backup(
    connection: Connection, locked: LockedRun, backup_id: UUID
) -> Backup | RunError:
    """The backup to read; nobody deletes it until the transaction ends."""
    hub_id = locked.run.hub_id
    # Its own container may be another one, which is deleted in spite of this run.
    state = await runs.hold_backup(connection, hub_id, backup_id)
    backup = await backups.get(connection, hub_id, backup_id)
    assert backup is not None
    if state is not BackupState.LIVE and not locked.is_started:
        return describe(BackupNotLive())
    return backup


async def _stored_object(connection: Connection, backup: Backup) -> StoredObject:
    _, chunk_hashes = await runs.order_facts(connection, backup.hub_id, backup.id)
    assert backup.object_name is not None
    assert backup.file_id is not None
    assert backup.size_bytes is not None
    assert backup.sha256 is not None
    return StoredObject(
        name=backup.object_name,
        file_id=backup.file_id,
        size_bytes=backup.size_bytes,
        sha256=backup.sha256,
        chunk_hashes=chunk_hashes,
    )


async def _begin(connection: Connection, run: Run) -> Run:
    """Count the try and set its deadline; its log begins anew."""
    carried = await claims.lock_carried(connection, run.id)
    await runs.start_run(
        connection, run.hub_id, run.id, carried.run.timeout if carried else NO_TIME
    )
    await claims.clear_log(connection, run.id)
    started = await claims.lock(connection, run.id)
    assert started is not None
    return started.run


async def _open(
    connection: Connection, sealer: Sealer, integration_id: UUID, instance_id: UUID | None
) -> tuple[StorageAccess, dict[str, str]] | RunError:
    """The bucket and the instance's variables, unsealed."""
    sealed = await claims.sealed_access(connection, integration_id)
    if sealed is None:
        return describe(StorageCredentials("The integration was deleted, its key with it."))
    try:
        access = open_access(sealer, sealed)
        if instance_id is None:
            return access, {}
        variables = await claims.sealed_variables(connection, instance_id)
        return access, open_variables(sealer, instance_id, variables)
    except SecretUnreadable as error:
        return describe(error)
