"""Single calls to B2: looked at, listed, deleted, and what is never said of a key."""

import asyncio
import logging
import threading
import traceback

import pytest

from app.errors import (
    ObjectMismatch,
    StorageCapability,
    StorageCapExceeded,
    StorageCredentials,
    StorageError,
    StorageUnavailable,
)
from app.storage.failures import Failed
from app.storage.port import StoredObject, UnfinishedUpload
from app.storage.retries import Patience, persist
from tests.fakes.b2_places import NAME, PART, SHORT, open_place, until


async def put(place, name, data=b"x"):
    return await place.storage.put(name, data, info={}, content_type="text/plain")


async def test_a_version_is_looked_at_by_its_id(tmp_path):
    async with open_place(tmp_path) as place:
        stored = await put(place, NAME, b"12345")
        assert stored == StoredObject(file_id=stored.file_id, name=NAME, size=5)
        assert await place.storage.stat(stored.file_id) == stored
        place.b2.faults.remove(stored.file_id)
        assert await place.storage.stat(stored.file_id) is None


async def test_an_unfinished_upload_is_no_object(tmp_path):
    async with open_place(tmp_path) as place:
        upload = await place.start()
        await upload.write(bytes(PART + 1))
        assert await place.storage.stat(place.file_ids[0]) is None
        assert await place.storage.versions(NAME) == []
        assert await place.storage.unfinished("team/") == [
            UnfinishedUpload(file_id=place.file_ids[0], name=NAME)
        ]
        assert await place.storage.unfinished("other/") == []
        await upload.cancel()


async def test_versions_are_those_of_exactly_this_name(tmp_path):
    async with open_place(tmp_path) as place:
        first = await put(place, NAME, b"1")
        await put(place, NAME + ".json", b"{}")
        await put(place, "team/objec", b"")
        second = await put(place, NAME, b"22")
        place.b2.call("b2_hide_file", bucketId=place.bucket_id, fileName=NAME)
        assert await place.storage.versions(NAME) == [second, first]
        assert await place.storage.versions("team/nothing") == []


async def test_lists_go_on_over_pages(tmp_path):
    async with open_place(tmp_path) as place:
        await put(place, NAME)
        place.b2.faults.fill(place.bucket_id, NAME + "-", count=2_000)
        assert len(await place.storage.versions(NAME)) == 1
        assert place.count("b2_list_file_versions") == 1
        for number in range(205):
            place.b2.call(
                "b2_start_large_file",
                bucketId=place.bucket_id,
                fileName=f"{NAME}/{number:03}",
                contentType="text/plain",
            )
        assert [upload.name for upload in await place.storage.unfinished(NAME)] == [
            f"{NAME}/{number:03}" for number in range(205)
        ]
        assert place.count("b2_list_unfinished_large_files") == 3


async def test_deleting_takes_one_version_and_what_is_gone_counts_as_deleted(tmp_path):
    async with open_place(tmp_path) as place:
        first = await put(place, NAME)
        second = await put(place, NAME)
        await place.storage.delete(first.file_id, NAME)
        await place.storage.delete(first.file_id, NAME)
        assert await place.storage.versions(NAME) == [second]


async def test_deleting_is_safe_to_repeat_where_the_answer_was_lost(tmp_path):
    async with open_place(tmp_path) as place:
        stored = await put(place, NAME)
        place.b2.faults.lose_answer("b2_delete_file_version")
        await place.storage.delete(stored.file_id, NAME)
        assert place.count("b2_delete_file_version") == 2
        assert place.names() == []


async def test_cancelling_says_whether_an_object_was_left(tmp_path):
    async with open_place(tmp_path) as place:
        finished = await place.save(bytes(3 * PART))
        assert await place.storage.cancel_unfinished(finished.file_id) is False
        assert place.names() == [(NAME, "upload")]
        await place.storage.delete(finished.file_id, NAME)
        assert await place.storage.cancel_unfinished(finished.file_id) is True
        upload = await place.start()
        await upload.write(bytes(PART + 1))
        assert await place.storage.cancel_unfinished(place.file_ids[-1]) is True
        assert place.names() == []
        await upload.cancel()


async def test_cancelling_is_safe_to_repeat_where_the_answer_was_lost(tmp_path):
    async with open_place(tmp_path) as place:
        upload = await place.start()
        await upload.write(bytes(PART + 1))
        place.b2.faults.lose_answer("b2_cancel_large_file")
        assert await place.storage.cancel_unfinished(place.file_ids[0]) is True
        assert place.names() == []
        await upload.cancel()


async def test_a_small_object_leaves_one_version_after_a_lost_answer(tmp_path):
    async with open_place(tmp_path) as place:
        place.b2.faults.lose_answer("b2_upload_file", times=2)
        stored = await put(place, NAME + ".json", b"{}")
        assert await place.storage.versions(NAME + ".json") == [stored]
        assert place.names() == [(NAME + ".json", "upload")]


async def test_the_bucket_is_looked_up_once(tmp_path):
    async with open_place(tmp_path) as place:
        for number in range(3):
            await put(place, f"{NAME}{number}")
        assert place.count("b2_list_buckets") == 1
        # One of them is the test's own, for the bucket.
        assert place.count("b2_authorize_account") == 2


async def test_many_calls_with_an_expired_token_authorise_once(tmp_path):
    async with open_place(tmp_path) as place:
        stored = await put(place, NAME)
        before = place.count("b2_authorize_account")
        place.b2.faults.expire_tokens()
        found = await asyncio.gather(*(place.storage.stat(stored.file_id) for _ in range(20)))
        assert found == [stored] * 20
        assert place.count("b2_authorize_account") == before + 1


async def test_a_key_that_was_deleted_is_reported(tmp_path):
    def make(b2, bucket_id):
        return b2.create_key(["listBuckets", "listFiles"], bucket_id=bucket_id)

    async with open_place(tmp_path, key=make) as place:
        assert await place.storage.versions(NAME) == []
        key_id = place.storage._session._key_id
        place.b2.call("b2_delete_key", applicationKeyId=key_id)
        place.b2.faults.expire_tokens()
        with pytest.raises(StorageCredentials):
            await place.storage.versions(NAME)


async def test_a_call_that_the_key_does_not_allow_is_named(tmp_path):
    def make(b2, bucket_id):
        return b2.create_key(["listBuckets", "listFiles"], bucket_id=bucket_id)

    async with open_place(tmp_path, key=make) as place:
        with pytest.raises(StorageCapability, match="not allowed to store an object"):
            await put(place, NAME)
        assert place.count("b2_get_upload_url") == 1


@pytest.mark.parametrize(
    ("status", "code", "failure"),
    [
        (403, "transaction_cap_exceeded", StorageCapExceeded),
        (403, "storage_cap_exceeded", StorageCapExceeded),
        (400, "bad_request", StorageError),
        (400, "Tell me <secrets>", StorageError),
        (409, "conflict", StorageError),
    ],
)
async def test_a_lasting_refusal_is_not_tried_again_nor_quoted(tmp_path, status, code, failure):
    async with open_place(tmp_path) as place:
        place.b2.faults.fail_next("b2_list_file_versions", status=status, code=code, times=9)
        with pytest.raises(failure) as refused:
            await place.storage.versions(NAME)
        assert type(refused.value) is failure
        assert place.count("b2_list_file_versions") == 1
        assert "The test asked" not in str(refused.value)
        assert "secrets" not in str(refused.value)


async def test_a_name_that_cannot_be_is_refused(tmp_path):
    async with open_place(tmp_path) as place:
        with pytest.raises(StorageError) as refused:
            await put(place, "team//x")
        assert refused.value.retry is False
        assert place.count("b2_upload_file") == 0


async def test_an_unreachable_b2_is_given_up_after_the_patience(tmp_path):
    async with open_place(tmp_path, patience=SHORT) as place:
        await put(place, NAME)
        place.b2.faults.go_down()
        with pytest.raises(StorageUnavailable, match="list the bucket"):
            await place.storage.versions(NAME)
        place.b2.faults.come_back()


async def test_a_question_with_a_deadline_is_left_behind(tmp_path):
    async with open_place(tmp_path) as place:
        stored = await put(place, NAME)
        place.b2.faults.hold("b2_get_file_info")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await place.storage.stat(stored.file_id)
        place.b2.faults.release()
        assert await place.storage.stat(stored.file_id) == stored


async def test_a_cancelled_small_upload_waits_for_its_end(tmp_path):
    """One whose bytes were on their way is cut instead: then nothing was stored."""
    waited = False
    for number in range(100):
        if waited:
            break
        name = f"{NAME}-{number}"
        async with open_place(tmp_path / str(number)) as place:
            place.b2.faults.hold("b2_upload_file")
            task = asyncio.create_task(put(place, name))
            await until(lambda place=place: place.count("b2_upload_file") > 0, asyncio.sleep)
            await asyncio.sleep(0.02)
            task.cancel()
            await asyncio.sleep(0.05)
            waited = not task.done()
            place.b2.faults.release()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert place.names() == ([(name, "upload")] if waited else [])
    assert waited


async def test_neither_key_nor_token_is_ever_said(tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    async with open_place(tmp_path, patience=SHORT) as place:
        session = place.storage._session
        await place.save(bytes(3 * PART))
        tokens = {session.authorize().token}
        place.b2.faults.expire_tokens()
        stored = await put(place, NAME + "2")
        await place.load(stored.file_id, 1)
        tokens.add(session.authorize().token)
        assert len(tokens) == 2
        said = [repr(place.storage), repr(session), repr(session.authorize()), caplog.text]
        place.b2.faults.fail_next("b2_authorize_account", times=1_000)
        place.b2.faults.expire_tokens()
        with pytest.raises(StorageUnavailable) as down:
            await place.storage.stat(stored.file_id)
        place.b2.faults.reset()
        place.b2.faults.fail_next("b2_authorize_account", status=401, code="unauthorized")
        with pytest.raises(StorageCredentials) as refused:
            await place.storage.stat(stored.file_id)
        for raised in (down.value, refused.value):
            # The first frame is this test's own, which knows the secrets.
            raised.__traceback__ = raised.__traceback__.tb_next
            shown = traceback.TracebackException.from_exception(raised, capture_locals=True)
            said.append("".join(shown.format()))
        for secret in (place.b2.key, *tokens):
            assert [secret in text for text in said] == [False] * len(said)


def test_a_slow_try_does_not_use_up_the_patience_alone():
    """A part may take longer than the budget: it is tried at least `tries` times."""
    tries = []

    def attempt():
        tries.append(1)
        raise Failed(status=503, code="service_unavailable")

    patience = Patience(budget=0.0, tries=4, first=0.0, longest=0.0)
    with pytest.raises(StorageUnavailable):
        persist("try", attempt, patience=patience, stop=threading.Event())
    assert len(tries) == 4


async def test_bytes_that_b2_did_not_confirm_are_a_mismatch(tmp_path):
    async with open_place(tmp_path) as place:
        upload = await place.start()
        await upload.write(bytes(3 * PART))
        upload._written += 1
        with pytest.raises(ObjectMismatch, match="30000 bytes of 30001"):
            await upload.finish()
        await upload.cancel()
        assert place.names() == []
