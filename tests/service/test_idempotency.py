"""Idempotency keys: what is asked for twice is done once, also at the same time."""

import asyncio

import pytest

from app.errors import Conflict, InvalidInput
from app.model.containers import ContainerFilter, NewContainer
from app.queries import containers
from app.service.containers import create_container, update_container
from app.service.idempotency import claim, keep, prune
from tests.builders import a_container, a_hub, an_admin


def new(identifier: str) -> NewContainer:
    return NewContainer(identifier=identifier, name="It", stateful=True, labels={"a": "b"})


async def count(gateway, admin) -> int:
    async with gateway.connection(admin.hub_id) as connection:
        return await containers.count(connection, admin.hub_id, ContainerFilter())


async def test_a_replay_answers_the_same_object_as_it_is_now(owner, gateway_database):
    admin = an_admin(await a_hub(owner))
    made = await create_container(gateway_database, admin, new=new("it"), idempotency_key="1")
    renamed = await update_container(gateway_database, admin, id=made.id, name="Renamed")
    again = await create_container(gateway_database, admin, new=new("it"), idempotency_key="1")
    assert again == renamed
    assert await count(gateway_database, admin) == 1


async def test_a_replayed_change_does_not_undo_a_later_one(owner, gateway_database):
    admin = an_admin(await a_hub(owner))
    id = (await a_container(gateway_database, admin)).id
    await update_container(gateway_database, admin, id=id, name="First", idempotency_key="1")
    await update_container(gateway_database, admin, id=id, name="Second")
    again = await update_container(
        gateway_database, admin, id=id, name="First", idempotency_key="1"
    )
    assert again.name == "Second"


async def test_other_arguments_with_the_same_key_are_a_conflict(owner, gateway_database):
    admin = an_admin(await a_hub(owner))
    await create_container(gateway_database, admin, new=new("it"), idempotency_key="1")
    with pytest.raises(Conflict) as refusal:
        await create_container(gateway_database, admin, new=new("other"), idempotency_key="1")
    assert refusal.value.reason == "IDEMPOTENCY_KEY_REUSED"
    assert await count(gateway_database, admin) == 1


async def test_a_key_counts_for_one_mutation_one_credential_and_one_hub(owner, gateway_database):
    hub = await a_hub(owner)
    first, second, stranger = an_admin(hub), an_admin(hub), an_admin(await a_hub(owner))
    one = await create_container(gateway_database, first, new=new("one"), idempotency_key="1")
    two = await create_container(gateway_database, second, new=new("two"), idempotency_key="1")
    three = await create_container(gateway_database, stranger, new=new("one"), idempotency_key="1")
    renamed = await update_container(
        gateway_database, first, id=one.id, name="Renamed", idempotency_key="1"
    )
    assert len({one.id, two.id, three.id}) == 3
    assert (renamed.id, renamed.name) == (one.id, "Renamed")


async def test_a_refusal_is_not_kept(owner, gateway_database):
    admin = an_admin(await a_hub(owner))
    blocking = await a_container(gateway_database, admin, identifier="it")
    with pytest.raises(Conflict):
        await create_container(gateway_database, admin, new=new("it"), idempotency_key="1")
    async with owner.transaction(None) as connection:
        assert await connection.fetchval("select count(*) from idempotency_keys") == 0
    made = await create_container(gateway_database, admin, new=new("other"), idempotency_key="1")
    assert made.id != blocking.id


async def test_a_call_beside_the_first_waits_for_it_and_answers_its_object(
    owner, gateway_database, until_blocked
):
    admin = an_admin(await a_hub(owner))
    arguments = {"identifier": "it", "name": "It", "stateful": True, "labels": {"a": "b"}}
    call = (admin, "createContainer", "1")
    async with gateway_database.transaction(admin.hub_id) as connection:
        assert await claim(connection, *call, arguments) is None
        made = await containers.create(connection, admin.hub_id, new("it"))
        assert made is not None
        second = asyncio.create_task(
            create_container(gateway_database, admin, new=new("it"), idempotency_key="1")
        )
        await until_blocked()
        assert not second.done()
        await keep(connection, *call, {"id": str(made.id)})
    assert (await second).id == made.id
    assert await count(gateway_database, admin) == 1


async def test_a_call_beside_a_refused_one_is_the_first(owner, gateway_database, until_blocked):
    admin = an_admin(await a_hub(owner))
    async with gateway_database.connection(admin.hub_id) as connection:
        refused = connection.transaction()
        await refused.start()
        await claim(connection, admin, "createContainer", "1", {"other": "arguments"})
        second = asyncio.create_task(
            create_container(gateway_database, admin, new=new("it"), idempotency_key="1")
        )
        await until_blocked()
        await refused.rollback()
    assert (await second).identifier == "it"


async def test_many_calls_at_once_make_one_object(owner, gateway_database):
    admin = an_admin(await a_hub(owner))
    made = await asyncio.gather(
        *(
            create_container(gateway_database, admin, new=new("it"), idempotency_key="1")
            for _ in range(8)
        )
    )
    assert len({container.id for container in made}) == 1
    assert await count(gateway_database, admin) == 1


async def test_a_key_is_forgotten_after_24_hours(owner, gateway_database):
    admin = an_admin(await a_hub(owner))
    first = await create_container(gateway_database, admin, new=new("one"), idempotency_key="1")
    await age_keys(owner, "23 hours 59 minutes")
    with pytest.raises(Conflict):
        await create_container(gateway_database, admin, new=new("two"), idempotency_key="1")
    await age_keys(owner, "2 minutes")
    second = await create_container(gateway_database, admin, new=new("two"), idempotency_key="1")
    again = await create_container(gateway_database, admin, new=new("two"), idempotency_key="1")
    assert second.id != first.id
    assert again == second


async def test_pruning_takes_old_keys_of_all_hubs_and_leaves_the_others(
    owner, gateway_database, worker_database
):
    for _ in range(2):
        admin = an_admin(await a_hub(owner))
        await create_container(gateway_database, admin, new=new("it"), idempotency_key="old")
    await age_keys(owner, "25 hours")
    await create_container(gateway_database, admin, new=new("young"), idempotency_key="young")
    await prune(worker_database)
    async with owner.connection(None) as connection:
        assert [
            row["key"] for row in await connection.fetch("select key from idempotency_keys")
        ] == ["young"]


@pytest.mark.parametrize("key", ["", "a\0", "\ud800", "x" * 201, "a\nb"])
async def test_a_key_that_cannot_be_kept_is_refused(owner, gateway_database, key):
    admin = an_admin(await a_hub(owner))
    with pytest.raises(InvalidInput) as refusal:
        await create_container(gateway_database, admin, new=new("it"), idempotency_key=key)
    assert refusal.value.path == ("idempotencyKey",)
    assert await count(gateway_database, admin) == 0


async def age_keys(owner, by: str) -> None:
    async with owner.transaction(None) as connection:
        await connection.execute(
            f"update idempotency_keys set created_at = created_at - interval '{by}'"
        )
