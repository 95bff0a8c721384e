"""One function a noun, with defaults, through the services: no test writes a row by hand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from app.errors import CommandFailed
from app.model.access import CAPABILITIES, Principal, Role
from app.model.backups import Backup, StoredBackup
from app.model.containers import (
    Container,
    Instance,
    InstanceState,
    NewContainer,
    NewInstance,
)
from app.model.drifts import ListedVersion, Territory
from app.model.hubs import Hub
from app.model.integrations import Integration, NewIntegration
from app.model.orders import ClaimedRun, RestoreOrder, SaveOrder
from app.model.policies import BackupPolicy, NewPolicy
from app.model.restores import Restore
from app.model.runs import ANYWHERE
from app.model.scans import ScanKind, ScanStep
from app.postgres.pool import Database
from app.queries import backups, integrations, restores
from app.service import reconciles, scans
from app.service.backups import create_backup
from app.service.containers import create_container
from app.service.endings import fail_run, finish_backup
from app.service.hubs import create_hub
from app.service.instances import create_instance
from app.service.integration_checks import check_passed, due_checks
from app.service.integrations import create_integration
from app.service.keys import authenticate, create_key
from app.service.policies import configure_backups
from app.service.restores import restore_backup
from app.service.runs import claim_run, start_run
from app.service.secrets import Sealer

EMBEDDED_KEY_PREFIX = "embedded"
HOST = "here"
SEALER = Sealer(["test:" + "A" * 43 + "="])


def unique(word: str) -> str:
    """A name that no other test uses."""
    return f"{word}-{uuid4().hex[:12]}"


async def a_hub(owner: Database, *, name: str | None = None) -> Hub:
    return await create_hub(owner, name or unique("hub"))


def a_principal(hub: Hub | UUID, *, role: Role = Role.ADMIN) -> Principal:
    """A credential of the role; no key is stored for it."""
    return Principal(
        hub_id=hub.id if isinstance(hub, Hub) else hub,
        key_id=uuid4(),
        name=f"the {role.lower()}",
        role=role,
        capabilities=CAPABILITIES[role],
    )


def an_admin(hub: Hub | UUID) -> Principal:
    return a_principal(hub, role=Role.ADMIN)


def an_operator(hub: Hub | UUID) -> Principal:
    return a_principal(hub, role=Role.OPERATOR)


def a_viewer(hub: Hub | UUID) -> Principal:
    return a_principal(hub, role=Role.VIEWER)


async def a_key(
    owner: Database, gateway: Database, hub: Hub, *, role: Role = Role.ADMIN
) -> tuple[Principal, str]:
    """A stored API key: whom it stands for, and its token."""
    _, token = await create_key(owner, hub_id=hub.id, name=unique("key"), role=role)
    principal = await authenticate(gateway, token)
    assert principal is not None
    return principal, token


async def a_container(
    gateway: Database,
    principal: Principal,
    *,
    identifier: str | None = None,
    name: str = "A container",
    stateful: bool = True,
    labels: Mapping[str, str] | None = None,
) -> Container:
    new = NewContainer(
        identifier=identifier or unique("container"),
        name=name,
        stateful=stateful,
        labels=labels or {},
    )
    return await create_container(gateway, principal, new=new)


async def an_instance(
    gateway: Database,
    principal: Principal,
    container: Container | UUID,
    *,
    hostname: str | None = None,
    state: InstanceState = InstanceState.RUNNING,
    folder: str | None = None,
    host: str | None = None,
    variables: Mapping[str, str] | None = None,
    scratch: bool = False,
    sealer: Sealer = SEALER,
) -> Instance:
    """An instance of the executor `process` on the host `HOST`."""
    hostname = hostname or unique("1")
    new = NewInstance(
        container_id=container.id if isinstance(container, Container) else container,
        hostname=hostname,
        state=state,
        executor="process",
        host=host,
        folder=folder or hostname,
        variables=variables or {},
        scratch=scratch,
    )
    return await create_instance(gateway, principal, new=new, default_host=HOST, sealer=sealer)


async def an_unchecked_integration(
    gateway: Database,
    principal: Principal,
    *,
    name: str = "An integration",
    key_id: str = "0123456789ab",
    key: str = "the-application-key",
    bucket: str | None = None,
    prefix: str = "backups",
    sealer: Sealer = SEALER,
) -> Integration:
    """An integration that waits for its check, in a bucket of its own unless one is named."""
    new = NewIntegration(
        name=name, key_id=key_id, key=key, bucket=bucket or unique("bucket"), prefix=prefix
    )
    return await create_integration(
        gateway, principal, new=new, sealer=sealer, embedded_key_prefix=EMBEDDED_KEY_PREFIX
    )


async def an_integration(
    gateway: Database,
    worker: Database,
    principal: Principal,
    *,
    name: str = "An integration",
    key_id: str = "0123456789ab",
    key: str = "the-application-key",
    bucket: str | None = None,
    prefix: str = "backups",
    sealer: Sealer = SEALER,
) -> Integration:
    """A LIVE integration: its check has passed, and nothing was asked of any B2."""
    made = await an_unchecked_integration(
        gateway,
        principal,
        name=name,
        key_id=key_id,
        key=key,
        bucket=bucket,
        prefix=prefix,
        sealer=sealer,
    )
    for check in await due_checks(worker, sealer, 100):
        if check.integration.id == made.id:
            assert await check_passed(worker, check)
    async with gateway.connection(principal.hub_id) as connection:
        live = await integrations.get(connection, principal.hub_id, made.id)
    assert live is not None
    return live


async def a_policy(
    gateway: Database,
    principal: Principal,
    container: Container | UUID,
    integration: Integration | UUID,
    *,
    backup_command: str = "cat data",
    restore_command: str | None = "cat > data",
    backup_timeout: timedelta = timedelta(hours=12),
    restore_timeout: timedelta = timedelta(hours=12),
    min_bytes: int = 1,
    **more: Any,
) -> BackupPolicy:
    """`more`: what else `NewPolicy` takes."""
    policy, _ = await configure_backups(
        gateway,
        principal,
        container_id=container.id if isinstance(container, Container) else container,
        policy=NewPolicy(
            integration_id=(
                integration.id if isinstance(integration, Integration) else integration
            ),
            backup_command=backup_command,
            backup_timeout=backup_timeout,
            min_bytes=min_bytes,
            restore_command=restore_command,
            restore_timeout=restore_timeout,
            **more,
        ),
    )
    assert policy is not None
    return policy


# --- runs ---------------------------------------------------------------------------------------

OWNER = "a worker"
PLACES = (f"host:{HOST}", ANYWHERE)
TTL = timedelta(seconds=60)
START_WITHIN = timedelta(hours=24)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A stateful container with a policy and a running instance: something can be backed up."""

    admin: Principal
    container: Container
    instance: Instance
    integration: Integration
    policy: BackupPolicy


async def a_stage(
    owner: Database,
    gateway: Database,
    worker: Database,
    *,
    admin: Principal | None = None,
    integration: Integration | None = None,
    backup_command: str = "cat data",
    restore_command: str | None = "cat > data",
    backup_timeout: timedelta = timedelta(hours=12),
    variables: Mapping[str, str] | None = None,
    host: str | None = None,
) -> Stage:
    admin = admin or an_admin(await a_hub(owner))
    integration = integration or await an_integration(gateway, worker, admin)
    container = await a_container(gateway, admin)
    policy = await a_policy(
        gateway,
        admin,
        container,
        integration,
        backup_command=backup_command,
        restore_command=restore_command,
        backup_timeout=backup_timeout,
    )
    instance = await an_instance(gateway, admin, container, variables=variables, host=host)
    return Stage(
        admin=admin,
        container=container,
        instance=instance,
        integration=integration,
        policy=policy,
    )


async def a_queued_backup(
    gateway: Database,
    stage: Stage,
    *,
    instance: Instance | None = None,
    start_within: timedelta = START_WITHIN,
) -> Backup:
    return await create_backup(
        gateway,
        stage.admin,
        container_id=stage.container.id,
        instance_id=(instance or stage.instance).id,
        start_within=start_within,
    )


async def a_claim(
    worker: Database, run_id: UUID, *, owner: str = OWNER, ttl: timedelta = TTL
) -> ClaimedRun:
    """A run that a worker holds; `ttl` of nothing: whose lease has passed already."""
    claimed = await claim_run(worker, run_id, owner=owner, places=PLACES, ttl=ttl)
    assert claimed is not None
    return claimed


async def a_save(
    gateway: Database,
    worker: Database,
    stage: Stage,
    *,
    instance: Instance | None = None,
    owner: str = OWNER,
    ttl: timedelta = TTL,
) -> SaveOrder:
    """A backup that a worker saves now."""
    backup = await a_queued_backup(gateway, stage, instance=instance)
    claimed = await a_claim(worker, backup.id, owner=owner, ttl=ttl)
    order = await start_run(worker, claimed, sealer=SEALER)
    assert isinstance(order, SaveOrder)
    return order


def stored_bytes(size: int = 1000) -> StoredBackup:
    """What B2 would confirm of an object of this size."""
    return StoredBackup(
        file_id=unique("file"),
        manifest_file_id=unique("manifest"),
        size_bytes=size,
        sha256=bytes(range(32)),
        chunk_hashes=bytes(32),
        exit_code=0,
    )


async def a_live_backup(
    gateway: Database,
    worker: Database,
    stage: Stage,
    *,
    instance: Instance | None = None,
    size: int = 1000,
) -> Backup:
    order = await a_save(gateway, worker, stage, instance=instance)
    await finish_backup(worker, order, stored_bytes(size))
    return await read_backup(gateway, stage, order.backup.id)


async def a_failed_backup(gateway: Database, worker: Database, stage: Stage) -> Backup:
    order = await a_save(gateway, worker, stage)
    await fail_run(worker, order.run.id, order.run.epoch, error=CommandFailed(), exit_code=1)
    return await read_backup(gateway, stage, order.backup.id)


async def a_queued_restore(
    gateway: Database, stage: Stage, backup: Backup, *, instance: Instance | None = None
) -> Restore:
    return await restore_backup(
        gateway,
        stage.admin,
        backup_id=backup.id,
        instance_id=(instance or stage.instance).id,
        start_within=START_WITHIN,
    )


async def a_started_restore(
    gateway: Database,
    worker: Database,
    stage: Stage,
    backup: Backup,
    *,
    instance: Instance | None = None,
    owner: str = OWNER,
    ttl: timedelta = TTL,
) -> RestoreOrder:
    """A restore that a worker carries out now."""
    restore = await a_queued_restore(gateway, stage, backup, instance=instance)
    claimed = await a_claim(worker, restore.id, owner=owner, ttl=ttl)
    order = await start_run(worker, claimed, sealer=SEALER)
    assert isinstance(order, RestoreOrder)
    return order


async def read_backup(database: Database, stage: Stage, id: UUID) -> Backup:
    """The backup as it is now."""
    async with database.connection(stage.admin.hub_id) as connection:
        backup = await backups.get(connection, stage.admin.hub_id, id)
    assert backup is not None
    return backup


async def read_restore(database: Database, stage: Stage, id: UUID) -> Restore:
    """The restore as it is now."""
    async with database.connection(stage.admin.hub_id) as connection:
        restore = await restores.get(connection, stage.admin.hub_id, id)
    assert restore is not None
    return restore


# --- scans --------------------------------------------------------------------------------------


def a_version(
    name: str, file_id: str, *, size: int = 1000, action: str = "upload"
) -> ListedVersion:
    """An entry of a listing, stored long ago."""
    return ListedVersion(
        file_id=file_id,
        name=name,
        action=action,
        size=size,
        uploaded_at=datetime(2020, 1, 1, tzinfo=UTC),
    )


async def a_step(worker: Database, kind: ScanKind) -> ScanStep:
    """The next step of the only scan of this kind that is due."""
    [step] = await scans.take_due(worker, SEALER, kind, 100, lease=TTL)
    return step


async def a_reconcile(
    gateway: Database, worker: Database, stage: Stage, versions: Sequence[ListedVersion]
) -> None:
    """A whole reconcile, of a bucket that holds these versions and nothing else."""
    await scans.reconcile_storage(gateway, stage.admin, id=stage.integration.id)
    step = await a_step(worker, ScanKind.RECONCILE)
    territory = Territory(
        prefix=stage.integration.prefix,
        installation_id=step.installation_id,
        hub_id=step.hub_id,
        former_hub_id=None,
    )
    ordered = sorted(versions, key=lambda version: version.name.encode())
    await reconciles.compare_page(worker, step, ordered, None, territory=territory)
    step = await a_step(worker, ScanKind.RECONCILE)
    while asked := await reconciles.unwitnessed(worker, step, 100):
        gone = [one.id for one in asked]
        await reconciles.record_witnesses(worker, step, gone=gone, there=[])
        step = await a_step(worker, ScanKind.RECONCILE)
    await reconciles.record_witnesses(worker, step, gone=[], there=[])
    for work in (reconciles.mark_present, reconciles.resolve, reconciles.show):
        await work(worker, await a_step(worker, ScanKind.RECONCILE))
