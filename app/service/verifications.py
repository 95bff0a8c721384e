"""Verifications: asked for and cancelled by requests, and queued by whoever plans them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID, uuid4

from app.errors import InvalidInput, InvalidState, NotFound
from app.model.access import Capability, Principal
from app.model.backups import Backup, BackupState
from app.model.containers import Container, Instance, InstanceState
from app.model.policies import DEFAULT_TIMEOUT, BackupPolicy
from app.model.restores import RestoreState, RestoreTrigger
from app.model.runs import ANYWHERE, Requester, RunKind, place_of
from app.model.verifications import ENDED, Verification, VerificationLevel, VerificationState
from app.postgres.listen import notify
from app.postgres.pool import Connection, Database
from app.queries import backups, containers, instances, policies, restores, runs, verifications
from app.queries.runs import NewRestore, NewRun, NewVerification
from app.service.backups import requested_by, require_stateful
from app.service.idempotency import claim, keep
from app.service.restores import require_live, require_reachable
from app.service.runs import queue_run
from app.service.stored_objects import require_object
from app.service.topics import list_of

MOST_CANDIDATES = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class _Commands:
    """What a verification runs; `command` reads the object."""

    command: str
    check: str | None
    timeout: timedelta


async def verify_backup(
    database: Database,
    principal: Principal,
    *,
    backup_id: UUID,
    level: VerificationLevel,
    instance_id: UUID | None,
    start_within: timedelta,
    idempotency_key: str | None = None,
) -> Verification:
    """Prove a backup on a level; `instance_id` None: one is chosen where the level needs one.

    Raises NotPermitted, NotFound, InvalidInput, InvalidState (BACKUP_NOT_LIVE,
    INTEGRATION_NOT_LIVE, CONTAINER_DELETING, CONTAINER_NOT_STATEFUL, INSTANCE_NOT_RUNNING,
    NO_INSTANCE, NOT_SCRATCH, OTHER_CONTAINER, NO_CHECK_COMMAND, NO_RESTORE_COMMAND,
    COMMAND_CHANGED), Conflict (INSTANCE_BUSY), StorageRefused (OBJECT_MISSING).
    """
    principal.require(Capability.VERIFY)
    hub_id = principal.hub_id
    arguments = {"backup": backup_id, "level": str(level), "instance": instance_id}
    call = (principal, "verifyBackup", idempotency_key)
    async with database.transaction(hub_id) as connection:
        done = await claim(connection, *call, arguments)
        if done is not None:
            return await _get(connection, hub_id, UUID(done["id"]))
        id = await queue_verification(
            connection,
            hub_id,
            backup_id=backup_id,
            level=level,
            instance_id=instance_id,
            start_within=start_within,
            requested_by=requested_by(principal),
        )
        await keep(connection, *call, {"id": str(id)})
        return await _get(connection, hub_id, id)


async def queue_verification(
    connection: Connection,
    hub_id: UUID,
    *,
    backup_id: UUID,
    level: VerificationLevel,
    instance_id: UUID | None = None,
    start_within: timedelta,
    requested_by: Requester,
) -> UUID:
    """Queue a verification in the caller's transaction; raises as `verify_backup` does."""
    backup = require_live(await backups.get(connection, hub_id, backup_id), to="verified")
    require_object(backup, whole=False)
    container = require_stateful(
        await containers.hold(connection, hub_id, backup.container_id), path=("backupId",)
    )
    await require_reachable(connection, backup)
    found = await policies.by_containers(connection, hub_id, [container.id])
    commands = _choose_commands(container, found.get(container.id), backup, level)
    instance = await _choose_instance(connection, container, backup, level, instance_id=instance_id)
    id = uuid4()
    await queue_run(
        connection,
        hub_id,
        NewRun(
            id=id,
            kind=RunKind.VERIFICATION,
            container_id=container.id,
            instance_id=None if instance is None else instance.id,
            place=ANYWHERE if instance is None else place_of(instance.host),
            command=commands.command,
            timeout=commands.timeout,
            start_within=start_within,
            requested_by=requested_by,
        ),
    )
    # Only now, after the run: a deletion meanwhile has won, one from now on is refused.
    state = await runs.hold_backup(connection, hub_id, backup_id)
    if state is not BackupState.LIVE:
        raise InvalidState(
            "The backup is being deleted.", code="BACKUP_NOT_LIVE", path=("backupId",)
        )
    await _create_records(connection, id, backup, level, instance=instance, commands=commands)
    await notify(connection, [f"run:{backup_id}", list_of(container.id, backup_id)])
    return id


async def cancel_verification(
    database: Database, principal: Principal, *, id: UUID, idempotency_key: str | None = None
) -> Verification:
    """Stop a verification: at once where no worker has it, else within about a second.

    One that was cancelled before is answered as it is. Raises NotPermitted, NotFound, InvalidState.
    """
    principal.require(Capability.CANCEL)
    hub_id = principal.hub_id
    call = (principal, "cancelVerification", idempotency_key)
    async with database.transaction(hub_id) as connection:
        if await claim(connection, *call, {"id": id}) is not None:
            return await _get(connection, hub_id, id)
        run = await runs.lock_run(connection, hub_id, id)
        verification = await _get(connection, hub_id, id)
        if run is None or verification.state in ENDED - {VerificationState.CANCELED}:
            raise InvalidState(
                f"The verification is {verification.state}; only a QUEUED or RUNNING one can be"
                " cancelled.",
                path=("id",),
            )
        if verification.state not in ENDED:
            await runs.cancel_run(connection, hub_id, id)
            if run.is_waiting:
                await end_canceled(connection, verification)
            topics = [f"run:{id}", f"run:{verification.backup_id}", "duty:runs"]
            backup = list_of(verification.container_id, verification.backup_id)
            await notify(connection, [*topics, backup])
        await keep(connection, *call, {"id": str(id)})
        return await _get(connection, hub_id, id)


async def end_canceled(connection: Connection, verification: Verification) -> None:
    """End a verification whose locked run no worker has, and the restore that is part of it."""
    hub_id, id = verification.hub_id, verification.id
    await runs.end_run(connection, hub_id, id, exit_code=None, error=None, fence=False)
    await runs.move_verification(
        connection, hub_id, id, verification.state, VerificationState.CANCELED
    )
    restore = await restores.get(connection, hub_id, id)
    if restore is not None:
        await runs.move_restore(connection, hub_id, id, restore.state, RestoreState.CANCELED)


async def _create_records(
    connection: Connection,
    id: UUID,
    backup: Backup,
    level: VerificationLevel,
    *,
    instance: Instance | None,
    commands: _Commands,
) -> None:
    assert backup.size_bytes is not None
    await runs.create_verification(
        connection,
        backup.hub_id,
        NewVerification(
            id=id,
            container_id=backup.container_id,
            instance_id=None if instance is None else instance.id,
            backup_id=backup.id,
            level=level,
            bytes_total=backup.size_bytes,
        ),
    )
    if level is VerificationLevel.RESTORABLE:
        assert instance is not None
        await runs.create_restore(
            connection,
            backup.hub_id,
            NewRestore(
                id=id,
                container_id=backup.container_id,
                instance_id=instance.id,
                backup_id=backup.id,
                trigger=RestoreTrigger.VERIFICATION,
                bytes_total=backup.size_bytes,
                check_command=commands.check,
            ),
        )


def _choose_commands(
    container: Container, policy: BackupPolicy | None, backup: Backup, level: VerificationLevel
) -> _Commands:
    """What the policy of now runs. Raises InvalidState."""
    if level is VerificationLevel.STORED:
        timeout = DEFAULT_TIMEOUT if policy is None else policy.restore_timeout
        return _Commands(command="", check=None, timeout=timeout)
    check = None if policy is None else _choose_check(policy, level)
    if policy is None or check is None:
        where = "`verification.check`"
        if level is VerificationLevel.RESTORABLE:
            where += " or `restore.check`"
        raise InvalidState(
            f"The container {container.identifier} has no check command for {level}; set {where}"
            " with configureBackups.",
            code="NO_CHECK_COMMAND",
            path=("level",),
        )
    if policy.backup_command != backup.backup_command:
        raise InvalidState(
            "The backup command has changed since this backup was made, so that the commands of"
            " now may not understand it; only STORED can be proven.",
            code="COMMAND_CHANGED",
            path=("backupId",),
        )
    if level is VerificationLevel.READABLE:
        return _Commands(command=check, check=None, timeout=policy.restore_timeout)
    if policy.restore_command is None:
        raise InvalidState(
            f"The container {container.identifier} has no restore command;"
            " set one with configureBackups.",
            code="NO_RESTORE_COMMAND",
            path=("level",),
        )
    return _Commands(command=policy.restore_command, check=check, timeout=policy.restore_timeout)


def _choose_check(policy: BackupPolicy, level: VerificationLevel) -> str | None:
    """The plan's check is meant for the plan's level: it reads the stream, or looks around."""
    plan = policy.verification
    if plan is not None and plan.level is level and plan.check is not None:
        return plan.check
    return policy.restore_check if level is VerificationLevel.RESTORABLE else None


async def _choose_instance(
    connection: Connection,
    container: Container,
    backup: Backup,
    level: VerificationLevel,
    *,
    instance_id: UUID | None,
) -> Instance | None:
    """Where the commands run; it does not change until the end. None: nowhere."""
    path = ("instanceId",)
    if level is VerificationLevel.STORED and instance_id is None:
        return None
    if instance_id is None:
        running = await instances.running(
            connection, container.hub_id, container.id, limit=MOST_CANDIDATES
        )
        instance_id = await _choose_best(connection, running, backup, level)
    instance = await instances.hold(connection, container.hub_id, instance_id)
    if instance is None or instance.removed_at is not None:
        raise NotFound(path=path)
    if level is VerificationLevel.STORED:
        raise InvalidInput("STORED reads the object only; name no instance.", path=path)
    if instance.container_id != container.id:
        raise InvalidState(
            "The instance belongs to another container than the backup.",
            code="OTHER_CONTAINER",
            path=path,
        )
    if instance.state is not InstanceState.RUNNING:
        raise InvalidState(
            f"The instance {instance.hostname} is {instance.state}, not RUNNING.",
            code="INSTANCE_NOT_RUNNING",
            path=path,
        )
    if level is VerificationLevel.RESTORABLE and not instance.scratch:
        raise InvalidState(
            f"The instance {instance.hostname} is not a scratch one: what it holds would be"
            " replaced. RESTORABLE is proven in scratch instances only.",
            code="NOT_SCRATCH",
            path=path,
        )
    return instance


async def _choose_best(
    connection: Connection, running: Sequence[Instance], backup: Backup, level: VerificationLevel
) -> UUID:
    """A scratch one, else (to read only) the one that was saved, else any; free ones first."""
    usable = [i for i in running if i.scratch or level is VerificationLevel.READABLE]
    if not usable:
        kind = "scratch " if level is VerificationLevel.RESTORABLE else ""
        raise InvalidState(
            f"No {kind}instance of the container is running; {level} needs one.",
            code="NO_INSTANCE",
            path=("instanceId",),
        )
    usable.sort(key=lambda i: (not i.scratch, i.hostname != backup.instance_hostname))
    for instance in usable:
        if await instances.open_run(connection, instance.hub_id, instance.id) is None:
            return instance.id
    return usable[0].id


async def _get(connection: Connection, hub_id: UUID, id: UUID) -> Verification:
    verification = await verifications.get(connection, hub_id, id)
    if verification is None:
        raise NotFound(path=("id",))
    return verification
