"""Backups: asked for, cancelled and deleted by requests."""

from collections.abc import Collection, Sequence
from datetime import timedelta
from itertools import chain
from typing import Final
from uuid import UUID, uuid4

from app.errors import InvalidInput, InvalidState, NotFound, NotPermitted, UserError
from app.model.access import Capability, Principal
from app.model.backups import (
    GONE,
    OPEN,
    Backup,
    BackupState,
    BackupTrigger,
    Deletion,
    check_note,
)
from app.model.containers import Container, ContainerState, Instance, InstanceState
from app.model.integrations import IntegrationState
from app.model.policies import BackupPolicy
from app.model.restorable import require_reached
from app.model.retention import is_good
from app.model.runs import Requester, RunKind, place_of
from app.postgres.listen import Wake, notify
from app.postgres.pool import Connection, Database
from app.queries import (
    backups,
    containers,
    engines,
    instances,
    integrations,
    policies,
    retention,
    runs,
)
from app.queries.runs import LockedBackup, NewBackup, NewRun
from app.service.idempotency import claim, keep
from app.service.runs import queue_run
from app.service.topics import list_of

MOST_DELETIONS: Final = 100
DELETED_BY_ITSELF: Final = "ITSELF"
_KEPT = OPEN | {BackupState.LIVE}
"""What there is, or will be, something to keep of."""
GoodOnes = dict[tuple[UUID, str], set[UUID]]
"""Ids of good backups, by container and hostname."""


async def create_backup(
    database: Database,
    principal: Principal,
    *,
    container_id: UUID,
    instance_id: UUID | None = None,
    start_within: timedelta,
    idempotency_key: str | None = None,
) -> Backup:
    """Back up now: in the instance, or in the only one that is running.

    Raises NotPermitted, NotFound, InvalidInput (no instance named and not exactly one running),
    InvalidState (CONTAINER_DELETING, CONTAINER_NOT_STATEFUL, NO_BACKUP_POLICY,
    INTEGRATION_NOT_LIVE, INSTANCE_NOT_RUNNING, ENGINE_NOT_LIVE), Conflict (INSTANCE_BUSY).
    """
    principal.require(Capability.BACK_UP)
    hub_id, id = principal.hub_id, uuid4()
    arguments = {"container": container_id, "instance": instance_id}
    call = (principal, "createBackup", idempotency_key)
    async with database.transaction(hub_id) as connection:
        done = await claim(connection, *call, arguments)
        if done is not None:
            return await _get(connection, hub_id, UUID(done["id"]))
        container = await containers.hold(connection, hub_id, container_id)
        container = require_stateful(container, path=("containerId",))
        policy = await _policy(connection, container)
        instance = await _choose_instance(connection, container, instance_id)
        await queue_run(
            connection,
            hub_id,
            NewRun(
                id=id,
                kind=RunKind.BACKUP,
                container_id=container_id,
                instance_id=instance.id,
                place=place_of(instance.host),
                command=policy.backup_command,
                timeout=policy.backup_timeout,
                start_within=start_within,
                requested_by=requested_by(principal),
            ),
        )
        await runs.create_backup(
            connection,
            hub_id,
            NewBackup(
                id=id,
                container_id=container_id,
                instance_id=instance.id,
                instance_hostname=instance.hostname,
                integration_id=policy.integration_id,
                trigger=BackupTrigger.MANUAL,
                backup_command=policy.backup_command,
                restore_command=policy.restore_command,
                min_bytes=policy.min_bytes,
            ),
        )
        await keep(connection, *call, {"id": str(id)})
        return await _get(connection, hub_id, id)


async def cancel_backup(
    database: Database, principal: Principal, *, id: UUID, idempotency_key: str | None = None
) -> Backup:
    """Stop a backup: at once where no worker has it, else within about a second.

    One that was cancelled before is answered as it is. Raises NotPermitted, NotFound, InvalidState.
    """
    principal.require(Capability.CANCEL)
    hub_id = principal.hub_id
    call = (principal, "cancelBackup", idempotency_key)
    async with database.transaction(hub_id) as connection:
        if await claim(connection, *call, {"id": id}) is not None:
            return await _get(connection, hub_id, id)
        run = await runs.lock_run(connection, hub_id, id)
        backup = await _get(connection, hub_id, id)
        if run is None or backup.state not in {*OPEN, BackupState.CANCELED}:
            raise InvalidState(
                f"The backup is {backup.state}; only a QUEUED or SAVING one can be cancelled.",
                path=("id",),
            )
        if backup.state in OPEN:
            await runs.cancel_run(connection, hub_id, id)
            if run.is_waiting:
                await runs.end_run(connection, hub_id, id, exit_code=None, error=None, fence=False)
                await runs.move_backup(connection, hub_id, id, backup.state, BackupState.CANCELED)
            await notify(connection, [f"run:{id}", list_of(backup.container_id, id), "duty:runs"])
        await keep(connection, *call, {"id": str(id)})
        return await _get(connection, hub_id, id)


async def update_backup(
    database: Database,
    principal: Principal,
    *,
    id: UUID,
    pinned: bool | None = None,
    note: str | None = None,
    idempotency_key: str | None = None,
) -> Backup:
    """Pin or unpin a backup, or say something about it; None keeps, an empty note removes it.

    Raises NotPermitted (also of unpinning), NotFound, InvalidInput, InvalidState (of pinning what
    is not kept).
    """
    principal.require(Capability.PIN_BACKUPS)
    if note is not None:
        check_note(note)
    hub_id = principal.hub_id
    call = (principal, "updateBackup", idempotency_key)
    async with database.transaction(hub_id) as connection:
        if await claim(connection, *call, {"id": id, "pinned": pinned, "note": note}) is not None:
            return await _get(connection, hub_id, id)
        before = (await runs.lock_backups(connection, hub_id, [id])).get(id)
        if before is None:
            raise NotFound(path=("id",))
        if pinned is not None:
            _check_pin(principal, before, pinned=pinned)
        await backups.annotate(
            connection,
            hub_id,
            id,
            pinned=before.pinned if pinned is None else pinned,
            note=before.note if note is None else note or None,
        )
        await notify(connection, [f"run:{id}", list_of(before.container_id, id)])
        await keep(connection, *call, {"id": str(id)})
        return await _get(connection, hub_id, id)


async def delete_backups(
    database: Database,
    principal: Principal,
    *,
    ids: Sequence[tuple[str, UUID | None]],
    idempotency_key: str | None = None,
) -> list[Deletion]:
    """Delete backups, each by itself: one that is refused does not stop the others.

    `ids`: as the client wrote it, and what it stands for (None: nothing). A repeated one counts
    once. Refusals: NotFound, InvalidState (BACKUP_RUNNING, PINNED, BACKUP_IN_USE), NotPermitted
    (LAST_GOOD_BACKUP). Raises NotPermitted, InvalidInput (more than 100).
    """
    principal.require(Capability.DELETE_BACKUPS)
    if len(ids) > MOST_DELETIONS:
        raise InvalidInput(
            f"At most {MOST_DELETIONS} backups can be deleted at once, not {len(ids)}.",
            path=("ids",),
        )
    hub_id = principal.hub_id
    asked: dict[str | UUID, tuple[str, UUID | None]] = {}
    for text, id in ids:
        asked.setdefault(id or text, (text, id))
    wanted = list(asked.values())
    known = [id for _, id in wanted if id is not None]
    call = (principal, "deleteBackups", idempotency_key)
    async with database.transaction(hub_id) as connection:
        done = await claim(connection, *call, {"ids": [text for text, _ in ids]})
        # What was refused then is asked again; what was accepted is not, it may be back by now.
        accepted = frozenset(done["accepted"]) if done is not None else frozenset()
        refusals = await _delete_each(
            connection, principal, [id for id in known if str(id) not in accepted]
        )
        kept = [str(id) for id in known if id not in refusals]
        await keep(connection, *call, {"accepted": kept})
        found = await backups.by_ids(connection, hub_id, known)
        return [_answer(text, id, found, refusals) for text, id in wanted]


def require_stateful(container: Container | None, *, path: tuple[str, ...]) -> Container:
    """Raises NotFound, InvalidState (CONTAINER_DELETING, CONTAINER_NOT_STATEFUL)."""
    if container is None or container.state is ContainerState.DELETED:
        raise NotFound(path=path)
    if container.state is ContainerState.DELETING:
        raise InvalidState(
            f"The container {container.identifier} is being deleted.",
            code="CONTAINER_DELETING",
            path=path,
        )
    if not container.stateful:
        raise InvalidState(
            f"The container {container.identifier} is not stateful: it has nothing to back up.",
            code="CONTAINER_NOT_STATEFUL",
            path=path,
        )
    return container


def require_running(instance: Instance | None) -> Instance:
    """Raises NotFound, InvalidState (INSTANCE_NOT_RUNNING)."""
    path = ("instanceId",)
    if instance is None or instance.removed_at is not None:
        raise NotFound(path=path)
    if instance.state is not InstanceState.RUNNING:
        raise InvalidState(
            f"The instance {instance.hostname} is {instance.state}, not RUNNING.",
            code="INSTANCE_NOT_RUNNING",
            path=path,
        )
    if instance.scratch:
        raise InvalidState(
            f"The instance {instance.hostname} is a scratch one, for verifications only.",
            path=path,
        )
    return instance


def requested_by(principal: Principal) -> Requester:
    """The requester of a run that an API key asked for."""
    return Requester(kind="API_KEY", id=principal.key_id, name=principal.name)


async def _get(connection: Connection, hub_id: UUID, id: UUID) -> Backup:
    backup = await backups.get(connection, hub_id, id)
    if backup is None:
        raise NotFound(path=("id",))
    return backup


async def _policy(connection: Connection, container: Container) -> BackupPolicy:
    found = await policies.by_containers(connection, container.hub_id, [container.id])
    policy = found.get(container.id)
    if policy is None:
        raise InvalidState(
            f"The container {container.identifier} has no backup policy;"
            " set one with configureBackups.",
            code="NO_BACKUP_POLICY",
            path=("containerId",),
        )
    await require_usable(connection, policy, path=("containerId",))
    return policy


async def require_usable(
    connection: Connection, policy: BackupPolicy, *, path: tuple[str, ...]
) -> None:
    """Raise InvalidState (INTEGRATION_NOT_LIVE) where nothing can be saved there now."""
    integration = await integrations.hold(connection, policy.hub_id, policy.integration_id)
    if integration is None or integration.state is not IntegrationState.LIVE:
        state = "gone" if integration is None else integration.state
        raise InvalidState(
            f"The integration of the backup policy is {state}, not LIVE.",
            code="INTEGRATION_NOT_LIVE",
            path=path,
        )


async def _choose_instance(
    connection: Connection, container: Container, instance_id: UUID | None
) -> Instance:
    hub_id, path = container.hub_id, ("instanceId",)
    if instance_id is None:
        running = await instances.running(connection, hub_id, container.id, limit=MOST_DELETIONS)
        usable = [instance.id for instance in running if not instance.scratch]
        if len(usable) != 1:
            count = "none" if not usable else "more than one"
            raise InvalidInput(
                f"Name an instance: {count} of the container's instances is running.", path=path
            )
        instance_id = usable[0]
    instance = await instances.hold(connection, hub_id, instance_id)
    if instance is not None and instance.container_id != container.id:
        raise InvalidInput("The instance belongs to another container.", path=path)
    instance = require_running(instance)
    await require_engine(connection, instance)
    return instance


async def require_engine(connection: Connection, instance: Instance) -> None:
    """Raises InvalidState (ENGINE_NOT_LIVE) where the instance is on an engine out of reach."""
    if instance.engine_id is not None:
        engine = await engines.get(connection, instance.hub_id, instance.engine_id)
        assert engine is not None
        require_reached(engine)


def _check_pin(principal: Principal, before: LockedBackup, *, pinned: bool) -> None:
    if before.pinned and not pinned:
        principal.require(Capability.UNPIN_BACKUPS)
    if pinned and not before.pinned and before.state not in _KEPT:
        raise InvalidState(
            f"The backup is {before.state}; only a QUEUED, SAVING or LIVE one can be pinned.",
            path=("pinned",),
        )


async def _delete_each(
    connection: Connection, principal: Principal, ids: Sequence[UUID]
) -> dict[UUID, UserError]:
    """Delete what can be; returns why not for the others."""
    locked = await runs.lock_backups(connection, principal.hub_id, ids)
    in_use = await runs.read_by_runs(connection, principal.hub_id, ids)
    good = await _find_good(connection, principal, locked.values())
    refusals: dict[UUID, UserError] = {}
    topics: list[str | Wake] = []
    deleted: list[UUID] = []
    for id in ids:
        backup = locked.get(id)
        refusal = NotFound() if backup is None else _refusal(backup, in_use)
        if backup is not None and refusal is None:
            refusal = _last_good(backup, good)
        if refusal is not None:
            refusals[id] = refusal
        elif backup is not None and backup.state not in GONE:
            await _delete(connection, principal.hub_id, backup)
            _instance_of(backup, good).discard(id)
            deleted.append(id)
            topics += [f"run:{id}", list_of(backup.container_id, id)]
    if deleted:
        await runs.record_deleter(connection, principal.hub_id, deleted, requested_by(principal))
        await notify(connection, [*topics, "duty:reclaims"])
    return refusals


def _refusal(backup: LockedBackup, in_use: frozenset[UUID]) -> UserError | None:
    if backup.state in OPEN:
        return InvalidState(
            f"The backup is {backup.state}; cancel it first.", code="BACKUP_RUNNING"
        )
    if backup.pinned and backup.state not in GONE:
        return InvalidState("The backup is pinned; unpin it first.", code="PINNED")
    if backup.id in in_use:
        return InvalidState(
            "A restore reads the backup; wait for its end or cancel it.", code="BACKUP_IN_USE"
        )
    return None


async def _find_good(
    connection: Connection, principal: Principal, locked: Collection[LockedBackup]
) -> GoodOnes | None:
    """The good backups of each instance of which some are locked; None: that does not matter."""
    if principal.may(Capability.DELETE_LAST_GOOD_BACKUP):
        return None
    containers = {backup.container_id for backup in locked if backup.state is BackupState.LIVE}
    found = await retention.candidates(connection, principal.hub_id, containers)
    good: GoodOnes = {}
    for candidate in chain.from_iterable(found.by_container.values()):
        if is_good(candidate):
            instance = (candidate.container_id, candidate.hostname)
            good.setdefault(instance, set()).add(candidate.id)
    return good


def _instance_of(backup: LockedBackup, good: GoodOnes | None) -> set[UUID]:
    return (good or {}).get((backup.container_id, backup.instance_hostname), set())


def _last_good(backup: LockedBackup, good: GoodOnes | None) -> UserError | None:
    """The last good backup of an instance may be deleted only with a capability of its own."""
    if _instance_of(backup, good) != {backup.id}:
        return None
    return NotPermitted(
        f"It is the last good backup of {backup.instance_hostname}; your API key lacks the"
        f" capability {Capability.DELETE_LAST_GOOD_BACKUP}.",
        code="LAST_GOOD_BACKUP",
    )


async def _delete(connection: Connection, hub_id: UUID, backup: LockedBackup) -> None:
    if backup.state is not BackupState.LIVE:
        await runs.move_backup(
            connection,
            hub_id,
            backup.id,
            backup.state,
            BackupState.DELETED,
            deleted_by=DELETED_BY_ITSELF,
        )
        return
    await runs.move_backup(
        connection,
        hub_id,
        backup.id,
        BackupState.LIVE,
        BackupState.DELETING,
        deleted_by=DELETED_BY_ITSELF,
    )
    await runs.reclaim_stored(connection, hub_id, [backup.id], timedelta(0))


def _answer(
    text: str, id: UUID | None, found: dict[UUID, Backup], refusals: dict[UUID, UserError]
) -> Deletion:
    if id is None or id not in found:
        return Deletion(id=text, backup=None, refusal=NotFound())
    return Deletion(id=text, backup=found[id], refusal=refusals.get(id))
