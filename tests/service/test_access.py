"""Every decision, as every role and as another hub: who may not, changes nothing."""

import inspect
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import uuid4

import pytest

from app.errors import NotFound, NotPermitted
from app.model.access import Capability, Principal, Role
from app.model.containers import Container, Instance, InstanceState, NewContainer, NewInstance
from app.model.integrations import Integration, NewIntegration
from app.model.policies import NewPolicy
from app.postgres.pool import Database
from app.service import containers, instances, integrations, policies
from app.service.containers import (
    create_container,
    delete_container,
    undelete_container,
    update_container,
)
from app.service.instances import create_instance, delete_instance, update_instance
from app.service.integrations import (
    create_integration,
    delete_integration,
    update_integration,
    verify_integration,
)
from app.service.policies import configure_backups
from tests.builders import (
    HOST,
    SEALER,
    a_container,
    a_hub,
    a_policy,
    a_principal,
    an_admin,
    an_instance,
    an_integration,
)

TABLES = ("containers", "instances", "integrations", "backup_policies", "runs", "idempotency_keys")


@dataclass(frozen=True, slots=True, kw_only=True)
class There:
    """What one hub has, for somebody to reach for."""

    container: Container
    instance: Instance
    integration: Integration
    unused: Integration


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    name: str
    needs: Capability
    ask: Callable[[Database, Principal, There], Awaitable[object]]
    reaches: bool = True
    """False: it makes something of its own and names nothing that could be another hub's."""


def ask_create_container(database, principal, _there):
    new = NewContainer(identifier="new", name="New", stateful=True, labels={})
    return create_container(database, principal, new=new, idempotency_key="1")


def ask_update_container(database, principal, there):
    return update_container(
        database, principal, id=there.container.id, name="After", idempotency_key="1"
    )


def ask_delete_container(database, principal, there):
    return delete_container(
        database,
        principal,
        id=there.container.id,
        confirm=there.container.identifier,
        grace=timedelta(0),
        idempotency_key="1",
    )


def ask_undelete_container(database, principal, there):
    return undelete_container(database, principal, id=there.container.id, idempotency_key="1")


def ask_create_instance(database, principal, there):
    new = NewInstance(
        container_id=there.container.id,
        hostname="new",
        state=InstanceState.RUNNING,
        executor="process",
        host=None,
        folder="new",
        variables={},
        scratch=False,
    )
    return create_instance(
        database, principal, new=new, default_host=HOST, sealer=SEALER, idempotency_key="1"
    )


def ask_update_instance(database, principal, there):
    return update_instance(
        database,
        principal,
        id=there.instance.id,
        sealer=SEALER,
        state=InstanceState.STOPPED,
        variables={"A": "b"},
        folder="after",
        idempotency_key="1",
    )


def ask_delete_instance(database, principal, there):
    return delete_instance(database, principal, id=there.instance.id, idempotency_key="1")


def ask_create_integration(database, principal, _there):
    new = NewIntegration(name="New", key_id="key", key="secret", bucket="new-bucket", prefix="new")
    return create_integration(
        database, principal, new=new, sealer=SEALER, embedded_key_prefix=None, idempotency_key="1"
    )


def ask_update_integration(database, principal, there):
    return update_integration(
        database,
        principal,
        id=there.integration.id,
        sealer=SEALER,
        embedded_key_prefix=None,
        name="After",
        key_id="after",
        key="after",
        idempotency_key="1",
    )


def ask_verify_integration(database, principal, there):
    return verify_integration(database, principal, id=there.integration.id, idempotency_key="1")


def ask_delete_integration(database, principal, there):
    return delete_integration(database, principal, id=there.unused.id, idempotency_key="1")


def ask_configure_backups(database, principal, there):
    policy = NewPolicy(integration_id=there.unused.id, backup_command="echo after")
    return configure_backups(
        database,
        principal,
        container_id=there.container.id,
        policy=policy,
        idempotency_key="1",
    )


def ask_remove_backups(database, principal, there):
    return configure_backups(
        database, principal, container_id=there.container.id, policy=None, idempotency_key="1"
    )


CONFIGURE = Capability.CONFIGURE
USES = (
    Use(name="create_container", needs=CONFIGURE, ask=ask_create_container, reaches=False),
    Use(name="update_container", needs=CONFIGURE, ask=ask_update_container),
    Use(name="delete_container", needs=Capability.DELETE_CONTAINERS, ask=ask_delete_container),
    Use(name="undelete_container", needs=Capability.DELETE_CONTAINERS, ask=ask_undelete_container),
    Use(name="create_instance", needs=CONFIGURE, ask=ask_create_instance),
    Use(name="update_instance", needs=CONFIGURE, ask=ask_update_instance),
    Use(name="delete_instance", needs=CONFIGURE, ask=ask_delete_instance),
    Use(name="create_integration", needs=CONFIGURE, ask=ask_create_integration, reaches=False),
    Use(name="update_integration", needs=CONFIGURE, ask=ask_update_integration),
    Use(name="verify_integration", needs=CONFIGURE, ask=ask_verify_integration),
    Use(name="delete_integration", needs=CONFIGURE, ask=ask_delete_integration),
    Use(name="configure_backups", needs=CONFIGURE, ask=ask_configure_backups),
    Use(name="remove_backups", needs=CONFIGURE, ask=ask_remove_backups),
)
by_name = pytest.mark.parametrize("use", USES, ids=lambda use: use.name)


@pytest.fixture
async def hub_admin(owner) -> Principal:
    return an_admin(await a_hub(owner))


@pytest.fixture
async def there(gateway_database, worker_database, hub_admin) -> There:
    container = await a_container(gateway_database, hub_admin)
    integration = await an_integration(gateway_database, worker_database, hub_admin)
    await a_policy(gateway_database, hub_admin, container, integration)
    return There(
        container=container,
        instance=await an_instance(gateway_database, hub_admin, container),
        integration=integration,
        unused=await an_integration(gateway_database, worker_database, hub_admin),
    )


async def everything(owner: Database) -> Sequence[object]:
    """Every row of every table that these decisions write."""
    async with owner.connection(None) as connection:
        return [
            [tuple(row) for row in await connection.fetch(f"table {table} order by 1")]
            for table in TABLES
        ]


@by_name
@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR])
async def test_a_role_below_admin_is_refused_and_changes_nothing(
    owner, gateway_database, there, use, role
):
    principal = a_principal(there.container.hub_id, role=role)
    before = await everything(owner)
    with pytest.raises(NotPermitted) as refusal:
        await use.ask(gateway_database, principal, there)
    assert refusal.value.reason == "NOT_PERMITTED"
    assert await everything(owner) == before


@by_name
async def test_exactly_the_named_capability_is_needed(owner, gateway_database, there, use):
    hub_id = there.container.hub_id
    every = frozenset(Capability)
    before = await everything(owner)
    lacking = Principal(
        hub_id=hub_id, key_id=uuid4(), name="it", role=None, capabilities=every - {use.needs}
    )
    with pytest.raises(NotPermitted, match=use.needs):
        await use.ask(gateway_database, lacking, there)
    assert await everything(owner) == before
    having = Principal(
        hub_id=hub_id, key_id=uuid4(), name="it", role=None, capabilities=frozenset({use.needs})
    )
    await use.ask(gateway_database, having, there)
    assert await everything(owner) != before


@pytest.mark.parametrize("use", [use for use in USES if use.reaches], ids=lambda use: use.name)
async def test_an_admin_of_another_hub_finds_nothing_and_changes_nothing(
    owner, gateway_database, there, use
):
    stranger = an_admin(await a_hub(owner))
    before = await everything(owner)
    with pytest.raises(NotFound) as refusal:
        await use.ask(gateway_database, stranger, there)
    assert there.container.identifier not in refusal.value.message
    assert await everything(owner) == before


@by_name
async def test_what_another_hub_has_does_not_stand_in_the_way(
    owner, gateway_database, worker_database, there, use
):
    """The second hub has things of the same names; both are served alike."""
    stranger = an_admin(await a_hub(owner))
    container = await a_container(gateway_database, stranger, identifier=there.container.identifier)
    theirs = There(
        container=container,
        instance=await an_instance(
            gateway_database, stranger, container, hostname=there.instance.hostname
        ),
        integration=await an_integration(gateway_database, worker_database, stranger),
        unused=await an_integration(gateway_database, worker_database, stranger),
    )
    await use.ask(gateway_database, an_admin(there.container.hub_id), there)
    await use.ask(gateway_database, stranger, theirs)


def test_no_decision_of_these_nouns_is_left_out():
    modules = (containers, instances, integrations, policies)
    decisions = {
        name
        for module in modules
        for name, function in inspect.getmembers(module, inspect.iscoroutinefunction)
        if function.__module__ == module.__name__
        and not name.startswith("_")
        and "principal" in inspect.signature(function).parameters
    }
    assert {use.name for use in USES} == decisions | {"remove_backups"}
