"""A probe finds what would make backups impossible, unsafe or undeletable, and says what to do."""

import pytest

from app.errors import (
    BucketLifecycle,
    BucketNotFound,
    BucketObjectLock,
    BucketPublic,
    StorageCapability,
    StorageCredentials,
    StorageUnavailable,
)
from app.storage.b2 import B2Storage
from app.storage.probe import CAPABILITIES
from app.storage.threads import StorageThreads
from tests.fakes.b2_places import BUCKET, SHORT, open_place


def restrict(capabilities=CAPABILITIES, *, prefix=None, to_bucket=True):
    def make(b2, bucket_id):
        return b2.create_key(
            list(capabilities), bucket_id=bucket_id if to_bucket else None, prefix=prefix
        )

    return make


async def test_a_private_bucket_passes_and_nothing_is_left_in_it(tmp_path):
    async with open_place(tmp_path) as place:
        await place.storage.probe()
        assert place.count("b2_upload_file") == 1
        assert place.count("b2_download_file_by_id") == 1
        assert place.count("b2_delete_file_version") == 1
        assert place.names() == []


@pytest.mark.parametrize("prefix", [None, "", "t", "team", "team/"])
async def test_the_least_key_passes(tmp_path, prefix):
    async with open_place(tmp_path, key=restrict(prefix=prefix)) as place:
        await place.storage.probe()
        assert place.names() == []


async def test_a_bucket_without_prefix_passes(tmp_path):
    async with open_place(tmp_path, prefix="") as place:
        await place.storage.probe()
        assert place.names() == []


@pytest.mark.parametrize("lacking", CAPABILITIES)
async def test_a_missing_capability_is_named(tmp_path, lacking):
    key = restrict([name for name in CAPABILITIES if name != lacking])
    async with open_place(tmp_path, key=key) as place:
        with pytest.raises(StorageCapability) as refused:
            await place.storage.probe()
        assert refused.value.message == f"The application key lacks {lacking}."
        assert place.names() == []


async def test_a_key_for_other_names_says_which(tmp_path):
    async with open_place(tmp_path, key=restrict(prefix="team/b")) as place:
        with pytest.raises(StorageCapability, match='only reaches names that begin with "team/b"'):
            await place.storage.probe()


async def test_a_key_for_another_bucket_is_refused(tmp_path):
    def other(b2, _):
        return b2.create_key(list(CAPABILITIES), bucket_id=b2.bucket("another"))

    async with open_place(tmp_path, key=other) as place:
        with pytest.raises(BucketNotFound, match="restricted to buckets other than backups"):
            await place.storage.probe()


async def test_a_bucket_that_is_not_there_is_named(tmp_path):
    async with open_place(tmp_path) as place:
        place.b2.call("b2_delete_bucket", bucketId=place.bucket_id)
        with pytest.raises(BucketNotFound, match="There is no bucket backups"):
            await place.storage.probe()


async def test_a_wrong_key_is_refused_and_is_in_no_message(tmp_path):
    def wrong(b2, _):
        return b2.key_id, "K00wrong-and-secret"

    async with open_place(tmp_path, key=wrong) as place:
        with pytest.raises(StorageCredentials) as refused:
            await place.storage.probe()
        assert "K00wrong" not in str(refused.value)
        assert place.count("b2_authorize_account") - place.count("b2_create_bucket") == 1


async def test_a_public_bucket_is_refused(tmp_path):
    async with open_place(tmp_path, bucket={"bucketType": "allPublic"}) as place:
        with pytest.raises(BucketPublic):
            await place.storage.probe()
        assert place.count("b2_upload_file") == 0


@pytest.mark.parametrize(
    ("reach", "rule", "words"),
    [
        ("", {"daysFromUploadingToHiding": 7}, "hides files: the one for all names"),
        (
            "te",
            {"daysFromUploadingToHiding": 7},
            'hides files: the one for names that begin with "te"',
        ),
        (
            "team/",
            {"daysFromHidingToDeleting": 1},
            'deletes files: the one for names that begin with "team/"',
        ),
        ("team/a/", {"daysFromHidingToDeleting": 1}, 'begin with "team/a/"'),
    ],
)
async def test_a_lifecycle_rule_that_reaches_backups_is_named(tmp_path, reach, rule, words):
    rules = {"lifecycleRules": [{"fileNamePrefix": reach, **rule}]}
    async with open_place(tmp_path, bucket=rules) as place:
        with pytest.raises(BucketLifecycle) as refused:
            await place.storage.probe()
        assert words in refused.value.message
        assert place.count("b2_upload_file") == 0


@pytest.mark.parametrize(
    ("reach", "rule"),
    [
        ("", {"daysFromStartingToCancelingUnfinishedLargeFiles": 7}),
        ("other/", {"daysFromHidingToDeleting": 1}),
        ("teams/", {"daysFromUploadingToHiding": 1}),
    ],
)
async def test_a_lifecycle_rule_that_takes_no_backup_is_fine(tmp_path, reach, rule):
    rules = {"lifecycleRules": [{"fileNamePrefix": reach, **rule}]}
    async with open_place(tmp_path, bucket=rules) as place:
        await place.storage.probe()


async def test_a_default_retention_is_refused(tmp_path):
    async with open_place(tmp_path, bucket={"fileLockEnabled": True}) as place:
        await place.storage.probe()
        place.b2.call(
            "b2_update_bucket",
            bucketId=place.bucket_id,
            defaultRetention={"mode": "governance", "period": {"duration": 1, "unit": "days"}},
        )
        with pytest.raises(BucketObjectLock):
            await place.storage.probe()
        assert place.count("b2_upload_file") == 1


async def test_a_retention_that_the_key_cannot_see_is_found_by_deleting(tmp_path):
    async with open_place(tmp_path, bucket={"fileLockEnabled": True}, key=restrict()) as place:
        place.b2.faults.fail_next("b2_delete_file_version", status=403, code="access_denied")
        with pytest.raises(BucketObjectLock, match="could not be deleted again"):
            await place.storage.probe()


async def test_a_b2_that_is_down_is_not_a_wrong_key(tmp_path):
    async with open_place(tmp_path, patience=SHORT) as place:
        place.b2.faults.go_down()
        with pytest.raises(StorageUnavailable):
            await place.storage.probe()
        place.b2.faults.come_back()


async def test_a_failed_probe_leaves_nothing(tmp_path):
    async with open_place(tmp_path, patience=SHORT) as place:
        place.b2.faults.fail_next("b2_download_file_by_id", times=1_000)
        with pytest.raises(StorageUnavailable):
            await place.storage.probe()
        assert place.names() == []


async def test_a_realm_that_does_not_exist_cannot_be_reached():
    threads = StorageThreads(2)
    storage = B2Storage(
        realm="https://api.b2.invalid",
        key_id="k",
        key="s",
        bucket=BUCKET,
        prefix="",
        threads=threads,
        user_agent="test",
        call_patience=SHORT,
    )
    with pytest.raises(StorageUnavailable):
        await storage.probe()
    await storage.aclose()
    threads.close()
