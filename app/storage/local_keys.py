"""The local B2's operations on application keys and on authorizations."""

from app.storage.local_access import CAPABILITIES, DAY, Key, new_key_id, new_secret
from app.storage.local_buckets import Answer, all_buckets, find_bucket
from app.storage.local_requests import Fields, forbid, refuse
from app.storage.local_store import Store

_LONGEST_KEY = 1000 * DAY
_LONGEST_DOWNLOAD = 7 * DAY


def authorize(store: Store, key: Key, *, version: int, base_url: str) -> Answer:
    """The answer of b2_authorize_account in the shape of API version 1 to 4."""
    names = {bucket.bucket_id: bucket.name for bucket in all_buckets(store)}
    buckets = None
    if key.bucket_ids is not None:
        buckets = [{"id": one, "name": names.get(one)} for one in key.bucket_ids]
    one_bucket = buckets[0] if buckets else {"id": None, "name": None}
    common: Answer = {"capabilities": list(key.capabilities), "namePrefix": key.prefix}
    old_allowed = {**common, "bucketId": one_bucket["id"], "bucketName": one_bucket["name"]}
    addresses: Answer = {
        "apiUrl": base_url,
        "downloadUrl": base_url,
        "s3ApiUrl": base_url,
        "recommendedPartSize": store.sizes.recommended,
        "absoluteMinimumPartSize": store.sizes.minimum,
    }
    answer: Answer = {
        "accountId": store.account_id,
        "applicationKeyExpirationTimestamp": key.expires,
        "authorizationToken": store.tokens.issue("account", key),
    }
    match version:
        case 1 | 2:
            old_size = {"minimumPartSize": store.sizes.recommended}
            return {**answer, **addresses, **old_size, "allowed": old_allowed}
        case 3:
            storage = {"infoType": "storageApi", **addresses, **old_allowed}
        case _:
            storage = {
                "infoType": "storageApi",
                **addresses,
                "allowed": {**common, "buckets": buckets},
            }
    return {**answer, "apiInfo": {"storageApi": storage}}


def create_key(store: Store, key: Key, fields: Fields) -> Answer:
    capabilities = fields.texts("capabilities")
    unknown = sorted(set(capabilities) - set(CAPABILITIES))
    if unknown or not capabilities:
        refuse(f"capabilities must be some of {', '.join(CAPABILITIES)}")
    if not set(capabilities) <= set(key.capabilities):
        forbid("unauthorized: a key cannot give what it does not have")
    bucket_ids = tuple(fields.texts("bucketIds"))
    if "bucketId" in fields:
        bucket_ids = (fields.text("bucketId"),)
    for bucket_id in bucket_ids:
        find_bucket(store, bucket_id)
        key.check_bucket(bucket_id)
    prefix = fields.optional_text("namePrefix") or None
    if prefix and not bucket_ids:
        refuse("namePrefix needs a bucket")
    if key.bucket_ids is not None and not bucket_ids:
        forbid("unauthorized: a key cannot give what it does not have")
    key.check_name(prefix or "")
    seconds = None
    if "validDurationInSeconds" in fields:
        seconds = fields.number("validDurationInSeconds", default=DAY, low=1, high=_LONGEST_KEY)
    made = Key(
        key_id=new_key_id(),
        name=fields.text("keyName"),
        capabilities=tuple(capabilities),
        bucket_ids=bucket_ids or None,
        prefix=prefix,
        expires=None if seconds is None else store.now() + seconds * 1000,
    )
    secret = new_secret()
    store.keys.add(made, secret)
    return {**_show_key(store, made), "applicationKey": secret}


def list_keys(store: Store, _: Key, fields: Fields) -> Answer:
    limit = fields.number("maxKeyCount", default=100, low=1, high=10_000)
    found = store.keys.page(fields.optional_text("startApplicationKeyId") or "", limit + 1)
    following = found[limit].key_id if len(found) > limit else None
    shown = [_show_key(store, one) for one in found[:limit]]
    return {"keys": shown, "nextApplicationKeyId": following}


def delete_key(store: Store, _: Key, fields: Fields) -> Answer:
    key_id = fields.text("applicationKeyId")
    found = store.keys.find(key_id)
    if found is None or not store.keys.remove(key_id):
        refuse(f"Key {key_id} does not exist")
    return _show_key(store, found)


def get_download_authorization(store: Store, key: Key, fields: Fields) -> Answer:
    bucket = find_bucket(store, fields.text("bucketId"))
    prefix = fields.optional_text("fileNamePrefix") or ""
    key.check_bucket(bucket.bucket_id)
    key.check_name(prefix)
    seconds = fields.number("validDurationInSeconds", default=DAY, low=1, high=_LONGEST_DOWNLOAD)
    token = store.tokens.issue(
        "download", key, scope=bucket.bucket_id, prefix=prefix, seconds=seconds
    )
    return {"bucketId": bucket.bucket_id, "fileNamePrefix": prefix, "authorizationToken": token}


def _show_key(store: Store, key: Key) -> Answer:
    return {
        "accountId": store.account_id,
        "applicationKeyId": key.key_id,
        "keyName": key.name,
        "capabilities": list(key.capabilities),
        "bucketId": key.bucket_ids[0] if key.bucket_ids else None,
        "bucketIds": None if key.bucket_ids is None else list(key.bucket_ids),
        "namePrefix": key.prefix,
        "expirationTimestamp": key.expires,
        "options": ["s3"],
    }
