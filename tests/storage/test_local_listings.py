"""Listings of the local B2: order, prefixes, delimiters, pages, against what they should be."""

from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.storage.local_index import Index
from app.storage.local_versions import Facts, Folder, Version, Versions, Window
from tests.fakes.local_b2_client import call, refusal, start, stored
from tests.fakes.local_b2_server import LocalB2Server

FACTS = Facts(content_type="text/plain", sha1=None, info={})
BUCKET = "0" * 24


def pages(client: httpx.Client, operation: str, **fields: Any) -> list[list[tuple[str, str]]]:
    """All pages of a listing, as (name, action)."""
    found = []
    while True:
        page = call(client, operation, **fields).raise_for_status().json()
        found.append([(file["fileName"], file["action"]) for file in page["files"]])
        if page["nextFileName"] is None:
            return found
        fields |= {"startFileName": page["nextFileName"], "startFileId": page.get("nextFileId")}


def test_names_come_in_pages_in_the_order_of_their_bytes(client: httpx.Client, bucket_id: str):
    names = ["Z", "a", "a b", "a/b", "a0", "ä", "�", "😀"]
    for name in reversed(names):
        stored(client, bucket_id, quote(name))
    found = pages(client, "b2_list_file_names", bucketId=bucket_id, maxFileCount=3)
    assert [len(page) for page in found] == [3, 3, 2]
    assert [name for page in found for name, _ in page] == sorted(names, key=str.encode)


def test_versions_come_newest_first_and_go_on_inside_a_name(client: httpx.Client, bucket_id: str):
    ids = [stored(client, bucket_id, "b")["fileId"] for _ in range(5)]
    stored(client, bucket_id, "a")
    stored(client, bucket_id, "c")
    fields: dict[str, Any] = {"bucketId": bucket_id, "maxFileCount": 3}
    first = call(client, "b2_list_file_versions", **fields).json()
    assert [file["fileName"] for file in first["files"]] == ["a", "b", "b"]
    assert [file["fileId"] for file in first["files"][1:]] == [ids[4], ids[3]]
    assert (first["nextFileName"], first["nextFileId"]) == ("b", ids[2])
    # What was deleted between two pages must not stop the second.
    call(client, "b2_delete_file_version", fileId=ids[2], fileName="b").raise_for_status()
    fields |= {"startFileName": "b", "startFileId": ids[2]}
    second = call(client, "b2_list_file_versions", **fields).json()
    assert [file["fileId"] for file in second["files"][:2]] == [ids[1], ids[0]]
    assert second["files"][2]["fileName"] == "c"
    assert (second["nextFileName"], second["nextFileId"]) == (None, None)


def test_names_show_only_the_newest_upload_that_is_not_hidden(client: httpx.Client, bucket_id: str):
    for name in ("hidden", "twice", "twice"):
        newest = stored(client, bucket_id, name)
    call(client, "b2_hide_file", bucketId=bucket_id, fileName="hidden").raise_for_status()
    start(client, bucket_id, "twice")
    found = call(client, "b2_list_file_names", bucketId=bucket_id).json()["files"]
    assert [file["fileId"] for file in found] == [newest["fileId"]]
    versions = pages(client, "b2_list_file_versions", bucketId=bucket_id)
    assert versions == [
        [
            ("hidden", "hide"),
            ("hidden", "upload"),
            ("twice", "start"),
            ("twice", "upload"),
            ("twice", "upload"),
        ]
    ]


def test_a_delimiter_folds_what_lies_below_it(client: httpx.Client, bucket_id: str):
    for name in ("a", "b/1", "b/2", "b/c/3", "b0", "c/4"):
        stored(client, bucket_id, name)
    fields = {"bucketId": bucket_id, "delimiter": "/", "maxFileCount": 2}
    for operation in ("b2_list_file_names", "b2_list_file_versions"):
        assert pages(client, operation, **fields) == [
            [("a", "upload"), ("b/", "folder")],
            [("b0", "upload"), ("c/", "folder")],
        ]
        assert pages(client, operation, **fields, prefix="b/") == [
            [("b/1", "upload"), ("b/2", "upload")],
            [("b/c/", "folder")],
        ]


def test_unfinished_files_come_in_pages_below_a_prefix(client: httpx.Client, bucket_id: str):
    ids = [start(client, bucket_id, name) for name in ("p/1", "q/1", "p/2", "p/3")]
    stored(client, bucket_id, "p/4")
    fields: dict[str, Any] = {"bucketId": bucket_id, "namePrefix": "p/", "maxFileCount": 2}
    first = call(client, "b2_list_unfinished_large_files", **fields).json()
    assert [file["fileId"] for file in first["files"]] == [ids[0], ids[2]]
    assert first["nextFileId"] == ids[3]
    rest = call(client, "b2_list_unfinished_large_files", **fields, startFileId=ids[3]).json()
    assert [file["fileId"] for file in rest["files"]] == [ids[3]]
    assert rest["nextFileId"] is None


@pytest.mark.parametrize(
    "fields",
    [
        {"maxFileCount": 0},
        {"maxFileCount": 10_001},
        {"maxFileCount": "many"},
        {"maxFileCount": True},
        {"startFileId": "4_z"},
        {"startFileName": "a", "startFileId": "nonsense"},
        {"prefix": 1},
    ],
)
def test_a_listing_with_a_wrong_field_is_refused(
    client: httpx.Client, bucket_id: str, fields: dict[str, object]
):
    answer = call(client, "b2_list_file_versions", bucketId=bucket_id, **fields)
    assert refusal(answer) == (400, "bad_request")


@pytest.mark.timeout(60)  # seconds on a quiet machine
def test_a_hundred_thousand_names_are_listed_in_full_pages(
    b2: LocalB2Server, client: httpx.Client, bucket_id: str
):
    b2.faults.fill(bucket_id, "p/", count=100_000, size=7)
    found = pages(client, "b2_list_file_versions", bucketId=bucket_id, maxFileCount=10_000)
    assert [len(page) for page in found] == [10_000] * 10
    names = [name for page in found for name, _ in page]
    assert names == [f"p/{number:010d}" for number in range(100_000)]
    assert stored(client, bucket_id, "after")["fileId"]


LETTERS = st.text("a/b\U0010ffff", min_size=1, max_size=4)
ACTIONS = st.sampled_from(["start", "upload", "hide"])


def expected(
    rows: list[Version], prefix: str, delimiter: str | None, *, all_versions: bool
) -> list[str]:
    """The whole listing, the slow way: what each entry is called and which version it is."""
    ordered = sorted(rows, key=lambda row: (row.name, -row.sequence))
    if not all_versions:
        done = [row for row in ordered if row.action != "start"]
        newest = {row.name: row for row in reversed(done)}
        ordered = [newest[name] for name in sorted(newest) if newest[name].action == "upload"]
    entries: list[str] = []
    for row in ordered:
        if not row.name.startswith(prefix):
            continue
        end = -1 if delimiter is None else row.name.find(delimiter, len(prefix))
        entry = row.file_id if end < 0 else row.name[: end + 1]
        if entry not in entries:
            entries.append(entry)
    return entries


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    rows=st.lists(st.tuples(LETTERS, ACTIONS), max_size=15),
    prefix=st.text("a/b", max_size=2),
    delimiter=st.sampled_from([None, "/"]),
    limit=st.integers(1, 4),
    all_versions=st.booleans(),
)
def test_the_pages_together_are_the_whole_listing(
    tmp_path: Path,
    rows: list[tuple[str, str]],
    prefix: str,
    *,
    delimiter: str | None,
    limit: int,
    all_versions: bool,
):
    index = Index(tmp_path / "index.sqlite", durable=False)
    with index.atomic():
        index.run("delete from files")
        index.run(
            "insert or ignore into buckets (bucket_id, name, facts, revision)"
            " values (?, '', '', 1)",
            (BUCKET,),
        )
        versions = Versions(index)
        made = [
            versions.add(
                bucket_id=BUCKET, name=name, action=action, size=0, uploaded=1, facts=FACTS
            )
            for name, action in rows
        ]
    start_name, start_sequence = "", None
    found: list[str] = []
    while True:
        window = Window(
            bucket_id=BUCKET,
            prefix=prefix,
            delimiter=delimiter,
            start_name=start_name,
            start_sequence=start_sequence,
            limit=limit,
        )
        page, following = versions.page(window, all_versions=all_versions)
        found += [entry.name if isinstance(entry, Folder) else entry.file_id for entry in page]
        if following is None:
            break
        assert len(page) == limit
        start_name = following.name
        start_sequence = None if isinstance(following, Folder) else following.sequence
    index.close()
    assert found == expected(made, prefix, delimiter, all_versions=all_versions)
