"""Large files in the local B2: parts, their checks, finishing, cancelling, ten thousand parts."""

import hashlib
import os
from io import BytesIO

import httpx
import pytest
from b2sdk.v3 import Bucket

from tests.fakes.local_b2_client import (
    call,
    download,
    finish,
    refusal,
    sha1_of,
    start,
    stored,
    upload_part,
)
from tests.fakes.local_b2_server import LocalB2Server

PARTS = [b"a" * 1000, b"b" * 1001, b"c"]
WHOLE = b"".join(PARTS)


def finished(client: httpx.Client, bucket_id: str, parts: list[bytes] = PARTS) -> str:
    file_id = start(client, bucket_id, "large")
    for number, part in enumerate(parts, start=1):
        upload_part(client, file_id, number, part).raise_for_status()
    finish(client, file_id, parts).raise_for_status()
    return file_id


def test_what_b2sdk_uploads_in_parts_comes_back_whole(bucket: Bucket):
    data = os.urandom(57_001)
    made = bucket.upload_bytes(data, "large")
    sink = BytesIO()
    bucket.download_file_by_id(made.id_).save(sink)
    assert sink.getvalue() == data
    assert (made.size, made.content_sha1) == (57_001, "none")


def test_the_parts_become_one_file(b2: LocalB2Server, client: httpx.Client, bucket_id: str):
    file_id = finished(client, bucket_id)
    assert b2.unfinished(bucket_id) == []
    assert [
        (found["action"], found["size"], found["contentSha1"]) for found in b2.versions(bucket_id)
    ] == [("upload", 2002, "none")]
    assert download(client, file_id).content == WHOLE
    assert client.get("/file/backups-of-tests/large").content == WHOLE


@pytest.mark.parametrize(
    ("first", "last"), [(0, 0), (999, 1000), (1000, 1000), (1999, 2001), (500, 2001), (2001, 2001)]
)
def test_a_range_may_cross_parts(client: httpx.Client, bucket_id: str, first: int, last: int):
    answer = download(client, finished(client, bucket_id), Range=f"bytes={first}-{last}")
    assert answer.content == WHOLE[first : last + 1]
    assert answer.headers["Content-Range"] == f"bytes {first}-{last}/2002"


def test_an_unfinished_file_is_listed_but_cannot_be_read(
    b2: LocalB2Server, client: httpx.Client, bucket_id: str
):
    file_id = start(client, bucket_id, "large")
    upload_part(client, file_id, 1, PARTS[0])
    assert [found["fileId"] for found in b2.unfinished(bucket_id)] == [file_id]
    assert [found["action"] for found in b2.versions(bucket_id)] == ["start"]
    names = call(client, "b2_list_file_names", bucketId=bucket_id).json()
    assert names == {"files": [], "nextFileName": None}
    assert refusal(download(client, file_id)) == (404, "not_found")
    parts = call(client, "b2_list_parts", fileId=file_id).json()
    assert parts["nextPartNumber"] is None
    assert [
        (part["partNumber"], part["contentLength"], part["contentSha1"]) for part in parts["parts"]
    ] == [(1, 1000, sha1_of(PARTS[0]))]


def test_parts_are_listed_in_pages(client: httpx.Client, bucket_id: str):
    file_id = start(client, bucket_id, "large")
    for number in (3, 1, 2):
        upload_part(client, file_id, number, b"x").raise_for_status()
    first = call(client, "b2_list_parts", fileId=file_id, maxPartCount=2).json()
    assert [part["partNumber"] for part in first["parts"]] == [1, 2]
    assert first["nextPartNumber"] == 3
    rest = call(client, "b2_list_parts", fileId=file_id, startPartNumber=3, maxPartCount=2).json()
    assert [part["partNumber"] for part in rest["parts"]] == [3]
    assert rest["nextPartNumber"] is None


def test_a_part_sent_again_takes_the_place_of_the_first(
    b2: LocalB2Server, client: httpx.Client, bucket_id: str
):
    file_id = start(client, bucket_id, "large")
    for number, part in ((1, b"z" * 1000), (2, b"y"), (1, b"x" * 1000)):
        upload_part(client, file_id, number, part).raise_for_status()
    finish(client, file_id, [b"x" * 1000, b"y"]).raise_for_status()
    assert download(client, file_id).content == b"x" * 1000 + b"y"
    assert sorted(path.stat().st_size for path in b2.blobs()) == [1, 1000]


@pytest.mark.parametrize(
    ("sent", "told", "code"),
    [
        ([b"a" * 1000], [b"a" * 1000], "bad_request"),
        ([b"a" * 1000], [b"a" * 1000, b"b"], "missing_part"),
        ([b"a" * 1000, b"b", b"c"], [b"a" * 1000, b"b"], "bad_request"),
        ([b"a" * 1000, b"b"], [b"a" * 1000, b"c"], "part_sha1_mismatch"),
        ([b"a" * 999, b"b"], [b"a" * 999, b"b"], "bad_request"),
    ],
)
def test_what_does_not_fit_is_not_finished(
    b2: LocalB2Server,
    client: httpx.Client,
    bucket_id: str,
    sent: list[bytes],
    *,
    told: list[bytes],
    code: str,
):
    file_id = start(client, bucket_id, "large")
    for number, part in enumerate(sent, start=1):
        upload_part(client, file_id, number, part).raise_for_status()
    assert refusal(finish(client, file_id, told)) == (400, code)
    assert [found["fileId"] for found in b2.unfinished(bucket_id)] == [file_id]


def test_finishing_or_cancelling_twice_is_refused(client: httpx.Client, bucket_id: str):
    file_id = finished(client, bucket_id)
    assert refusal(finish(client, file_id, PARTS)) == (400, "bad_request")
    assert refusal(call(client, "b2_cancel_large_file", fileId=file_id)) == (400, "bad_request")
    assert call(client, "b2_get_file_info", fileId=file_id).json()["action"] == "upload"
    url = call(client, "b2_get_upload_part_url", fileId=file_id)
    assert refusal(url) == (400, "bad_request")
    assert download(client, file_id).content == WHOLE


def test_cancelling_frees_the_parts(b2: LocalB2Server, client: httpx.Client, bucket_id: str):
    file_id = start(client, bucket_id, "large")
    upload_part(client, file_id, 1, PARTS[0]).raise_for_status()
    url = call(client, "b2_get_upload_part_url", fileId=file_id).json()
    answer = call(client, "b2_cancel_large_file", fileId=file_id).json()
    assert (answer["fileId"], answer["fileName"]) == (file_id, "large")
    assert (b2.versions(bucket_id), b2.blobs()) == ([], [])
    headers = {
        "Authorization": url["authorizationToken"],
        "X-Bz-Part-Number": "2",
        "X-Bz-Content-Sha1": sha1_of(b"x"),
    }
    late = client.post(url["uploadUrl"], content=b"x", headers=headers)
    assert refusal(late) == (400, "bad_request")
    assert b2.blobs() == []


@pytest.mark.parametrize("number", [0, 10_001, -1])
def test_a_part_number_outside_one_to_ten_thousand_is_refused(
    client: httpx.Client, bucket_id: str, number: int
):
    file_id = start(client, bucket_id, "large")
    assert refusal(upload_part(client, file_id, number, b"x")) == (400, "bad_request")


def test_a_part_url_belongs_to_one_file(client: httpx.Client, bucket_id: str):
    one, other = start(client, bucket_id, "one"), start(client, bucket_id, "other")
    url = call(client, "b2_get_upload_part_url", fileId=one).json()
    headers = {
        "Authorization": url["authorizationToken"],
        "X-Bz-Part-Number": "1",
        "X-Bz-Content-Sha1": sha1_of(b"x"),
    }
    answer = client.post(url["uploadUrl"].replace(one, other), content=b"x", headers=headers)
    assert refusal(answer) == (401, "bad_auth_token")
    assert call(client, "b2_list_parts", fileId=other).json()["parts"] == []


def test_a_range_can_be_copied_into_a_part(client: httpx.Client, bucket_id: str):
    source = stored(client, bucket_id, "source", b"0123456789" * 100)["fileId"]
    file_id = start(client, bucket_id, "large")
    copied = {"sourceFileId": source, "largeFileId": file_id}
    call(client, "b2_copy_part", **copied, partNumber=1).raise_for_status()
    call(client, "b2_copy_part", **copied, partNumber=2, range="bytes=5-7").raise_for_status()
    finish(client, file_id, [b"0123456789" * 100, b"567"]).raise_for_status()
    assert download(client, file_id).content == b"0123456789" * 100 + b"567"


@pytest.mark.timeout(120)  # 20,000 requests' worth of files on a busy machine
def test_ten_thousand_parts_are_finished_and_read_back(
    b2: LocalB2Server, client: httpx.Client, bucket_id: str
):
    """The parts go into the index behind the API: what is tried here is what comes after them."""
    file_id = start(client, bucket_id, "large")
    parts = [number.to_bytes(2, "big") * 500 for number in range(10_000)]
    b2.faults.add_parts(file_id, parts)
    finish(client, file_id, parts).raise_for_status()
    found = call(client, "b2_get_file_info", fileId=file_id).json()
    assert found["size"] == 10_000_000
    whole = b"".join(parts)
    assert hashlib.sha256(download(client, file_id).content).digest() == (
        hashlib.sha256(whole).digest()
    )
    middle = download(client, file_id, Range="bytes=5000999-5001000").content
    assert middle == whole[5000999:5001001]
    call(client, "b2_delete_file_version", fileId=file_id, fileName="large").raise_for_status()
    assert b2.blobs() == []
