"""Plain files in the local B2: upload, download, ranges, info, hide, delete, copy, locks."""

import base64
import hashlib
import time
from io import BytesIO
from urllib.parse import quote

import httpx
import pytest
from b2sdk.v3 import (
    SSE_B2_AES,
    Bucket,
    EncryptionAlgorithm,
    EncryptionKey,
    EncryptionMode,
    EncryptionSetting,
)
from b2sdk.v3.exception import FileNotPresent, SSECKeyError

from tests.fakes.local_b2_client import (
    call,
    download,
    open_client,
    refusal,
    sha1_of,
    stored,
    upload,
)
from tests.fakes.local_b2_server import LocalB2Server


def test_what_b2sdk_uploads_comes_back_by_id_and_by_name(bucket: Bucket):
    made = bucket.upload_bytes(b"some bytes", "a folder/ü+ %.txt", file_info={"color": "blau ü"})
    for found in (
        bucket.download_file_by_id(made.id_),
        bucket.download_file_by_name("a folder/ü+ %.txt"),
    ):
        sink = BytesIO()
        found.save(sink)
        assert sink.getvalue() == b"some bytes"
        assert found.download_version.file_name == "a folder/ü+ %.txt"
        assert found.download_version.file_info["color"] == "blau ü"
        assert found.download_version.content_sha1 == sha1_of(b"some bytes")
        assert found.download_version.content_sha1_verified


def test_an_upload_tells_everything_about_the_version(client: httpx.Client, bucket_id: str):
    before = int(time.time() * 1000)
    found = upload(
        client, bucket_id, "a.json", b"{}", headers={"X-Bz-Info-Author": "me%20too"}
    ).json()
    assert before <= found.pop("uploadTimestamp") <= time.time() * 1000
    file_id, account_id = found.pop("fileId"), found.pop("accountId")
    assert file_id.startswith("4_z")
    assert account_id
    assert found == {
        "action": "upload",
        "bucketId": bucket_id,
        "contentLength": 2,
        "contentMd5": None,
        "contentSha1": sha1_of(b"{}"),
        "contentType": "application/json",
        "fileInfo": {"author": "me too"},
        "fileName": "a.json",
        "fileRetention": {
            "isClientAuthorizedToRead": True,
            "value": {"mode": None, "retainUntilTimestamp": None},
        },
        "legalHold": {"isClientAuthorizedToRead": True, "value": None},
        "replicationStatus": None,
        "serverSideEncryption": {"mode": None, "algorithm": None},
        "size": 2,
    }
    again = call(client, "b2_get_file_info", fileId=file_id).json()
    del again["uploadTimestamp"], again["fileId"], again["accountId"]
    assert again == found


def test_the_sha1_may_come_after_the_bytes(client: httpx.Client, bucket_id: str):
    data = b"abc" * 1_000_000
    sent = data + sha1_of(data).encode()
    made = upload(client, bucket_id, "late", sent, sha1="hex_digits_at_end").json()
    assert (made["contentLength"], made["contentSha1"]) == (len(data), sha1_of(data))
    assert download(client, made["fileId"]).content == data


@pytest.mark.parametrize("told", ["do_not_verify", "unverified:" + "0" * 40])
def test_an_unverified_sha1_is_marked_so(client: httpx.Client, bucket_id: str, told: str):
    made = upload(client, bucket_id, "trusted", b"abc", sha1=told).json()
    assert made["contentSha1"] == "unverified:" + sha1_of(b"abc")


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        (b"abc", sha1_of(b"abd")),
        (b"abc", "no sha1"),
        (b"abc", ""),
        (b"abc" + sha1_of(b"abd").encode(), "hex_digits_at_end"),
        (b"abc", "hex_digits_at_end"),
        (b"abc", "unverified:abc"),
    ],
)
def test_a_wrong_sha1_is_refused_and_leaves_nothing(
    b2: LocalB2Server, client: httpx.Client, bucket_id: str, sent: bytes, told: str
):
    assert refusal(upload(client, bucket_id, "bad", sent, sha1=told)) == (400, "bad_request")
    assert b2.versions(bucket_id) == []
    b2.__exit__(None, None, None)  # waits for what is under way
    assert b2.blobs() == []
    b2.__enter__()


@pytest.mark.parametrize(
    "name",
    ["", "/a", "a/", "a//b", "a%00b", "a%7Fb", "x" * 1025, "x" * 251 + "/a", "%FF"],
)
def test_a_name_that_b2_does_not_allow_is_refused(client: httpx.Client, bucket_id: str, name: str):
    assert refusal(upload(client, bucket_id, name, b"abc")) == (400, "bad_request")


def test_too_much_or_unsafe_file_info_is_refused(client: httpx.Client, bucket_id: str):
    many = {f"X-Bz-Info-n{number}": "1" for number in range(11)}
    assert refusal(upload(client, bucket_id, "a", b"", headers=many)) == (400, "bad_request")
    split = {"X-Bz-Info-b2-cache-control": "a%0D%0ASet-Cookie:%20b"}
    assert refusal(upload(client, bucket_id, "a", b"", headers=split)) == (400, "bad_request")


@pytest.mark.parametrize(
    ("asked", "body", "told"),
    [
        ("bytes=0-0", b"0", "bytes 0-0/10"),
        ("bytes=3-5", b"345", "bytes 3-5/10"),
        ("bytes=7-", b"789", "bytes 7-9/10"),
        ("bytes=7-99", b"789", "bytes 7-9/10"),
        ("bytes=-3", b"789", "bytes 7-9/10"),
        ("bytes=-99", b"0123456789", "bytes 0-9/10"),
        ("bytes=a-b", b"0123456789", None),
        ("bytes=1-2,4-5", b"0123456789", None),
    ],
)
def test_a_range_gives_these_bytes(
    client: httpx.Client, bucket_id: str, asked: str, body: bytes, told: str | None
):
    made = stored(client, bucket_id, "ten", b"0123456789")
    for answer in (
        download(client, made["fileId"], Range=asked),
        client.get("/file/backups-of-tests/ten", headers={"Range": asked}),
    ):
        assert (answer.status_code, answer.content) == (206 if told else 200, body)
        assert answer.headers.get("Content-Range") == told


@pytest.mark.parametrize(
    ("data", "asked"), [(b"abc", "bytes=3-"), (b"abc", "bytes=2-1"), (b"", "bytes=0-")]
)
def test_a_range_outside_the_file_cannot_be_satisfied(
    client: httpx.Client, bucket_id: str, data: bytes, asked: str
):
    made = stored(client, bucket_id, "short", data)
    answer = download(client, made["fileId"], Range=asked)
    assert refusal(answer) == (416, "range_not_satisfiable")


def test_head_tells_what_get_would(client: httpx.Client, bucket_id: str):
    made = stored(client, bucket_id, "a b.txt", b"0123456789")
    answer = client.head("/file/backups-of-tests/a%20b.txt")
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["Content-Length"] == "10"
    assert answer.headers["Content-Type"] == "text/plain"
    assert answer.headers["X-Bz-File-Id"] == made["fileId"]
    assert answer.headers["X-Bz-File-Name"] == "a%20b.txt"
    assert answer.headers["X-Bz-Content-Sha1"] == sha1_of(b"0123456789")
    assert answer.headers["X-Bz-Upload-Timestamp"] == str(made["uploadTimestamp"])
    assert "Date" in answer.headers


def test_b2_infos_become_headers_that_a_reader_may_override(client: httpx.Client, bucket_id: str):
    info = {"X-Bz-Info-b2-content-disposition": quote('attachment; filename="a"')}
    made = upload(client, bucket_id, "a", b"", headers=info).json()
    assert download(client, made["fileId"]).headers["Content-Disposition"] == (
        'attachment; filename="a"'
    )
    answer = client.get("/file/backups-of-tests/a", params={"b2ContentDisposition": "inline"})
    assert answer.headers["Content-Disposition"] == "inline"


def test_what_is_not_there_is_not_found(client: httpx.Client, bucket_id: str):
    made = stored(client, bucket_id, "there")
    gone = stored(client, bucket_id, "gone")["fileId"]
    call(client, "b2_delete_file_version", fileId=gone, fileName="gone").raise_for_status()
    assert refusal(download(client, gone)) == (404, "not_found")
    assert refusal(call(client, "b2_get_file_info", fileId=gone)) == (404, "not_found")
    assert refusal(client.get("/file/backups-of-tests/gone")) == (404, "not_found")
    assert refusal(client.get("/file/no-such-bucket/gone")) == (404, "not_found")
    assert refusal(download(client, "nonsense")) == (400, "bad_request")
    again = call(client, "b2_delete_file_version", fileId=gone, fileName="gone")
    assert refusal(again) == (400, "file_not_present")
    other = call(client, "b2_delete_file_version", fileId=made["fileId"], fileName="gone")
    assert refusal(other) == (400, "file_not_present")
    assert download(client, made["fileId"]).content == b"x"


def test_deleting_a_version_frees_its_bytes(b2: LocalB2Server, bucket: Bucket, bucket_id: str):
    old = bucket.upload_bytes(b"old", "name")
    new = bucket.upload_bytes(b"new", "name")
    bucket.delete_file_version(new.id_, "name")
    assert [found["fileId"] for found in b2.versions(bucket_id)] == [old.id_]
    assert [path.read_bytes() for path in b2.blobs()] == [b"old"]
    with pytest.raises(FileNotPresent):
        bucket.get_file_info_by_id(new.id_)


def test_a_hidden_file_is_gone_by_name_but_not_by_id(client: httpx.Client, bucket_id: str):
    made = stored(client, bucket_id, "name", b"abc")
    marker = call(client, "b2_hide_file", bucketId=bucket_id, fileName="name").json()
    assert (marker["action"], marker["size"], marker["contentSha1"]) == ("hide", 0, None)
    assert refusal(client.get("/file/backups-of-tests/name")) == (404, "not_found")
    assert download(client, made["fileId"]).content == b"abc"
    hide_again = call(client, "b2_hide_file", bucketId=bucket_id, fileName="name")
    assert refusal(hide_again) == (400, "already_hidden")
    unknown = call(client, "b2_hide_file", bucketId=bucket_id, fileName="unknown")
    assert refusal(unknown) == (400, "no_such_file")
    call(client, "b2_delete_file_version", fileId=marker["fileId"], fileName="name")
    assert client.get("/file/backups-of-tests/name").content == b"abc"


def test_a_copy_has_bytes_of_its_own(bucket: Bucket, client: httpx.Client):
    made = bucket.upload_bytes(b"0123456789", "source", file_info={"a": "b"})
    copied = bucket.copy(made.id_, "copy")
    ranged = bucket.copy(made.id_, "ranged", offset=2, length=3)
    bucket.delete_file_version(made.id_, "source")
    assert download(client, copied.id_).content == b"0123456789"
    assert copied.file_info == {"a": "b"}
    assert download(client, ranged.id_).content == b"234"


def test_sse_b2_is_told_again(bucket: Bucket):
    made = bucket.upload_bytes(b"abc", "sealed", encryption=SSE_B2_AES)
    assert made.server_side_encryption == SSE_B2_AES
    assert bucket.get_file_info_by_id(made.id_).server_side_encryption == SSE_B2_AES
    found = bucket.download_file_by_id(made.id_).download_version
    assert found.server_side_encryption == SSE_B2_AES


def test_a_customer_key_is_needed_to_read_what_it_sealed(bucket: Bucket, client: httpx.Client):
    right = EncryptionSetting(
        EncryptionMode.SSE_C, EncryptionAlgorithm.AES256, EncryptionKey(b"a" * 32, "one")
    )
    wrong = EncryptionSetting(
        EncryptionMode.SSE_C, EncryptionAlgorithm.AES256, EncryptionKey(b"b" * 32, "two")
    )
    made = bucket.upload_bytes(b"abc", "sealed", encryption=right)
    sink = BytesIO()
    bucket.download_file_by_id(made.id_, encryption=right).save(sink)
    assert sink.getvalue() == b"abc"
    with pytest.raises(SSECKeyError):
        bucket.download_file_by_id(made.id_, encryption=wrong)
    assert refusal(download(client, made.id_)) == (400, "bad_request")


def test_a_customer_key_must_fit_its_md5(client: httpx.Client, bucket_id: str):
    prefix = "X-Bz-Server-Side-Encryption-Customer"
    headers = {
        f"{prefix}-Algorithm": "AES256",
        f"{prefix}-Key": base64.b64encode(b"a" * 32).decode(),
        f"{prefix}-Key-Md5": base64.b64encode(hashlib.md5(b"b" * 32).digest()).decode(),
    }
    answer = upload(client, bucket_id, "a", b"", headers=headers)
    assert refusal(answer) == (400, "bad_request")


def test_a_retention_keeps_a_version_and_governance_can_be_bypassed(
    b2: LocalB2Server, client: httpx.Client
):
    bucket_id = b2.bucket("locked-bucket", fileLockEnabled=True)
    later = str(int(time.time() * 1000) + 3_600_000)
    headers = {
        "X-Bz-File-Retention-Mode": "governance",
        "X-Bz-File-Retention-Retain-Until-Timestamp": later,
    }
    made = upload(client, bucket_id, "kept", b"abc", headers=headers).json()
    names = {"fileId": made["fileId"], "fileName": "kept"}
    assert made["fileRetention"]["value"]["mode"] == "governance"
    assert refusal(call(client, "b2_delete_file_version", **names)) == (401, "access_denied")
    hold = call(client, "b2_update_file_legal_hold", **names, legalHold="on")
    assert hold.json()["legalHold"] == "on"
    bypassed = call(client, "b2_delete_file_version", **names, bypassGovernance=True)
    assert refusal(bypassed) == (401, "access_denied")
    call(client, "b2_update_file_legal_hold", **names, legalHold="off").raise_for_status()
    bypassed = call(client, "b2_delete_file_version", **names, bypassGovernance=True)
    assert bypassed.json() == names
    assert b2.versions(bucket_id) == []


def test_an_upload_url_takes_one_upload_at_a_time(
    b2: LocalB2Server, client: httpx.Client, bucket_id: str
):
    url = call(client, "b2_get_upload_url", bucketId=bucket_id).json()
    headers = {
        "Authorization": url["authorizationToken"],
        "X-Bz-File-Name": "a",
        "X-Bz-Content-Sha1": "do_not_verify",
    }
    seen: list[tuple[int, str]] = []

    def body():
        yield b"x"
        assert b2.versions(bucket_id) == []  # a whole call: the first block has long arrived
        with open_client(b2.url) as other:
            seen.append(refusal(other.post(url["uploadUrl"], content=b"y", headers=headers)))
        yield b"z"

    first = client.post(
        url["uploadUrl"], content=body(), headers={**headers, "Content-Length": "2"}
    )
    assert first.json()["size"] == 2
    assert seen == [(400, "auth_token_limit")]
    assert client.post(url["uploadUrl"], content=b"y", headers=headers).status_code == 200


def test_a_broken_off_upload_leaves_nothing(
    b2: LocalB2Server, client: httpx.Client, bucket_id: str
):
    class BrokenOff(Exception):
        pass

    def body():
        yield b"x" * 3_000_000
        raise BrokenOff

    url = call(client, "b2_get_upload_url", bucketId=bucket_id).json()
    headers = {
        "Authorization": url["authorizationToken"],
        "X-Bz-File-Name": "a",
        "X-Bz-Content-Sha1": "do_not_verify",
        "Content-Length": "4000000",
    }
    with open_client(b2.url) as other, pytest.raises(BrokenOff):
        other.post(url["uploadUrl"], content=body(), headers=headers)
    b2.__exit__(None, None, None)  # waits for what is under way
    assert b2.blobs() == []
    b2.__enter__()
    assert b2.versions(bucket_id) == []
