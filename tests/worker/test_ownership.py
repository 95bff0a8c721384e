"""The owner object: whoever advanced it last deletes by itself; others stop until they claim."""

import asyncio
import json
from datetime import timedelta
from uuid import uuid4

import pytest

from app.errors import NotTheOwner, OwnerBusy
from app.model.ownership import OwnerObject, read_owner
from app.service import ownership
from app.worker.ownership import carry_out_due, may_delete_by_itself, release, require_owner
from tests.copies import copied, parts_of
from tests.product import OWNER

LEASE = timedelta(minutes=2)


async def integration_of(product):
    async with product.owner.connection() as connection:
        return await connection.fetchval("select id from integrations")


async def record_of(product):
    async with product.owner.connection() as connection:
        return await connection.fetchrow(
            "select generation, stopped_because, turn_of from integration_owners"
        )


async def events_of(product):
    async with product.owner.connection() as connection:
        rows = await connection.fetch(
            "select kind from events where kind in ('NOT_THE_OWNER', 'OWNER_AGAIN')"
            " order by created_at, id"
        )
    return [row["kind"] for row in rows]


async def let_it_be_asked_again(product):
    """As if the hour had passed."""
    async with product.owner.connection() as connection:
        await connection.execute(
            "update integration_owners set asked_until = now(), check_at = now(),"
            " turn_until = now()"
        )


def owners_in(product):
    """What the versions of the owner object say."""
    return [
        read_owner(version["fileInfo"])
        for version in product.b2.versions(product.bucket_id)
        if version["fileName"] == OWNER
    ]


def remove_owner(product):
    for version in product.b2.versions(product.bucket_id):
        product.b2.call(
            "b2_delete_file_version", fileName=version["fileName"], fileId=version["fileId"]
        )


async def put_owner(parts, product, owner):
    turn = await ownership.begin_turn(
        parts.database, parts.sealer, await integration_of(product), lease=LEASE
    )
    await parts.storage_of(turn.storage).put(
        OWNER, owner.encode(), info=owner.info(), content_type="application/json", alone=False
    )
    return turn


async def test_a_new_integration_has_an_owner_object_of_generation_1(product):
    (owner,) = owners_in(product)
    async with product.owner.connection() as connection:
        installation = await connection.fetchval("select id from installation")
    assert (owner.installation_id, owner.generation) == (installation, 1)
    assert tuple(await record_of(product)) == (1, None, None)
    assert json.loads(owner.encode()) == {"formatVersion": 1} | owner.info()


async def test_each_batch_advances_it_and_leaves_one_version(product):
    id = await integration_of(product)
    async with parts_of(product) as parts:
        for generation in (2, 3, 4):
            assert await may_delete_by_itself(parts, id)
            assert [one.generation for one in owners_in(product)] == [generation]
    assert tuple(await record_of(product)) == (4, None, None)
    assert await events_of(product) == []


async def test_two_workers_of_one_database_take_turns(product):
    id = await integration_of(product)
    async with parts_of(product) as one, parts_of(product) as two:
        asked = [may_delete_by_itself(parts, id) for parts in (one, two) for _ in range(4)]
        assert await asyncio.gather(*asked) == [True] * 8
    assert [one.generation for one in owners_in(product)] == [9]
    assert await events_of(product) == []


async def test_a_worker_that_died_after_its_upload_fences_nobody(product):
    """Its mark was known before the upload; the bucket holds two versions of ours then."""
    id = await integration_of(product)
    async with parts_of(product) as parts:
        turn = await ownership.begin_turn(parts.database, parts.sealer, id, lease=LEASE)
        mark = await ownership.issue_mark(parts.database, turn)
        owner = OwnerObject(installation_id=turn.installation_id, generation=2, mark=mark)
        await parts.storage_of(turn.storage).put(
            OWNER, owner.encode(), info=owner.info(), content_type="application/json", alone=False
        )
        with pytest.raises(OwnerBusy):
            await ownership.begin_turn(parts.database, parts.sealer, id, lease=LEASE)
        await let_it_be_asked_again(product)
        assert len(owners_in(product)) == 2
        assert await may_delete_by_itself(parts, id)
        # Who slept through its turn writes nothing more.
        with pytest.raises(OwnerBusy):
            await ownership.issue_mark(parts.database, turn)
    assert [one.generation for one in owners_in(product)] == [3]


@pytest.mark.parametrize("first", ["the original", "the copy"])
async def test_of_two_snapshots_of_one_database_the_second_stops_until_it_claims(product, first):
    id = await integration_of(product)
    async with copied(product, as_snapshot=True) as copy:
        winner, loser = (product, copy) if first == "the original" else (copy, product)
        async with parts_of(winner) as winning, parts_of(loser) as losing:
            assert await may_delete_by_itself(winning, id)
            held = owners_in(product)
            assert not await may_delete_by_itself(losing, id)
            assert owners_in(product) == held
            assert await events_of(loser) == ["NOT_THE_OWNER"]
            # Not asked again within the hour, and told once however often it is asked.
            assert not await may_delete_by_itself(losing, id)
            await let_it_be_asked_again(loser)
            assert await carry_out_due(losing) == 1
            assert await events_of(loser) == ["NOT_THE_OWNER"]
            assert (await record_of(loser))["stopped_because"].startswith("Another copy of this")
            assert await may_delete_by_itself(winning, id)

            found = await ownership.find_integration(losing.database, str(id))
            await ownership.claim_integration(losing.database, found)
            assert await carry_out_due(losing) == 1
            assert await events_of(loser) == ["NOT_THE_OWNER", "OWNER_AGAIN"]
            assert await may_delete_by_itself(losing, id)
            assert not await may_delete_by_itself(winning, id)


async def test_a_copy_beside_it_is_stopped_without_asking_the_bucket(product):
    """A dump that is restored elsewhere knows all marks, but is another database."""
    id = await integration_of(product)
    async with copied(product) as copy:
        async with parts_of(copy) as parts:
            with pytest.raises(NotTheOwner) as refusal:
                await require_owner(parts, id)
            assert refusal.value.message == ownership.MOVED
        assert await events_of(copy) == ["NOT_THE_OWNER"]
        async with parts_of(product) as parts:
            assert await may_delete_by_itself(parts, id)
            assert await ownership.claim_all_stopped(product.owner) == 0
        assert await ownership.claim_all_stopped(copy.owner) == 1
        async with parts_of(copy) as parts:
            assert await may_delete_by_itself(parts, id)
        async with parts_of(product) as parts:
            assert not await may_delete_by_itself(parts, id)


async def test_two_snapshots_at_the_same_moment_never_both_hold_it(product):
    id = await integration_of(product)
    async with copied(product, as_snapshot=True) as copy:
        async with parts_of(product) as one, parts_of(copy) as two:
            for _ in range(4):
                answers = await asyncio.gather(
                    may_delete_by_itself(one, id), may_delete_by_itself(two, id)
                )
                assert sum(answers) < 2
                # As if nothing had been told: the marks of one are the marks of both again.
                async with product.owner.connection() as source, copy.owner.connection() as target:
                    marks = await source.fetchval("select marks from integration_owners")
                    more = await target.fetchval("select marks from integration_owners")
                    for connection in (source, target):
                        await connection.execute(
                            "update integration_owners set marks = $1, asked_until = null,"
                            " stopped_at = null, stopped_because = null",
                            [*marks, *more],
                        )
        assert len(owners_in(product)) == 1


async def test_an_owner_object_that_is_gone_stops_it_until_it_is_claimed(product):
    id = await integration_of(product)
    async with parts_of(product) as parts:
        remove_owner(product)
        assert not await may_delete_by_itself(parts, id)
        assert owners_in(product) == []
        found = await ownership.find_integration(parts.database, "B2")
        await ownership.claim_integration(parts.database, found)
        assert await may_delete_by_itself(parts, id)
        assert [one.generation for one in owners_in(product)] == [2]


async def test_the_place_of_another_installation_is_left_to_it(product):
    """The integration works all the same; what it saves is not deleted by itself before a claim."""
    id = await integration_of(product)
    async with parts_of(product) as parts:
        remove_owner(product)
        stranger = OwnerObject(installation_id=uuid4(), generation=41, mark=uuid4())
        await ownership.end_turn(parts.database, await put_owner(parts, product, stranger))
        async with product.owner.connection() as connection:
            await connection.execute("update integration_owners set generation = 0, marks = '{}'")
        assert not await may_delete_by_itself(parts, id)
        assert owners_in(product) == [stranger]
        because = (await record_of(product))["stopped_because"]
        assert because == "The bucket and prefix belong to another installation of the gateway."
        found = await ownership.find_integration(parts.database, "B2")
        await ownership.claim_integration(parts.database, found)
        assert await may_delete_by_itself(parts, id)
        assert [one.generation for one in owners_in(product)] == [42]


async def test_a_bucket_that_cannot_be_asked_is_no_permission(product):
    id = await integration_of(product)
    async with parts_of(product) as parts:
        product.b2.faults.fail_next("b2_list_file_versions", status=400, code="bad_request")
        with pytest.raises(Exception, match="B2") as refusal:
            await may_delete_by_itself(parts, id)
        assert refusal.value.code == "STORAGE_FAILED"
        assert tuple(await record_of(product)) == (1, None, None)
        assert await may_delete_by_itself(parts, id)


async def test_what_is_released_is_free_for_others_and_never_another_ones(product):
    id = await integration_of(product)
    async with parts_of(product) as parts:
        stranger = OwnerObject(installation_id=uuid4(), generation=1, mark=uuid4())
        await ownership.end_turn(parts.database, await put_owner(parts, product, stranger))
        await release(parts, id)
        assert owners_in(product) == [stranger]
