"""Two copies of one database save the same run into one bucket: neither touches what is not its."""

import asyncio
from uuid import UUID

import pytest

from app.model.ids import decode_id_of
from tests.copies import copied

# A database is copied and two workers are started, on a machine that may be busy.
pytestmark = pytest.mark.timeout(90)

RECORD = "select state, object_name, file_id, manifest_file_id from backups where id = $1"
GOING = {"QUEUED", "SAVING"}


def uuid_of(backup_id: str) -> UUID:
    return decode_id_of("Backup", backup_id)


async def record_of(product, backup_id):
    """The backup's record once its run has ended."""
    async with asyncio.timeout(60):
        while True:
            async with product.owner.connection() as connection:
                record = await connection.fetchrow(RECORD, uuid_of(backup_id))
            if record["state"] not in GOING:
                return record
            await asyncio.sleep(0.05)


def in_bucket(product, record):
    """Whether all that a record names is stored."""
    there = {version["fileId"] for version in product.b2.versions(product.bucket_id)}
    return {record["file_id"], record["manifest_file_id"]} <= there


def unfinished(product):
    """Told by the listing of versions, as the other one waits."""
    listed = product.b2.versions(product.bucket_id)
    return [version["fileId"] for version in listed if version["action"] == "start"]


@pytest.mark.parametrize("first", ["the original", "the copy"])
async def test_who_cleans_up_after_a_lost_answer_or_a_failed_save_removes_only_its_own(
    product, first
):
    """A gateway goes on while an old snapshot of its database is started beside it."""
    load = await product.workload("db", backup="echo data", instances=2)
    repeated, failing = [await product.start_backup(load, number) for number in (1, 2)]
    async with copied(product) as copy:
        ahead, behind = (product, copy) if first == "the original" else (copy, product)
        async with ahead.working():
            saved = [await record_of(ahead, id) for id in (repeated, failing)]
        assert [record["state"] for record in saved] == ["LIVE", "LIVE"]
        async with behind.owner.connection() as connection:
            delay = "update runs set not_before = now() + interval '1 hour' where id = $1"
            await connection.execute(delay, uuid_of(failing))

        # Each was stored, then stored again: all others of its name are removed.
        product.b2.faults.lose_answer("b2_upload_file", times=1)
        product.b2.faults.lose_answer("b2_upload_file", times=1, skip=1)
        async with behind.working():
            other = await record_of(behind, repeated)
            assert other["state"] == "LIVE"
            # Stored, then refused for good: all of its name is removed.
            product.b2.faults.lose_answer("b2_upload_file")
            product.b2.faults.fail_next("b2_upload_file", status=400, code="bad_request", skip=1)
            async with behind.owner.connection() as connection:
                await connection.execute("update runs set not_before = now()")
            failed = await record_of(behind, failing)
            assert failed["state"] == "FAILED"

        assert [in_bucket(product, record) for record in [*saved, other]] == [True] * 3
        assert other["object_name"] != saved[0]["object_name"]
        assert failed["object_name"] != saved[1]["object_name"]
        assert failed["object_name"] not in product.objects()


@pytest.mark.parametrize("loses", ["who began first", "who began last"])
async def test_who_loses_the_answer_to_a_start_goes_on_with_no_upload_of_another(product, loses):
    load = await product.workload("db", backup="head -c 20000000 /dev/urandom", instances=1)
    id = await product.start_backup(load)
    faults = product.b2.faults

    async def begun(uploads):
        async with asyncio.timeout(60):
            while len(unfinished(product)) < uploads:
                await asyncio.sleep(0.05)

    async with copied(product) as copy:
        faults.hold("b2_upload_part")
        faults.hold("b2_list_unfinished_large_files")
        faults.lose_answer("b2_start_large_file", skip=0 if loses == "who began first" else 1)
        async with product.working():
            await begun(1)
            async with copy.working():
                await begun(2)
                faults.release()
                records = [await record_of(one, id) for one in (product, copy)]
        assert [record["state"] for record in records] == ["LIVE", "LIVE"]
        assert len({record["file_id"] for record in records}) == 2
        assert [in_bucket(product, record) for record in records] == [True, True]
        assert unfinished(product) == []
