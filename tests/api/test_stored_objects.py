"""Backup.storage: what was seen of an object, asked of Backblaze B2 now or of the record."""

from typing import Any

import pytest

from tests.product import Product, Refused


async def a_backup(product: Product) -> tuple[dict[str, Any], str]:
    """A LIVE backup, and an instance to restore it into."""
    load = await product.workload("ledger", backup="cat data")
    (load.folder(1) / "data").write_bytes(b"data")
    async with product.working():
        backup = await product.back_up(load)
    assert backup["state"] == "LIVE"
    return backup, load.instance(2)


async def look(product: Product, backup: dict[str, Any], *, live: bool) -> dict[str, Any]:
    data = await product.ask(
        """query ($id: ID!, $live: Boolean!) {
          backup(id: $id) { storage(live: $live) { status checkedAt error { code } } } }""",
        id=backup["id"],
        live=live,
    )
    found: dict[str, Any] = data["backup"]["storage"]
    return found


async def test_an_object_is_looked_at_and_what_was_seen_is_kept(product):
    backup, _ = await a_backup(product)
    unchecked = {"status": "UNCHECKED", "checkedAt": None, "error": None}
    assert await look(product, backup, live=False) == unchecked
    seen = await look(product, backup, live=True)
    assert (seen["status"], seen["error"]) == ("PRESENT", None)
    assert seen["checkedAt"] is not None
    assert await look(product, backup, live=False) == seen


@pytest.mark.parametrize(("loss", "status"), [("remove", "MISSING"), ("replace_bytes", "MISMATCH")])
async def test_a_lost_object_is_seen_and_cannot_be_restored(product, loss, status):
    backup, instance = await a_backup(product)
    file_id = backup["target"]["fileId"]
    if loss == "remove":
        product.b2.faults.remove(file_id)
    else:
        product.b2.faults.replace_bytes(file_id, "other data")
    assert (await look(product, backup, live=True))["status"] == status
    with pytest.raises(Refused) as refusal:
        await product.start_restore(backup["id"], instance)
    assert refusal.value.code == f"OBJECT_{status}"
    assert str(refusal.value).startswith("StorageError ")
    data = await product.ask("{ hub { restores { totalCount } } }")
    assert data["hub"]["restores"]["totalCount"] == 0


@pytest.mark.parametrize(("loss", "status"), [("remove", "MISSING"), ("damage", "MISMATCH")])
async def test_a_restore_that_finds_its_object_lost_says_so_in_the_backup(product, loss, status):
    backup, instance = await a_backup(product)
    getattr(product.b2.faults, loss)(backup["target"]["fileId"])
    async with product.working():
        restore = await product.put_back(backup["id"], instance)
    assert (restore["state"], restore["error"]["code"]) == ("FAILED", f"OBJECT_{status}")
    seen = await look(product, backup, live=False)
    assert (seen["status"], seen["error"]) == (status, None)
    with pytest.raises(Refused) as refusal:
        await product.start_restore(backup["id"], instance)
    assert refusal.value.code == f"OBJECT_{status}"


async def test_where_b2_cannot_be_asked_the_last_look_and_the_reason_are_answered(product):
    """Within the deadline, and nothing that was known is lost."""
    backup, instance = await a_backup(product)
    seen = await look(product, backup, live=True)
    product.b2.faults.hold("b2_get_file_info")
    held = await look(product, backup, live=True)
    product.b2.faults.release()
    assert held == {**seen, "error": {"code": "STORAGE_UNAVAILABLE"}}
    assert await look(product, backup, live=False) == seen
    restore = await product.start_restore(backup["id"], instance)
    assert (await product.restore(restore))["state"] == "QUEUED"


async def test_what_has_no_object_is_not_asked_for(product):
    load = await product.workload("ledger", backup="exit 1", instances=1)
    async with product.working():
        backup = await product.back_up(load)
    before = product.b2.faults.count("b2_get_file_info")
    assert await look(product, backup, live=True) == {
        "status": "UNCHECKED",
        "checkedAt": None,
        "error": None,
    }
    assert product.b2.faults.count("b2_get_file_info") == before
