"""An upload arrives whole or leaves nothing, whatever B2 does meanwhile."""

import asyncio
import hashlib
import threading

import psutil
import pytest

from app.errors import StorageCapExceeded, StorageError, StorageUnavailable
from app.model.objects import PartPlan
from app.storage.retries import Patience
from tests.fakes.b2_places import NAME, PART, SHORT, make_bytes, open_place, until

FINISHED = [(NAME, "upload")]


async def test_a_long_stream_becomes_parts_and_its_id_is_told_before_any_of_them(tmp_path):
    data = make_bytes(7 * PART + 123)
    async with open_place(tmp_path) as place:
        told = []

        async def keep(file_id):
            told.append((file_id, place.count("b2_upload_part")))

        upload = await place.storage.start_upload(
            NAME, info={"backup": "1", "hub": "2"}, on_file_id=keep
        )
        for at in range(0, len(data), 7_001):
            await upload.write(data[at : at + 7_001])
        stored = await upload.finish()
        assert told == [(stored.file_id, 0)]
        assert (stored.name, stored.size, upload.bytes_stored) == (NAME, len(data), len(data))
        assert place.count("b2_upload_part") == 8
        assert place.b2.read(stored.file_id) == data
        info = place.b2.call("b2_get_file_info", fileId=stored.file_id)
        assert info["fileInfo"] == {"backup": "1", "hub": "2"}
        assert info["serverSideEncryption"] == {"mode": "SSE-B2", "algorithm": "AES256"}
        assert place.names() == FINISHED


@pytest.mark.parametrize("size", [0, 1, PART - 1, PART])
async def test_a_stream_that_fits_into_one_part_is_one_plain_upload(tmp_path, size):
    data = make_bytes(size)
    async with open_place(tmp_path) as place:
        stored = await place.save(data)
        assert place.file_ids == []
        assert (place.count("b2_start_large_file"), place.count("b2_upload_file")) == (0, 1)
        assert place.b2.read(stored.file_id) == data
        info = place.b2.call("b2_get_file_info", fileId=stored.file_id)
        assert info["serverSideEncryption"] == {"mode": "SSE-B2", "algorithm": "AES256"}
        assert info["contentSha1"] == hashlib.sha1(data).hexdigest()


@pytest.mark.parametrize("size", [PART + 1, 2 * PART, 2 * PART + 1])
async def test_one_byte_more_than_a_part_makes_two(tmp_path, size):
    data = make_bytes(size)
    async with open_place(tmp_path) as place:
        stored = await place.save(data, block=size)
        assert place.file_ids == [stored.file_id]
        assert place.count("b2_upload_part") == -(-size // PART)
        assert place.b2.read(stored.file_id) == data


async def test_parts_grow_as_planned_and_the_stream_ends_where_the_plan_does(tmp_path):
    plan = PartPlan(first=10, steady=2, every=2, largest=40, parts=8, in_flight_bytes=80)
    data = make_bytes(plan.capacity)
    async with open_place(tmp_path, plan=plan) as place:
        stored = await place.save(data, block=7)
        assert plan.capacity == 2 * 10 + 2 * 20 + 4 * 40
        assert place.count("b2_upload_part") == 8
        assert place.b2.read(stored.file_id) == data
        upload = await place.start(NAME + "-2")
        with pytest.raises(StorageError, match="at most 220 bytes"):
            await upload.write(data + b"x")
        await upload.cancel()
        assert place.names() == FINISHED


async def test_writing_waits_while_enough_parts_are_in_flight(tmp_path):
    async with open_place(tmp_path) as place:
        place.b2.faults.hold("b2_upload_part")
        upload = await place.start()
        taken = []

        async def write():
            for number in range(10):
                await upload.write(bytes(PART))
                taken.append(number)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(write())
            await until(lambda: place.count("b2_upload_part") == 3, asyncio.sleep)
            # Waiting longer can only find a mistake, never make one.
            await asyncio.sleep(0.1)
            assert place.count("b2_upload_part") == 3
            assert taken == [0, 1, 2, 3]
            assert upload.bytes_stored == 0
            place.b2.faults.release()
        assert (await upload.finish()).size == 10 * PART


async def test_progress_is_seen_while_nobody_writes(tmp_path):
    async with open_place(tmp_path) as place:
        upload = await place.start()
        await upload.write(bytes(2 * PART + 1))
        await until(lambda: upload.bytes_stored == 2 * PART, asyncio.sleep)
        await upload.cancel()


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (503, "service_unavailable"),
        (500, "internal_error"),
        (408, "request_timeout"),
        (429, "too_many_requests"),
        (401, "expired_auth_token"),
        (401, "bad_auth_token"),
    ],
)
async def test_a_part_is_tried_again_by_a_url_that_has_not_failed(tmp_path, status, code):
    plan = PartPlan(first=PART, in_flight_bytes=PART)
    data = make_bytes(4 * PART)
    async with open_place(tmp_path, plan=plan) as place:
        place.b2.faults.fail_next("b2_upload_part", status=status, code=code, times=5, skip=1)
        stored = await place.save(data)
        assert place.b2.read(stored.file_id) == data
        assert place.count("b2_upload_part") == 4 + 5
        assert place.count("b2_get_upload_part_url") == 1 + 5
        assert place.names() == FINISHED


@pytest.mark.parametrize(
    "operation",
    [
        "b2_get_upload_part_url",
        "b2_start_large_file",
        "b2_finish_large_file",
        "b2_upload_part",
        "b2_list_buckets",
        "b2_authorize_account",
    ],
)
async def test_an_overloaded_b2_is_waited_for_in_each_step(tmp_path, operation):
    data = make_bytes(4 * PART)
    async with open_place(tmp_path) as place:
        place.b2.faults.fail_next(operation, status=503, times=3)
        stored = await place.save(data)
        assert place.b2.read(stored.file_id) == data
        assert place.names() == FINISHED


@pytest.mark.parametrize(
    "operation", ["b2_get_upload_url", "b2_upload_file", "b2_list_buckets", "b2_authorize_account"]
)
async def test_an_overloaded_b2_is_waited_for_by_a_short_stream(tmp_path, operation):
    async with open_place(tmp_path) as place:
        place.b2.faults.fail_next(operation, status=503, times=3)
        stored = await place.save(b"short")
        assert place.b2.read(stored.file_id) == b"short"
        assert place.names() == FINISHED


@pytest.mark.parametrize(
    "operation", ["b2_start_large_file", "b2_upload_part", "b2_finish_large_file"]
)
async def test_a_lost_answer_leaves_one_whole_object(tmp_path, operation):
    data = make_bytes(4 * PART)
    async with open_place(tmp_path) as place:
        place.b2.faults.lose_answer(operation, times=2)
        stored = await place.save(data)
        assert place.b2.read(stored.file_id) == data
        assert place.file_ids == [stored.file_id]
        assert place.names() == FINISHED


async def test_a_lost_answer_to_a_plain_upload_leaves_one_version(tmp_path):
    async with open_place(tmp_path) as place:
        await place.storage.put(NAME + ".json", b"{}", info={}, content_type="application/json")
        place.b2.faults.lose_answer("b2_upload_file", times=2)
        stored = await place.save(b"short")
        assert place.b2.read(stored.file_id) == b"short"
        assert place.count("b2_upload_file") == 1 + 3
        assert place.names() == [*FINISHED, (NAME + ".json", "upload")]


async def test_a_plain_upload_that_was_not_retried_lists_nothing(tmp_path):
    async with open_place(tmp_path) as place:
        await place.save(b"short")
        assert place.count("b2_list_file_versions") == 0


async def test_expired_tokens_are_renewed_once_for_all_parts(tmp_path):
    data = make_bytes(9 * PART)
    async with open_place(tmp_path) as place:
        upload = await place.start()
        await upload.write(data[: 4 * PART])
        await until(lambda: upload.bytes_stored == 3 * PART, asyncio.sleep)
        before = place.count("b2_authorize_account")
        place.b2.faults.expire_tokens()
        await upload.write(data[4 * PART :])
        stored = await upload.finish()
        assert place.count("b2_authorize_account") == before + 1
        assert place.b2.read(stored.file_id) == data


async def test_a_b2_that_is_down_for_a_while_is_waited_for(tmp_path):
    data = make_bytes(9 * PART)
    async with open_place(tmp_path) as place:
        upload = await place.start()
        await upload.write(data[: 4 * PART])
        place.b2.faults.go_down()
        back = threading.Timer(1.0, place.b2.faults.come_back)
        back.start()
        await upload.write(data[4 * PART :])
        stored = await upload.finish()
        back.join()
        assert place.b2.read(stored.file_id) == data
        assert place.names() == FINISHED


async def test_a_part_that_fails_for_too_long_ends_the_upload_and_nothing_is_left(tmp_path):
    async with open_place(tmp_path, patience=SHORT) as place:
        place.b2.faults.fail_next("b2_upload_part", status=503, times=1_000)
        upload = await place.start()
        with pytest.raises(StorageUnavailable, match="try again later"):
            await upload.write(bytes(100 * PART))
        with pytest.raises(StorageUnavailable):
            await upload.write(b"more")
        with pytest.raises(StorageUnavailable):
            await upload.finish()
        assert [action for _, action in place.names()] == ["start"]
        await upload.cancel()
        assert place.names() == []


@pytest.mark.parametrize("operation", ["b2_upload_part", "b2_start_large_file"])
async def test_a_used_up_cap_is_reported_at_once(tmp_path, operation):
    plan = PartPlan(first=PART, in_flight_bytes=PART)
    async with open_place(tmp_path, plan=plan) as place:
        place.b2.faults.fail_next(operation, status=403, code="storage_cap_exceeded", times=99)
        upload = await place.start()
        with pytest.raises(StorageCapExceeded):
            await upload.write(bytes(3 * PART))
        assert place.count(operation) == 1
        await upload.cancel()
        assert place.names() == []


async def test_a_refused_part_is_not_tried_again_and_stops_the_others(tmp_path):
    async with open_place(tmp_path) as place:
        upload = await place.start()
        await upload.write(bytes(PART + 1))
        await place.storage.cancel_unfinished(place.file_ids[0])
        with pytest.raises(StorageError) as refused:
            await upload.write(bytes(100 * PART))
        assert refused.value.retry is False
        await upload.cancel()
        assert place.names() == []


async def test_the_other_parts_end_with_the_one_that_failed(tmp_path):
    """They would go on for as long as patience lasts, longer than this test may."""
    async with open_place(tmp_path, patience=Patience(budget=30.0, longest=0.05)) as place:
        place.b2.faults.fail_next("b2_upload_part", status=400, code="bad_request", skip=2)
        place.b2.faults.fail_next("b2_upload_part", status=503, times=100_000)
        upload = await place.start()
        with pytest.raises(StorageError, match="bad_request"):
            await upload.write(bytes(100 * PART))
        await until(lambda: upload._sending == {}, asyncio.sleep)
        await upload.cancel()
        assert place.names() == []


THOUSAND = PartPlan(first=16, steady=640, every=40, largest=4_096, parts=1_000, in_flight_bytes=64)
"""The usual plan, a tenth as long."""
TEN_THOUSAND = PartPlan(first=16, largest=4_096, in_flight_bytes=64)


@pytest.mark.timeout(180)  # 10,000 requests, one after the other for the most part
@pytest.mark.parametrize(
    ("plan", "size"),
    [
        pytest.param(THOUSAND, 500_480, id="1000"),
        pytest.param(TEN_THOUSAND, 5_004_800, id="10000", marks=pytest.mark.matrix),
    ],
)
async def test_as_many_parts_as_a_plan_has_become_one_object(tmp_path, plan, size):
    data = make_bytes(plan.capacity)
    async with open_place(tmp_path, plan=plan, child=True) as place:
        stored = await place.save(data, block=64 * 1024)
        assert place.count("b2_upload_part") == plan.parts
        assert stored.size == plan.capacity == size
        assert await place.load(stored.file_id, stored.size) == data


@pytest.mark.timeout(60)  # 400 MB through a server process
async def test_memory_does_not_grow_with_the_stream(tmp_path):
    mb = 1_000_000
    plan = PartPlan(first=4 * mb, in_flight_bytes=16 * mb)
    block = make_bytes(mb)
    me = psutil.Process()
    async with open_place(tmp_path, plan=plan, child=True) as place:
        await place.save(block * 5, NAME + "-first")
        before = me.memory_info().rss
        most = 0
        upload = await place.start()
        for _ in range(400):
            await upload.write(block)
            most = max(most, me.memory_info().rss - before)
        assert (await upload.finish()).size == 400 * mb
        # Five buffers of 4 MB, and what a connection takes.
        assert most < 40 * mb
        assert me.memory_info().rss - before < 10 * mb
