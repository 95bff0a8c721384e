"""Hubs and API keys: made by the operator, recognised in requests."""

import re
from uuid import uuid4

import pytest

from app.errors import Conflict, InvalidInput, NotFound
from app.model.access import CAPABILITIES, Role
from app.queries import hubs
from app.service.hubs import create_hub, find_hub
from app.service.keys import authenticate, create_key
from tests.builders import a_hub, a_key, unique


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
