"""Hubs and API keys: made by the operator, recognised in requests."""

import re
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from app.errors import Conflict, InvalidInput, NotFound, NotPermitted
from app.model.access import CAPABILITIES, Capability, Principal, Role
from app.model.paging import Page
from app.queries import hubs, keys
from app.service.hubs import create_hub, find_hub
from app.service.keys import authenticate, create_api_key, create_key, revoke_api_key
from tests.builders import a_hub, a_key, a_principal, an_admin, unique


async def test_a_hub_is_found_by_its_name_and_by_its_id(owner):
    hub = await create_hub(owner, "The team")
    assert await find_hub(owner, "The team") == hub
    assert await find_hub(owner, str(hub.id)) == hub
    assert await find_hub(owner, "Another team") is None
    assert await find_hub(owner, str(uuid4())) is None


async def test_a_name_goes_before_an_id(owner):
    first = await a_hub(owner)
    named_like_it = await create_hub(owner, str(first.id))
    assert await find_hub(owner, str(first.id)) == named_like_it


async def test_a_hub_of_the_same_name_is_refused(owner):
    await create_hub(owner, "The team")
    with pytest.raises(Conflict) as refusal:
        await create_hub(owner, "The team")
    assert refusal.value.reason == "HUB_NAME_TAKEN"


@pytest.mark.parametrize("name", ["", " ", "a\0", "\ud800", "x" * 201])
async def test_a_hub_needs_a_name(owner, name):
    with pytest.raises(InvalidInput):
        await create_hub(owner, name)


async def test_the_gateway_sees_its_own_hub_only(owner, gateway_database):
    hub, other = await a_hub(owner), await a_hub(owner)
    async with gateway_database.connection(hub.id) as connection:
        assert await hubs.get(connection, hub.id) == hub
        assert await hubs.get(connection, other.id) is None


@pytest.mark.parametrize("role", Role)
async def test_a_token_stands_for_its_hub_and_role(owner, gateway_database, role):
    hub = await a_hub(owner)
    id, token = await create_key(owner, hub_id=hub.id, name="laptop", role=role)
    principal = await authenticate(gateway_database, token)
    assert principal is not None
    assert (principal.hub_id, principal.key_id, principal.name) == (hub.id, id, "laptop")
    assert (principal.role, principal.capabilities) == (role, CAPABILITIES[role])
    assert principal.expires_at is None


async def test_a_token_has_256_random_bits_and_is_not_stored(owner):
    hub = await a_hub(owner)
    _, token = await create_key(owner, hub_id=hub.id, name="laptop", role=Role.ADMIN)
    assert re.fullmatch(r"bg_[0-9a-f]{8}_[A-Za-z0-9_-]{43}", token)
    async with owner.connection(None) as connection:
        row = await connection.fetchrow("select api_keys::text as all, prefix from api_keys")
    assert row["prefix"] == token[3:11]
    assert token[12:] not in row["all"]


async def test_a_wrong_token_is_nobodys(owner, gateway_database):
    _, token = await a_key(owner, gateway_database, await a_hub(owner))
    other = token[:-1] + ("A" if token[-1] != "A" else "B")
    for wrong in (other, token + "\n", token.upper(), "", "bg_", "\0", "\ud800", "x" * 10_000):
        assert await authenticate(gateway_database, wrong) is None


@pytest.mark.parametrize("column", ["revoked_at", "expires_at"])
async def test_a_revoked_or_expired_token_is_nobodys(owner, gateway_database, column):
    _, token = await a_key(owner, gateway_database, await a_hub(owner))
    async with owner.transaction(None) as connection:
        await connection.execute(f"update api_keys set {column} = now()")
    assert await authenticate(gateway_database, token) is None


async def test_a_key_can_hold_capabilities_instead_of_a_role(owner, gateway_database):
    _, token = await a_key(owner, gateway_database, await a_hub(owner))
    async with owner.transaction(None) as connection:
        await connection.execute("update api_keys set role = null, capabilities = '{READ,BACK_UP}'")
    principal = await authenticate(gateway_database, token)
    assert principal is not None
    assert principal.role is None
    assert principal.capabilities == {"READ", "BACK_UP"}


async def test_the_look_up_of_a_key_is_served_by_the_index_of_its_hash(owner):
    async with owner.transaction(None) as connection:
        await connection.execute("set local enable_seqscan = off")
        plan = await connection.fetch(
            "explain select id from api_keys where hash = '\\x00' and revoked_at is null"
        )
    assert "Index Scan using api_keys_hash_key" in plan[0][0]


async def test_a_key_needs_a_hub_and_a_name(owner):
    with pytest.raises(NotFound):
        await create_key(owner, hub_id=uuid4(), name="laptop", role=Role.ADMIN)
    hub = await a_hub(owner, name=unique("team"))
    with pytest.raises(InvalidInput):
        await create_key(owner, hub_id=hub.id, name="", role=Role.ADMIN)


async def test_a_key_is_made_by_a_request_and_works_until_it_is_revoked(owner, gateway_database):
    admin = an_admin(await a_hub(owner))
    key, token = await create_api_key(gateway_database, admin, name="partner", role=Role.OPERATOR)
    assert token is not None
    assert (key.name, key.role, key.prefix) == ("partner", Role.OPERATOR, token.split("_")[1])
    principal = await authenticate(gateway_database, token)
    assert principal is not None
    assert (principal.hub_id, principal.key_id) == (admin.hub_id, key.id)
    assert principal.capabilities == CAPABILITIES[Role.OPERATOR]
    revoked = await revoke_api_key(gateway_database, admin, id=key.id)
    assert revoked.revoked_at is not None
    assert await authenticate(gateway_database, token) is None
    assert await revoke_api_key(gateway_database, admin, id=key.id) == revoked


async def test_a_key_may_have_capabilities_of_its_own(owner, gateway_database):
    admin = an_admin(await a_hub(owner))
    key, token = await create_api_key(
        gateway_database, admin, name="partner", capabilities=["READ", "BACK_UP"]
    )
    assert token is not None
    principal = await authenticate(gateway_database, token)
    assert principal is not None
    assert principal.role is None
    assert principal.capabilities == {Capability.READ, Capability.BACK_UP} == key.capabilities


@pytest.mark.parametrize(
    ("asked", "path"),
    [
        ({}, "role"),
        ({"role": Role.ADMIN, "capabilities": ["READ"]}, "role"),
        ({"capabilities": []}, "capabilities"),
        ({"capabilities": ["READ", "FLY"]}, "capabilities"),
        ({"capabilities": ["READ", "READ"]}, "capabilities"),
        ({"role": Role.ADMIN, "name": ""}, "name"),
        ({"role": Role.ADMIN, "expires_at": datetime(2020, 1, 1, tzinfo=UTC)}, "expiresAt"),
    ],
)
async def test_a_key_that_would_be_of_no_use_is_not_made(owner, gateway_database, asked, path):
    admin = an_admin(await a_hub(owner))
    with pytest.raises(InvalidInput) as refusal:
        await create_api_key(gateway_database, admin, **{"name": "partner", **asked})
    assert refusal.value.path == (path,)
    async with gateway_database.connection(admin.hub_id) as connection:
        assert await keys.count(connection, admin.hub_id) == 0


async def test_a_key_gives_nothing_that_it_lacks(owner, gateway_database):
    hub = await a_hub(owner)
    keeper = Principal(
        hub_id=hub.id,
        key_id=uuid4(),
        name="keeper",
        role=None,
        capabilities=frozenset({Capability.MANAGE_KEYS, Capability.READ}),
    )
    for asked in ({"role": Role.OPERATOR}, {"capabilities": ["READ", "CONFIGURE"]}):
        with pytest.raises(NotPermitted, match="cannot give what it lacks"):
            await create_api_key(gateway_database, keeper, name="partner", **asked)
    key, _ = await create_api_key(gateway_database, keeper, name="partner", role=Role.VIEWER)
    assert key.role is Role.VIEWER


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR])
async def test_only_who_manages_keys_makes_and_revokes_them(owner, gateway_database, role):
    hub = await a_hub(owner)
    principal = a_principal(hub, role=role)
    admin_key, _ = await a_key(owner, gateway_database, hub)
    with pytest.raises(NotPermitted, match=Capability.MANAGE_KEYS):
        await create_api_key(gateway_database, principal, name="partner", role=Role.VIEWER)
    with pytest.raises(NotPermitted, match=Capability.MANAGE_KEYS):
        await revoke_api_key(gateway_database, principal, id=admin_key.key_id)
    async with gateway_database.connection(hub.id) as connection:
        [key] = (await keys.page(connection, hub.id, Page())).items
    assert (key.id, key.revoked_at) == (admin_key.key_id, None)


async def test_another_hubs_key_is_not_there(owner, gateway_database):
    theirs, token = await a_key(owner, gateway_database, await a_hub(owner))
    stranger = an_admin(await a_hub(owner))
    with pytest.raises(NotFound):
        await revoke_api_key(gateway_database, stranger, id=theirs.key_id)
    assert await authenticate(gateway_database, token) == theirs


async def test_a_repeated_creation_makes_no_second_key_and_shows_no_secret(owner, gateway_database):
    admin = an_admin(await a_hub(owner))
    asked = {"name": "partner", "role": Role.VIEWER, "idempotency_key": "1"}
    key, token = await create_api_key(gateway_database, admin, **asked)
    assert token is not None
    assert await create_api_key(gateway_database, admin, **asked) == (key, None)
    async with gateway_database.connection(admin.hub_id) as connection:
        assert await keys.count(connection, admin.hub_id) == 1
