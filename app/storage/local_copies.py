"""The local B2's server-side copies of files and of ranges into parts."""

import re
from dataclasses import replace

from app.storage.local_access import Key
from app.storage.local_buckets import Answer, find_bucket
from app.storage.local_files import Blob, Piece
from app.storage.local_locks import check_customer_key, encryption_from, guards_from_fields
from app.storage.local_objects import (
    add_part,
    add_upload,
    check_info,
    check_part_number,
    content_type_of,
    find_upload,
    find_version,
    replication_of,
)
from app.storage.local_requests import Fields, Refusal, check_file_name, refuse
from app.storage.local_store import Store
from app.storage.local_versions import Version

_RANGE = re.compile(r"bytes=(\d+)-(\d+)")
_LARGEST = 5_000_000_000


def copy_file(store: Store, key: Key, fields: Fields) -> Answer:
    source = _source(store, key, fields)
    name = check_file_name(fields.text("fileName"))
    bucket_id = fields.optional_text("destinationBucketId") or source.bucket_id
    bucket = find_bucket(store, bucket_id)
    key.check_bucket(bucket_id)
    key.check_name(name)
    now = store.now()
    guards = guards_from_fields(fields, key, bucket, now, sse="destinationServerSideEncryption")
    info, content_type = source.facts.info, source.facts.content_type
    if fields.optional_text("metadataDirective") == "REPLACE":
        content_type = content_type_of(name, fields.text("contentType"))
        info = check_info(fields.text_mapping("fileInfo") or {})
    blob = _copy(store, source, fields)
    facts = replace(
        source.facts,
        content_type=content_type,
        sha1=blob.sha1,
        large=False,
        info=info,
        encryption=guards.encryption,
        retention_mode=guards.retention_mode,
        retain_until=guards.retain_until,
        legal_hold=guards.legal_hold,
        replication=replication_of(bucket),
    )
    try:
        answer = add_upload(store, key, bucket_id, name, blob, facts=facts, uploaded=now)
    except BaseException:
        store.blobs.remove([blob.name])
        raise
    return {**answer, "action": "copy"}


def copy_part(store: Store, key: Key, fields: Fields) -> Answer:
    source = _source(store, key, fields)
    target = find_upload(store, key, fields.text("largeFileId"))
    number = check_part_number(fields.number("partNumber", default=0, low=0, high=1 << 31))
    blob = _copy(store, source, fields)
    try:
        return add_part(store, key, target.file_id, number, blob)
    except BaseException:
        store.blobs.remove([blob.name])
        raise


def _source(store: Store, key: Key, fields: Fields) -> Version:
    key.require("readFiles")
    source = find_version(store, key, fields.text("sourceFileId"))
    if source is None or source.action != "upload":
        raise Refusal(404, "not_found", "The source file is not present")
    offered = encryption_from(fields, "sourceServerSideEncryption") or {}
    check_customer_key(source.facts.encryption, offered.get("customerKeyMd5"))
    return source


def _copy(store: Store, source: Version, fields: Fields) -> Blob:
    start, end = 0, source.size
    if "range" in fields:
        match = _RANGE.fullmatch(fields.text("range"))
        if not match:
            refuse("range must be bytes=FIRST-LAST")
        start, end = int(match[1]), min(int(match[2]) + 1, source.size)
        if start >= end:
            raise Refusal(416, "range_not_satisfiable", "The range is outside the file")
    if end - start > _LARGEST:
        refuse(f"Copy source too big: {end - start}", code="source_too_large")
    reader = store.blobs.read(pieces_of(store, source, start, end))
    writer = store.blobs.write()
    try:
        while block := reader.read():
            writer.write([block])
        blob = writer.commit()
    except BaseException:
        writer.discard()
        raise
    finally:
        reader.close()
    if blob.size != end - start:
        writer.discard()
        raise Refusal(500, "internal_error", "The bytes of the source file are gone")
    return blob


def pieces_of(store: Store, version: Version, start: int, end: int) -> list[Piece]:
    """Where the bytes [start, end) of a finished version stand."""
    pieces: list[Piece] = []
    for part in store.versions.parts_between(version, start, end):
        first = max(start, part.start)
        last = min(end, part.start + part.size)
        pieces.append(Piece(blob=part.blob, start=first - part.start, length=last - first))
    return pieces
