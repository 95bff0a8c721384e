"""Writes of runs and of what they make: the only place where their states move."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from app.model import backups, restores, verifications
from app.model.backups import BackupState, BackupTrigger, StoredBackup
from app.model.objects import MANIFEST_SUFFIX
from app.model.policies import MAX_TIMEOUT
from app.model.restores import RestoreState, RestoreTrigger
from app.model.runs import Requester, RunError, RunKind
from app.model.verifications import VerificationLevel, VerificationState
from app.postgres.pool import Connection
from app.postgres.statements import load

_SQL = load("runs")


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRun:
    """A run to be queued; its id becomes the id of the record that it fills."""

    id: UUID
    kind: RunKind
    container_id: UUID
    instance_id: UUID | None
    """None: it needs no instance, or `carried_by` holds it."""
    place: str
    command: str
    timeout: timedelta
    start_within: timedelta
    requested_by: Requester
    carried_by: UUID | None = None
    """The run under whose lease it is carried out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewBackup:
    id: UUID
    container_id: UUID
    instance_id: UUID
    instance_hostname: str
    integration_id: UUID
    trigger: BackupTrigger
    backup_command: str
    restore_command: str | None
    min_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRestore:
    id: UUID
    container_id: UUID
    instance_id: UUID
    backup_id: UUID
    trigger: RestoreTrigger
    bytes_total: int
    safety_backup_id: UUID | None = None
    check_command: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewVerification:
    id: UUID
    container_id: UUID
    instance_id: UUID | None
    backup_id: UUID
    level: VerificationLevel
    bytes_total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedBackup:
    """What decides whether a backup may be deleted; nobody else moves it meanwhile."""

    id: UUID
    container_id: UUID
    instance_hostname: str
    state: BackupState
    trigger: BackupTrigger
    pinned: bool
    note: str | None


async def create_run(connection: Connection, hub_id: UUID, new: NewRun) -> bool:
    """Queue a run. False: another one is open in the instance."""
    if new.instance_id is not None:
        await connection.execute(_SQL["make_lease"], hub_id, new.instance_id)
    created = await connection.fetchval(
        _SQL["create_run"],
        hub_id,
        new.id,
        new.kind,
        new.container_id,
        new.instance_id,
        new.place,
        new.command,
        new.timeout,
        new.start_within,
        new.requested_by.kind,
        new.requested_by.id,
        new.requested_by.name,
        new.carried_by,
    )
    return created is not None


async def create_backup(connection: Connection, hub_id: UUID, new: NewBackup) -> None:
    await connection.execute(
        _SQL["create_backup"],
        hub_id,
        new.id,
        new.container_id,
        new.instance_id,
        new.instance_hostname,
        new.integration_id,
        new.trigger,
        new.backup_command,
        new.restore_command,
        new.min_bytes,
    )


async def create_restore(connection: Connection, hub_id: UUID, new: NewRestore) -> None:
    await connection.execute(
        _SQL["create_restore"],
        hub_id,
        new.id,
        new.container_id,
        new.instance_id,
        new.backup_id,
        new.trigger,
        new.bytes_total,
        new.safety_backup_id,
        new.check_command,
    )


async def create_verification(connection: Connection, hub_id: UUID, new: NewVerification) -> None:
    await connection.execute(
        _SQL["create_verification"],
        hub_id,
        new.id,
        new.container_id,
        new.instance_id,
        new.backup_id,
        new.level,
        new.bytes_total,
    )


async def move_backup(
    connection: Connection,
    hub_id: UUID,
    id: UUID,
    old: BackupState,
    new: BackupState,
    *,
    deleted_by: str | None = None,
) -> None:
    """Move a backup whose run or row is locked.

    Raises ValueError for a move that is not legal, and for one from a state that it is not in.
    """
    backups.check_move(old, new)
    moved = await connection.fetchval(_SQL["move_backup"], hub_id, id, old, new, deleted_by)
    if moved is None:
        raise ValueError(f"the backup {id} is not {old}")


async def move_restore(
    connection: Connection, hub_id: UUID, id: UUID, old: RestoreState, new: RestoreState
) -> None:
    """Move a restore whose run is locked. Raises ValueError as `move_backup` does."""
    restores.check_move(old, new)
    moved = await connection.fetchval(_SQL["move_restore"], hub_id, id, old, new)
    if moved is None:
        raise ValueError(f"the restore {id} is not {old}")


async def move_verification(
    connection: Connection, hub_id: UUID, id: UUID, old: VerificationState, new: VerificationState
) -> None:
    """Move a verification whose run is locked. Raises ValueError as `move_backup` does."""
    verifications.check_move(old, new)
    moved = await connection.fetchval(_SQL["move_verification"], hub_id, id, old, new)
    if moved is None:
        raise ValueError(f"the verification {id} is not {old}")


async def link_safety_backup(
    connection: Connection, hub_id: UUID, restore_id: UUID, backup_id: UUID
) -> None:
    """Say which save comes before a restore whose run is locked."""
    await connection.execute(_SQL["link_safety_backup"], hub_id, restore_id, backup_id)


async def mark_backups_deleting_with_container(
    connection: Connection, hub_id: UUID, container_id: UUID, grace: timedelta
) -> tuple[int, int, int]:
    """Mark every LIVE backup of a locked container; their objects go after `grace`.

    Returns how many there are, their bytes, and how many of them are pinned.
    """
    rows = await connection.fetch(_SQL["delete_with_container"], hub_id, container_id)
    await reclaim_stored(connection, hub_id, [row["id"] for row in rows], grace)
    pinned = sum(row["pinned"] for row in rows)
    return len(rows), sum(row["size_bytes"] or 0 for row in rows), pinned


async def mark_backups_deleting_with_integration(
    connection: Connection, hub_id: UUID, integration_id: UUID
) -> tuple[int, int, int]:
    """Mark every LIVE backup in the bucket of a locked integration; their objects go at once.

    Returns how many there are, their bytes, and how many of them are pinned.
    """
    await connection.execute(_SQL["keep_gone"], hub_id, integration_id)
    rows = await connection.fetch(_SQL["delete_with_integration"], hub_id, integration_id)
    await reclaim_stored(connection, hub_id, [row["id"] for row in rows], timedelta(0))
    pinned = sum(row["pinned"] for row in rows)
    return len(rows), sum(row["size_bytes"] or 0 for row in rows), pinned


async def bring_backups_back(
    connection: Connection, hub_id: UUID, container_id: UUID
) -> list[UUID] | None:
    """Take back what was promised about the backups of a locked container; they are LIVE again.

    None, and nothing is changed, where a worker has begun to remove one of them.
    """
    rows = await connection.fetch(_SQL["hold_cascade"], hub_id, container_id)
    if not all(row["untouched"] for row in rows):
        return None
    await connection.execute(_SQL["unreclaim"], hub_id, [row["id"] for row in rows])
    back = await connection.fetch(_SQL["undelete_with_container"], hub_id, container_id)
    return [row["id"] for row in back]


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedState:
    """What a request must know of a run that it ends."""

    instance_id: UUID | None
    is_waiting: bool
    """No worker has it."""
    is_begun: bool
    """A worker had it: its command may have run."""


async def lock_run(connection: Connection, hub_id: UUID, id: UUID) -> LockedState | None:
    row = await connection.fetchrow(_SQL["lock_run"], hub_id, id)
    if row is None:
        return None
    return LockedState(
        instance_id=row["instance_id"], is_waiting=row["waiting"], is_begun=row["begun"]
    )


async def cancel_run(connection: Connection, hub_id: UUID, id: UUID) -> None:
    await connection.execute(_SQL["cancel_run"], hub_id, id)


async def start_run(connection: Connection, hub_id: UUID, id: UUID, extra: timedelta) -> None:
    """A try begins. `extra`: how long a save before it may take."""
    await connection.execute(_SQL["start_run"], hub_id, id, MAX_TIMEOUT, extra)


async def end_run(
    connection: Connection,
    hub_id: UUID,
    id: UUID,
    *,
    exit_code: int | None,
    error: RunError | None,
    fence: bool,
) -> None:
    """The run is over. `fence`: its owner does not know that yet, and can write nothing more."""
    await connection.execute(
        _SQL["end_run"],
        hub_id,
        id,
        exit_code,
        error.code if error else None,
        error.message if error else None,
        int(fence),
    )


async def requeue_run(connection: Connection, hub_id: UUID, id: UUID) -> None:
    await connection.execute(_SQL["requeue_run"], hub_id, id)


async def name_object(connection: Connection, hub_id: UUID, id: UUID, name: str | None) -> None:
    """Say where the bytes of a backup go, before any is sent; None: it has none."""
    await connection.execute(_SQL["name_object"], hub_id, id, name)


async def keep_proofs(connection: Connection, hub_id: UUID, id: UUID, stored: StoredBackup) -> None:
    await connection.execute(
        _SQL["keep_proofs"],
        hub_id,
        id,
        stored.file_id,
        stored.manifest_file_id,
        stored.size_bytes,
        stored.sha256,
        stored.chunk_hashes,
    )


async def order_facts(connection: Connection, hub_id: UUID, id: UUID) -> tuple[int, bytes]:
    """The least bytes of a backup, and its chunks' hashes joined (empty where it has none yet)."""
    row = await connection.fetchrow(_SQL["order_facts"], hub_id, id)
    assert row is not None
    return row["min_bytes"], row["chunk_hashes"] or b""


async def lock_backups(
    connection: Connection, hub_id: UUID, ids: Sequence[UUID]
) -> dict[UUID, LockedBackup]:
    """Nobody else moves these backups or begins to read them until the transaction ends.

    Their containers are locked first: what is left in them is counted by one at a time.
    """
    await connection.execute(_SQL["hold_containers"], hub_id, list(ids))
    rows = await connection.fetch(_SQL["lock_backups"], hub_id, list(ids))
    return {
        row["id"]: LockedBackup(
            id=row["id"],
            container_id=row["container_id"],
            instance_hostname=row["instance_hostname"],
            state=BackupState(row["state"]),
            trigger=BackupTrigger(row["trigger"]),
            pinned=row["pinned"],
            note=row["note"],
        )
        for row in rows
    }


async def hold_backup(connection: Connection, hub_id: UUID, id: UUID) -> BackupState | None:
    """The state of a backup that nobody may delete until the transaction ends."""
    state = await connection.fetchval(_SQL["hold_backup"], hub_id, id)
    return None if state is None else BackupState(state)


async def read_by_runs(
    connection: Connection, hub_id: UUID, ids: Collection[UUID]
) -> frozenset[UUID]:
    """Which of these backups a run reads, is to read, or made for its own safety."""
    rows = await connection.fetch(_SQL["read_by_runs"], hub_id, list(ids))
    return frozenset(row["backup_id"] for row in rows)


async def retire_backups(
    connection: Connection, hub_id: UUID, reasons: Mapping[UUID, tuple[str, str]]
) -> None:
    """Locked LIVE backups go by a rule, each with code and reason; their objects go at once.

    Raises ValueError where one of them is not LIVE.
    """
    backups.check_move(BackupState.LIVE, BackupState.DELETING)
    rows = await connection.fetch(
        _SQL["retire_backups"],
        hub_id,
        list(reasons),
        [code for code, _ in reasons.values()],
        [reason for _, reason in reasons.values()],
    )
    if len(rows) != len(reasons):
        raise ValueError("a backup that a rule takes is not LIVE")
    await reclaim_stored(connection, hub_id, list(reasons), timedelta(0), automatic=True)


async def record_deleter(
    connection: Connection, hub_id: UUID, ids: Sequence[UUID], deleter: Requester
) -> None:
    await connection.execute(
        _SQL["record_deleter"], hub_id, list(ids), deleter.kind, deleter.id, deleter.name
    )


async def reclaim_stored(
    connection: Connection,
    hub_id: UUID,
    ids: Sequence[UUID],
    grace: timedelta,
    *,
    not_before: datetime | None = None,
    automatic: bool = False,
) -> None:
    """Promise to remove object and manifest of these backups once `grace` has passed.

    `not_before`: nor before that moment. `automatic`: by a rule of the gateway, not because
    somebody asked for it.
    """
    await connection.execute(
        _SQL["reclaim_stored"],
        hub_id,
        list(ids),
        grace,
        MANIFEST_SUFFIX,
        automatic,
        not_before,
    )


async def reclaim_unfinished(connection: Connection, hub_id: UUID, id: UUID) -> None:
    """Promise to remove whatever the latest try of a backup may have sent, and forget its name."""
    await connection.execute(_SQL["reclaim_unfinished"], hub_id, id, MANIFEST_SUFFIX)
    await name_object(connection, hub_id, id, None)


async def is_unconfirmed(connection: Connection, hub_id: UUID, id: UUID) -> bool:
    """Whether B2 has yet to confirm for the first time that something of a backup is gone."""
    return bool(await connection.fetchval(_SQL["unconfirmed"], hub_id, id))


async def former_sizes(connection: Connection, backup: backups.Backup, limit: int) -> Sequence[int]:
    """The bytes of the last LIVE backups of a backup's instance, by its hostname, without it."""
    rows = await connection.fetch(
        _SQL["former_sizes"],
        backup.hub_id,
        backup.container_id,
        backup.instance_hostname,
        backup.id,
        limit,
    )
    return [row["size_bytes"] for row in rows]


async def mark_size_drop(connection: Connection, hub_id: UUID, id: UUID) -> None:
    """Say of a backup that it is much smaller than those before it."""
    await connection.execute(_SQL["mark_size_drop"], hub_id, id)
