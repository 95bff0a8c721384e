"""The fault switches of the local B2 do what tests elsewhere rely on."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.fakes.local_b2_client import (
    call,
    download,
    finish,
    login,
    open_client,
    refusal,
    start,
    stored,
    upload,
    upload_part,
)
from tests.fakes.local_b2_server import LocalB2Server

CUT = (httpx.RemoteProtocolError, httpx.ReadError)
NO_ANSWER = (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError, httpx.ConnectError)


def follow(client: httpx.Client, on_block: Callable[[bytes], None]) -> None:
    """Download `name` and hand each block over as it comes."""
    with client.stream("GET", "/file/backups-of-tests/name") as answer:
        assert answer.status_code == 200
        for block in answer.iter_raw():
            on_block(block)


@pytest.fixture(params=["thread", "child"])
def b2(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LocalB2Server]:
    """Each switch is tried on both kinds of server."""
    with LocalB2Server(tmp_path / "b2", part_size=1000, child=request.param == "child") as server:
        yield server


def test_planned_failures_hit_only_their_calls(
    b2: LocalB2Server, client: httpx.Client, bucket_id: str
):
    b2.faults.fail_next(
        "b2_get_upload_url",
        status=429,
        code="too_many_requests",
        times=2,
        skip=1,
        retry_after=7,
    )
    seen = [call(client, "b2_get_upload_url", bucketId=bucket_id) for _ in range(4)]
    assert [answer.status_code for answer in seen] == [200, 429, 429, 200]
    assert refusal(seen[1]) == (429, "too_many_requests")
    assert [answer.headers.get("Retry-After") for answer in seen] == [None, "7", "7", None]
    assert b2.faults.count("b2_get_upload_url") == 4
    assert b2.faults.count("b2_hide_file") == 0


def test_a_failed_upload_stores_nothing(b2: LocalB2Server, client: httpx.Client, bucket_id: str):
    b2.faults.fail_next("b2_upload_file")
    answer = upload(client, bucket_id, "name", b"x" * 2_000_000)
    assert refusal(answer) == (503, "service_unavailable")
    assert b2.versions(bucket_id) == []
    assert stored(client, bucket_id, "name")["size"] == 1


def test_expired_tokens_are_all_expired_once(
    b2: LocalB2Server, client: httpx.Client, bucket_id: str
):
    url = call(client, "b2_get_upload_url", bucketId=bucket_id).json()
    b2.faults.expire_tokens()
    assert refusal(call(client, "b2_list_buckets")) == (401, "expired_auth_token")
    headers = {"Authorization": url["authorizationToken"]}
    late = client.post(url["uploadUrl"], content=b"", headers=headers)
    assert refusal(late) == (401, "expired_auth_token")
    login(client, b2.key_id, b2.key)
    assert call(client, "b2_list_buckets").status_code == 200


def test_the_work_of_a_lost_answer_is_done(b2: LocalB2Server, client: httpx.Client, bucket_id: str):
    b2.faults.lose_answer("b2_upload_file")
    with pytest.raises(NO_ANSWER):
        upload(client, bucket_id, "plain", b"abc")
    b2.faults.lose_answer("b2_start_large_file")
    with pytest.raises(NO_ANSWER):
        start(client, bucket_id, "large")
    file_id = b2.unfinished(bucket_id)[0]["fileId"]
    parts = [b"a" * 1000, b"b"]
    for number, part in enumerate(parts, start=1):
        upload_part(client, file_id, number, part).raise_for_status()
    b2.faults.lose_answer("b2_finish_large_file")
    with pytest.raises(NO_ANSWER):
        finish(client, file_id, parts)
    assert [(found["fileName"], found["size"]) for found in b2.versions(bucket_id)] == [
        ("large", 1001),
        ("plain", 3),
    ]
    assert refusal(finish(client, file_id, parts)) == (400, "bad_request")


@pytest.mark.parametrize("after", [0, 1, 1_500_000])
def test_a_cut_download_brings_the_bytes_before_the_cut(
    b2: LocalB2Server, client: httpx.Client, bucket_id: str, after: int
):
    data = bytes(range(256)) * 10_000
    file_id = stored(client, bucket_id, "name", data)["fileId"]
    b2.faults.cut_download(after)
    got = bytearray()
    with pytest.raises(CUT):
        follow(client, got.extend)
    assert got == data[:after]
    assert download(client, file_id).content == data


def test_a_slow_download_takes_its_time(b2: LocalB2Server, client: httpx.Client, bucket_id: str):
    file_id = stored(client, bucket_id, "name", b"x" * 1000)["fileId"]
    b2.faults.slow_down(5000)
    began = time.monotonic()
    assert download(client, file_id).content == b"x" * 1000
    assert time.monotonic() - began > 0.14  # three pauses lie between four pieces
    b2.faults.slow_down(None)


def test_a_short_listing_looks_complete(b2: LocalB2Server, client: httpx.Client, bucket_id: str):
    for number in range(5):
        stored(client, bucket_id, str(number))
    b2.faults.short_listing(2)
    listing = {"bucketId": bucket_id, "maxFileCount": 3}
    found = call(client, "b2_list_file_versions", **listing).json()
    assert [file["fileName"] for file in found["files"]] == ["0", "1"]
    assert (found["nextFileName"], found["nextFileId"]) == (None, None)
    b2.faults.short_listing(None)
    assert len(call(client, "b2_list_file_versions", **listing).json()["files"]) == 3


def test_a_server_that_is_down_answers_nothing_until_it_is_back(
    b2: LocalB2Server, client: httpx.Client, bucket_id: str
):
    stored(client, bucket_id, "name", b"abc")
    b2.faults.go_down()
    with pytest.raises(NO_ANSWER):
        call(client, "b2_list_buckets")
    with open_client(b2.url) as other, pytest.raises(NO_ANSWER):
        login(other, b2.key_id, b2.key)
    b2.faults.come_back()
    assert client.get("/file/backups-of-tests/name").content == b"abc"


def test_a_download_breaks_off_when_the_server_goes_down(
    b2: LocalB2Server, client: httpx.Client, bucket_id: str
):
    stored(client, bucket_id, "name", b"x" * 20_000_000)
    with pytest.raises(CUT):
        follow(client, lambda _: b2.faults.go_down())
    b2.faults.come_back()


def test_bytes_change_behind_our_back(b2: LocalB2Server, client: httpx.Client, bucket_id: str):
    file_id = start(client, bucket_id, "large")
    parts = [b"a" * 1000, b"b" * 10]
    for number, part in enumerate(parts, start=1):
        upload_part(client, file_id, number, part).raise_for_status()
    finish(client, file_id, parts).raise_for_status()
    b2.faults.damage(file_id, at=1003)
    damaged = download(client, file_id).content
    assert damaged == b"a" * 1000 + b"bbb" + bytes([ord("b") ^ 0xFF]) + b"b" * 6
    b2.faults.replace_bytes(file_id, "other bytes")
    assert download(client, file_id).content == b"other bytes"
    assert b2.versions(bucket_id)[0]["size"] == 11
    assert len(b2.blobs()) == 1


def test_a_version_or_only_its_bytes_go_missing(
    b2: LocalB2Server, client: httpx.Client, bucket_id: str
):
    kept = stored(client, bucket_id, "kept", b"abc")["fileId"]
    gone = stored(client, bucket_id, "gone", b"abc")["fileId"]
    b2.faults.remove(gone)
    b2.faults.lose_bytes(kept)
    assert [found["fileName"] for found in b2.versions(bucket_id)] == ["kept"]
    assert refusal(download(client, gone)) == (404, "not_found")
    with pytest.raises(CUT):
        download(client, kept)
    assert b2.blobs() == []


def test_entries_are_inserted_without_bytes(
    b2: LocalB2Server, client: httpx.Client, bucket_id: str
):
    b2.faults.fill(bucket_id, "p/", count=3, size=7)
    found = [(file["fileName"], file["size"]) for file in b2.versions(bucket_id)]
    assert found == [("p/0000000000", 7), ("p/0000000001", 7), ("p/0000000002", 7)]
    stored(client, bucket_id, "p/0000000000")
    assert len({file["fileId"] for file in b2.versions(bucket_id)}) == 4


def test_reset_takes_everything_back(b2: LocalB2Server, client: httpx.Client, bucket_id: str):
    stored(client, bucket_id, "name")
    b2.faults.fail_next("*", times=9)
    b2.faults.lose_answer("*", times=9)
    b2.faults.cut_download(0, times=9)
    b2.faults.short_listing(0)
    b2.faults.hold("*")
    b2.faults.reset()
    assert client.get("/file/backups-of-tests/name").content == b"x"
    assert len(b2.versions(bucket_id)) == 1


@pytest.mark.parametrize(
    ("mode", "codes"),
    [
        ("force_cap_exceeded", {(403, "storage_cap_exceeded")}),
        ("fail_some_uploads", {(503, "service_unavailable"), (200, "")}),
    ],
)
def test_b2s_test_modes_of_uploads(
    client: httpx.Client, bucket_id: str, mode: str, codes: set[tuple[int, str]]
):
    seen = set()
    for _ in range(4):
        answer = upload(client, bucket_id, "a", b"", headers={"X-Bz-Test-Mode": mode})
        seen.add((200, "") if answer.status_code == 200 else refusal(answer))
    assert seen == codes


def test_b2s_test_mode_of_tokens(client: httpx.Client):
    mode = {"X-Bz-Test-Mode": "expire_some_account_authorization_tokens"}
    seen = [
        client.post("/b2api/v4/b2_list_buckets", json={}, headers=mode).status_code
        for _ in range(6)
    ]
    assert sorted(seen) == [200, 200, 200, 200, 401, 401]


def test_without_faults_there_are_no_switches(tmp_path: Path):
    with LocalB2Server(tmp_path / "plain", child=True, with_faults=False) as b2:
        answer = httpx.post(f"{b2.url}/faults/expire_tokens", json={}, verify=False)
        assert answer.status_code in (404, 405)
        assert b2.bucket("a-bucket")


def test_a_switch_that_does_not_exist_is_refused(b2: LocalB2Server):
    with open_client(b2.url) as client:
        assert refusal(client.post("/faults/attach", json={})) == (404, "not_found")
        wrong = client.post("/faults/fail_next", json={"operations": "x"})
        assert refusal(wrong) == (400, "bad_request")
