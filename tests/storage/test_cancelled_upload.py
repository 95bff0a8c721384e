"""An upload that is given up leaves nothing in the bucket."""

import asyncio
import threading

import pytest

from app.errors import StorageError, StorageUnavailable
from tests.fakes.b2_places import NAME, PART, SHORT, open_place, until

FINISHED = [(NAME, "upload")]


@pytest.mark.parametrize("size", [0, 1, PART, PART + 1, 5 * PART])
async def test_a_cancelled_upload_leaves_nothing(tmp_path, size):
    async with open_place(tmp_path) as place:
        upload = await place.start()
        await upload.write(bytes(size))
        await upload.cancel()
        await upload.cancel()
        assert place.names() == []
        with pytest.raises(StorageError, match="interrupted"):
            await upload.write(b"more")
        with pytest.raises(StorageError, match="interrupted"):
            await upload.finish()
        assert place.names() == []


@pytest.mark.parametrize("size", [0, 1, 5 * PART])
async def test_cancelling_a_finished_upload_removes_the_object(tmp_path, size):
    async with open_place(tmp_path) as place:
        upload = await place.start()
        await upload.write(bytes(size))
        await upload.finish()
        assert place.names() == FINISHED
        await upload.cancel()
        assert place.names() == []


async def test_a_start_that_was_given_up_leaves_nothing(tmp_path):
    async with open_place(tmp_path, patience=SHORT) as place:
        place.b2.faults.lose_answer("b2_start_large_file", times=1)
        # The upload that has begun is looked for by its name, and that fails for too long.
        place.b2.faults.fail_next("b2_list_unfinished_large_files", times=1_000)
        upload = await place.start()
        with pytest.raises(StorageUnavailable):
            await upload.write(bytes(PART + 1))
        assert place.file_ids == []
        assert [action for _, action in place.names()] == ["start"]
        place.b2.faults.reset()
        await upload.cancel()
        assert place.names() == []


async def test_a_finish_that_was_given_up_leaves_nothing(tmp_path):
    async with open_place(tmp_path, patience=SHORT) as place:
        place.b2.faults.lose_answer("b2_finish_large_file", times=1_000)
        place.b2.faults.fail_next("b2_get_file_info", times=1_000)
        upload = await place.start()
        await upload.write(bytes(3 * PART))
        with pytest.raises(StorageUnavailable):
            await upload.finish()
        assert place.names() == FINISHED
        place.b2.faults.reset()
        await upload.cancel()
        assert place.names() == []


async def test_a_plain_upload_that_was_given_up_leaves_nothing(tmp_path):
    async with open_place(tmp_path, patience=SHORT) as place:
        place.b2.faults.lose_answer("b2_upload_file", times=1_000)
        upload = await place.start()
        await upload.write(b"short")
        with pytest.raises(StorageUnavailable):
            await upload.finish()
        assert len(place.names()) >= 3
        place.b2.faults.reset()
        await upload.cancel()
        assert place.names() == []


async def test_cancelling_while_b2_is_down_gives_up_in_silence(tmp_path):
    async with open_place(tmp_path, cancel_within=0.3) as place:
        upload = await place.start()
        await upload.write(bytes(5 * PART))
        place.b2.faults.go_down()
        await upload.cancel()
        place.b2.faults.come_back()
        assert [action for _, action in place.names()] == ["start"]


async def test_cancelling_ends_in_time_while_b2_does_not_answer(tmp_path):
    async with open_place(tmp_path, cancel_within=0.3) as place:
        upload = await place.start()
        await upload.write(bytes(PART + 1))
        place.b2.faults.hold("b2_cancel_large_file")
        await asyncio.wait_for(upload.cancel(), 4.0)
        place.b2.faults.release()


@pytest.mark.parametrize(
    ("held", "size"),
    [("b2_start_large_file", PART + 1), ("b2_upload_part", 9 * PART)],
)
async def test_a_task_cancelled_while_it_writes_leaves_nothing(tmp_path, held, size):
    async with open_place(tmp_path) as place:
        place.b2.faults.hold(held)
        upload = await place.start()
        task = asyncio.create_task(upload.write(bytes(size)))
        await until(lambda: place.count(held) > 0, asyncio.sleep)
        task.cancel()
        threading.Timer(0.1, place.b2.faults.release).start()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(StorageError, match="interrupted"):
            await upload.write(b"the rest")
        with pytest.raises(StorageError, match="interrupted"):
            await upload.finish()
        await upload.cancel()
        assert place.names() == []


@pytest.mark.parametrize(
    ("held", "size"), [("b2_finish_large_file", 3 * PART), ("b2_upload_file", 9)]
)
async def test_a_task_cancelled_while_it_finishes_leaves_nothing(tmp_path, held, size):
    async with open_place(tmp_path) as place:
        place.b2.faults.hold(held)
        upload = await place.start()
        await upload.write(bytes(size))
        task = asyncio.create_task(upload.finish())
        await until(lambda: place.count(held) > 0, asyncio.sleep)
        task.cancel()
        threading.Timer(0.1, place.b2.faults.release).start()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert place.names() == FINISHED
        await upload.cancel()
        assert place.names() == []


async def test_cancelling_goes_on_although_its_task_is_cancelled(tmp_path):
    async with open_place(tmp_path) as place:
        upload = await place.start()
        await upload.write(bytes(5 * PART))
        place.b2.faults.hold("b2_cancel_large_file")
        task = asyncio.create_task(upload.cancel())
        await until(lambda: place.count("b2_cancel_large_file") > 0, asyncio.sleep)
        for _ in range(3):
            task.cancel()
            await asyncio.sleep(0)
        assert not task.done()
        place.b2.faults.release()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert place.names() == []


async def test_a_failing_note_of_the_file_id_sends_no_part(tmp_path):
    async with open_place(tmp_path) as place:

        async def refuse(file_id):
            raise LookupError(file_id)

        upload = await place.storage.start_upload(NAME, info={}, on_file_id=refuse)
        with pytest.raises(LookupError):
            await upload.write(bytes(3 * PART))
        assert place.count("b2_upload_part") == 0
        await upload.cancel()
        assert place.names() == []
