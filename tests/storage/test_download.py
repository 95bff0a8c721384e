"""A download gives each byte of the object once and in order, or fails."""

import asyncio
import gzip
import threading
from contextlib import aclosing

import httpx
import pytest
import respx

from app.errors import (
    ObjectMismatch,
    ObjectMissing,
    StorageCapExceeded,
    StorageError,
    StorageUnavailable,
)
from tests.fakes.b2_places import NAME, PART, SHORT, make_bytes, open_place, until

DOWNLOAD = "b2_download_file_by_id"
SIZE = 30 * PART


class Stored(httpx.AsyncByteStream):
    """A body that nothing has decoded."""

    def __init__(self, data):
        self._data = data

    async def __aiter__(self):
        yield self._data


async def collect(blocks, got):
    """Keep what comes, also where a failure follows."""
    async for block in blocks:
        got.append(block)


async def test_an_object_is_read_from_any_byte_to_its_end(tmp_path):
    data = make_bytes(SIZE)
    async with open_place(tmp_path) as place:
        stored = await place.save(data)
        for start in (0, 1, PART, SIZE - 1, SIZE):
            assert await place.load(stored.file_id, SIZE, start) == data[start:]
        assert place.count(DOWNLOAD) == 4


async def test_compressed_bytes_come_as_they_were_stored(tmp_path):
    data = gzip.compress(b"a dump")
    headers = {
        "Content-Range": f"bytes 0-{len(data) - 1}/{len(data)}",
        "Content-Encoding": "gzip",
    }
    async with open_place(tmp_path) as place:
        stored = await place.save(data)
        assert await place.load(stored.file_id, len(data)) == data
        with respx.mock() as mocked:
            route = mocked.get(path=f"/b2api/v4/{DOWNLOAD}")
            route.return_value = httpx.Response(206, stream=Stored(data), headers=headers)
            assert await place.load(stored.file_id, len(data)) == data
        assert route.calls.last.request.headers["Accept-Encoding"] == "identity"


async def test_a_cut_connection_goes_on_at_the_byte(tmp_path):
    data = make_bytes(SIZE)
    async with open_place(tmp_path) as place:
        stored = await place.save(data)
        place.b2.faults.cut_download(PART + 7, times=9)
        assert await place.load(stored.file_id, SIZE) == data
        assert place.count(DOWNLOAD) == 10


async def test_cuts_are_borne_for_ever_as_long_as_bytes_arrive(tmp_path):
    data = make_bytes(SIZE)
    async with open_place(tmp_path, patience=SHORT) as place:
        stored = await place.save(data)
        place.b2.faults.cut_download(SIZE // 20, times=1_000)
        assert await place.load(stored.file_id, SIZE) == data
        assert place.count(DOWNLOAD) == 20


async def test_a_connection_that_brings_nothing_is_given_up(tmp_path):
    async with open_place(tmp_path, patience=SHORT) as place:
        stored = await place.save(bytes(SIZE))
        place.b2.faults.cut_download(0, times=1_000)
        with pytest.raises(StorageUnavailable, match="read an object"):
            await place.load(stored.file_id, SIZE)
        assert place.count(DOWNLOAD) >= 3


async def test_an_expired_token_is_renewed_in_mid_stream(tmp_path):
    data = make_bytes(SIZE)
    async with open_place(tmp_path) as place:
        stored = await place.save(data)
        before = place.count("b2_authorize_account")
        place.b2.faults.cut_download(PART)
        got = []
        async with aclosing(place.storage.read(stored.file_id, size=SIZE)) as blocks:
            async for block in blocks:
                if not got:
                    place.b2.faults.expire_tokens()
                got.append(block)
        assert b"".join(got) == data
        assert place.count("b2_authorize_account") == before + 1


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (503, "service_unavailable"),
        (500, "internal_error"),
        (429, "too_many_requests"),
        (408, "request_timeout"),
        (401, "expired_auth_token"),
    ],
)
async def test_a_refusal_that_passes_is_waited_for(tmp_path, status, code):
    data = make_bytes(SIZE)
    async with open_place(tmp_path) as place:
        stored = await place.save(data)
        place.b2.faults.fail_next(DOWNLOAD, status=status, code=code, times=3)
        assert await place.load(stored.file_id, SIZE) == data
        assert place.count(DOWNLOAD) == 4


async def test_b2_says_how_long_to_wait(tmp_path):
    async with open_place(tmp_path) as place:
        stored = await place.save(bytes(PART))
        place.b2.faults.fail_next(DOWNLOAD, status=429, code="too_many_requests", retry_after=1)
        loop = asyncio.get_running_loop()
        began = loop.time()
        await place.load(stored.file_id, PART)
        # Our own first pause is 0.01 s.
        assert loop.time() - began >= 1.0


async def test_a_b2_that_is_down_for_a_while_is_waited_for(tmp_path):
    data = make_bytes(SIZE)
    async with open_place(tmp_path) as place:
        stored = await place.save(data)
        place.b2.faults.cut_download(PART)
        got = b""
        async with aclosing(place.storage.read(stored.file_id, size=SIZE)) as blocks:
            async for block in blocks:
                if not got:
                    place.b2.faults.go_down()
                    threading.Timer(1.0, place.b2.faults.come_back).start()
                got += block
        assert got == data


async def test_an_object_that_is_not_there_is_missing(tmp_path):
    async with open_place(tmp_path) as place:
        stored = await place.save(bytes(PART))
        await place.storage.delete(stored.file_id, NAME)
        with pytest.raises(ObjectMissing):
            await place.load(stored.file_id, PART)
        assert place.count(DOWNLOAD) == 1


async def test_an_object_that_goes_in_mid_stream_is_missing(tmp_path):
    async with open_place(tmp_path) as place:
        stored = await place.save(bytes(SIZE))
        place.b2.faults.cut_download(PART)
        got = []

        async def read():
            async for block in place.storage.read(stored.file_id, size=SIZE):
                got.append(block)
                place.b2.faults.remove(stored.file_id)

        with pytest.raises(ObjectMissing):
            await read()
        assert b"".join(got) == bytes(PART)


@pytest.mark.parametrize("size", [0, 1, SIZE - 1, SIZE + 1, 2 * SIZE])
async def test_an_object_of_another_size_is_a_mismatch_before_any_byte(tmp_path, size):
    async with open_place(tmp_path) as place:
        stored = await place.save(bytes(SIZE))
        place.b2.faults.replace_bytes(stored.file_id, bytes(size))
        got = []
        with pytest.raises(ObjectMismatch):
            await collect(place.storage.read(stored.file_id, size=SIZE), got)
        assert got == []


@pytest.mark.parametrize("start", [0, 5])
async def test_an_object_without_bytes_to_read_must_still_be_the_right_one(tmp_path, start):
    async with open_place(tmp_path) as place:
        stored = await place.save(bytes(start))
        assert await place.load(stored.file_id, start, start) == b""
        place.b2.faults.replace_bytes(stored.file_id, b"other bytes")
        with pytest.raises(ObjectMismatch):
            await place.load(stored.file_id, start, start)
        place.b2.faults.remove(stored.file_id)
        with pytest.raises(ObjectMissing):
            await place.load(stored.file_id, start, start)


async def test_lost_bytes_end_in_a_failure_and_never_in_a_short_stream(tmp_path):
    async with open_place(tmp_path, patience=SHORT) as place:
        stored = await place.save(bytes(SIZE))
        place.b2.faults.lose_bytes(stored.file_id)
        with pytest.raises(StorageError):
            await place.load(stored.file_id, SIZE)


async def test_a_used_up_download_cap_is_reported_at_once(tmp_path):
    async with open_place(tmp_path) as place:
        stored = await place.save(bytes(PART))
        place.b2.faults.fail_next(DOWNLOAD, status=403, code="download_cap_exceeded", times=9)
        with pytest.raises(StorageCapExceeded):
            await place.load(stored.file_id, PART)
        assert place.count(DOWNLOAD) == 1


async def test_a_slow_taker_slows_the_connection(tmp_path):
    size = 20_000_000
    async with open_place(tmp_path, child=True) as place:
        stored = await place.storage.put(NAME, bytes(size), info={}, content_type="text/plain")
        async with aclosing(place.storage.read(stored.file_id, size=size)) as blocks:
            first = await anext(blocks)
            await asyncio.sleep(0.2)
            # Nothing was read ahead: the next block is one read of the socket.
            assert len(first) + len(await anext(blocks)) <= 256 * 1024


async def test_leaving_early_closes_the_connection(tmp_path):
    async with open_place(tmp_path) as place:
        stored = await place.save(bytes(SIZE))
        async with aclosing(place.storage.read(stored.file_id, size=SIZE)) as blocks:
            await anext(blocks)
        assert await place.load(stored.file_id, SIZE) == bytes(SIZE)


async def test_a_cancelled_task_stops_reading(tmp_path):
    async with open_place(tmp_path) as place:
        stored = await place.save(bytes(SIZE))
        place.b2.faults.hold(DOWNLOAD)
        task = asyncio.create_task(place.load(stored.file_id, SIZE))
        await until(lambda: place.count(DOWNLOAD) > 0, asyncio.sleep)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        place.b2.faults.release()


@pytest.mark.parametrize(
    ("answer", "failure"),
    [
        (httpx.Response(200, content=b"12345"), StorageError),
        (httpx.Response(206, content=b"12345"), StorageError),
        (
            httpx.Response(206, content=b"12345", headers={"Content-Range": "bytes 1-5/5"}),
            ObjectMismatch,
        ),
        (
            httpx.Response(206, content=b"12345", headers={"Content-Range": "bytes 0-4/6"}),
            ObjectMismatch,
        ),
        (
            httpx.Response(206, content=b"1234567", headers={"Content-Range": "bytes 0-4/5"}),
            ObjectMismatch,
        ),
        (
            httpx.Response(302, headers={"Location": "http://127.0.0.1:9/elsewhere"}),
            StorageError,
        ),
        (httpx.Response(403, content=b"<html>a page of a proxy"), StorageError),
    ],
)
async def test_an_answer_that_is_not_the_range_asked_for_is_refused(tmp_path, answer, failure):
    async with open_place(tmp_path) as place:
        stored = await place.save(b"12345")
        got = []
        with respx.mock(assert_all_called=True) as mocked:
            route = mocked.get(path=f"/b2api/v4/{DOWNLOAD}").mock(return_value=answer)
            with pytest.raises(failure) as raised:
                await collect(place.storage.read(stored.file_id, size=5), got)
        assert route.call_count == 1
        assert type(raised.value) is failure
        assert got == []
        assert "proxy" not in str(raised.value)


async def test_a_body_that_is_shorter_than_promised_is_asked_for_again(tmp_path):
    async with open_place(tmp_path) as place:
        stored = await place.save(b"12345")
        headers = {"Content-Range": "bytes 0-4/5"}
        rest = {"Content-Range": "bytes 2-4/5"}
        with respx.mock() as mocked:
            route = mocked.get(path=f"/b2api/v4/{DOWNLOAD}")
            route.side_effect = [
                httpx.Response(206, content=b"12", headers=headers),
                httpx.Response(206, content=b"345", headers=rest),
            ]
            assert await place.load(stored.file_id, 5) == b"12345"
        assert [call.request.headers["Range"] for call in route.calls] == ["bytes=0-4", "bytes=2-4"]
