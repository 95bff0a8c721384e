"""Keys, tokens and buckets of the local B2: what a key does not allow is refused."""

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from b2sdk.v3 import B2Api

from app.errors import StartError
from app.storage.local import EMBEDDED_KEY_PREFIX, create_local_b2, local_credentials
from tests.fakes.local_b2_client import (
    call,
    download,
    login,
    open_client,
    refusal,
    start,
    stored,
    upload,
)
from tests.fakes.local_b2_server import LocalB2Server

NEEDED = {
    "b2_list_buckets": "listBuckets",
    "b2_create_bucket": "writeBuckets",
    "b2_update_bucket": "writeBuckets",
    "b2_delete_bucket": "deleteBuckets",
    "b2_get_bucket_notification_rules": "readBucketNotifications",
    "b2_set_bucket_notification_rules": "writeBucketNotifications",
    "b2_create_key": "writeKeys",
    "b2_list_keys": "listKeys",
    "b2_delete_key": "deleteKeys",
    "b2_get_download_authorization": "shareFiles",
    "b2_get_upload_url": "writeFiles",
    "b2_start_large_file": "writeFiles",
    "b2_get_upload_part_url": "writeFiles",
    "b2_list_parts": "writeFiles",
    "b2_finish_large_file": "writeFiles",
    "b2_cancel_large_file": "writeFiles",
    "b2_copy_file": "writeFiles",
    "b2_copy_part": "writeFiles",
    "b2_get_file_info": "readFiles",
    "b2_hide_file": "writeFiles",
    "b2_delete_file_version": "deleteFiles",
    "b2_update_file_retention": "writeFileRetentions",
    "b2_update_file_legal_hold": "writeFileLegalHolds",
    "b2_list_file_names": "listFiles",
    "b2_list_file_versions": "listFiles",
    "b2_list_unfinished_large_files": "listFiles",
}
ALL = sorted(set(NEEDED.values()))
WORKER = ["listBuckets", "listFiles", "readFiles", "writeFiles", "deleteFiles"]


@pytest.fixture
def limited(b2: LocalB2Server, bucket_id: str) -> Iterator[httpx.Client]:
    """A client whose key sees the prefix `mine/` of the bucket only."""
    with open_client(b2.url) as client:
        login(client, *b2.create_key(WORKER, bucket_id=bucket_id, prefix="mine/"))
        yield client


@pytest.mark.parametrize("operation", NEEDED)
def test_an_operation_needs_its_capability(b2: LocalB2Server, bucket_id: str, operation: str):
    fields = {"bucketId": bucket_id, "fileId": "4_z", "fileName": "a", "bucketName": "nothing"}
    with open_client(b2.url) as client:
        others = [name for name in ALL if name != NEEDED[operation]]
        login(client, *b2.create_key(others))
        answer = call(client, operation, **fields)
        assert refusal(answer) == (401, "unauthorized")
        assert NEEDED[operation] in answer.json()["message"]
        login(client, *b2.create_key([NEEDED[operation]]))
        allowed = call(client, operation, **fields)
        assert f"lacks the capability {NEEDED[operation]}" not in allowed.text


def test_reading_needs_a_capability(b2: LocalB2Server, client: httpx.Client, bucket_id: str):
    made = stored(client, bucket_id, "name")
    with open_client(b2.url) as other:
        login(other, *b2.create_key(["listFiles"]))
        assert refusal(download(other, made["fileId"])) == (401, "unauthorized")
        assert refusal(other.get("/file/backups-of-tests/name")) == (401, "unauthorized")


def test_a_limited_key_works_below_its_prefix(limited: httpx.Client, bucket_id: str):
    made = stored(limited, bucket_id, "mine/a")
    assert download(limited, made["fileId"]).content == b"x"
    listing = call(limited, "b2_list_file_versions", bucketId=bucket_id, prefix="mine/")
    assert [file["fileName"] for file in listing.json()["files"]] == ["mine/a"]
    buckets = call(limited, "b2_list_buckets", bucketId=bucket_id).json()["buckets"]
    assert [bucket["bucketName"] for bucket in buckets] == ["backups-of-tests"]
    names = {"fileId": made["fileId"], "fileName": "mine/a"}
    assert call(limited, "b2_delete_file_version", **names).json() == names


def test_a_limited_key_reaches_nothing_outside_its_prefix(
    client: httpx.Client, limited: httpx.Client, bucket_id: str
):
    other = stored(client, bucket_id, "mine")
    large = start(client, bucket_id, "other/large")
    names = {"fileId": other["fileId"], "fileName": "mine"}
    whole = {"bucketId": bucket_id}
    for answer in (
        upload(limited, bucket_id, "mine", b"x"),
        download(limited, other["fileId"]),
        limited.get("/file/backups-of-tests/mine"),
        call(limited, "b2_get_file_info", fileId=other["fileId"]),
        call(limited, "b2_delete_file_version", **names),
        call(limited, "b2_hide_file", bucketId=bucket_id, fileName="mine"),
        call(limited, "b2_start_large_file", **whole, fileName="other/l", contentType="a/b"),
        call(limited, "b2_get_upload_part_url", fileId=large),
        call(limited, "b2_finish_large_file", fileId=large, partSha1Array=["0" * 40] * 2),
        call(limited, "b2_cancel_large_file", fileId=large),
        call(limited, "b2_list_parts", fileId=large),
        call(limited, "b2_copy_file", sourceFileId=other["fileId"], fileName="mine/copy"),
        call(limited, "b2_list_file_names", **whole),
        call(limited, "b2_list_file_versions", **whole, prefix="min"),
        call(limited, "b2_list_unfinished_large_files", **whole),
        call(limited, "b2_list_buckets"),
    ):
        assert refusal(answer) == (401, "unauthorized")
    assert download(client, other["fileId"]).content == b"x"
    assert [f["fileName"] for f in call(client, "b2_list_file_names", **whole).json()["files"]] == [
        "mine"
    ]


def test_a_limited_key_reaches_no_other_bucket(b2: LocalB2Server, limited: httpx.Client):
    other = b2.bucket("another-bucket")
    for answer in (
        call(limited, "b2_list_file_names", bucketId=other, prefix="mine/"),
        call(limited, "b2_get_upload_url", bucketId=other),
        call(limited, "b2_list_buckets", bucketId=other),
        call(limited, "b2_list_buckets", bucketName="another-bucket"),
        call(limited, "b2_list_buckets", bucketName="no-such-bucket"),
    ):
        assert refusal(answer) == (401, "unauthorized")


def test_a_key_cannot_make_a_stronger_one(b2: LocalB2Server, bucket_id: str):
    with open_client(b2.url) as client:
        login(client, *b2.create_key(["writeKeys", "listFiles"], bucket_id=bucket_id, prefix="p/"))
        weak = {"keyName": "weak", "bucketIds": [bucket_id], "namePrefix": "p/q/"}
        call(client, "b2_create_key", **weak, capabilities=["listFiles"]).raise_for_status()
        for changed in (
            {"capabilities": ["readFiles"]},
            {"namePrefix": "o/"},
            {"namePrefix": None},
            {"bucketIds": None, "namePrefix": None},
        ):
            fields = {"capabilities": ["listFiles"], **weak, **changed}
            assert refusal(call(client, "b2_create_key", **fields)) == (401, "unauthorized")


def test_a_deleted_key_and_its_tokens_are_refused(b2: LocalB2Server, client: httpx.Client):
    key_id, key = b2.create_key(WORKER)
    with open_client(b2.url) as other:
        login(other, key_id, key)
        assert call(other, "b2_list_buckets").status_code == 200
        listed = call(client, "b2_list_keys").json()["keys"]
        assert [found["applicationKeyId"] for found in listed] == [key_id]
        call(client, "b2_delete_key", applicationKeyId=key_id).raise_for_status()
        assert refusal(call(other, "b2_list_buckets")) == (401, "bad_auth_token")
        again = other.get("/b2api/v4/b2_authorize_account", auth=(key_id, key))
        assert refusal(again) == (401, "bad_auth_token")
    assert call(client, "b2_list_keys").json() == {"keys": [], "nextApplicationKeyId": None}


def test_wrong_credentials_and_tokens_are_refused(b2: LocalB2Server, client: httpx.Client):
    path = "/b2api/v4/b2_authorize_account"
    for auth in ((b2.key_id, "wrong"), ("wrong", b2.key), ("", ""), (b2.key_id, "")):
        assert refusal(client.get(path, auth=auth)) == (401, "bad_auth_token")
    good = client.headers["Authorization"]
    for token in ("", "nonsense", good[:-1], good + "0", "4_." + good.partition(".")[2]):
        answer = client.post("/b2api/v4/b2_list_buckets", json={}, headers={"Authorization": token})
        assert refusal(answer) == (401, "bad_auth_token")


def test_tokens_of_one_kind_are_no_tokens_of_another(client: httpx.Client, bucket_id: str):
    made = stored(client, bucket_id, "name")
    url = call(client, "b2_get_upload_url", bucketId=bucket_id).json()
    token = {"Authorization": url["authorizationToken"]}
    assert refusal(download(client, made["fileId"], **token)) == (401, "bad_auth_token")
    listing = client.post("/b2api/v4/b2_list_buckets", json={}, headers=token)
    assert refusal(listing) == (401, "bad_auth_token")
    headers = {"Authorization": client.headers["Authorization"]}
    assert refusal(upload(client, bucket_id, "a", b"", headers=headers)) == (401, "bad_auth_token")


def test_a_download_authorization_reads_its_prefix_only(client: httpx.Client, bucket_id: str):
    stored(client, bucket_id, "shared/a")
    stored(client, bucket_id, "other")
    shared = {"fileNamePrefix": "shared/", "validDurationInSeconds": 60}
    token = call(client, "b2_get_download_authorization", bucketId=bucket_id, **shared).json()[
        "authorizationToken"
    ]
    path = "/file/backups-of-tests"
    del client.headers["Authorization"]
    assert client.get(f"{path}/shared/a", params={"Authorization": token}).content == b"x"
    header = {"Authorization": token}
    assert refusal(client.get(f"{path}/other", headers=header)) == (401, "unauthorized")
    assert refusal(client.get(f"{path}/shared/a")) == (401, "bad_auth_token")


def test_tokens_and_keys_expire(tmp_path: Path):
    """The clock is an argument, so nobody waits for a day."""
    now = [1_800_000_000.0]
    with LocalB2Server(tmp_path, clock=lambda: now[0]) as b2, open_client(b2.url) as client:
        login(client, b2.key_id, b2.key)
        bucket_id = b2.bucket("backups")
        fields = {"capabilities": WORKER, "keyName": "short", "validDurationInSeconds": 90_000}
        made = call(client, "b2_create_key", **fields).json()
        assert made["expirationTimestamp"] == (1_800_000_000 + 90_000) * 1000
        url = call(client, "b2_get_upload_url", bucketId=bucket_id).json()
        now[0] += 24 * 3600 - 1
        assert call(client, "b2_list_buckets").status_code == 200
        now[0] += 1
        assert refusal(call(client, "b2_list_buckets")) == (401, "expired_auth_token")
        headers = {"Authorization": url["authorizationToken"], "X-Bz-File-Name": "a"}
        late = client.post(url["uploadUrl"], content=b"", headers=headers)
        assert refusal(late) == (401, "expired_auth_token")
        key = made["applicationKeyId"], made["applicationKey"]
        login(client, *key)
        now[0] += 3600
        assert refusal(call(client, "b2_list_buckets")) == (401, "expired_auth_token")
        again = client.get("/b2api/v4/b2_authorize_account", auth=key)
        assert refusal(again) == (401, "bad_auth_token")


def test_authorisation_has_the_shape_of_each_api_version(b2: LocalB2Server, bucket_id: str):
    key_id, key = b2.create_key(["listFiles"], bucket_id=bucket_id, prefix="p/")
    sizes = {"recommendedPartSize": 1000, "absoluteMinimumPartSize": 1000}
    addresses = {"apiUrl": b2.url, "downloadUrl": b2.url, "s3ApiUrl": b2.url, **sizes}
    common = {"capabilities": ["listFiles"], "namePrefix": "p/"}
    old = {**common, "bucketId": bucket_id, "bucketName": "backups-of-tests"}
    kind = {"infoType": "storageApi"}
    new = {**common, "buckets": [{"id": bucket_id, "name": "backups-of-tests"}]}
    v1: dict[str, Any] = {**addresses, "allowed": old, "minimumPartSize": 1000}
    expected = {
        1: v1,
        2: v1,
        3: {"apiInfo": {"storageApi": {**kind, **addresses, **old}}},
        4: {"apiInfo": {"storageApi": {**kind, **addresses, "allowed": new}}},
    }
    for version, shape in expected.items():
        with open_client(b2.url) as client:
            found = login(client, key_id, key, version=version)
            posted = client.post(f"/b2api/v{version}/b2_authorize_account", auth=(key_id, key))
        assert set(posted.json()) == set(found)
        assert found.pop("authorizationToken")
        assert found.pop("accountId")
        assert found.pop("applicationKeyExpirationTimestamp") is None
        assert found == shape


def test_reads_may_be_get_requests(client: httpx.Client, bucket_id: str):
    stored(client, bucket_id, "a")
    params = {"bucketId": bucket_id, "maxFileCount": "1"}
    answer = client.get("/b2api/v3/b2_list_file_names", params=params)
    assert [file["fileName"] for file in answer.json()["files"]] == ["a"]


def test_settings_of_a_bucket_are_hidden_from_keys_that_may_not_read_them(
    b2: LocalB2Server, client: httpx.Client, bucket_id: str
):
    hidden = {"isClientAuthorizedToRead": False, "value": None}
    names = (
        "defaultServerSideEncryption",
        "fileLockConfiguration",
        "replicationConfiguration",
    )
    with open_client(b2.url) as other:
        login(other, *b2.create_key(["listBuckets"]))
        seen = call(other, "b2_list_buckets").json()["buckets"][0]
    assert [seen[name] for name in names] == [hidden] * 3
    all_seen = call(client, "b2_list_buckets", bucketId=bucket_id).json()["buckets"][0]
    assert [all_seen[name]["isClientAuthorizedToRead"] for name in names] == [True] * 3


def test_a_bucket_goes_through_its_life(sdk: B2Api, client: httpx.Client):
    rule = {
        "fileNamePrefix": "p/",
        "daysFromHidingToDeleting": 1,
        "daysFromUploadingToHiding": None,
        "daysFromStartingToCancelingUnfinishedLargeFiles": 2,
    }
    made = sdk.create_bucket("a-new-bucket", "allPrivate", lifecycle_rules=[rule])
    assert (made.lifecycle_rules, made.revision) == ([rule], 1)
    changed = made.update(bucket_type="allPublic", bucket_info={"a": "b"}, if_revision_is=1)
    assert (changed.type_, changed.bucket_info, changed.revision) == ("allPublic", {"a": "b"}, 2)
    fields: dict[str, Any] = {"bucketId": made.id_, "bucketType": "allPrivate"}
    stale = call(client, "b2_update_bucket", **fields, ifRevisionIs=1)
    assert refusal(stale) == (409, "conflict")
    same = call(client, "b2_create_bucket", bucketName="a-new-bucket", bucketType="allPrivate")
    assert refusal(same) == (400, "duplicate_bucket_name")
    file_id = stored(client, made.id_, "name")["fileId"]
    kept = call(client, "b2_delete_bucket", bucketId=made.id_)
    assert refusal(kept) == (400, "cannot_delete_non_empty_bucket")
    call(client, "b2_delete_file_version", fileId=file_id, fileName="name").raise_for_status()
    sdk.delete_bucket(made)
    assert refusal(call(client, "b2_delete_bucket", bucketId=made.id_)) == (400, "bad_bucket_id")
    assert sdk.list_buckets() == []


def test_anybody_reads_a_public_bucket(b2: LocalB2Server, client: httpx.Client):
    made = stored(client, b2.bucket("public-bucket", bucketType="allPublic"), "name")
    del client.headers["Authorization"]
    assert download(client, made["fileId"]).content == b"x"
    assert client.get("/file/public-bucket/name").content == b"x"


@pytest.mark.parametrize("name", ["short", "x" * 64, "with space", "b2-reserved", "ümlaut-name"])
def test_a_bucket_name_that_b2_does_not_allow_is_refused(client: httpx.Client, name: str):
    answer = call(client, "b2_create_bucket", bucketName=name, bucketType="allPrivate")
    assert refusal(answer) == (400, "bad_request")


def test_another_account_is_refused(client: httpx.Client):
    assert refusal(call(client, "b2_list_buckets", accountId="0")) == (401, "unauthorized")


def test_what_is_not_json_is_refused(client: httpx.Client):
    for body in (b"{", b"[]", b"\xff"):
        answer = client.post("/b2api/v4/b2_list_buckets", content=body)
        assert refusal(answer) == (400, "bad_json")
    assert refusal(client.post("/b2api/v4/b2_nothing")) == (404, "not_found")


def test_the_master_key_is_made_once_and_only_its_owner_reads_it(tmp_path: Path):
    folder = tmp_path / "a" / "b"
    key_id, key = local_credentials(folder)
    assert local_credentials(folder) == (key_id, key)
    assert key_id.startswith(EMBEDDED_KEY_PREFIX)
    assert len(key) >= 32
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()] == [0o600]
    assert local_credentials(tmp_path / "other")[1] != key


def test_issued_key_ids_are_recognised_too(b2: LocalB2Server):
    assert b2.create_key(["listFiles"])[0].startswith(EMBEDDED_KEY_PREFIX)


@pytest.mark.parametrize("content", ["", "{", "[]", json.dumps({"key_id": "a"})])
def test_a_broken_master_key_is_told_and_not_replaced(tmp_path: Path, content: str):
    local_credentials(tmp_path)
    path = next(tmp_path.iterdir())
    path.write_text(content)
    with pytest.raises(StartError, match=str(path)):
        local_credentials(tmp_path)
    assert path.read_text() == content


async def test_a_folder_that_cannot_be_used_is_told(tmp_path: Path):
    (tmp_path / "file").write_text("")
    app = create_local_b2(tmp_path / "file", key_id="a", key="b")
    with pytest.raises(StartError, match="file"):
        async with app.router.lifespan_context(app):
            pass


async def test_a_folder_is_served_once(tmp_path: Path):
    with LocalB2Server(tmp_path):
        app = create_local_b2(tmp_path, key_id="a", key="b")
        with pytest.raises(StartError, match="Another local B2"):
            async with app.router.lifespan_context(app):
                pass


def test_a_folder_that_others_could_read_is_closed(tmp_path: Path):
    folder = tmp_path / "b2"
    folder.mkdir(mode=0o755)
    with LocalB2Server(folder):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_only_the_owner_reads_the_files(b2: LocalB2Server, client: httpx.Client, bucket_id: str):
    stored(client, bucket_id, "name")
    modes = {}
    for path, folders, files in os.walk(b2.folder):
        modes |= {name: stat.S_IMODE((Path(path) / name).stat().st_mode) for name in folders}
        modes |= {name: stat.S_IMODE((Path(path) / name).stat().st_mode) for name in files}
    assert len(b2.blobs()) == 1
    written_by_fake = modes.pop("master-key.json")
    assert written_by_fake
    assert set(modes.values()) == {0o700, 0o600}
    assert stat.S_IMODE(b2.folder.stat().st_mode) == 0o700
