"""Walks over an integration's bucket: how far they are, and what they counted."""

from datetime import datetime
from typing import Self

import strawberry

from app.api.failures import Failure
from app.api.scalars import BigInt
from app.model.scans import Scan, ScanCounts


@strawberry.type(
    description="The comparison of an integration's bucket with the records, made daily and by "
    "`reconcileStorage`. While it is `running`, the numbers say how far it is; else they are those "
    "of the last one that came to its end."
)
class Reconcile:
    running: bool = strawberry.field(
        description="It is under way, or was asked for and begins in a moment."
    )
    phase: str | None = strawberry.field(
        description="What it does now: `LISTING` the bucket, `WITNESSING` (asking by id for what "
        "seems to be gone), `DISCARDING` a listing that is not believed, `MARKING` the backups "
        "that are there, `RESOLVING` what is over, `SHOWING` what was found. Null where it does "
        "nothing."
    )
    started_at: datetime | None = strawberry.field(
        description="When it began; what is younger is left out. Null where it never did."
    )
    finished_at: datetime | None = strawberry.field(
        description="When one last came to its end; null where none ever did."
    )
    objects: BigInt = strawberry.field(
        description="How many versions there are in the bucket, manifests and unfinished uploads "
        "included."
    )
    records: BigInt = strawberry.field(description="How many `LIVE` backups were looked for.")
    missing: BigInt = strawberry.field(description="How many objects or manifests are gone.")
    mismatches: BigInt = strawberry.field(
        description="How many objects are not the ones that were saved."
    )
    orphans: BigInt = strawberry.field(
        description="How many objects and manifests of this hub have no record."
    )
    unfinished: BigInt = strawberry.field(
        description="How many uploads of runs that ended are neither finished nor cancelled."
    )
    foreign: BigInt = strawberry.field(
        description="How many objects are of somebody else; the gateway never touches them by "
        "itself."
    )
    found: BigInt = strawberry.field(description="How many of all these were not known before.")
    contradicted: BigInt = strawberry.field(
        description="How many objects the listing did not show that are there all the same: it "
        "came short, and what else it did not show is not taken to be gone."
    )
    error: Failure | None = strawberry.field(
        description="Why it cannot go on, or why the last one changed nothing, such as "
        "`SUSPECT_LISTING`. Null where nothing is wrong."
    )

    @classmethod
    def of(cls, scan: Scan) -> Self:
        counts = _counts(scan)
        return cls(
            running=_is_running(scan),
            phase=scan.phase,
            started_at=scan.started_at,
            finished_at=scan.finished_at,
            objects=BigInt(counts.objects),
            records=BigInt(counts.records),
            missing=BigInt(counts.missing),
            mismatches=BigInt(counts.mismatches),
            orphans=BigInt(counts.orphans),
            unfinished=BigInt(counts.unfinished),
            foreign=BigInt(counts.foreign),
            found=BigInt(counts.found),
            contradicted=BigInt(counts.contradicted),
            error=_error(scan),
        )


@strawberry.type(
    description="The rebuilding of records from the manifests in an integration's bucket, by "
    "`recoverBackups`. While it is `running`, the numbers say how far it is; else they are those "
    "of the last one that came to its end."
)
class Recovery:
    running: bool = strawberry.field(
        description="It is under way, or was asked for and begins in a moment."
    )
    phase: str | None = strawberry.field(
        description="What it does now: `LOOKING` whose backups there are, `READING` their "
        "manifests. Null where it does nothing."
    )
    started_at: datetime | None = strawberry.field(
        description="When it began; null where it never did."
    )
    finished_at: datetime | None = strawberry.field(
        description="When one last came to its end; null where none ever did."
    )
    objects: BigInt = strawberry.field(
        description="How many versions in the bucket were looked at."
    )
    recovered: BigInt = strawberry.field(description="How many records of backups were made.")
    known: BigInt = strawberry.field(
        description="How many backups have a record, or are about to be removed."
    )
    skipped: BigInt = strawberry.field(
        description="How many there were of objects without a manifest that fits them, manifests "
        "without their object, and backups of a container that is being deleted. The next "
        "reconcile shows them."
    )
    error: Failure | None = strawberry.field(
        description="Why it cannot go on, or has made nothing, such as `SEVERAL_HUBS`. Null where "
        "nothing is wrong."
    )

    @classmethod
    def of(cls, scan: Scan) -> Self:
        counts = _counts(scan)
        return cls(
            running=_is_running(scan),
            phase=scan.phase,
            started_at=scan.started_at,
            finished_at=scan.finished_at,
            objects=BigInt(counts.objects),
            recovered=BigInt(counts.recovered),
            known=BigInt(counts.known),
            skipped=BigInt(counts.skipped),
            error=_error(scan),
        )


def _is_running(scan: Scan) -> bool:
    return scan.phase is not None or scan.is_due


def _counts(scan: Scan) -> ScanCounts:
    return scan.counts if _is_running(scan) else scan.last_counts or ScanCounts()


def _error(scan: Scan) -> Failure | None:
    error = scan.error
    return None if error is None else Failure.of(error.code, error.message)
