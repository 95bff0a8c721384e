"""Integrations: made, given new keys, and taken away when nothing needs them."""

import asyncio
from dataclasses import replace
from uuid import uuid4

import pytest

from app.errors import Conflict, InvalidInput, InvalidState, NotFound
from app.model.integrations import IntegrationFilter, IntegrationState, NewIntegration, Realm
from app.model.paging import Page
from app.model.policies import NewPolicy
from app.queries import integrations, policies
from app.service.integrations import (
    create_integration,
    delete_integration,
    end,
    update_integration,
    verify_integration,
)
from app.service.policies import configure_backups
from tests.builders import (
    EMBEDDED_KEY_PREFIX,
    SEALER,
    a_container,
    a_hub,
    a_policy,
    an_admin,
    an_integration,
    an_unchecked_integration,
)


async def read(gateway, admin, id):
    async with gateway.connection(admin.hub_id) as connection:
        return await integrations.get(connection, admin.hub_id, id)


async def change(gateway, admin, id, **changes):
    return await update_integration(
        gateway,
        admin,
        id=id,
        sealer=SEALER,
        embedded_key_prefix=EMBEDDED_KEY_PREFIX,
        **changes,
    )


async def test_an_integration_is_made_and_waits_for_its_check(owner, gateway_database):
    admin = an_admin(await a_hub(owner))
    new = NewIntegration(
        name="B2", key_id="0012ab", key="application-key", bucket="my-bucket", prefix="a/b"
    )
    made = await create_integration(
        gateway_database, admin, new=new, sealer=SEALER, embedded_key_prefix=None
    )
    assert made == await read(gateway_database, admin, made.id)
    assert (made.hub_id, made.name, made.key_id) == (admin.hub_id, "B2", "0012ab")
    assert (made.bucket, made.prefix, made.realm) == ("my-bucket", "a/b", Realm.BACKBLAZE)
    assert (made.state, made.verified_at) == (IntegrationState.VERIFYING, None)
    assert (made.error_code, made.error_message, made.next_key_id) == (None, None, None)


async def test_a_key_of_the_embedded_b2_goes_to_it(owner, gateway_database):
    admin = an_admin(await a_hub(owner))
    made = await an_unchecked_integration(gateway_database, admin, key_id=f"{EMBEDDED_KEY_PREFIX}1")
    assert made.realm is Realm.EMBEDDED


async def test_the_key_is_stored_sealed(owner, gateway_database, worker_database):
    admin = an_admin(await a_hub(owner))
    made = await an_integration(gateway_database, worker_database, admin, key="hunter2")
    await change(gateway_database, admin, made.id, key_id="new", key="hunter3")
    async with owner.connection(None) as connection:
        (row,) = await connection.fetch("select integrations::text as text from integrations")
    for secret in (b"hunter2", b"hunter3"):
        assert secret.decode() not in row["text"]
        assert secret.hex() not in row["text"]


async def test_a_replay_with_another_key_is_a_conflict(owner, gateway_database):
    admin = an_admin(await a_hub(owner))
    new = NewIntegration(name="B2", key_id="0012ab", key="one", bucket="my-bucket", prefix="")
    how = {"sealer": SEALER, "embedded_key_prefix": None, "idempotency_key": "1"}
    made = await create_integration(gateway_database, admin, new=new, **how)
    assert await create_integration(gateway_database, admin, new=new, **how) == made
    with pytest.raises(Conflict):
        await create_integration(gateway_database, admin, new=replace(new, key="two"), **how)


async def test_a_new_key_waits_beside_one_that_works(owner, gateway_database, worker_database):
    admin = an_admin(await a_hub(owner))
    made = await an_integration(gateway_database, worker_database, admin)
    changed = await change(gateway_database, admin, made.id, key_id="new", key="key", name="After")
    assert changed == replace(made, name="After", next_key_id="new")
    assert changed == await read(gateway_database, admin, made.id)
    assert changed.state is IntegrationState.LIVE


async def test_a_new_key_replaces_one_that_never_worked(owner, gateway_database):
    admin = an_admin(await a_hub(owner))
    made = await an_unchecked_integration(gateway_database, admin)
    changed = await change(gateway_database, admin, made.id, key_id="new", key="key")
    assert changed == replace(made, key_id="new")


async def test_a_name_alone_asks_for_no_check(owner, gateway_database, worker_database):
    admin = an_admin(await a_hub(owner))
    made = await an_integration(gateway_database, worker_database, admin)

    async def check_at():
        async with owner.connection(None) as connection:
            return await connection.fetchval("select check_at from integrations")

    before = await check_at()
    renamed = await change(gateway_database, admin, made.id, name="After")
    assert renamed == replace(made, name="After")
    assert await check_at() == before
    assert await verify_integration(gateway_database, admin, id=made.id) == renamed
    assert await check_at() < before


async def test_a_change_that_cannot_be_made_changes_nothing(owner, gateway_database):
    admin = an_admin(await a_hub(owner))
    made = await an_unchecked_integration(gateway_database, admin)
    embedded = f"{EMBEDDED_KEY_PREFIX}1"
    for changes, path in (
        ({"name": ""}, ("name",)),
        ({"key_id": "new"}, ("key",)),
        ({"key": "new"}, ("keyId",)),
        ({"key_id": "a b", "key": "new", "name": "After"}, ("keyId",)),
        ({"key_id": embedded, "key": "new", "name": "After"}, ("keyId",)),
    ):
        with pytest.raises(InvalidInput) as refusal:
            await change(gateway_database, admin, made.id, **changes)
        assert refusal.value.path == path
    with pytest.raises(NotFound):
        await change(gateway_database, admin, uuid4(), name="After")
    assert await read(gateway_database, admin, made.id) == made


async def test_an_integration_with_a_policy_is_not_deleted(
    owner, gateway_database, worker_database
):
    admin = an_admin(await a_hub(owner))
    container = await a_container(gateway_database, admin)
    made = await an_integration(gateway_database, worker_database, admin)
    await a_policy(gateway_database, admin, container, made)
    with pytest.raises(InvalidState, match="policies that save to it: 1") as refusal:
        await delete_integration(gateway_database, admin, id=made.id)
    assert refusal.value.reason == "INTEGRATION_IN_USE"
    assert await read(gateway_database, admin, made.id) == made
    await configure_backups(gateway_database, admin, container_id=container.id, policy=None)
    deleted, _ = await delete_integration(gateway_database, admin, id=made.id)
    assert deleted == replace(made, state=IntegrationState.DELETING)


async def test_no_policy_is_set_to_an_integration_that_is_just_being_deleted(
    owner, gateway_database, worker_database, until_blocked
):
    admin = an_admin(await a_hub(owner))
    container = await a_container(gateway_database, admin)
    made = await an_integration(gateway_database, worker_database, admin)
    async with gateway_database.transaction(admin.hub_id) as connection:
        await integrations.lock(connection, admin.hub_id, made.id)
        setting = asyncio.create_task(a_policy(gateway_database, admin, container, made))
        await until_blocked()
        await integrations.delete(connection, admin.hub_id, made.id)
    with pytest.raises(InvalidState) as refusal:
        await setting
    assert refusal.value.reason == "INTEGRATION_DELETED"


async def test_an_integration_is_not_deleted_under_a_policy_that_is_just_being_set(
    owner, gateway_database, worker_database, until_blocked
):
    admin = an_admin(await a_hub(owner))
    container = await a_container(gateway_database, admin)
    made = await an_integration(gateway_database, worker_database, admin)
    async with gateway_database.transaction(admin.hub_id) as connection:
        await integrations.hold(connection, admin.hub_id, made.id)
        deleting = asyncio.create_task(delete_integration(gateway_database, admin, id=made.id))
        await until_blocked()
        new = NewPolicy(integration_id=made.id, backup_command="cat data")
        await policies.put(connection, admin.hub_id, container.id, new, {})
    with pytest.raises(InvalidState) as refusal:
        await deleting
    assert refusal.value.reason == "INTEGRATION_IN_USE"
    assert await read(gateway_database, admin, made.id) == made


async def test_a_deleted_integration_has_no_keys_and_stays_deleted(
    owner, gateway_database, worker_database
):
    admin = an_admin(await a_hub(owner))
    made = await an_integration(gateway_database, worker_database, admin)
    await change(gateway_database, admin, made.id, key_id="new", key="key")
    deleted, _ = await delete_integration(gateway_database, admin, id=made.id)
    assert deleted == replace(made, state=IntegrationState.DELETING)
    assert await delete_integration(gateway_database, admin, id=made.id) == (deleted, [])
    assert await end(worker_database, made.id)
    deleted = replace(made, state=IntegrationState.DELETED)
    assert await delete_integration(gateway_database, admin, id=made.id) == (deleted, [])
    async with owner.connection(None) as connection:
        row = await connection.fetchrow("select sealed_key, next_sealed_key from integrations")
    assert tuple(row) == (None, None)
    for asking in (
        change(gateway_database, admin, made.id, name="After"),
        verify_integration(gateway_database, admin, id=made.id),
    ):
        with pytest.raises(InvalidState) as refusal:
            await asking
        assert refusal.value.reason == "INTEGRATION_DELETED"
    assert await read(gateway_database, admin, made.id) == deleted


async def test_lists_leave_out_deleted_ones_unless_asked(owner, gateway_database):
    admin, stranger = an_admin(await a_hub(owner)), an_admin(await a_hub(owner))
    made = [await an_unchecked_integration(gateway_database, admin, name=name) for name in "abc"]
    await an_unchecked_integration(gateway_database, stranger)
    await delete_integration(gateway_database, admin, id=made[1].id)
    async with gateway_database.connection(admin.hub_id) as connection:
        for states, expected in (
            (None, ["c", "a"]),
            ((IntegrationState.DELETED,), ["b"]),
            ((IntegrationState.LIVE,), []),
        ):
            filter = IntegrationFilter(states=states)
            got = await integrations.page(connection, admin.hub_id, filter, Page())
            assert [one.name for one in got.items] == expected
            assert await integrations.count(connection, admin.hub_id, filter) == len(expected)
        found = await integrations.by_ids(
            connection, admin.hub_id, [made[0].id, made[1].id, uuid4()]
        )
    assert found.keys() == {made[0].id, made[1].id}
