"""The local B2's operations on buckets."""

import json
import re
import secrets
from dataclasses import asdict, dataclass, field, replace

from app.storage.local_access import Key
from app.storage.local_requests import Fields, Refusal, forbid, refuse
from app.storage.local_store import Store

Answer = dict[str, object]

_NAME = re.compile(r"[A-Za-z0-9-]{6,63}")
_TYPES = ("allPrivate", "allPublic")
_LIFECYCLE_DAYS = (
    "daysFromHidingToDeleting",
    "daysFromUploadingToHiding",
    "daysFromStartingToCancelingUnfinishedLargeFiles",
)
_STAYS_LOCKED = (
    "fileLockEnabled value of false is not allowed when bucket is already file lock enabled."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """A bucket; the settings are as B2 shows them."""

    bucket_id: str
    name: str
    type: str = "allPrivate"
    revision: int = 1
    info: dict[str, str] = field(default_factory=dict)
    cors: list[object] = field(default_factory=list)
    lifecycle: list[object] = field(default_factory=list)
    encryption: dict[str, object] | None = None
    lock_enabled: bool = False
    retention: dict[str, object] | None = None
    replication: dict[str, object] | None = None
    notifications: list[object] = field(default_factory=list)


def find_bucket(store: Store, bucket_id: str) -> Bucket:
    """The bucket; raises Refusal (bad_bucket_id)."""
    rows = store.index.rows("select facts from buckets where bucket_id = ?", (bucket_id,))
    if not rows:
        refuse(f"Bucket {bucket_id} does not exist", code="bad_bucket_id")
    return _bucket(rows[0][0])


def find_bucket_named(store: Store, name: str) -> Bucket | None:
    rows = store.index.rows("select facts from buckets where name = ?", (name,))
    return _bucket(rows[0][0]) if rows else None


def all_buckets(store: Store) -> list[Bucket]:
    rows = store.index.rows("select facts from buckets order by name limit 10000")
    return [_bucket(row[0]) for row in rows]


def list_buckets(store: Store, key: Key, fields: Fields) -> Answer:
    bucket_id, name = fields.optional_text("bucketId"), fields.optional_text("bucketName")
    found = [
        bucket
        for bucket in all_buckets(store)
        if bucket_id in (None, bucket.bucket_id) and name in (None, bucket.name)
    ]
    if key.bucket_ids is not None:
        if bucket_id is None and name is None:
            forbid("unauthorized: the key is restricted to a bucket, which must be named")
        if not found:
            forbid("unauthorized: the key is restricted to another bucket")
        for bucket in found:
            key.check_bucket(bucket.bucket_id)
    types = fields.texts("bucketTypes") or ["all"]
    shown = [bucket for bucket in found if "all" in types or bucket.type in types]
    return {"buckets": [show_bucket(store, key, bucket) for bucket in shown]}


def create_bucket(store: Store, key: Key, fields: Fields) -> Answer:
    name = fields.text("bucketName")
    if not _NAME.fullmatch(name) or name.lower().startswith("b2-"):
        refuse("bucketName must have 6 to 63 letters, digits or '-' and must not begin with b2-")
    if key.bucket_ids is not None:
        forbid("unauthorized: the key is restricted to a bucket")
    fields.text("bucketType")
    bucket = _with_settings(Bucket(bucket_id=secrets.token_hex(12), name=name), fields)
    with store.index.atomic():
        if find_bucket_named(store, name):
            refuse(f"Bucket name {name} is already in use.", code="duplicate_bucket_name")
        store.index.run(
            "insert into buckets (bucket_id, name, facts, revision) values (?, ?, ?, 1)",
            (bucket.bucket_id, name, json.dumps(asdict(bucket))),
        )
    return show_bucket(store, key, bucket)


def update_bucket(store: Store, key: Key, fields: Fields) -> Answer:
    wanted = fields.optional_number("ifRevisionIs")
    with store.index.atomic():
        bucket = find_bucket(store, fields.text("bucketId"))
        key.check_bucket(bucket.bucket_id)
        if wanted is not None and wanted != bucket.revision:
            raise Refusal(409, "conflict", f"The bucket's revision is {bucket.revision}")
        bucket = _save(store, _with_settings(bucket, fields))
    return show_bucket(store, key, bucket)


def delete_bucket(store: Store, key: Key, fields: Fields) -> Answer:
    with store.index.atomic():
        bucket = find_bucket(store, fields.text("bucketId"))
        key.check_bucket(bucket.bucket_id)
        if not store.versions.bucket_is_empty(bucket.bucket_id):
            refuse("Cannot delete non-empty bucket", code="cannot_delete_non_empty_bucket")
        store.index.run("delete from buckets where bucket_id = ?", (bucket.bucket_id,))
    return show_bucket(store, key, bucket)


def get_notification_rules(store: Store, key: Key, fields: Fields) -> Answer:
    bucket = find_bucket(store, fields.text("bucketId"))
    key.check_bucket(bucket.bucket_id)
    return {"bucketId": bucket.bucket_id, "eventNotificationRules": bucket.notifications}


def set_notification_rules(store: Store, key: Key, fields: Fields) -> Answer:
    """Keep the rules; the local B2 sends no notifications."""
    rules: list[object] = []
    for rule in fields.items("eventNotificationRules"):
        if not isinstance(rule, dict) or not isinstance(rule.get("targetConfiguration"), dict):
            refuse("eventNotificationRules must be a list of rules with a targetConfiguration")
        target = {
            "customHeaders": None,
            "hmacSha256SigningSecret": None,
            **rule["targetConfiguration"],
        }
        shown = {**rule, "targetConfiguration": target}
        rules.append({**shown, "isSuspended": False, "suspensionReason": ""})
    with store.index.atomic():
        bucket = find_bucket(store, fields.text("bucketId"))
        key.check_bucket(bucket.bucket_id)
        _save(store, replace(bucket, notifications=rules))
    return {"bucketId": bucket.bucket_id, "eventNotificationRules": rules}


def show_bucket(store: Store, key: Key, bucket: Bucket) -> Answer:
    """The bucket as B2 tells it to this key."""
    lock = {
        "isFileLockEnabled": bucket.lock_enabled,
        "defaultRetention": bucket.retention or {"mode": None, "period": None},
    }
    encryption = bucket.encryption or {"mode": None, "algorithm": None}
    return {
        "accountId": store.account_id,
        "bucketId": bucket.bucket_id,
        "bucketName": bucket.name,
        "bucketType": bucket.type,
        "bucketInfo": bucket.info,
        "corsRules": bucket.cors,
        "lifecycleRules": bucket.lifecycle,
        "revision": bucket.revision,
        "options": ["s3"],
        "defaultServerSideEncryption": readable(key, "readBucketEncryption", encryption),
        "fileLockConfiguration": readable(key, "readBucketRetentions", lock),
        "replicationConfiguration": readable(key, "readBucketReplications", bucket.replication),
    }


def readable(key: Key, capability: str, value: object) -> Answer:
    """A value that B2 shows only to keys with the capability."""
    allowed = capability in key.capabilities
    return {"isClientAuthorizedToRead": allowed, "value": value if allowed else None}


def _with_settings(bucket: Bucket, fields: Fields) -> Bucket:
    changes: dict[str, object] = {}
    if "bucketType" in fields:
        changes["type"] = fields.text("bucketType")
        if changes["type"] not in _TYPES:
            refuse("bucketType must be allPrivate or allPublic")
    if "bucketInfo" in fields:
        changes["info"] = fields.text_mapping("bucketInfo")
    if "corsRules" in fields:
        changes["cors"] = fields.items("corsRules")
    if "lifecycleRules" in fields:
        changes["lifecycle"] = [_lifecycle_rule(rule) for rule in fields.items("lifecycleRules")]
    if "defaultServerSideEncryption" in fields:
        encryption = fields.mapping("defaultServerSideEncryption") or {}
        if encryption.get("mode") not in (None, "none", "SSE-B2"):
            refuse("defaultServerSideEncryption.mode must be none or SSE-B2")
        changes["encryption"] = encryption
    if "replicationConfiguration" in fields:
        sides = fields.mapping("replicationConfiguration") or {}
        none = {"asReplicationSource": None, "asReplicationDestination": None}
        changes["replication"] = {**none, **sides} if any(sides.values()) else None
    return _with_lock(replace(bucket, **changes), fields)  # type: ignore[arg-type]


def _with_lock(bucket: Bucket, fields: Fields) -> Bucket:
    if "fileLockEnabled" in fields:
        if bucket.lock_enabled and not fields.flag("fileLockEnabled"):
            refuse(_STAYS_LOCKED)
        bucket = replace(bucket, lock_enabled=fields.flag("fileLockEnabled"))
    if "defaultRetention" in fields:
        retention = fields.mapping("defaultRetention") or {}
        mode = retention.get("mode")
        if mode is not None and not bucket.lock_enabled:
            refuse("The bucket is not file lock enabled")
        period = retention.get("period")
        if mode is not None:
            _check_period(period)
        bucket = replace(bucket, retention={"mode": mode, "period": period} if mode else None)
    return bucket


def _check_period(period: object) -> None:
    if (
        not isinstance(period, dict)
        or type(period.get("duration")) is not int
        or period["duration"] < 1
        or period.get("unit") not in ("days", "years")
    ):
        refuse("A default retention needs a period of days or years")


def _lifecycle_rule(rule: object) -> object:
    if not isinstance(rule, dict) or not isinstance(rule.get("fileNamePrefix"), str):
        refuse("A lifecycle rule needs a fileNamePrefix")
    days = {name: rule.get(name) for name in _LIFECYCLE_DAYS}
    for name, value in days.items():
        if value is not None and (type(value) is not int or value < 1):
            refuse(f"{name} must be a number above 0")
    return {"fileNamePrefix": rule["fileNamePrefix"], **days}


def _save(store: Store, bucket: Bucket) -> Bucket:
    bucket = replace(bucket, revision=bucket.revision + 1)
    store.index.run(
        "update buckets set facts = ?, revision = ? where bucket_id = ?",
        (json.dumps(asdict(bucket)), bucket.revision, bucket.bucket_id),
    )
    return bucket


def _bucket(facts: object) -> Bucket:
    return Bucket(**json.loads(str(facts)))
