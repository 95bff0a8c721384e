"""Reconciles: what a comparison of bucket and records finds, shows, and leaves alone."""

import pytest

from tests.drift_calls import Bucket, drifts, events, our_name, reconcile, statuses, uuid_of
from tests.product import PREFIX

# Several workers are started and stopped, on a machine that may be busy.
pytestmark = pytest.mark.timeout(90)


@pytest.fixture
async def bucket(product):
    async with Bucket(product) as opened:
        yield opened


async def saved(product, count=1):
    """So many LIVE backups, the oldest first."""
    load = await product.workload("db", backup="head -c 1000 /dev/urandom", instances=1)
    async with product.working():
        return [await product.back_up(load) for _ in range(count)]


async def test_where_bucket_and_records_agree_nothing_is_found(product):
    [backup] = await saved(product)
    found = await reconcile(product)
    assert found == {
        "running": False,
        "phase": None,
        "startedAt": found["startedAt"],
        "finishedAt": found["finishedAt"],
        "objects": found["objects"],
        "records": 1,
        "missing": 0,
        "mismatches": 0,
        "orphans": 0,
        "unfinished": 0,
        "foreign": 0,
        "found": 0,
        "contradicted": 0,
        "error": None,
    }
    assert found["objects"] == len(product.objects())
    assert found["finishedAt"] > found["startedAt"]
    assert await drifts(product) == []
    assert await statuses(product) == {str(uuid_of(backup["id"])): "PRESENT"}
    assert await events(product) == []


async def test_each_kind_is_found_shown_told_of_once_and_over_when_it_is_gone(product, bucket):
    missing, resized, replaced, bare = await saved(product, 4)
    path = missing["target"]["path"]
    kept = product.b2.read(missing["target"]["fileId"])
    bucket.remove(path)
    product.b2.faults.replace_bytes(resized["target"]["fileId"], b"another size")
    bucket.remove(replaced["target"]["path"])
    other = await bucket.put(replaced["target"]["path"], b"a second version")
    bucket.remove(bare["target"]["path"] + ".json")
    orphan = await our_name(product)
    orphan_id = await bucket.put(orphan, b"somebody's data")
    manifest_id = await bucket.put(orphan + ".json", b"{}")
    upload = product.b2.call(
        "b2_start_large_file",
        bucketId=product.bucket_id,
        fileName=await our_name(product),
        contentType="text/plain",
    )
    stranger_id = await bucket.put(f"{PREFIX}/somebody's file")
    found = await reconcile(product)
    numbers = ("missing", "mismatches", "orphans", "unfinished", "foreign", "found")
    assert [found[name] for name in numbers] == [2, 2, 3, 1, 1, 9]
    shown = [
        (d["kind"], d["detail"], d["fileId"], d["backup"] and d["backup"]["id"])
        for d in await drifts(product)
    ]
    assert sorted(shown, key=str) == sorted(
        [
            ("MISSING", "OBJECT", missing["target"]["fileId"], missing["id"]),
            ("MISSING", "MANIFEST", (await manifest_of(product, bare)), bare["id"]),
            ("MISMATCH", "SIZE", resized["target"]["fileId"], resized["id"]),
            ("MISMATCH", "VERSION", replaced["target"]["fileId"], replaced["id"]),
            ("ORPHAN", "OBJECT", other, replaced["id"]),
            ("ORPHAN", "OBJECT", orphan_id, None),
            ("ORPHAN", "MANIFEST", manifest_id, None),
            ("UNFINISHED", "UPLOAD", upload["fileId"], None),
            ("FOREIGN", "OBJECT", stranger_id, None),
        ],
        key=str,
    )
    ids = [str(uuid_of(backup["id"])) for backup in (missing, resized, replaced, bare)]
    assert [(await statuses(product))[id] for id in ids] == [
        "MISSING",
        "MISMATCH",
        "MISMATCH",
        "PRESENT",
    ]
    told = (
        "DRIFT_FOUND",
        {"missing": 2, "mismatch": 2, "orphan": 3, "unfinished": 1, "foreign": 1},
    )
    assert await events(product) == [told]

    assert (await reconcile(product))["found"] == 0
    assert await events(product) == [told]

    for name in (orphan, orphan + ".json", f"{PREFIX}/somebody's file"):
        bucket.remove(name)
    product.b2.call("b2_cancel_large_file", fileId=upload["fileId"])
    await reconcile(product)
    assert {d["kind"] for d in await drifts(product)} == {"MISSING", "MISMATCH", "ORPHAN"}
    assert [d["fileId"] for d in await drifts(product, "ORPHAN")] == [other]
    assert kept


async def manifest_of(product, backup):
    async with product.owner.connection() as connection:
        return await connection.fetchval(
            "select manifest_file_id from backups where id = $1", uuid_of(backup["id"])
        )
