"""The whole way of a deletion by the real product: what is gone, no listing shows any more."""

import asyncio
import hashlib

import pytest

from app.worker.ownership import carry_out_due as ask_owners
from tests.copies import copied, parts_of
from tests.product import ERRORS

SOURCE = "head -c 3000000 /dev/zero"
DELETE = f"""mutation ($id: ID!) {{ deleteContainer(id: $id, confirm: "db") {{
  container {{ state goesAt }} {ERRORS} }} }}"""
UNDELETE = f"""mutation ($id: ID!) {{ undeleteContainer(id: $id) {{
  container {{ state goesAt }} {ERRORS} }} }}"""


async def let_all_be_due(product):
    """As if the grace were over."""
    async with product.owner.connection() as connection:
        await connection.execute(
            "update reclaims set not_before = now();"
            " update containers set goes_at = now(), deleting_since = now() - interval '1 day'"
            " where state = 'DELETING'"
        )


async def until(product, sql, expected: object = True):  # noqa: FBT002
    async with asyncio.timeout(30), product.owner.connection() as connection:
        while await connection.fetchval(sql) != expected:
            await asyncio.sleep(0.05)


async def test_a_container_that_is_brought_back_can_be_restored_and_one_that_goes_is_gone(product):
    async with product.working():
        load = await product.workload("db", backup=SOURCE)
        backup = await product.back_up(load)
        gone = await product.mutate("deleteContainer", DELETE, id=load.id)
        assert gone["container"]["state"] == "DELETING"
        assert gone["container"]["goesAt"] is not None
        back = await product.mutate("undeleteContainer", UNDELETE, id=load.id)
        assert back["container"] == {"state": "LIVE", "goesAt": None}
        assert (await product.put_back(backup["id"], load.instance(2)))["state"] == "SUCCEEDED"
        restored = (load.folder(2) / "restored").read_bytes()
        assert hashlib.sha256(restored).hexdigest() == backup["sha256"]

        await product.mutate("deleteContainer", DELETE, id=load.id)
        data = await product.ask("{ hub { reclaims { totalCount nodes { name attempts } } } }")
        assert data["hub"]["reclaims"]["totalCount"] == 2
        await let_all_be_due(product)
        await product.backup_ended(backup["id"], states={"DELETED"})
        assert product.objects() == []
        await until(product, "select state from containers", "DELETED")


async def test_an_integration_by_force_leaves_nothing_in_its_bucket_and_no_key(product):
    async with product.working():
        load = await product.workload("db", backup=SOURCE, instances=1)
        await product.back_up(load)
        await product.mutate(
            "deleteIntegration",
            f"""mutation ($id: ID!) {{ deleteIntegration(id: $id, force: true) {{
              integration {{ state }} warnings {ERRORS} }} }}""",
            id=product.integration,
        )
        await until(product, "select sealed_key is null and state = 'DELETED' from integrations")
        # The owner object, too.
        assert product.b2.versions(product.bucket_id) == []


async def test_a_killed_worker_leaves_a_deletion_that_the_next_one_ends(product):
    load = await product.workload("db", backup=SOURCE, instances=1)
    async with product.working():
        kept = [await product.back_up(load) for _ in range(2)]
    faults = product.b2.faults
    async with product.worker_process() as worker:
        before = faults.count("b2_delete_file_version")
        faults.hold("b2_delete_file_version")
        await product.delete(*(backup["id"] for backup in kept))
        async with asyncio.timeout(15):
            while faults.count("b2_delete_file_version") == before:
                await asyncio.sleep(0.05)
        await worker.kill()
    faults.release()
    async with product.owner.connection() as connection:
        await connection.execute("update reclaims set not_before = now()")
    async with product.working():
        for backup in kept:
            await product.backup_ended(backup["id"], states={"DELETED"})
    assert product.objects() == []
    async with product.owner.connection() as connection:
        assert await connection.fetchval("select stopped_at from integration_owners") is None


@pytest.mark.parametrize("as_snapshot", [False, True])
async def test_a_copy_of_the_database_removes_nothing_of_the_original(product, as_snapshot):
    """The original brought its container back; the copy still means to remove it."""
    load = await product.workload("db", backup=SOURCE)
    async with product.working():
        backup = await product.back_up(load)
    await product.mutate("deleteContainer", DELETE, id=load.id)
    async with copied(product, as_snapshot=as_snapshot) as copy:
        await product.mutate("undeleteContainer", UNDELETE, id=load.id)
        if as_snapshot:
            async with parts_of(product) as parts:
                await let_owner_be_asked(product)
                assert await ask_owners(parts) == 1
        await let_all_be_due(copy)
        async with copy.working():
            await until(
                copy, "select count(*) = 2 from reclaims where error_code = 'NOT_THE_OWNER'"
            )
            await asyncio.sleep(0.5)  # some sweeps
        assert len(product.objects()) == 2
        async with product.working():
            restored = await product.put_back(backup["id"], load.instance(2))
        assert restored["state"] == "SUCCEEDED"


async def let_owner_be_asked(product):
    async with product.owner.connection() as connection:
        await connection.execute("update integration_owners set check_at = now()")
