"""Retention asks whose a bucket is before it takes a backup to be expired."""

from datetime import timedelta

import pytest

from app.model.ids import decode_id_of
from app.service import ownership
from app.worker import answers, reclaim
from app.worker.answers import Answers
from app.worker.retention import carry_out_due
from tests.copies import copied, parts_of
from tests.product import ERRORS
from tests.service.aged_backups import AGE, AGE_RUN

# Databases are copied, on a machine that may be busy.
pytestmark = pytest.mark.timeout(90)

DUE = "update backup_policies set retention_at = now()"
NEXT = "select retention_at - now() from backup_policies"


@pytest.fixture
async def expired(product):
    """An old backup and a new one of each of two containers."""
    old = []
    for identifier in ("db", "shop"):
        load = await product.workload(identifier, backup="echo data", instances=1)
        policy = {
            "integrationId": product.integration,
            "backup": {"command": "echo data"},
            "retention": {"maxAge": "P30D"},
        }
        await product.mutate(
            "configureBackups",
            f"""mutation ($id: ID!, $policy: BackupPolicyInput) {{
              configureBackups(containerId: $id, policy: $policy) {{ {ERRORS} }} }}""",
            id=load.id,
            policy=policy,
        )
        async with product.working():
            old.append(decode_id_of("Backup", (await product.back_up(load))["id"]))
            await product.back_up(load)
    async with product.owner.connection() as connection:
        for id in old:
            for aged in (AGE, AGE_RUN):
                await connection.execute(aged, id, timedelta(days=40))


async def make_due(product):
    async with product.owner.connection() as connection:
        await connection.execute(DUE)


async def value(product, query, *arguments):
    async with product.owner.connection() as connection:
        return await connection.fetchval(query, *arguments)


async def states(product):
    query = "select array_agg(state order by state) from backups"
    return await value(product, query)


async def generation(product):
    return await value(product, "select generation from integration_owners")


@pytest.mark.usefixtures("expired")
@pytest.mark.parametrize("as_snapshot", [False, True])
async def test_a_copy_of_the_database_takes_no_backup_to_be_expired(product, as_snapshot):
    async with copied(product, as_snapshot=as_snapshot) as copy:
        if as_snapshot:
            # The first one that deletes is the owner.
            async with parts_of(product) as parts:
                await Answers(parts).require(await value(product, "select id from integrations"))
        await make_due(copy)
        async with parts_of(copy) as parts:
            assert await carry_out_due(parts) == 2
            assert await states(copy) == ["LIVE"] * 4
            assert await value(copy, "select count(*) from reclaims") == 0
            told = "select count(*) from events where kind = 'NOT_THE_OWNER'"
            assert await value(copy, told) == 1
            # It is looked at again soon, as the place may be claimed.
            assert timedelta(0) < await value(copy, NEXT) <= timedelta(minutes=10)

        await make_due(product)
        async with parts_of(product) as parts:
            assert await carry_out_due(parts) == 2
        assert await states(product) == ["DELETING", "DELETING", "LIVE", "LIVE"]

        await make_due(copy)
        async with parts_of(copy) as parts:
            found = await ownership.find_integration(parts.database, "B2")
            await ownership.claim_integration(parts.database, found)
            assert await carry_out_due(parts) == 2
        assert await states(copy) == ["DELETING", "DELETING", "LIVE", "LIVE"]


@pytest.mark.usefixtures("expired")
async def test_a_bucket_that_cannot_be_asked_keeps_its_backups_for_now(product):
    await make_due(product)
    async with parts_of(product) as parts:
        before = product.b2.faults.count("b2_list_file_versions")
        refuse = {"status": 400, "code": "bad_request", "times": 9}
        product.b2.faults.fail_next("b2_list_file_versions", **refuse)
        assert await carry_out_due(parts) == 2
        assert await states(product) == ["LIVE"] * 4
        # It was asked once for all of its containers.
        assert product.b2.faults.count("b2_list_file_versions") == before + 1
        assert timedelta(0) < await value(product, NEXT) <= timedelta(minutes=10)
        product.b2.faults.reset()
        await make_due(product)
        assert await carry_out_due(parts) == 2
    assert await states(product) == ["DELETING", "DELETING", "LIVE", "LIVE"]


@pytest.mark.usefixtures("expired")
async def test_a_bucket_is_asked_once_for_all_of_a_batch(product):
    await make_due(product)
    before = await generation(product)
    async with parts_of(product) as parts:
        assert await carry_out_due(parts) == 2
    assert await states(product) == ["DELETING", "DELETING", "LIVE", "LIVE"]
    assert await generation(product) == before + 1


async def test_a_yes_counts_for_60_seconds_from_before_it_was_asked_for(product):
    id = await value(product, "select id from integrations")
    clock = [1000.0]
    async with parts_of(product) as parts:
        asked = Answers(parts, read_time=lambda: clock[0])
        assert not asked.count(id)
        await asked.require(id)
        before = await generation(product)
        clock[0] += 59.9
        assert asked.count(id)
        await asked.require(id)
        assert await generation(product) == before
        clock[0] += 0.1
        assert not asked.count(id)
        await asked.require(id)
        assert await generation(product) == before + 1
        assert asked.count(id)


@pytest.mark.usefixtures("expired")
async def test_nothing_goes_on_a_yes_that_is_too_old(product, monkeypatch):
    """As if the worker had been paused for a minute after each answer."""
    await make_due(product)
    async with parts_of(product) as parts:
        with monkeypatch.context() as patched:
            patched.setattr(answers, "ASKED_SECONDS", 0.0)
            assert await carry_out_due(parts) == 2
            assert await states(product) == ["LIVE"] * 4
        await make_due(product)
        assert await carry_out_due(parts) == 2
        stored = product.objects()
        with monkeypatch.context() as patched:
            patched.setattr(answers, "ASKED_SECONDS", 0.0)
            assert await reclaim.carry_out_due(parts) == 4
        assert product.objects() == stored
        assert await value(product, "select distinct error_code from reclaims") == "OWNER_BUSY"
        async with product.owner.connection() as connection:
            await connection.execute("update reclaims set not_before = now()")
        assert await reclaim.carry_out_due(parts) == 4
    assert len(product.objects()) == len(stored) - 4
    assert await states(product) == ["DELETED", "DELETED", "LIVE", "LIVE"]
