"""Drift: where a bucket and the records disagree, found by comparing a listing with them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

from app.errors import StorageError
from app.model.backups import BackupState, StorageStatus
from app.model.objects import MANIFEST_SUFFIX, BackupPlace, below, manifest_name, parse_object_name
from app.model.ownership import owner_name
from app.model.runs import RunError

SUSPECT_COUNT: Final = 10
SUSPECT_SHARE: Final = 10
"""More than so many, and more than one of so many, missing at once: the listing is not believed."""
MOST_KEPT: Final = 10_000
"""So many of each of ORPHAN, UNFINISHED and FOREIGN are kept of an integration; all are counted."""


class DriftKind(StrEnum):
    MISSING = "MISSING"
    MISMATCH = "MISMATCH"
    ORPHAN = "ORPHAN"
    UNFINISHED = "UNFINISHED"
    FOREIGN = "FOREIGN"


class DriftDetail(StrEnum):
    """What exactly: the object or its manifest; what differs; an upload, or a hide marker."""

    OBJECT = "OBJECT"
    MANIFEST = "MANIFEST"
    SIZE = "SIZE"
    VERSION = "VERSION"
    UPLOAD = "UPLOAD"
    MARKER = "MARKER"


class DriftResolution(StrEnum):
    """How a drift ended."""

    GONE = "GONE"
    ADOPTED = "ADOPTED"
    RECLAIMED = "RECLAIMED"
    LOSS_ACCEPTED = "LOSS_ACCEPTED"


class Action(StrEnum):
    """What B2 says that a version is."""

    UPLOAD = "upload"
    START = "start"
    HIDE = "hide"


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedVersion:
    """One entry of a listing of versions: finished, unfinished, or a marker that hides others."""

    file_id: str
    name: str
    action: str
    size: int
    uploaded_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedPage:
    """A page of a listing; `is_last`: nothing follows it."""

    versions: Sequence[ListedVersion]
    is_last: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectRecord:
    """What a backup's record says of its object, whatever its state."""

    backup_id: UUID
    state: BackupState
    object_name: str
    file_id: str | None
    manifest_file_id: str | None
    size_bytes: int | None
    storage_status: StorageStatus
    settled_at: datetime | None
    """When its run ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """Something that is to be removed from the bucket already; `file_id` None: all so named."""

    name: str
    file_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One disagreement about one version."""

    kind: DriftKind
    detail: DriftDetail
    name: str
    file_id: str
    size_bytes: int | None = None
    uploaded_at: datetime | None = None
    backup_id: UUID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Territory:
    """Which names below a prefix are ours: those of our hub, and of the one that was recovered."""

    prefix: str
    installation_id: UUID
    hub_id: UUID
    former_hub_id: UUID | None

    def find(self, name: str) -> BackupPlace | None:
        """The place of an object of ours; None: it is not ours."""
        place = parse_object_name(self.prefix, name)
        if place is None:
            return None
        ours = (place.installation_id, place.hub_id) == (self.installation_id, self.hub_id)
        return place if ours or place.hub_id == self.former_hub_id else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What a page of the listing and the records of the same names say together."""

    findings: Sequence[Finding]
    records: int
    absent: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """A disagreement as people see it."""

    id: UUID
    hub_id: UUID
    integration_id: UUID
    kind: DriftKind
    detail: DriftDetail
    name: str
    file_id: str
    size_bytes: int | None
    uploaded_at: datetime | None
    backup_id: UUID | None
    created_at: datetime
    resolved_at: datetime | None
    resolution: DriftResolution | None
    adopting: bool
    bytes_read: int
    error: RunError | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftFilter:
    integration_id: UUID | None = None
    kinds: tuple[DriftKind, ...] | None = None
    """None: all."""


def check_page(page: ListedPage, *, prefix: str, start: str) -> None:
    """Raise StorageError for a listing that is not sorted, or shows what was not asked for."""
    last = start.encode()
    for version in page.versions:
        name = version.name.encode()
        if name < last or not version.name.startswith(below(prefix, "")):
            raise StorageError("Backblaze B2 lists what was not asked for, or in another order.")
        last = name


def base_of(name: str) -> str:
    """The object's name, also of its manifest's."""
    return name.removesuffix(MANIFEST_SUFFIX)


def cut_page(page: ListedPage, *, prefix: str) -> tuple[Sequence[ListedVersion], str | None]:
    """The entries that can be judged by themselves, and where the next page begins.

    The gateway's own owner object is left out: it is no backup, and no drift.
    All versions of an object and of its manifest are judged together: those that the end of the
    page may cut apart are left to the next one. None: there is none. Raises StorageError where the
    whole page is one object's.
    """
    own = owner_name(prefix)
    if page.is_last:
        return [v for v in page.versions if v.name != own], None
    if not page.versions:
        raise StorageError("Backblaze B2 gave an empty page and said that more follow.")
    following = base_of(page.versions[-1].name)
    kept = [v for v in page.versions if v.name.encode() < following.encode()]
    if not kept:
        raise StorageError(f"There are too many versions of one name: {following}")
    return [v for v in kept if v.name != own], following


def compare(
    versions: Sequence[ListedVersion],
    records: Sequence[ObjectRecord],
    pending: Collection[Pending],
    *,
    territory: Territory,
    expected: Collection[UUID],
    started_at: datetime,
) -> Comparison:
    """Compare the versions of some names with the records of these names.

    `expected`: backups whose object must be among the versions. What is younger than `started_at`
    is left out, and so is what is about to be removed anyway.
    """
    by_name = {record.object_name: record for record in records}
    listed: dict[str, list[ListedVersion]] = {}
    for version in versions:
        listed.setdefault(version.name, []).append(version)
    expectations = [
        record
        for record in records
        if record.backup_id in expected and _is_expected(record, started_at)
    ]
    findings: list[Finding] = []
    # A loss that is known already says nothing of this listing.
    known = {r.backup_id for r in expectations if r.storage_status is StorageStatus.MISSING}
    absent = 0
    for record in expectations:
        found = _judge_object(record, listed.get(record.object_name, ()))
        manifest = _judge_manifest(record, listed.get(manifest_name(record.object_name), ()))
        is_absent = found is not None and found.detail is not DriftDetail.SIZE
        absent += is_absent and record.backup_id not in known
        findings += [one for one in (found, manifest) if one is not None]
    removed = {(one.name, one.file_id) for one in pending}
    for version in versions:
        if version.uploaded_at >= started_at:
            continue
        if {(version.name, None), (version.name, version.file_id)} & removed:
            continue
        unknown = _judge_version(version, by_name.get(base_of(version.name)), territory)
        if unknown is not None:
            findings.append(unknown)
    return Comparison(findings=findings, records=len(expectations) - len(known), absent=absent)


def is_suspect(*, absent: int, records: int) -> bool:
    """Whether so much is missing at once that rather the listing is wrong."""
    return absent > SUSPECT_COUNT and absent * SUSPECT_SHARE > records


def describe_found(counts: Mapping[DriftKind, int]) -> str:
    """A sentence about drift that was not known before."""
    words = {
        DriftKind.MISSING: "missing",
        DriftKind.MISMATCH: "different from what was saved",
        DriftKind.ORPHAN: "without a record",
        DriftKind.UNFINISHED: "unfinished",
        DriftKind.FOREIGN: "of somebody else",
    }
    told = [f"{count} {words[kind]}" for kind, count in counts.items() if count]
    return f"Bucket and records disagree about objects: {', '.join(told)}."


def _is_expected(record: ObjectRecord, started_at: datetime) -> bool:
    return (
        record.state is BackupState.LIVE
        and record.storage_status is not StorageStatus.LOSS_ACCEPTED
        and record.file_id is not None
        and record.settled_at is not None
        and record.settled_at < started_at
    )


def _judge_object(record: ObjectRecord, versions: Sequence[ListedVersion]) -> Finding | None:
    """What is wrong with the object of a LIVE backup."""
    assert record.file_id is not None
    finished = [version for version in versions if version.action == Action.UPLOAD]
    found = next((v for v in finished if v.file_id == record.file_id), None)
    if found is None:
        kind, detail = (
            (DriftKind.MISMATCH, DriftDetail.VERSION)
            if finished
            else (DriftKind.MISSING, DriftDetail.OBJECT)
        )
    elif found.size != record.size_bytes:
        kind, detail = DriftKind.MISMATCH, DriftDetail.SIZE
    else:
        return None
    return Finding(
        kind=kind,
        detail=detail,
        name=record.object_name,
        file_id=record.file_id,
        size_bytes=found.size if found else None,
        uploaded_at=found.uploaded_at if found else None,
        backup_id=record.backup_id,
    )


def _judge_manifest(record: ObjectRecord, versions: Sequence[ListedVersion]) -> Finding | None:
    """Whether a LIVE backup's manifest is gone; the backup itself can be restored without it."""
    if record.manifest_file_id is None or any(
        v.file_id == record.manifest_file_id and v.action == Action.UPLOAD for v in versions
    ):
        return None
    return Finding(
        kind=DriftKind.MISSING,
        detail=DriftDetail.MANIFEST,
        name=manifest_name(record.object_name),
        file_id=record.manifest_file_id,
        backup_id=record.backup_id,
    )


def _judge_version(
    version: ListedVersion, record: ObjectRecord | None, territory: Territory
) -> Finding | None:
    """What a version in the bucket is that no record accounts for."""
    place = territory.find(base_of(version.name))
    if record is not None and _accounts_for(record, version):
        return None
    kind, detail = DriftKind.FOREIGN, DriftDetail.OBJECT
    if version.action == Action.HIDE:
        detail = DriftDetail.MARKER
    elif version.action == Action.START:
        detail = DriftDetail.UPLOAD
        if place is not None or record is not None:
            kind = DriftKind.UNFINISHED
    elif version.name != base_of(version.name) and (place is not None or record is not None):
        kind, detail = DriftKind.ORPHAN, DriftDetail.MANIFEST
    elif place is not None or record is not None:
        kind = DriftKind.ORPHAN
    return Finding(
        kind=kind,
        detail=detail,
        name=version.name,
        file_id=version.file_id,
        size_bytes=version.size,
        uploaded_at=version.uploaded_at,
        backup_id=None if record is None else record.backup_id,
    )


def _accounts_for(record: ObjectRecord, version: ListedVersion) -> bool:
    """Whether a version is the record's, or may still become it."""
    if version.action == Action.HIDE:
        return False
    if record.state in {BackupState.QUEUED, BackupState.SAVING}:
        return True
    if record.state in {BackupState.LIVE, BackupState.DELETING}:
        return version.file_id in {record.file_id, record.manifest_file_id}
    return False
