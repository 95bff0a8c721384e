"""The demo's hub: an integration with the embedded B2, and two stateful containers."""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from app.demo.instances import LOAD_TREE, SAVE_TREE, find_python
from app.model.access import CAPABILITIES, Principal, Role
from app.model.containers import (
    Container,
    ContainerFilter,
    InstanceFilter,
    InstanceState,
    NewContainer,
    NewInstance,
)
from app.model.integrations import IntegrationFilter, IntegrationState, NewIntegration
from app.model.paging import Page
from app.model.policies import NewPolicy
from app.postgres.pool import Database
from app.queries import containers as read_containers
from app.queries import instances as read_instances
from app.queries import integrations as read_integrations
from app.service import containers, hubs, instances, integrations, keys, policies
from app.service.secrets import Sealer
from app.storage.local_access import EMBEDDED_KEY_PREFIX

HUB = "demo"
BUCKET = "backup-gateway-demo"
TIMEOUT = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoKey:
    """An application key of the embedded B2 for the demo's bucket."""

    key_id: str
    key: str
    prefix: str


async def find_demo(owner: Database) -> UUID | None:
    """The demo hub's id, where a former start made it."""
    hub = await hubs.find_hub(owner, HUB)
    return hub.id if hub else None


async def make_demo(
    owner: Database, gateway: Database, key: DemoKey, *, sealer: Sealer, host: str
) -> tuple[UUID, str]:
    """Make what is missing of the hub; returns its id and the token of a new key.

    A start that was cut off in the middle is taken up by the next one.
    """
    hub = await hubs.find_hub(owner, HUB) or await hubs.create_hub(owner, HUB)
    key_id, token = await keys.create_key(owner, hub_id=hub.id, name="demo", role=Role.ADMIN)
    admin = Principal(
        hub_id=hub.id,
        key_id=key_id,
        name="demo",
        role=Role.ADMIN,
        capabilities=CAPABILITIES[Role.ADMIN],
    )
    maker = _Maker(gateway, admin, sealer=sealer, host=host)
    integration = await maker.find_or_make_integration(key)
    python = find_python()
    await maker.complete_container("notes", integration, save=SAVE_TREE, load=LOAD_TREE)
    await maker.complete_container(
        "ledger", integration, save=f"{python} dump.py", load=f"{python} load.py"
    )
    return hub.id, token


async def is_settled(gateway: Database, hub_id: UUID) -> bool:
    """Say if no integration of the demo is still being verified. Raises DatabaseUnavailable."""
    verifying = IntegrationFilter(states=(IntegrationState.VERIFYING,))
    async with gateway.connection(hub_id) as connection:
        return not (await read_integrations.page(connection, hub_id, verifying, Page())).items


class _Maker:
    def __init__(self, gateway: Database, admin: Principal, *, sealer: Sealer, host: str) -> None:
        self._gateway = gateway
        self._admin = admin
        self._sealer = sealer
        self._host = host

    async def find_or_make_integration(self, key: DemoKey) -> UUID:
        hub_id = self._admin.hub_id
        async with self._gateway.connection(hub_id) as connection:
            found = await read_integrations.page(connection, hub_id, IntegrationFilter(), Page())
        if found.items:
            return found.items[0].id
        made = await integrations.create_integration(
            self._gateway,
            self._admin,
            new=NewIntegration(
                name="Embedded B2", key_id=key.key_id, key=key.key, bucket=BUCKET, prefix=key.prefix
            ),
            sealer=self._sealer,
            embedded_key_prefix=EMBEDDED_KEY_PREFIX,
        )
        return made.id

    async def complete_container(
        self, identifier: str, integration_id: UUID, *, save: str, load: str
    ) -> None:
        hub_id = self._admin.hub_id
        async with self._gateway.connection(hub_id) as connection:
            wanted = ContainerFilter(identifier=identifier)
            found = (await read_containers.page(connection, hub_id, wanted, Page())).items
            hostnames = set()
            if found:
                pages = await read_instances.pages(
                    connection, hub_id, [found[0].id], InstanceFilter(), Page()
                )
                hostnames = {i.hostname for page in pages.values() for i in page.items}
        container = found[0] if found else await self._make_container(identifier)
        for hostname in (f"1.{identifier}", f"2.{identifier}"):
            if hostname not in hostnames:
                await self._make_instance(container.id, hostname)
        await policies.configure_backups(
            self._gateway,
            self._admin,
            container_id=container.id,
            policy=NewPolicy(
                integration_id=integration_id,
                backup_command=save,
                backup_timeout=TIMEOUT,
                restore_command=load,
                restore_timeout=TIMEOUT,
            ),
        )

    async def _make_container(self, identifier: str) -> Container:
        return await containers.create_container(
            self._gateway,
            self._admin,
            new=NewContainer(
                identifier=identifier, name=identifier.title(), stateful=True, labels={}
            ),
        )

    async def _make_instance(self, container_id: UUID, hostname: str) -> None:
        await instances.create_instance(
            self._gateway,
            self._admin,
            new=NewInstance(
                container_id=container_id,
                hostname=hostname,
                state=InstanceState.RUNNING,
                executor="process",
                host=self._host,
                folder=hostname,
                variables={},
                scratch=False,
            ),
            sealer=self._sealer,
            default_host=self._host,
        )
