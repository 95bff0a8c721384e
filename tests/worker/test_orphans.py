"""Orphans: adopted with and without a manifest, deleted by exact version, and never guessed at."""

import asyncio
import hashlib

import pytest

from app.model.objects import parse_object_name
from tests.drift_calls import Bucket, drifts, our_name, reconcile, statuses, uuid_of
from tests.product import ERRORS, PATIENCE, PREFIX, Refused

# Several workers are started and stopped, on a machine that may be busy.
pytestmark = pytest.mark.timeout(90)

DATA = b"everything that was dear to us\n" * 1000


@pytest.fixture
async def bucket(product):
    async with Bucket(product) as opened:
        yield opened


async def forget(product, backup):
    """As in a database that is older than the backup: its record is not there."""
    async with product.owner.connection() as connection:
        for statement in ("delete from backups where id = $1", "delete from runs where id = $1"):
            await connection.execute(statement, uuid_of(backup["id"]))


async def adopt(product, drift, **more):
    """Adopt, and wait for its end; the drift as it is then."""
    await product.mutate(
        "adoptOrphan",
        f"""mutation ($id: ID!, $container: ID, $hostname: String) {{
          adoptOrphan(id: $id, containerId: $container, instanceHostname: $hostname) {{
            {ERRORS} }} }}""",
        id=drift["id"],
        **more,
    )
    async with product.working(), asyncio.timeout(PATIENCE):
        while (found := await node(product, drift))["adopting"]:
            await asyncio.sleep(0.05)
    return found


async def node(product, drift):
    data = await product.ask(
        """query ($id: ID!) { node(id: $id) { ... on Drift {
          adopting resolution error { code message } backup { id } } } }""",
        id=drift["id"],
    )
    return data["node"]


async def delete(product, drift, *, foreign=False):
    await product.mutate(
        "deleteOrphan",
        f"""mutation ($id: ID!, $foreign: Boolean!) {{
          deleteOrphan(id: $id, foreign: $foreign) {{ drift {{ resolution }} {ERRORS} }} }}""",
        id=drift["id"],
        foreign=foreign,
    )


async def a_workload(product):
    load = await product.workload("ledger", backup="cat data", restore="cat > back", instances=1)
    (load.folder(1) / "data").write_bytes(DATA)
    product.give(load.folder(1) / "data")
    return load


async def test_an_orphan_with_its_manifest_becomes_what_it_was_and_is_restored(product):
    load = await a_workload(product)
    async with product.working():
        before = await product.back_up(load)
    await forget(product, before)
    await reconcile(product)
    orphan, manifest = await drifts(product, "ORPHAN")
    assert (orphan["detail"], manifest["detail"]) == ("OBJECT", "MANIFEST")
    found = await adopt(product, orphan)
    assert (found["resolution"], found["error"]) == ("ADOPTED", None)
    assert found["backup"]["id"] == before["id"]
    assert await drifts(product) == []
    after = await product.backup(before["id"])
    compared = ("state", "sizeBytes", "sha256", "exitCode", "target")
    assert [after[word] for word in compared] == [before[word] for word in compared]
    async with product.working():
        restored = await product.put_back(before["id"], load.instance(1))
    assert restored["state"] == "SUCCEEDED", restored
    assert (load.folder(1) / "back").read_bytes() == DATA
    assert (await reconcile(product))["found"] == 0


async def test_an_orphan_without_a_manifest_is_read_to_its_last_byte_first(product, bucket):
    load = await a_workload(product)
    async with product.working():
        before = await product.back_up(load)
    await forget(product, before)
    manifest = before["target"]["path"] + ".json"
    bucket.remove(manifest)
    await reconcile(product)
    [orphan] = await drifts(product, "ORPHAN")
    found = await adopt(product, orphan, hostname="9.ledger")
    assert (found["resolution"], found["backup"]) == ("ADOPTED", {"id": before["id"]})
    data = await product.ask(
        "query ($id: ID!) { backup(id: $id) { trigger instanceHostname sha256 sizeBytes } }",
        id=before["id"],
    )
    assert data["backup"] == {
        "trigger": "RECOVERED",
        "instanceHostname": "9.ledger",
        "sha256": hashlib.sha256(DATA).hexdigest(),
        "sizeBytes": len(DATA),
    }
    assert len(bucket.file_ids(manifest)) == 1
    # Nobody knows by which command it was made: whoever restores it has to say that it is right.
    with pytest.raises(Refused) as refused:
        await product.start_restore(before["id"], load.instance(1))
    assert refused.value.code == "COMMAND_CHANGED"
    async with product.working():
        restored = await product.put_back(before["id"], load.instance(1), accept=True)
        assert restored["state"] == "SUCCEEDED", restored
        assert (load.folder(1) / "back").read_bytes() == DATA
        await product.delete(before["id"])
        await product.nothing_left()


async def test_an_orphan_is_adopted_only_into_a_container_that_is_known(product, bucket):
    await bucket.put(await our_name(product), DATA)
    await reconcile(product)
    [orphan] = await drifts(product)
    found = await adopt(product, orphan)
    assert (found["resolution"], found["error"]["code"]) == (None, "NOT_ADOPTABLE")
    assert await statuses(product) == {}
    load = await a_workload(product)
    found = await adopt(product, orphan, container=load.id)
    assert (found["resolution"], found["error"]) == ("ADOPTED", None)


async def test_an_orphan_is_deleted_by_its_version_and_its_manifest_with_it(product, bucket):
    [name, kept] = [await our_name(product), await our_name(product)]
    await bucket.put(name, DATA)
    await bucket.put(name + ".json", b"{}")
    await bucket.put(kept, DATA)
    upload = product.b2.call(
        "b2_start_large_file",
        bucketId=product.bucket_id,
        fileName=await our_name(product),
        contentType="text/plain",
    )
    await reconcile(product)
    found = {(drift["name"], drift["kind"]): drift for drift in await drifts(product)}
    await delete(product, found[name, "ORPHAN"])
    await delete(product, found[upload["fileName"], "UNFINISHED"])
    newer = await bucket.put(name, b"stored since under the same name")
    async with product.working(), asyncio.timeout(PATIENCE):
        while len(product.objects()) > 2:
            await asyncio.sleep(0.05)
    assert bucket.file_ids(name) == [newer]
    assert product.objects() == sorted([name, kept])
    assert [drift["name"] for drift in await drifts(product)] == [kept]


async def test_what_is_somebody_elses_is_deleted_only_where_it_is_named_as_such(product, bucket):
    await bucket.put(f"{PREFIX}/photo.jpg")
    await reconcile(product)
    [photo] = await drifts(product)
    assert photo["kind"] == "FOREIGN"
    with pytest.raises(Refused) as refused:
        await delete(product, photo)
    assert refused.value.code == "FOREIGN_OBJECT"
    await delete(product, photo, foreign=True)
    async with product.working(), asyncio.timeout(PATIENCE):
        while product.objects():
            await asyncio.sleep(0.05)


async def test_an_accepted_loss_leaves_the_record_and_no_reclaim(product, bucket):
    load = await a_workload(product)
    async with product.working():
        backup = await product.back_up(load)
    accept = f"mutation ($id: ID!) {{ acceptLoss(backupId: $id) {{ {ERRORS} }} }}"
    with pytest.raises(Refused) as refused:
        await product.mutate("acceptLoss", accept, id=backup["id"])
    assert refused.value.code == "NOT_MISSING"
    bucket.remove(backup["target"]["path"])
    await reconcile(product)
    await product.mutate("acceptLoss", accept, id=backup["id"])
    assert list((await statuses(product)).values()) == ["LOSS_ACCEPTED"]
    assert (await product.backup(backup["id"]))["state"] == "LIVE"
    assert await drifts(product) == []
    async with product.owner.connection() as connection:
        assert await connection.fetchval("select count(*) from reclaims") == 0
    assert (await reconcile(product))["missing"] == 0
    assert list((await statuses(product)).values()) == ["LOSS_ACCEPTED"]
    async with product.working():
        await product.delete(backup["id"])
        await product.nothing_left()


async def test_another_gateways_backups_in_the_same_place_are_foreign_and_stay(product, bucket):
    """Of another installation, and of another hub of this one."""
    other_hub = await our_name(product, hub=(await our_place(product)).backup_id)
    other_gateway = await our_name(product, at=(await our_place(product)).backup_id)
    for name in (other_hub, other_gateway):
        await bucket.put(name, DATA)
        await bucket.put(name + ".json", b"{}")
    before = product.objects()
    found = await reconcile(product)
    assert (found["orphans"], found["foreign"]) == (0, 4)
    for drift in await drifts(product):
        with pytest.raises(Refused) as refused:
            await delete(product, drift)
        assert refused.value.code == "FOREIGN_OBJECT"
    assert product.objects() == before


async def our_place(product):
    place = parse_object_name(PREFIX, await our_name(product))
    assert place is not None
    return place
