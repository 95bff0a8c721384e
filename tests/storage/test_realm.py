"""Keys and bytes go to the realm's own addresses, whatever the realm or the environment says."""

import asyncio
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.errors import StorageError, StorageUnavailable
from app.storage.b2 import B2Storage
from app.storage.failures import Failed
from app.storage.session import Session
from app.storage.threads import StorageThreads
from tests.fakes.b2_places import BUCKET, SHORT, until
from tests.fakes.lying_realm import open_lying_realm


@pytest.fixture
def realm():
    with open_lying_realm() as realm:
        yield realm


@pytest.fixture
async def storage(realm):
    threads = StorageThreads(2)
    storage = B2Storage(
        realm=realm.url,
        key_id="k",
        key="s",
        bucket=BUCKET,
        prefix="",
        threads=threads,
        user_agent="test",
        patience=SHORT,
        call_patience=SHORT,
    )
    yield storage
    await storage.aclose()
    threads.close()


@pytest.mark.parametrize("named", ["api_url", "download_url"])
async def test_an_address_outside_of_the_realm_is_refused_at_once(realm, storage, named):
    setattr(realm, named, realm.trap)
    with pytest.raises(StorageError, match="outside of its realm") as refused:
        await storage.stat("f")
    assert refused.value.retry is False
    assert dict(realm.calls) == {"b2_authorize_account": 1}
    assert realm.trapped == []


async def test_bytes_are_not_sent_to_an_address_outside_of_the_realm(realm, storage):
    realm.upload_url = realm.trap
    with pytest.raises(StorageError, match="outside of its realm"):
        await storage.put("x", b"bytes", info={}, content_type="text/plain")
    assert realm.calls["b2_get_upload_url"] == 1
    assert realm.trapped == []


async def test_a_redirect_is_not_followed(realm, storage):
    realm.redirect = realm.trap
    with pytest.raises(StorageError, match="refused to look at an object"):
        await storage.stat("f")
    assert realm.trapped == []


async def test_a_proxy_of_the_environment_gets_nothing(realm, storage, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, realm.trap)
    await storage.delete("f", "x")
    assert realm.trapped == []
    assert realm.calls["b2_delete_file_version"] == 1


async def test_those_who_wait_for_an_authorisation_share_its_failure(realm):
    """A B2 that does not answer would keep each of them waiting after the other."""
    session = Session(realm=realm.url, key_id="k", key="s", bucket=BUCKET, user_agent="test")
    realm.page = b"no answer"
    realm.gate.clear()
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(session.authorize) for _ in range(8)]
        await until(lambda: len(find_waiting()) == 8, asyncio.sleep)
        realm.gate.set()
        failures = [job.exception() for job in asked]
    assert [(type(f), f.transient) for f in failures] == [(Failed, True)] * 8
    assert realm.calls["b2_authorize_account"] == 1
    realm.page = None
    assert session.authorize().token == "t"
    session.close()


def find_waiting():
    """Find the threads that wait for the lock, or, one of them, for the answer."""
    found = []
    for frame in sys._current_frames().values():
        names = [walked.f_code.co_name for walked, _ in traceback.walk_stack(frame)]
        if "authorize" in names and frame.f_lineno != frame.f_code.co_firstlineno:
            found.append(names)
    return found


async def test_a_page_that_is_no_answer_is_tried_again_and_not_quoted(realm, storage):
    realm.page = b"<html>Please log in to the hotel"
    with pytest.raises(StorageUnavailable) as refused:
        await storage.stat("f")
    assert "hotel" not in str(refused.value)
    assert realm.calls["b2_authorize_account"] >= 3
