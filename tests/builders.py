"""One function a noun, with defaults, through the services: no test writes a row by hand."""

from collections.abc import Mapping
from datetime import timedelta
from uuid import UUID, uuid4

from app.model.access import CAPABILITIES, Principal, Role
from app.model.containers import (
    Container,
    Instance,
    InstanceState,
    NewContainer,
    NewInstance,
)
from app.model.hubs import Hub
from app.model.integrations import Integration, NewIntegration
from app.model.policies import BackupPolicy, NewPolicy
from app.postgres.pool import Database
from app.queries import integrations
from app.service.containers import create_container
from app.service.hubs import create_hub
from app.service.instances import create_instance
from app.service.integration_checks import check_passed, due_checks
from app.service.integrations import create_integration
from app.service.keys import authenticate, create_key
from app.service.policies import configure_backups
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
) -> BackupPolicy:
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
        ),
    )
    assert policy is not None
    return policy
