"""Drift: a listing compared with the records says the same however it is cut into pages."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import StorageError
from app.model.backups import BackupState, StorageStatus
from app.model.drifts import (
    DriftDetail,
    DriftKind,
    ListedPage,
    ListedVersion,
    ObjectRecord,
    Pending,
    Territory,
    base_of,
    check_page,
    compare,
    cut_page,
    is_suspect,
)

PREFIX = "kept"
STARTED = datetime(2026, 1, 1, tzinfo=UTC)
LONG_AGO = STARTED - timedelta(days=1)
INSTALLATION, HUB, FORMER, STRANGER, CONTAINER = (UUID(int=n) for n in range(1, 6))
TERRITORY = Territory(prefix=PREFIX, installation_id=INSTALLATION, hub_id=HUB, former_hub_id=FORMER)


def name_of(number, *, hub=HUB, installation=INSTALLATION):
    return f"{PREFIX}/{installation}/{hub}/{CONTAINER}/{UUID(int=100 + number)}-1"


def version(name, file_id="1", *, action="upload", size=10, at=LONG_AGO):
    return ListedVersion(file_id=file_id, name=name, action=action, size=size, uploaded_at=at)


def record(
    number, *, state=BackupState.LIVE, file_id="1", size=10, at=LONG_AGO, status="UNCHECKED"
):
    return ObjectRecord(
        backup_id=UUID(int=100 + number),
        state=state,
        object_name=name_of(number),
        file_id=file_id,
        manifest_file_id="m",
        size_bytes=size,
        storage_status=StorageStatus(status),
        settled_at=at,
    )


def judge(versions, records=(), pending=()):
    found = compare(
        versions,
        records,
        pending,
        territory=TERRITORY,
        expected={one.backup_id for one in records},
        started_at=STARTED,
    )
    return [(one.kind, one.detail) for one in found.findings]


MANIFEST = version(name_of(1) + ".json", "m")


@pytest.mark.parametrize(
    ("versions", "records", "found"),
    [
        ([version(name_of(1)), MANIFEST], [record(1)], []),
        ([MANIFEST], [record(1)], [("MISSING", "OBJECT")]),
        ([version(name_of(1))], [record(1)], [("MISSING", "MANIFEST")]),
        ([version(name_of(1), size=9), MANIFEST], [record(1)], [("MISMATCH", "SIZE")]),
        (
            [version(name_of(1), "2"), MANIFEST],
            [record(1)],
            [("MISMATCH", "VERSION"), ("ORPHAN", "OBJECT")],
        ),
        # A second version beside the right one is nobody's.
        (
            [version(name_of(1)), version(name_of(1), "2"), MANIFEST],
            [record(1)],
            [("ORPHAN", "OBJECT")],
        ),
        # What hides an object does not remove it.
        (
            [version(name_of(1), "h", action="hide"), version(name_of(1)), MANIFEST],
            [record(1)],
            [("FOREIGN", "MARKER")],
        ),
        # An unfinished upload of the same name is not the object.
        (
            [version(name_of(1), action="start"), MANIFEST],
            [record(1)],
            [("MISSING", "OBJECT")],
        ),
        # A run that goes on, and what is being deleted.
        ([version(name_of(1), "9", action="start")], [record(1, state=BackupState.SAVING)], []),
        ([version(name_of(1), "9")], [record(1, state=BackupState.SAVING)], []),
        ([version(name_of(1)), MANIFEST], [record(1, state=BackupState.DELETING)], []),
        ([], [record(1, state=BackupState.DELETING)], []),
        ([version(name_of(1))], [record(1, state=BackupState.DELETED)], [("ORPHAN", "OBJECT")]),
        # A loss that somebody has accepted is not told again.
        ([MANIFEST], [record(1, status="LOSS_ACCEPTED")], []),
        # What is younger than the listing is left out, on both sides.
        ([], [record(1, at=STARTED)], []),
        ([version(name_of(1), at=STARTED)], [], []),
        # Whose is it?
        ([version(name_of(1))], [], [("ORPHAN", "OBJECT")]),
        ([version(name_of(1) + ".json")], [], [("ORPHAN", "MANIFEST")]),
        ([version(name_of(1), action="start")], [], [("UNFINISHED", "UPLOAD")]),
        ([version(name_of(1, hub=FORMER, installation=STRANGER))], [], [("ORPHAN", "OBJECT")]),
        ([version(name_of(1, hub=STRANGER))], [], [("FOREIGN", "OBJECT")]),
        ([version(name_of(1, installation=STRANGER))], [], [("FOREIGN", "OBJECT")]),
        ([version(name_of(1, hub=STRANGER), action="start")], [], [("FOREIGN", "UPLOAD")]),
        ([version(f"{PREFIX}/photo.jpg")], [], [("FOREIGN", "OBJECT")]),
        ([version(name_of(1) + "0x")], [], [("FOREIGN", "OBJECT")]),
    ],
)
def test_each_disagreement_has_one_name(versions, records, found):
    assert judge(versions, records) == [(DriftKind(k), DriftDetail(d)) for k, d in found]


@pytest.mark.parametrize(
    ("pending", "count"),
    [
        (Pending(name=name_of(1), file_id="1"), 0),
        (Pending(name=name_of(1), file_id=None), 0),
        (Pending(name=name_of(1), file_id="2"), 1),
        (Pending(name=name_of(2), file_id="1"), 1),
    ],
)
def test_what_is_to_be_removed_anyway_is_no_orphan(pending, count):
    assert len(judge([version(name_of(1))], [], [pending])) == count


@pytest.mark.parametrize(
    ("absent", "records", "suspect"),
    [(10, 10, False), (11, 11, True), (11, 109, True), (11, 110, False), (0, 0, False)],
)
def test_more_than_10_and_more_than_a_tenth_at_once_are_suspect(absent, records, suspect):
    assert is_suspect(absent=absent, records=records) is suspect


def page_of(versions, start, limit):
    """As B2 answers: from a name on, so many."""
    rest = [v for v in versions if v.name.encode() >= start.encode()]
    return ListedPage(versions=rest[:limit], is_last=len(rest) <= limit)


def walk(versions, limit):
    """The pieces of a listing that are judged by themselves, with their bounds."""
    start = ""
    while True:
        page = page_of(versions, start, limit)
        check_page(page, prefix=PREFIX, start=start)
        kept, following = cut_page(page, prefix=PREFIX)
        yield kept, start, following
        if following is None:
            return
        start = following


NAMES = st.builds(
    lambda number, hub, suffix: name_of(number, hub=hub) + suffix,
    st.integers(0, 8),
    st.sampled_from([HUB, STRANGER]),
    st.sampled_from(["", ".json", "0", " of mine"]),
)
VERSIONS = st.lists(
    st.builds(
        version,
        NAMES,
        st.sampled_from(["1", "2", "m"]),
        action=st.sampled_from(["upload", "start", "hide"]),
        size=st.sampled_from([9, 10]),
    ),
    max_size=30,
    unique_by=lambda one: (one.name, one.file_id),
)
RECORDS = st.lists(
    st.builds(
        record,
        st.integers(0, 8),
        state=st.sampled_from([BackupState.LIVE, BackupState.SAVING, BackupState.DELETED]),
        file_id=st.sampled_from(["1", "2"]),
    ),
    unique_by=lambda one: one.backup_id,
)


def test_losses_that_are_known_make_no_listing_suspect():
    lost = [record(number, status="MISSING") for number in range(40)]
    there = [record(number) for number in range(40, 100)]
    listed = [version(name_of(number)) for number in range(40, 99)]

    def look(records):
        found = compare(
            listed,
            records,
            (),
            territory=TERRITORY,
            expected={one.backup_id for one in records},
            started_at=STARTED,
        )
        return found.records, found.absent

    assert look([*lost, *there]) == (60, 1)
    assert look([record(number) for number in range(100)]) == (100, 41)


@given(VERSIONS, RECORDS, st.integers(13, 40))
def test_pages_of_any_size_say_what_the_whole_listing_says(versions, records, limit):
    versions = sorted(versions, key=lambda one: one.name.encode())
    pieces = []
    for kept, start, following in walk(versions, limit):
        bases = {base_of(one.name) for one in kept}
        between = [
            one
            for one in records
            if start.encode() <= one.object_name.encode()
            and (following is None or one.object_name.encode() < following.encode())
        ]
        found = compare(
            kept,
            between + [one for one in records if one.object_name in bases and one not in between],
            [],
            territory=TERRITORY,
            expected={one.backup_id for one in between},
            started_at=STARTED,
        )
        pieces += found.findings

    whole = compare(
        versions,
        records,
        [],
        territory=TERRITORY,
        expected={one.backup_id for one in records},
        started_at=STARTED,
    ).findings

    def sort(findings):
        # A manifest behind a stranger's name may fall on the next page: it is asked for by its id.
        kept = [one for one in findings if one.detail is not DriftDetail.MANIFEST]
        return sorted((one.kind, one.detail, one.name, one.file_id) for one in kept)

    assert sort(pieces) == sort(whole)
    manifests = {one for one in whole if one.detail is DriftDetail.MANIFEST}
    assert manifests <= set(pieces)


def test_a_page_that_holds_one_name_alone_is_refused_instead_of_asked_for_for_ever():
    page = ListedPage(versions=[version(name_of(1), str(n)) for n in range(5)], is_last=False)
    with pytest.raises(StorageError, match="too many versions"):
        cut_page(page, prefix=PREFIX)
