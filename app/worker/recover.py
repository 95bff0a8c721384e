"""Rebuilds records from the manifests in a bucket; one bounded step at a time."""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Final
from uuid import UUID

from app.errors import ObjectMismatch, ObjectMissing, SeveralHubs, StorageError
from app.model.drifts import (
    Action,
    ListedVersion,
    Territory,
    base_of,
    check_page,
    cut_page,
)
from app.model.objects import (
    LARGEST_MANIFEST,
    BackupPlace,
    Manifest,
    parse_manifest,
    parse_object_name,
)
from app.model.scans import ScanKind, ScanPhase, ScanStep
from app.service import recoveries
from app.service.recoveries import FoundBackup
from app.storage.port import Storage
from app.transfer.pipe import first_cause
from app.worker.parts import Parts
from app.worker.reconcile import carry_out_steps

BATCH: Final = 4
PAGE: Final = 500
"""Versions of a page; each backup has two, and its manifest is read."""
READ_AT_ONCE: Final = 4
MANIFEST_BYTES: Final = 16 * 1024 * 1024
"""How much of manifests a step takes on, beyond the first one."""


async def carry_out_due(parts: Parts, *, page: int = PAGE) -> int:
    """Do the next step of each recovery that is due; returns how many there were.

    Raises DatabaseUnavailable.
    """
    return await carry_out_steps(
        parts, ScanKind.RECOVER, BATCH, lambda step: _work(parts, step, page)
    )


async def _work(parts: Parts, step: ScanStep, page: int) -> None:
    if step.phase is ScanPhase.LOOKING:
        await _look(parts, step, page)
    else:
        await _read(parts, step, page)


async def _look(parts: Parts, step: ScanStep, page: int) -> None:
    """Find whose backups these are: of ours, of hubs here, and of one lost hub at most."""
    access = step.storage
    start = step.cursor or ""
    listed = await parts.storage_of(access).page(access.prefix, start=start, limit=page)
    check_page(listed, prefix=access.prefix, start=start)
    places = [parse_object_name(access.prefix, base_of(v.name)) for v in listed.versions]
    hubs = {place.hub_id for place in places if place is not None} - {step.hub_id}
    named = step.former_hub_id
    others = await recoveries.other_hubs(parts.database, step, hubs | ({named} if named else set()))
    lost = sorted((hubs | ({named} if named else set())) - others)
    if named in others:
        error = SeveralHubs("The hub that was named is another one of this gateway.")
        await recoveries.give_up(parts.database, step, error)
    elif len(lost) > 1 and not step.believed:
        error = SeveralHubs(
            "Backups of several lost hubs are under the prefix; say which one was this one, by"
            f" `formerHubId`: {', '.join(map(str, lost))}."
        )
        await recoveries.give_up(parts.database, step, error)
    else:
        former = named or (lost[0] if lost else None)
        following = None
        if not (listed.is_last or step.believed):
            following = _skip(listed.versions, places, access.prefix)
        await recoveries.looked(parts.database, step, following, former)


def _skip(
    versions: Sequence[ListedVersion], places: Sequence[BackupPlace | None], prefix: str
) -> str:
    """The name from which on there may be backups of another hub than the last one seen."""
    if not versions:
        raise StorageError("Backblaze B2 gave an empty page and said that more follow.")
    last, place = versions[-1].name, places[-1]
    if place is None:
        return last + "!"
    folder = replace(place, container_id=UUID(int=0), backup_id=UUID(int=0)).object_name(prefix)
    # The character after the slash: past everything of this hub.
    return "/".join(folder.split("/")[:-2]) + "0"


@dataclass(slots=True)
class _Candidate:
    """The versions of one object, and of its manifest."""

    name: str
    place: BackupPlace
    objects: list[ListedVersion] = field(default_factory=list)
    manifests: list[ListedVersion] = field(default_factory=list)


async def _read(parts: Parts, step: ScanStep, page: int) -> None:
    """Read the manifests of a page, and make the records that lack."""
    access = step.storage
    storage = parts.storage_of(access)
    start = step.cursor or ""
    listed = await storage.page(access.prefix, start=start, limit=page)
    check_page(listed, prefix=access.prefix, start=start)
    versions, following = cut_page(listed, prefix=access.prefix)
    territory = Territory(
        prefix=access.prefix,
        installation_id=step.installation_id,
        hub_id=step.hub_id,
        former_hub_id=step.former_hub_id,
    )
    candidates = _gather(versions, territory)
    known = await recoveries.find_known(
        parts.database, step, [(one.name, one.place) for one in candidates]
    )
    wanted = [one for one in candidates if one.place.backup_id not in known]
    wanted, cut = _bound(wanted)
    if cut is not None:
        following = cut
        versions = [v for v in versions if base_of(v.name).encode() < cut.encode()]
    found = await _find(storage, wanted)
    counts = replace(
        step.counts,
        objects=step.counts.objects + len(versions),
        known=step.counts.known
        + sum(
            one.place.backup_id in known and (cut is None or one.name.encode() < cut.encode())
            for one in candidates
        ),
        skipped=step.counts.skipped + len(wanted) - len(found),
    )
    await recoveries.record_found(parts.database, step, found, following, counts)


async def _find(storage: Storage, wanted: Sequence[_Candidate]) -> list[FoundBackup]:
    """Those of which object and manifest agree, in the bucket's order. Raises StorageError."""
    limit = asyncio.Semaphore(READ_AT_ONCE)

    async def read(one: _Candidate) -> FoundBackup | None:
        async with limit:
            return await find_manifest(storage, one.name, one.place, one.objects, one.manifests)

    try:
        async with asyncio.TaskGroup() as tasks:
            reads = [tasks.create_task(read(one)) for one in wanted]
    except BaseExceptionGroup as group:
        raise first_cause(group) from None
    return [found for done in reads if (found := done.result()) is not None]


def _gather(versions: Sequence[ListedVersion], territory: Territory) -> list[_Candidate]:
    by_name: dict[str, _Candidate] = {}
    for version in versions:
        name = base_of(version.name)
        place = territory.find(name)
        if place is None or version.action != Action.UPLOAD:
            continue
        one = by_name.setdefault(name, _Candidate(name, place))
        (one.objects if version.name == name else one.manifests).append(version)
    return list(by_name.values())


def _bound(wanted: list[_Candidate]) -> tuple[list[_Candidate], str | None]:
    """As many as a step may hold in memory, and the name of the first that is left."""
    held = 0
    for place, one in enumerate(wanted):
        held += sum(min(version.size, LARGEST_MANIFEST) for version in one.manifests)
        if held > MANIFEST_BYTES and place:
            return wanted[:place], one.name
    return wanted, None


async def find_manifest(
    storage: Storage,
    name: str,
    place: BackupPlace,
    objects: Sequence[ListedVersion],
    manifests: Sequence[ListedVersion],
) -> FoundBackup | None:
    """The newest manifest that is about one of these versions of the object; None: there is none.

    Raises StorageError where the bucket cannot be read.
    """
    sizes = {version.file_id: version.size for version in objects}
    for version in manifests:
        if version.size > LARGEST_MANIFEST:
            continue
        manifest = await _read_manifest(storage, version)
        if (
            manifest is not None
            and (manifest.place, manifest.object_name) == (place, name)
            and sizes.get(manifest.file_id) == manifest.size
        ):
            return FoundBackup(manifest=manifest, manifest_file_id=version.file_id)
    return None


async def _read_manifest(storage: Storage, version: ListedVersion) -> Manifest | None:
    """What a manifest says; None where it says nothing that can be understood."""
    data = bytearray()
    try:
        async with aclosing(storage.read(version.file_id, size=version.size)) as blocks:
            async for block in blocks:
                data += block
        return parse_manifest(bytes(data))
    except (ObjectMissing, ObjectMismatch):
        return None
