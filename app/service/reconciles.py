"""Reconciles: each step of comparing a bucket with its records is one transaction here.

A listing alone changes nothing that anybody sees. What it finds is staged; what is missing is asked
for once more by its id; and only a walk that came to its end, and is believed, is shown.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Final
from uuid import UUID

from app.errors import SuspectListing
from app.model.backups import StorageStatus
from app.model.drifts import (
    DriftDetail,
    DriftKind,
    ListedVersion,
    Territory,
    base_of,
    compare,
    describe_found,
    is_suspect,
)
from app.model.events import EventKind, NewEvent
from app.model.scans import ScanCounts, ScanPhase, ScanStep
from app.postgres.listen import Wake, notify
from app.postgres.pool import Connection, Database
from app.queries import reconciles, scans
from app.queries.reconciles import Unapplied, Unwitnessed
from app.service.events import record_event
from app.service.scans import DAILY, describe, require_own
from app.service.topics import list_of

BATCH: Final = 500
"""How much a step changes at a time."""
MOST_RECORDS: Final = 10_000
"""How many records a step compares at a time, however few objects there are between them."""


async def compare_page(
    database: Database,
    step: ScanStep,
    versions: Sequence[ListedVersion],
    following: str | None,
    *,
    territory: Territory,
    most_records: int = MOST_RECORDS,
) -> None:
    """Compare a part of the listing, from the cursor to the name `following` (None: the end).

    Records are read after the listing: whatever was stored meanwhile had its name here before.
    Raises Fenced.
    """
    start = step.cursor or ""
    async with database.transaction(None) as connection:
        await require_own(connection, step)
        between = await reconciles.records_between(
            connection, step.integration_id, start, following, most_records + 1
        )
        if len(between) > most_records:
            following = between.pop().object_name
            end = following.encode()
            between = [record for record in between if record.object_name.encode() < end]
            versions = [v for v in versions if base_of(v.name).encode() < end]
        expected = {record.backup_id for record in between}
        bases = {base_of(version.name) for version in versions}
        others = bases - {record.object_name for record in between}
        records = [
            *between,
            *await reconciles.records_named(connection, step.integration_id, others),
        ]
        names = {version.name for version in versions}
        comparison = compare(
            versions,
            records,
            await reconciles.pending(connection, step.integration_id, names),
            territory=territory,
            expected=expected,
            started_at=step.started_at,
        )
        await reconciles.stage(connection, step, comparison.findings)
        kinds = [finding.kind for finding in comparison.findings]
        counts = replace(
            step.counts,
            objects=step.counts.objects + len(versions),
            records=step.counts.records + comparison.records,
            absent=step.counts.absent + comparison.absent,
            orphans=step.counts.orphans + kinds.count(DriftKind.ORPHAN),
            unfinished=step.counts.unfinished + kinds.count(DriftKind.UNFINISHED),
            foreign=step.counts.foreign + kinds.count(DriftKind.FOREIGN),
        )
        phase = ScanPhase.LISTING
        if following is None:
            phase = _judge(step, counts)
        await _advance(connection, step, phase, cursor=following, counts=counts)


def _judge(step: ScanStep, counts: ScanCounts) -> ScanPhase:
    suspect = is_suspect(absent=counts.absent, records=counts.records)
    return ScanPhase.DISCARDING if suspect and not step.believed else ScanPhase.WITNESSING


async def unwitnessed(database: Database, step: ScanStep, limit: int) -> list[Unwitnessed]:
    """What B2 is to be asked for by its id."""
    async with database.connection(None) as connection:
        return await reconciles.unwitnessed(connection, step, limit)


async def record_witnesses(
    database: Database,
    step: ScanStep,
    *,
    gone: Collection[UUID],
    there: Sequence[Unwitnessed],
) -> None:
    """What B2 said when it was asked by id; both empty: there is nothing more to ask.

    An object that is there after all shows that the listing came short. Raises Fenced.
    """
    contradicted = sum(one.detail is not DriftDetail.MANIFEST for one in there)
    counts = replace(step.counts, contradicted=step.counts.contradicted + contradicted)
    async with database.transaction(None) as connection:
        await require_own(connection, step)
        await reconciles.witness(connection, step, gone)
        await reconciles.forget(connection, [one.id for one in there])
        more = bool(gone or there)
        phase = ScanPhase.WITNESSING if more else ScanPhase.MARKING
        await _advance(connection, step, phase, counts=counts)


async def discard(database: Database, step: ScanStep) -> None:
    """Forget what a listing that is not believed has shown; then the walk ends. Raises Fenced."""
    async with database.transaction(None) as connection:
        await require_own(connection, step)
        if await reconciles.discard(connection, step, step.number, BATCH) == BATCH:
            await _advance(connection, step, ScanPhase.DISCARDING)
            return
        counts = step.counts
        error = SuspectListing(
            f"The listing of the bucket misses {counts.absent} of {counts.records} objects at once;"
            " it is not believed, and nothing was changed. Look into the bucket; if they are really"
            " gone, reconcile once more and say that the listing is right."
        )
        await scans.end(connection, step, counts, error=describe(error), again_in=DAILY)
        data = {"absent": counts.absent, "records": counts.records}
        await record_event(
            connection,
            step.hub_id,
            NewEvent(
                kind=EventKind.SUSPECT_LISTING,
                message=error.message,
                integration_id=step.integration_id,
                data=data,
            ),
        )


async def mark_present(database: Database, step: ScanStep) -> None:
    """Write down that the next backups are there. Raises Fenced."""
    async with database.transaction(None) as connection:
        await require_own(connection, step)
        marked = await reconciles.mark_present(connection, step, BATCH)
        await _tell(connection, marked.found)
        if marked.size == BATCH:
            await _advance(connection, step, ScanPhase.MARKING, cursor=marked.last_name)
        else:
            await _advance(connection, step, ScanPhase.RESOLVING)


async def resolve(database: Database, step: ScanStep) -> None:
    """End the drift that is over, and drop what no walk ever came to show. Raises Fenced."""
    async with database.transaction(None) as connection:
        await require_own(connection, step)
        dropped = await reconciles.discard(connection, step, step.number - 1, BATCH)
        partial = step.counts.contradicted > 0
        resolved = await reconciles.resolve(connection, step, BATCH, partial=partial)
        more = BATCH in {dropped, resolved}
        await _advance(connection, step, ScanPhase.RESOLVING if more else ScanPhase.SHOWING)


async def show(database: Database, step: ScanStep, *, batch: int = BATCH) -> None:
    """Show what was found, and mark the backups that are concerned; at the end tell of it.

    Raises Fenced.
    """
    async with database.transaction(None) as connection:
        await require_own(connection, step)
        found = await reconciles.unapplied(connection, step, batch)
        shown = await _apply(connection, step, found)
        new = [one.kind for one in shown if one.is_new]
        kinds = [one.kind for one in shown]
        dropped = [one.kind for one in found if one not in shown]
        counts = replace(
            step.counts,
            missing=step.counts.missing + kinds.count(DriftKind.MISSING),
            mismatches=step.counts.mismatches + kinds.count(DriftKind.MISMATCH),
            orphans=step.counts.orphans - dropped.count(DriftKind.ORPHAN),
            unfinished=step.counts.unfinished - dropped.count(DriftKind.UNFINISHED),
            found=step.counts.found + len(new),
        )
        if len(found) == batch:
            await _advance(connection, step, ScanPhase.SHOWING, counts=counts)
        else:
            await scans.end(connection, step, counts, again_in=DAILY)
        if new:
            await _record(connection, step, new)


async def _apply(
    connection: Connection, step: ScanStep, found: Sequence[Unapplied]
) -> list[Unapplied]:
    """Write down what follows from the findings; returns those that still are what they were."""
    lost = [
        one
        for one in found
        if one.kind in {DriftKind.MISSING, DriftKind.MISMATCH}
        and one.detail is not DriftDetail.MANIFEST
    ]
    recorded = await reconciles.record(
        connection,
        [(one.backup_id, one.file_id, StorageStatus(one.kind)) for one in lost if one.backup_id],
    )
    await _tell(connection, [(id, place) for id, (place, changed) in recorded.items() if changed])
    unknown = [(one.id, base_of(one.name), one.file_id) for one in found if one.backup_id is None]
    claimed = await reconciles.recorded(connection, step.integration_id, unknown)
    over = {one.id for one in lost if one.backup_id not in recorded} | claimed
    await reconciles.drop(connection, over)
    shown = [one for one in found if one.id not in over]
    await reconciles.show(connection, step, [one.id for one in shown])
    return shown


async def _record(connection: Connection, step: ScanStep, new: Sequence[DriftKind]) -> None:
    by_kind = {kind: new.count(kind) for kind in DriftKind}
    await record_event(
        connection,
        step.hub_id,
        NewEvent(
            kind=EventKind.DRIFT_FOUND,
            message=describe_found(by_kind),
            integration_id=step.integration_id,
            data={kind.lower(): count for kind, count in by_kind.items()},
        ),
    )


async def _tell(connection: Connection, changed: Sequence[tuple[UUID, UUID]]) -> None:
    """Wake those who follow these backups, each told with its container."""
    topics: list[str | Wake] = []
    for backup_id, container_id in changed:
        topics += [f"run:{backup_id}", list_of(container_id, backup_id)]
    await notify(connection, topics)


async def _advance(
    connection: Connection,
    step: ScanStep,
    phase: ScanPhase,
    *,
    cursor: str | None = None,
    counts: ScanCounts | None = None,
) -> None:
    await scans.advance(
        connection,
        step,
        phase=phase,
        cursor=cursor,
        counts=counts or step.counts,
    )
