"""The local B2's operations on single versions, and on the parts of large files."""

import mimetypes
from dataclasses import replace

from app.storage.local_access import Key
from app.storage.local_buckets import Answer, Bucket, find_bucket, readable
from app.storage.local_files import Blob
from app.storage.local_locks import Guards, check_removable, guards_from_fields
from app.storage.local_requests import (
    Fields,
    Refusal,
    check_file_name,
    check_header,
    check_sha1,
    refuse,
)
from app.storage.local_store import Store
from app.storage.local_versions import Facts, Part, Version

AUTOMATIC = "b2/x-auto"
_FEWEST_PARTS = 2
_MOST_PARTS = 10_000
_MOST_INFO = 10
_MOST_INFO_BYTES = 7000
_HIDE_TYPE = "application/x-bz-hide-marker"


def check_info(info: dict[str, str]) -> dict[str, str]:
    """Return the file info with names in lower case, as B2 keeps it; raises Refusal."""
    own = [name for name in info if not name.lower().startswith("b2-")]
    size = sum(len(name.encode()) + len(value.encode()) for name, value in info.items())
    if len(own) > _MOST_INFO or size > _MOST_INFO_BYTES:
        refuse("A file may have at most 10 info headers and 7000 bytes of them")
    for name, value in info.items():
        check_header(name, value if name.lower().startswith("b2-") else "")
    return {name.lower(): value for name, value in info.items()}


def content_type_of(name: str, asked: str) -> str:
    if asked and asked != AUTOMATIC:
        return check_header("Content-Type", asked)
    return mimetypes.guess_type(name)[0] or "application/octet-stream"


def find_version(store: Store, key: Key, file_id: str) -> Version | None:
    """The version if it exists; raises Refusal where the key must not touch it."""
    version = store.versions.find(file_id)
    if version is not None:
        key.check_bucket(version.bucket_id)
        key.check_name(version.name)
    return version


def find_upload(store: Store, key: Key, file_id: str) -> Version:
    """An unfinished large file; raises Refusal."""
    version = find_version(store, key, file_id)
    if version is None or version.action != "start":
        refuse(f"No active upload for: {file_id}")
    return version


def show_version(store: Store, key: Key, version: Version) -> Answer:
    """The version as B2 tells it to this key."""
    facts = version.facts
    retention = {"mode": facts.retention_mode, "retainUntilTimestamp": facts.retain_until}
    answer: Answer = {
        "accountId": store.account_id,
        "action": version.action,
        "bucketId": version.bucket_id,
        "contentLength": version.size,
        "contentMd5": None,
        "contentSha1": facts.sha1,
        "contentType": facts.content_type,
        "fileId": version.file_id,
        "fileInfo": facts.info,
        "fileName": version.name,
        "fileRetention": readable(key, "readFileRetentions", retention),
        "legalHold": readable(key, "readFileLegalHolds", facts.legal_hold),
        "replicationStatus": facts.replication,
        "size": version.size,
        "uploadTimestamp": version.uploaded,
    }
    if version.action != "hide":
        none = {"mode": None, "algorithm": None}
        answer["serverSideEncryption"] = facts.encryption or none
    return answer


def get_file_info(store: Store, key: Key, fields: Fields) -> Answer:
    version = find_version(store, key, fields.text("fileId"))
    if version is None:
        raise Refusal(404, "not_found", "File not present")
    return show_version(store, key, version)


def hide_file(store: Store, key: Key, fields: Fields) -> Answer:
    bucket = find_bucket(store, fields.text("bucketId"))
    name = fields.text("fileName")
    key.check_bucket(bucket.bucket_id)
    key.check_name(name)
    with store.index.atomic():
        newest = store.versions.newest(bucket.bucket_id, name)
        if newest is None:
            refuse(f"File not present: {name}", code="no_such_file")
        if newest.action == "hide":
            refuse(f"File already hidden: {name}", code="already_hidden")
        marker = store.versions.add(
            bucket_id=bucket.bucket_id,
            name=name,
            action="hide",
            size=0,
            uploaded=store.now(),
            facts=Facts(content_type=_HIDE_TYPE, sha1=None, info={}),
        )
    return show_version(store, key, marker)


def delete_file_version(store: Store, key: Key, fields: Fields) -> Answer:
    """Remove a version: the row first, then the bytes, so that a kill leaves only orphan bytes."""
    file_id, name = fields.text("fileId"), fields.text("fileName")
    bypass = fields.flag("bypassGovernance")
    if bypass:
        key.require("bypassGovernance")
    with store.index.atomic():
        version = find_version(store, key, file_id)
        if version is None or version.name != name:
            refuse(f"File not present: {name} {file_id}", code="file_not_present")
        check_removable(_guards(version), now=store.now(), bypass=bypass)
        blobs = store.versions.remove(version)
    store.blobs.remove(blobs)
    return {"fileId": file_id, "fileName": name}


def update_file_retention(store: Store, key: Key, fields: Fields) -> Answer:
    setting = Fields(fields.mapping("fileRetention") or {})
    mode, until = setting.optional_text("mode"), setting.optional_number("retainUntilTimestamp")
    if mode not in (None, "governance", "compliance") or (mode is not None and until is None):
        refuse("A retention needs governance or compliance and a time")
    bypass = fields.flag("bypassGovernance")
    if bypass:
        key.require("bypassGovernance")
    with store.index.atomic():
        version = _lockable(store, key, fields)
        if mode is None or (until or 0) < (version.facts.retain_until or 0):
            unheld = replace(_guards(version), legal_hold=None)
            check_removable(unheld, now=store.now(), bypass=bypass)
        facts = replace(version.facts, retention_mode=mode, retain_until=until)
        store.versions.change(replace(version, facts=facts))
    retention = {"mode": mode, "retainUntilTimestamp": until}
    return {"fileId": version.file_id, "fileName": version.name, "fileRetention": retention}


def update_file_legal_hold(store: Store, key: Key, fields: Fields) -> Answer:
    hold = fields.text("legalHold")
    if hold not in ("on", "off"):
        refuse("A legal hold is on or off")
    with store.index.atomic():
        version = _lockable(store, key, fields)
        facts = replace(version.facts, legal_hold=hold)
        store.versions.change(replace(version, facts=facts))
    return {"fileId": version.file_id, "fileName": version.name, "legalHold": hold}


def start_large_file(store: Store, key: Key, fields: Fields) -> Answer:
    bucket = find_bucket(store, fields.text("bucketId"))
    name = check_file_name(fields.text("fileName"))
    key.check_bucket(bucket.bucket_id)
    key.check_name(name)
    now = store.now()
    guards = guards_from_fields(fields, key, bucket, now, sse="serverSideEncryption")
    facts = Facts(
        content_type=content_type_of(name, fields.text("contentType")),
        sha1="none",
        large=True,
        info=check_info(fields.text_mapping("fileInfo") or {}),
        encryption=guards.encryption,
        retention_mode=guards.retention_mode,
        retain_until=guards.retain_until,
        legal_hold=guards.legal_hold,
        replication=replication_of(bucket),
    )
    version = store.versions.add(
        bucket_id=bucket.bucket_id, name=name, action="start", size=0, uploaded=now, facts=facts
    )
    return show_version(store, key, version)


def get_upload_url(store: Store, key: Key, fields: Fields) -> Answer:
    bucket = find_bucket(store, fields.text("bucketId"))
    key.check_bucket(bucket.bucket_id)
    token = store.tokens.issue("upload", key, scope=bucket.bucket_id)
    return {"bucketId": bucket.bucket_id, "authorizationToken": token}


def get_upload_part_url(store: Store, key: Key, fields: Fields) -> Answer:
    version = find_upload(store, key, fields.text("fileId"))
    token = store.tokens.issue("part", key, scope=version.file_id)
    return {"fileId": version.file_id, "authorizationToken": token}


def list_parts(store: Store, key: Key, fields: Fields) -> Answer:
    version = find_upload(store, key, fields.text("fileId"))
    limit = fields.number("maxPartCount", default=100, low=1, high=10_000)
    first = fields.number("startPartNumber", default=1, low=1, high=_MOST_PARTS + 1)
    parts = store.versions.parts(version, first=first, limit=limit + 1)
    following = parts[limit].number if len(parts) > limit else None
    shown = [show_part(version, part) for part in parts[:limit]]
    return {"parts": shown, "nextPartNumber": following}


def finish_large_file(store: Store, key: Key, fields: Fields) -> Answer:
    file_id = fields.text("fileId")
    hashes = [check_sha1(text) for text in fields.texts("partSha1Array")]
    if len(hashes) < _FEWEST_PARTS:
        refuse("large files must have at least 2 parts")
    with store.index.atomic():
        version = find_upload(store, key, file_id)
        parts = store.versions.parts(version, limit=_MOST_PARTS)
        _check_parts(parts, hashes, smallest=store.sizes.minimum)
        size = store.versions.place_parts(version, parts)
        finished = replace(version, action="upload", size=size)
        store.versions.change(finished)
    return show_version(store, key, finished)


def cancel_large_file(store: Store, key: Key, fields: Fields) -> Answer:
    with store.index.atomic():
        version = find_upload(store, key, fields.text("fileId"))
        blobs = store.versions.remove(version)
    store.blobs.remove(blobs)
    return {
        "accountId": store.account_id,
        "bucketId": version.bucket_id,
        "fileId": version.file_id,
        "fileName": version.name,
    }


def add_upload(
    store: Store, key: Key, bucket_id: str, name: str, blob: Blob, *, facts: Facts, uploaded: int
) -> Answer:
    """Make a plain upload visible, once its bytes are safe; raises Refusal."""
    with store.index.atomic():
        find_bucket(store, bucket_id)
        version = store.versions.add(
            bucket_id=bucket_id,
            name=name,
            action="upload",
            size=blob.size,
            uploaded=uploaded,
            facts=facts,
        )
        part = Part(number=1, size=blob.size, sha1=blob.sha1, blob=blob.name, uploaded=uploaded)
        store.versions.put_part(version, part)
    return show_version(store, key, version)


def add_part(store: Store, key: Key, file_id: str, number: int, blob: Blob) -> Answer:
    """Make a part belong to its large file, once its bytes are safe; raises Refusal."""
    with store.index.atomic():
        version = find_upload(store, key, file_id)
        part = Part(
            number=number, size=blob.size, sha1=blob.sha1, blob=blob.name, uploaded=store.now()
        )
        replaced = store.versions.put_part(version, part)
    store.blobs.remove(replaced)
    return show_part(version, part)


def show_part(version: Version, part: Part) -> Answer:
    return {
        "fileId": version.file_id,
        "partNumber": part.number,
        "contentLength": part.size,
        "contentSha1": part.sha1,
        "contentMd5": None,
        "uploadTimestamp": part.uploaded,
        "serverSideEncryption": version.facts.encryption or {"mode": None, "algorithm": None},
    }


def check_part_number(number: int) -> int:
    if not 1 <= number <= _MOST_PARTS:
        refuse(f"Part numbers go from 1 to {_MOST_PARTS}")
    return number


def replication_of(bucket: Bucket) -> str | None:
    source = (bucket.replication or {}).get("asReplicationSource")
    return "pending" if source else None


def _guards(version: Version) -> Guards:
    facts = version.facts
    return Guards(
        encryption=facts.encryption,
        retention_mode=facts.retention_mode,
        retain_until=facts.retain_until,
        legal_hold=facts.legal_hold,
    )


def _lockable(store: Store, key: Key, fields: Fields) -> Version:
    version = find_version(store, key, fields.text("fileId"))
    if version is None or version.name != fields.text("fileName"):
        refuse("File not present", code="file_not_present")
    if not find_bucket(store, version.bucket_id).lock_enabled:
        refuse("The bucket is not file lock enabled")
    return version


def _check_parts(parts: list[Part], hashes: list[str], *, smallest: int) -> None:
    for number, sha1 in enumerate(hashes, start=1):
        if number > len(parts) or parts[number - 1].number != number:
            refuse(f"Part number {number} has not been uploaded", code="missing_part")
        if parts[number - 1].sha1 != sha1:
            refuse(f"Part number {number} has another sha1", code="part_sha1_mismatch")
        if number < len(hashes) and parts[number - 1].size < smallest:
            refuse(f"Part number {number} is smaller than {smallest} bytes")
    if len(parts) != len(hashes):
        refuse(f"{len(parts)} parts were uploaded, but {len(hashes)} sha1s are given")
