"""Scans outlive their workers, are nobody's twice, and leave another database's bucket alone."""

import asyncio

import pytest

from app.errors import Fenced
from app.model.drifts import DriftFilter
from app.model.paging import Page
from app.model.scans import ScanKind, ScanPhase
from app.queries import drifts as drifts_queries
from app.service import reconciles, scans
from app.service.drifts import delete_orphan
from app.service.recoveries import recover_backups
from app.worker import reclaim, reconcile, recover
from app.worker.ownership import may_delete_by_itself
from tests.builders import TTL, a_principal
from tests.copies import copied, parts_of
from tests.drift_calls import Bucket, events, our_name, statuses, uuid_of

# Several workers are started and stopped, on a machine that may be busy.
pytestmark = pytest.mark.timeout(90)

PAGE = 3
PAGES = 4
"""Of 4 backups with their manifests, and the owner object; a page ends where the next begins."""


@pytest.fixture
async def bucket(product):
    async with Bucket(product) as opened:
        yield opened


async def saved(product, count):
    load = await product.workload("db", backup="echo data", instances=1)
    async with product.working():
        return [await product.back_up(load) for _ in range(count)]


async def ask(product, parts):
    """Have a reconcile begun, without a gateway."""
    id = uuid_of(product.integration)
    principal = a_principal(product.hub_id)
    await scans.reconcile_storage(parts.database, principal, id=id)


async def row(product, kind=ScanKind.RECONCILE):
    async with product.owner.connection() as connection:
        return await connection.fetchrow("select * from scans where kind = $1", kind)


async def let_lease_pass(product):
    async with product.owner.connection() as connection:
        await connection.execute("update scans set lease_until = now() - interval '1 second'")


async def test_a_walk_goes_on_from_each_step_that_a_worker_died_in(product, bucket):
    """And what was paused there and wakes up again can write nothing."""
    backups = await saved(product, 4)
    bucket.remove(backups[0]["target"]["path"])
    await bucket.put(await our_name(product), b"an orphan")
    before = product.b2.faults.count("b2_list_file_versions")
    async with parts_of(product) as parts:
        await ask(product, parts)
        met = []
        while (await row(product))["finished_at"] is None:
            [dead] = await scans.take_due(
                parts.database, parts.sealer, ScanKind.RECONCILE, 4, lease=TTL
            )
            # While its lease lasts nobody else takes it.
            assert await reconcile.carry_out_due(parts, page=PAGE) == 0
            await let_lease_pass(product)
            assert await reconcile.carry_out_due(parts, page=PAGE) == 1
            met.append(dead.phase)
            for work in (reconciles.discard, reconciles.mark_present, reconciles.resolve):
                with pytest.raises(Fenced):
                    await work(parts.database, dead)
            with pytest.raises(Fenced):
                await reconciles.show(parts.database, dead)
    # 4 objects and manifests, the orphan and the owner object, less the one that is gone; a page
    # overlaps the one before by an object and its manifest at most.
    assert met.count(ScanPhase.LISTING) == product.b2.faults.count("b2_list_file_versions") - before
    assert met.count(ScanPhase.LISTING) > 2
    assert list(dict.fromkeys(met)) == [
        ScanPhase.LISTING,
        ScanPhase.WITNESSING,
        ScanPhase.MARKING,
        ScanPhase.RESOLVING,
        ScanPhase.SHOWING,
    ]
    found = await row(product)
    assert (found["number"], found["phase"], found["error_code"]) == (1, None, None)
    counted = {name: count for name, count in found["last_counts"].items() if count}
    assert counted == {
        "objects": 8,
        "records": 4,
        "absent": 1,
        "missing": 1,
        "orphans": 1,
        "found": 2,
    }
    assert await events(product) == [("DRIFT_FOUND", {"missing": 1, "orphan": 1})]
    assert sorted((await statuses(product)).values()) == ["MISSING", *["PRESENT"] * 3]


async def test_two_workers_never_do_the_same_step(product):
    await saved(product, 4)
    async with parts_of(product) as one, parts_of(product) as two:
        await ask(product, one)
        before = product.b2.faults.count("b2_list_file_versions")
        steps = 0
        while (await row(product))["finished_at"] is None:
            done = await asyncio.gather(
                *(reconcile.carry_out_due(parts, page=PAGE) for parts in (one, two, one, two))
            )
            steps += sum(done)
    found = await row(product)
    assert found["epoch"] == steps
    assert found["last_counts"]["objects"] == 8
    # One step may follow the other, but none is done by two.
    assert product.b2.faults.count("b2_list_file_versions") - before == PAGES


async def test_an_old_copy_of_the_database_touches_nothing_that_was_stored_since(product):
    """What it does not know looks like an orphan to it; the owner object stands in its way."""
    [first] = await saved(product, 1)
    async with copied(product, as_snapshot=True) as copy:
        async with parts_of(product) as parts:
            # The original goes on deleting, so the bucket is its own.
            assert await may_delete_by_itself(parts, uuid_of(product.integration))
        load = await product.workload("other", backup="echo since", instances=1)
        async with product.working():
            await product.back_up(load)
            await product.delete(first["id"])
            await product.nothing_left(kept=1)
        kept = product.objects()
        async with parts_of(copy) as parts:
            await ask(copy, parts)
            while await reconcile.carry_out_due(parts):
                continue
            principal = a_principal(copy.hub_id)
            async with parts.database.connection(copy.hub_id) as connection:
                found = await drifts_queries.page(connection, copy.hub_id, DriftFilter(), Page())
            kinds = sorted((drift.kind, drift.detail) for drift in found.items)
            assert kinds == [
                ("MISSING", "MANIFEST"),
                ("MISSING", "OBJECT"),
                ("ORPHAN", "MANIFEST"),
                ("ORPHAN", "OBJECT"),
            ]
            for drift in found.items:
                if (drift.kind, drift.detail) == ("ORPHAN", "OBJECT"):
                    await delete_orphan(parts.database, principal, id=drift.id)
            assert await reclaim.carry_out_due(parts) == 2
            async with copy.owner.connection() as connection:
                codes = await connection.fetch("select error_code from reclaims where attempts > 0")
            assert {code["error_code"] for code in codes} == {"NOT_THE_OWNER"}
        assert product.objects() == kept


async def test_a_recovery_goes_on_from_each_step_that_a_worker_died_in(product):
    """Records that are there are left alone; those that lack are made once."""
    backups = await saved(product, 4)
    async with product.owner.connection() as connection:
        for backup in backups[1:]:
            for table in ("backups", "runs"):
                await connection.execute(
                    f"delete from {table} where id = $1", uuid_of(backup["id"])
                )
    async with parts_of(product) as parts:
        principal = a_principal(product.hub_id)
        id = uuid_of(product.integration)
        await recover_backups(parts.database, principal, id=id)
        while (await row(product, ScanKind.RECOVER))["finished_at"] is None:
            await scans.take_due(parts.database, parts.sealer, ScanKind.RECOVER, 4, lease=TTL)
            assert await recover.carry_out_due(parts, page=PAGE) == 0
            await let_lease_pass(product)
            assert await recover.carry_out_due(parts, page=PAGE) == 1
    found = await row(product, ScanKind.RECOVER)
    assert found["number"] == 1
    counts = found["last_counts"]
    assert (counts["recovered"], counts["known"], counts["skipped"]) == (3, 1, 0)
    for backup in backups:
        assert (await product.backup(backup["id"]))["sha256"] == backup["sha256"]
