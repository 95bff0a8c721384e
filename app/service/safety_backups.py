"""Safety backups: the save of an instance that comes before a restore into it."""

from datetime import timedelta
from uuid import UUID, uuid4

from app.model.backups import BackupState, BackupTrigger
from app.model.containers import Instance
from app.model.policies import BackupPolicy
from app.model.restores import Restore
from app.model.runs import CARRIED, Requester, Run, RunKind
from app.postgres.listen import notify
from app.postgres.pool import Connection
from app.queries import backups, claims, instances, policies, runs
from app.queries.runs import NewBackup, NewRun
from app.service.topics import list_of


def make_ids() -> tuple[UUID, UUID]:
    """An id for a restore, and one for its safety backup.

    The restore's is the lower one: whoever locks runs by their ids locks them in the order in
    which all others lock a run and what it carries.
    """
    lower, higher = sorted((uuid4(), uuid4()))
    return lower, higher


async def queue_safety_backup(
    connection: Connection,
    instance: Instance,
    policy: BackupPolicy,
    *,
    id: UUID,
    restore_id: UUID,
    start_within: timedelta,
    requested_by: Requester,
) -> None:
    """Make the record and the run of a save that the restore's run carries."""
    hub_id = instance.hub_id
    new = NewRun(
        id=id,
        kind=RunKind.BACKUP,
        container_id=instance.container_id,
        instance_id=None,
        place=CARRIED,
        command=policy.backup_command,
        timeout=policy.backup_timeout,
        start_within=start_within,
        requested_by=requested_by,
        carried_by=restore_id,
    )
    assert await runs.create_run(connection, hub_id, new)
    await runs.create_backup(
        connection,
        hub_id,
        NewBackup(
            id=id,
            container_id=instance.container_id,
            instance_id=instance.id,
            instance_hostname=instance.hostname,
            integration_id=policy.integration_id,
            trigger=BackupTrigger.PRE_RESTORE,
            backup_command=policy.backup_command,
            restore_command=policy.restore_command,
            min_bytes=policy.min_bytes,
        ),
    )
    await notify(connection, [f"run:{id}", list_of(instance.container_id, id)])


async def save_again(connection: Connection, run: Run, restore: Restore) -> None:
    """Before a restore's next try: what an earlier one saved may be old by now, so save anew.

    The copy that is there stays. Where the policy is gone, it has to do.
    """
    if restore.safety_backup_id is None or run.instance_id is None:
        return
    hub_id = run.hub_id
    saved = await backups.get(connection, hub_id, restore.safety_backup_id)
    found = await policies.by_containers(connection, hub_id, [run.container_id])
    policy = found.get(run.container_id)
    if saved is None or saved.state is not BackupState.LIVE or policy is None:
        return
    instance = await instances.get(connection, hub_id, run.instance_id)
    assert instance is not None
    id = uuid4()
    while id < run.id:
        id = uuid4()
    await queue_safety_backup(
        connection,
        instance,
        policy,
        id=id,
        restore_id=run.id,
        start_within=run.start_by - run.created_at,
        requested_by=restore.requested_by,
    )
    await claims.carry(connection, id, run)
    await runs.link_safety_backup(connection, hub_id, run.id, id)
