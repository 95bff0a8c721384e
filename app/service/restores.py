"""Restores: asked for and cancelled by requests."""

from datetime import timedelta
from typing import Final
from uuid import UUID

from app.errors import InvalidState, NotFound
from app.model.access import Capability, Principal
from app.model.backups import Backup, BackupState
from app.model.containers import Container, Instance
from app.model.integrations import IntegrationState
from app.model.policies import BackupPolicy
from app.model.restores import ENDED, Restore, RestoreState, RestoreTrigger
from app.model.runs import RunKind, place_of
from app.model.verifications import VerificationState
from app.postgres.listen import notify
from app.postgres.pool import Connection, Database
from app.queries import (
    backups,
    containers,
    doubts,
    instances,
    integrations,
    policies,
    restores,
    runs,
    verifications,
)
from app.queries.runs import NewRestore, NewRun
from app.service.backups import (
    requested_by,
    require_engine,
    require_running,
    require_stateful,
    require_usable,
)
from app.service.idempotency import claim, keep
from app.service.runs import queue_run
from app.service.safety_backups import make_ids, queue_safety_backup
from app.service.stored_objects import require_object
from app.service.topics import list_of

_USABLE: Final = {IntegrationState.LIVE, IntegrationState.VERIFYING}


async def restore_backup(
    database: Database,
    principal: Principal,
    *,
    backup_id: UUID,
    instance_id: UUID,
    allow_other_container: bool = False,
    accept_changed_command: bool = False,
    safety_backup: bool | None = None,
    start_within: timedelta,
    idempotency_key: str | None = None,
) -> Restore:
    """Put a backup into an instance, by the restore command that its container has now.

    `safety_backup`: save the instance first; None: as its container's policy says.
    Raises NotPermitted, NotFound, InvalidState (BACKUP_NOT_LIVE, INTEGRATION_NOT_LIVE,
    INSTANCE_NOT_RUNNING, ENGINE_NOT_LIVE, OTHER_CONTAINER, CONTAINER_DELETING,
    CONTAINER_NOT_STATEFUL,
    NO_RESTORE_COMMAND, COMMAND_CHANGED), Conflict (INSTANCE_BUSY), StorageRefused
    (OBJECT_MISSING, OBJECT_MISMATCH).
    """
    principal.require(Capability.RESTORE)
    hub_id = principal.hub_id
    id, safety_id = make_ids()
    arguments = {
        "backup": backup_id,
        "instance": instance_id,
        "allowOtherContainer": allow_other_container,
        "acceptChangedCommand": accept_changed_command,
        "safetyBackup": safety_backup,
    }
    call = (principal, "restoreBackup", idempotency_key)
    async with database.transaction(hub_id) as connection:
        done = await claim(connection, *call, arguments)
        if done is not None:
            return await _get(connection, hub_id, UUID(done["id"]))
        backup = require_live(await backups.get(connection, hub_id, backup_id))
        require_object(backup, whole=True)
        instance, container = await _target(connection, hub_id, instance_id)
        if container.id != backup.container_id:
            _require_elsewhere(principal, allowed=allow_other_container)
        await require_reachable(connection, backup)
        policy, command = await _command(
            connection, container, backup, accept_changed=accept_changed_command
        )
        saves = policy.restore_safety_backup if safety_backup is None else safety_backup
        if saves:
            await require_usable(connection, policy, path=("safetyBackup",))
        await queue_run(
            connection,
            hub_id,
            NewRun(
                id=id,
                kind=RunKind.RESTORE,
                container_id=container.id,
                instance_id=instance.id,
                place=place_of(instance.host),
                command=command,
                timeout=policy.restore_timeout,
                start_within=start_within,
                requested_by=requested_by(principal),
            ),
        )
        # Only now, after the run: a deletion meanwhile has won, one from now on is refused.
        if await runs.hold_backup(connection, hub_id, backup_id) is not BackupState.LIVE:
            raise _not_live("being deleted")
        if saves:
            await queue_safety_backup(
                connection,
                instance,
                policy,
                id=safety_id,
                restore_id=id,
                start_within=start_within,
                requested_by=requested_by(principal),
            )
        assert backup.size_bytes is not None
        await runs.create_restore(
            connection,
            hub_id,
            NewRestore(
                id=id,
                container_id=container.id,
                instance_id=instance.id,
                backup_id=backup_id,
                trigger=RestoreTrigger.MANUAL,
                bytes_total=backup.size_bytes,
                safety_backup_id=safety_id if saves else None,
                check_command=policy.restore_check,
            ),
        )
        await keep(connection, *call, {"id": str(id)})
        return await _get(connection, hub_id, id)


async def cancel_restore(
    database: Database, principal: Principal, *, id: UUID, idempotency_key: str | None = None
) -> Restore:
    """Stop a restore: at once where no worker has it, else within about a second.

    One that was cancelled before is answered as it is. Raises NotPermitted, NotFound, InvalidState.
    """
    principal.require(Capability.CANCEL)
    hub_id = principal.hub_id
    call = (principal, "cancelRestore", idempotency_key)
    async with database.transaction(hub_id) as connection:
        if await claim(connection, *call, {"id": id}) is not None:
            return await _get(connection, hub_id, id)
        run = await runs.lock_run(connection, hub_id, id)
        restore = await _get(connection, hub_id, id)
        if run is None or restore.state in ENDED - {RestoreState.CANCELED}:
            raise InvalidState(
                f"The restore is {restore.state}; only a QUEUED or RUNNING one can be cancelled.",
                path=("id",),
            )
        if restore.state not in ENDED:
            await runs.cancel_run(connection, hub_id, id)
            if run.is_waiting:
                if run.is_begun and run.instance_id is not None:
                    # Handed back by a worker: its command may have begun.
                    await doubts.open_doubt(connection, hub_id, run.instance_id)
                await _end_canceled(connection, restore)
            await notify(connection, [f"run:{id}", list_of(restore.container_id, id), "duty:runs"])
        await keep(connection, *call, {"id": str(id)})
        return await _get(connection, hub_id, id)


async def _end_canceled(connection: Connection, restore: Restore) -> None:
    """End a restore whose locked run no worker has: with what proves by it, and its save."""
    hub_id, id = restore.hub_id, restore.id
    await runs.end_run(connection, hub_id, id, exit_code=None, error=None, fence=False)
    await runs.move_restore(connection, hub_id, id, restore.state, RestoreState.CANCELED)
    verification = await verifications.get(connection, hub_id, id)
    if verification is not None:
        await runs.move_verification(
            connection, hub_id, id, verification.state, VerificationState.CANCELED
        )
    saved_id = restore.safety_backup_id
    saved = None if saved_id is None else await backups.get(connection, hub_id, saved_id)
    if saved_id is not None and saved is not None and saved.state is BackupState.QUEUED:
        await runs.lock_run(connection, hub_id, saved_id)
        await runs.end_run(connection, hub_id, saved_id, exit_code=None, error=None, fence=False)
        await runs.move_backup(
            connection, hub_id, saved_id, BackupState.QUEUED, BackupState.CANCELED
        )
        await notify(connection, [f"run:{saved_id}", list_of(restore.container_id, saved_id)])


async def _get(connection: Connection, hub_id: UUID, id: UUID) -> Restore:
    restore = await restores.get(connection, hub_id, id)
    if restore is None:
        raise NotFound(path=("id",))
    return restore


def require_live(backup: Backup | None, *, to: str = "restored") -> Backup:
    """Raises NotFound, InvalidState (BACKUP_NOT_LIVE); `to` is what cannot be done then."""
    if backup is None:
        raise NotFound(path=("backupId",))
    if backup.state is not BackupState.LIVE:
        raise _not_live(backup.state, to)
    return backup


def _not_live(state: str, to: str = "restored") -> InvalidState:
    return InvalidState(
        f"The backup is {state}; only a LIVE one can be {to}.",
        code="BACKUP_NOT_LIVE",
        path=("backupId",),
    )


async def _target(
    connection: Connection, hub_id: UUID, instance_id: UUID
) -> tuple[Instance, Container]:
    """The instance to restore into, and its container; neither changes until the end."""
    path = ("instanceId",)
    found = await instances.get(connection, hub_id, instance_id)
    if found is None or found.removed_at is not None:
        raise NotFound(path=path)
    container = await containers.hold(connection, hub_id, found.container_id)
    instance = await instances.hold(connection, hub_id, instance_id)
    instance = require_running(instance)
    await require_engine(connection, instance)
    return instance, require_stateful(container, path=path)


def _require_elsewhere(principal: Principal, *, allowed: bool) -> None:
    if not allowed:
        raise InvalidState(
            "The instance belongs to another container than the backup;"
            " pass allowOtherContainer to restore there.",
            code="OTHER_CONTAINER",
            path=("instanceId",),
        )
    principal.require(Capability.RESTORE_ELSEWHERE)


async def require_reachable(connection: Connection, backup: Backup) -> None:
    """Raises InvalidState (INTEGRATION_NOT_LIVE)."""
    integration = await integrations.get(connection, backup.hub_id, backup.integration_id)
    if integration is None or integration.state not in _USABLE:
        state = "gone" if integration is None else integration.state
        raise InvalidState(
            f"The integration that holds the backup is {state}; verify it first.",
            code="INTEGRATION_NOT_LIVE",
            path=("backupId",),
        )


async def _command(
    connection: Connection, container: Container, backup: Backup, *, accept_changed: bool
) -> tuple[BackupPolicy, str]:
    """The policy of the target container, and its restore command."""
    found = await policies.by_containers(connection, container.hub_id, [container.id])
    policy: BackupPolicy | None = found.get(container.id)
    if policy is None or policy.restore_command is None:
        raise InvalidState(
            f"The container {container.identifier} has no restore command;"
            " set one with configureBackups.",
            code="NO_RESTORE_COMMAND",
            path=("instanceId",),
        )
    if policy.backup_command != backup.backup_command and not accept_changed:
        raise InvalidState(
            "The backup command has changed since this backup was made, so the restore command may"
            " not understand it; pass acceptChangedCommand to restore it all the same.",
            code="COMMAND_CHANGED",
            path=("backupId",),
        )
    return policy, policy.restore_command
