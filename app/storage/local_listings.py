"""The local B2's listings: names, versions and unfinished large files, page by page."""

from collections.abc import Sequence

from app.storage.local_access import Key
from app.storage.local_buckets import Answer, find_bucket
from app.storage.local_objects import show_version
from app.storage.local_requests import Fields, refuse
from app.storage.local_store import Store
from app.storage.local_versions import Entry, Folder, Window, sequence_of

_MOST = 10_000
_USUAL = 100


def list_file_names(store: Store, key: Key, fields: Fields) -> Answer:
    page, following = store.versions.page(_window(store, key, fields), all_versions=False)
    return {
        "files": _show(store, key, page),
        "nextFileName": following.name if following else None,
    }


def list_file_versions(store: Store, key: Key, fields: Fields) -> Answer:
    page, following = store.versions.page(_window(store, key, fields), all_versions=True)
    next_id = None if following is None or isinstance(following, Folder) else following.file_id
    return {
        "files": _show(store, key, page),
        "nextFileName": following.name if following else None,
        "nextFileId": next_id,
    }


def list_unfinished_large_files(store: Store, key: Key, fields: Fields) -> Answer:
    bucket_id = _bucket(store, key, fields)
    prefix = fields.optional_text("namePrefix") or ""
    key.check_name(prefix)
    limit = fields.number("maxFileCount", default=_USUAL, low=1, high=_USUAL)
    start = fields.optional_text("startFileId")
    found = store.versions.unfinished(
        bucket_id,
        prefix=prefix,
        from_sequence=_sequence(start) if start else 0,
        limit=limit + 1,
    )
    return {
        "files": _show(store, key, found[:limit]),
        "nextFileId": found[limit].file_id if len(found) > limit else None,
    }


def _window(store: Store, key: Key, fields: Fields) -> Window:
    bucket_id = _bucket(store, key, fields)
    prefix = fields.optional_text("prefix") or ""
    key.check_name(prefix)
    start_id = fields.optional_text("startFileId")
    start_name = fields.optional_text("startFileName") or ""
    if start_id and not start_name:
        refuse("startFileId needs startFileName")
    return Window(
        bucket_id=bucket_id,
        prefix=prefix,
        delimiter=fields.optional_text("delimiter"),
        start_name=start_name,
        start_sequence=_sequence(start_id) if start_id else None,
        limit=fields.number("maxFileCount", default=_USUAL, low=1, high=_MOST),
    )


def _bucket(store: Store, key: Key, fields: Fields) -> str:
    bucket_id = find_bucket(store, fields.text("bucketId")).bucket_id
    key.check_bucket(bucket_id)
    return bucket_id


def _sequence(file_id: str) -> int:
    sequence = sequence_of(file_id)
    if sequence is None:
        refuse(f"Bad fileId: {file_id}")
    return sequence


def _show(store: Store, key: Key, page: Sequence[Entry]) -> list[Answer]:
    return [
        _show_folder(store, entry) if isinstance(entry, Folder) else show_version(store, key, entry)
        for entry in page
    ]


def _show_folder(store: Store, folder: Folder) -> Answer:
    return {
        "accountId": store.account_id,
        "action": "folder",
        "bucketId": None,
        "contentLength": 0,
        "contentMd5": None,
        "contentSha1": None,
        "contentType": None,
        "fileId": None,
        "fileInfo": {},
        "fileName": folder.name,
        "size": 0,
        "uploadTimestamp": 0,
    }
