"""What a user is told of an integration that cannot work."""

import asyncio
import dataclasses
import hashlib
import re

import httpx
import pytest

from app.model.access import Role
from app.service import hubs, keys
from app.storage.probe import CAPABILITIES
from tests.product import BUCKET, ERRORS, PREFIX


def _master(b2):
    return b2.key_id, b2.key


def _wrong_key(b2):
    return {"key": (b2.key_id, "K00wrong"), "bucket": BUCKET}


def _no_bucket(b2):
    return {"key": _master(b2), "bucket": "not-there"}


def _public(b2):
    b2.bucket("in-public", bucketType="allPublic")
    return {"key": _master(b2), "bucket": "in-public"}


def _lifecycle(b2):
    b2.bucket(
        "short-lived", lifecycleRules=[{"fileNamePrefix": "", "daysFromUploadingToHiding": 7}]
    )
    return {"key": _master(b2), "bucket": "short-lived"}


def _no_deletion(b2):
    able = [name for name in CAPABILITIES if name != "deleteFiles"]
    return {"key": b2.create_key(able), "bucket": BUCKET}


def _locked(b2):
    bucket_id = b2.bucket("locked", fileLockEnabled=True)
    b2.call(
        "b2_update_bucket",
        bucketId=bucket_id,
        defaultRetention={"mode": "governance", "period": {"duration": 7, "unit": "days"}},
    )
    return {"key": _master(b2), "bucket": "locked"}


REFUSED = {
    "a bad key": (_wrong_key, "STORAGE_CREDENTIALS", "create a new one"),
    "no bucket": (_no_bucket, "BUCKET_NOT_FOUND", "no bucket not-there"),
    "a public bucket": (_public, "BUCKET_PUBLIC", "Make it private"),
    "a lifecycle rule": (_lifecycle, "BUCKET_LIFECYCLE", "hides files: the one for all names"),
    "no right to delete": (_no_deletion, "STORAGE_CAPABILITY", "lacks deleteFiles"),
    "an object lock": (_locked, "BUCKET_OBJECT_LOCK", "Remove it"),
}

INTEGRATE = f"""mutation ($keyId: String!, $key: String!, $bucket: String!, $prefix: String!) {{
  createIntegration(name: "Another", keyId: $keyId, key: $key, bucket: $bucket, prefix: $prefix) {{
    integration {{ id }} {ERRORS} }} }}"""
LOOK = "{ hub { integrations { nodes { id name state error { code message } } } } }"


async def _verdict(product, *, key, bucket, prefix):
    """The integration once its probe has ended."""
    await product.mutate(
        "createIntegration", INTEGRATE, keyId=key[0], key=key[1], bucket=bucket, prefix=prefix
    )
    async with asyncio.timeout(60):
        while True:
            nodes = (await product.ask(LOOK))["hub"]["integrations"]["nodes"]
            [found] = [node for node in nodes if node["name"] == "Another"]
            if found["state"] != "VERIFYING":
                return found
            await asyncio.sleep(0.05)


@pytest.mark.timeout(60)  # a loaded machine
@pytest.mark.parametrize("reason", REFUSED)
async def test_an_integration_that_cannot_work_says_what_to_do(product, reason):
    make, code, words = REFUSED[reason]
    wanted = make(product.b2)
    async with product.working():
        found = await _verdict(product, **wanted, prefix="other")
    assert found["state"] == "FAILED"
    assert found["error"]["code"] == code
    assert words in found["error"]["message"]
    assert wanted["key"][1] not in found["error"]["message"]


@pytest.mark.timeout(60)  # a loaded machine
async def test_a_place_that_another_hub_uses_is_refused_without_naming_it(product):
    hub = await hubs.create_hub(product.owner, "rivals")
    _, token = await keys.create_key(product.owner, hub_id=hub.id, name="key", role=Role.ADMIN)
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        httpx.AsyncClient(
            base_url=product.url, headers=headers, trust_env=False, timeout=30
        ) as client,
        product.working(),
    ):
        rivals = dataclasses.replace(product, client=client, hub_id=hub.id, token=token)
        key = (product.b2.key_id, product.b2.key)
        found = await _verdict(rivals, key=key, bucket=BUCKET, prefix=f"{PREFIX}/below")
    assert found["state"] == "FAILED"
    assert found["error"] == {
        "code": "PREFIX_IN_USE",
        "message": "The bucket and prefix overlap those of another integration;"
        " choose another prefix.",
    }
    assert hashlib.sha256(token.encode()).hexdigest() not in str(found)


@pytest.mark.timeout(60)  # a loaded machine
async def test_whether_a_place_is_taken_is_told_only_to_who_has_a_key_to_it(product):
    async with product.working():
        nobody = ("0000000000", "nokey")
        found = await _verdict(product, key=nobody, bucket=BUCKET, prefix=PREFIX)
    assert found["error"]["code"] == "STORAGE_CREDENTIALS"


@pytest.mark.timeout(60)  # a loaded machine
async def test_a_defect_is_a_verdict_too_and_has_a_reference(product):
    def misunderstand(access):
        return access.nothing_of_the_kind

    async with product.working(parts={"storage_of": misunderstand}):
        key = (product.b2.key_id, product.b2.key)
        found = await _verdict(product, key=key, bucket=BUCKET, prefix="elsewhere")
    assert found["state"] == "FAILED"
    assert found["error"]["code"] == "INTERNAL"
    assert re.search("reference: [0-9a-f-]{36}$", found["error"]["message"])
