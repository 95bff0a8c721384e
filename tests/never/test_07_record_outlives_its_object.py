"""Point 7: a record is never gone while its object is still there."""

import asyncio

import pytest

from tests.product import Refused

SOURCE = "head -c 3000000 /dev/zero"


async def _live(product):
    load = await product.workload("db", backup=SOURCE)
    backup = await product.back_up(load)
    assert backup["state"] == "LIVE"
    return load, backup


async def _until_tried(product, times):
    async with asyncio.timeout(30):
        while product.b2.faults.count("b2_delete_file_version") < times:
            await asyncio.sleep(0.02)


async def test_it_is_deleting_until_b2_has_confirmed(product):
    async with product.working():
        _, backup = await _live(product)
        faults = product.b2.faults
        before = faults.count("b2_delete_file_version")
        faults.hold("b2_delete_file_version")
        (answer,) = await product.delete(backup["id"])
        assert (answer["accepted"], answer["backup"]["state"]) == (True, "DELETING")
        await _until_tried(product, before + 1)
        assert (await product.backup(backup["id"]))["state"] == "DELETING"
        assert len(product.objects()) == 2
        faults.release()
        await product.backup_ended(backup["id"], states={"DELETED"})
        assert product.objects() == []


@pytest.mark.parametrize("at", ["object", "manifest"])
async def test_it_is_deleting_while_one_of_its_two_objects_is_there(product, at):
    """One deletion goes well, the other is refused, whichever comes first."""
    async with product.working():
        _, backup = await _live(product)
        faults = product.b2.faults
        before = faults.count("b2_delete_file_version")
        # The first one removes the former version of the owner object.
        skip = 1 if at == "object" else 2
        faults.fail_next(
            "b2_delete_file_version", status=400, code="bad_request", skip=skip, times=1
        )
        await product.delete(backup["id"])
        await _until_tried(product, before + 3)
        await asyncio.sleep(0.3)
        # Whatever the record says now, it is not ahead of the bucket.
        state = (await product.backup(backup["id"]))["state"]
        left = product.objects()
        assert state == "DELETING"
        assert len(left) == 1


async def test_a_lost_confirmation_is_asked_for_again(product):
    async with product.working():
        _, backup = await _live(product)
        product.b2.faults.lose_answer("b2_delete_file_version", times=2)
        await product.delete(backup["id"])
        await product.backup_ended(backup["id"], states={"DELETED"})
        assert product.objects() == []


@pytest.mark.timeout(90)  # what B2 refused is tried again after 10 s
async def test_no_record_is_ever_ahead_of_the_bucket(product):
    async with product.working():
        load = await product.workload("db", backup=SOURCE, instances=1)
        kept = [await product.back_up(load) for _ in range(4)]
        product.b2.faults.fail_next("b2_delete_file_version", times=6)
        await product.delete(*(backup["id"] for backup in kept))
        seen = set()
        async with asyncio.timeout(60):
            while len(seen) < len(kept):
                for backup in kept:
                    state = (await product.backup(backup["id"]))["state"]
                    if state == "DELETED":
                        seen.add(backup["id"])
                        path = backup["target"]["path"]
                        # The record was asked first: what it says is true of the bucket since.
                        assert {path, f"{path}.json"}.isdisjoint(product.objects())
                    else:
                        assert state == "DELETING"
                await asyncio.sleep(0.05)


async def test_a_backup_that_is_being_read_is_not_deleted(product):
    async with product.working():
        load = await product.workload(
            "db", backup=SOURCE, restore="until [ -e go ]; do sleep 0.02; done; cat > got"
        )
        backup = await product.back_up(load)
        restore_id = await product.start_restore(backup["id"], load.instance(2))
        (answer,) = await product.delete(backup["id"])
        assert (answer["accepted"], answer["error"]["code"]) == (False, "BACKUP_IN_USE")
        (load.folder(2) / "go").touch()
        assert (await product.restore_ended(restore_id))["state"] == "SUCCEEDED"
        assert (await product.backup(backup["id"]))["state"] == "LIVE"
        assert len(product.objects()) == 2


async def test_a_backup_that_is_being_deleted_is_not_read(product):
    async with product.working():
        load, backup = await _live(product)
        product.b2.faults.hold("b2_delete_file_version")
        await product.delete(backup["id"])
        with pytest.raises(Refused) as refused:
            await product.start_restore(backup["id"], load.instance(2))
        assert refused.value.code == "BACKUP_NOT_LIVE"
        product.b2.faults.release()
        await product.backup_ended(backup["id"], states={"DELETED"})


async def test_a_deleted_containers_objects_and_records_stay_for_the_grace(product):
    async with product.working():
        load, backup = await _live(product)
        data = await product.ask(
            """mutation ($id: ID!) { deleteContainer(id: $id, confirm: "db") {
              container { state } warnings errors { code } } }""",
            id=load.id,
        )
        payload = data["deleteContainer"]
        assert (payload["container"]["state"], payload["errors"]) == ("DELETING", [])
        assert len(payload["warnings"]) == 1
        await asyncio.sleep(0.5)  # some sweeps
        assert (await product.backup(backup["id"]))["state"] == "DELETING"
        assert len(product.objects()) == 2
