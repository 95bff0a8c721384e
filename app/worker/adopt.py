"""Makes backups of orphaned objects: by their manifests, or after all of them was read."""

import asyncio
from contextlib import aclosing
from datetime import timedelta
from typing import Final

import structlog

from app.defects import mask
from app.errors import DatabaseUnavailable, Fenced, GatewayError, NotAdoptable
from app.model.adoptions import AdoptionOrder
from app.model.backups import BackupTrigger
from app.model.drifts import Action, ListedVersion
from app.model.objects import (
    MANIFEST_CONTENT_TYPE,
    Manifest,
    ManifestPolicy,
    manifest_name,
    parse_object_name,
)
from app.model.steps import Step
from app.postgres.leases import LeaseClock
from app.service import adoptions
from app.service.adoptions import UNKNOWN_HOSTNAME
from app.service.recoveries import FoundBackup
from app.storage.port import Storage
from app.transfer.chunks import ChunkHasher
from app.worker.holding import Hold
from app.worker.parts import Parts
from app.worker.recover import find_manifest

BATCH: Final = 4
UNKNOWN_COMMAND: Final = "unknown: the backup was adopted without a manifest"
NO_TIMEOUT: Final = timedelta(hours=12)

log = structlog.get_logger()


async def carry_out_due(parts: Parts) -> int:
    """Carry out what is due; returns how many there were. Raises DatabaseUnavailable."""
    clock = LeaseClock(parts.times.give_up)
    lease = timedelta(seconds=parts.times.lease)
    orders = await adoptions.take_due(parts.database, parts.sealer, BATCH, lease=lease)
    async with asyncio.TaskGroup() as tasks:
        for order in orders:
            tasks.create_task(_carry_out(parts, order, clock))
    return len(orders)


async def _carry_out(parts: Parts, order: AdoptionOrder, clock: LeaseClock) -> None:
    identifier = str(order.id)
    hasher = ChunkHasher()
    hold = Hold(
        parts.times,
        clock,
        lambda lease: adoptions.renew(parts.database, order, hasher.size, lease),
    )
    error: GatewayError
    try:
        await parts.step(Step.ADOPT_TAKEN)
        found = await hold.during(lambda: _find(parts, order, hold, hasher))
        await parts.step(Step.ADOPT_MANIFEST_STORED)
        await adoptions.adopted(parts.database, order, found)
        await parts.step(Step.ADOPT_RECORDED)
    except DatabaseUnavailable:
        log.warning("an adoption waits for the database", drift=identifier)
        return
    except Fenced:
        log.warning("an adoption was taken over", drift=identifier)
        return
    except GatewayError as failure:
        error = failure
    except Exception as cause:  # noqa: BLE001 - a defect is told like any other failure
        error = mask(cause, drift=identifier)
    else:
        return
    log.warning("an orphan could not be adopted", drift=identifier, code=error.code)
    try:
        await adoptions.failed(parts.database, order, error)
    except DatabaseUnavailable:
        log.warning("an adoption waits for the database", drift=identifier)


async def _find(parts: Parts, order: AdoptionOrder, hold: Hold, hasher: ChunkHasher) -> FoundBackup:
    """The orphan with its manifest, which is written where there is none."""
    storage = parts.storage_of(order.storage)
    place = parse_object_name(order.storage.prefix, order.name)
    assert place is not None
    stored = await storage.stat(order.file_id)
    if stored is None or (stored.name, stored.size) != (order.name, order.size):
        raise NotAdoptable("The object is not in the bucket any more, or is another one.")
    manifests = [
        ListedVersion(
            file_id=version.file_id,
            name=version.name,
            action=Action.UPLOAD,
            size=version.size,
            uploaded_at=order.uploaded_at,
        )
        for version in await storage.versions(manifest_name(order.name))
    ]
    own = ListedVersion(
        file_id=order.file_id,
        name=order.name,
        action=Action.UPLOAD,
        size=order.size,
        uploaded_at=order.uploaded_at,
    )
    found = await find_manifest(storage, order.name, place, [own], manifests)
    return found or await _read_whole(parts, storage, order, hold, hasher)


async def _read_whole(
    parts: Parts, storage: Storage, order: AdoptionOrder, hold: Hold, hasher: ChunkHasher
) -> FoundBackup:
    """Read the object from its first to its last byte, then write the manifest that it lacks."""
    if order.container_identifier is None:
        raise NotAdoptable(
            "There is no manifest, and the container that the object's name tells of is not there:"
            " say which container it belongs to."
        )
    loop = asyncio.get_running_loop()
    async with aclosing(storage.read(order.file_id, size=order.size)) as blocks:
        async for block in blocks:
            await loop.run_in_executor(parts.threads, hasher.update, block)
    place = parse_object_name(order.storage.prefix, order.name)
    assert place is not None
    sha256, chunk_hashes = hasher.digests()
    manifest = Manifest(
        place=place,
        object_name=order.name,
        file_id=order.file_id,
        size=hasher.size,
        sha256=sha256,
        chunk_hashes=chunk_hashes,
        container_identifier=order.container_identifier,
        instance_hostname=order.hostname or UNKNOWN_HOSTNAME,
        trigger=BackupTrigger.RECOVERED,
        created_at=order.uploaded_at,
        started_at=order.uploaded_at,
        finished_at=order.uploaded_at,
        policy=ManifestPolicy(
            backup_command=UNKNOWN_COMMAND,
            backup_timeout=NO_TIMEOUT,
            min_bytes=1,
            restore_command=None,
            restore_timeout=None,
        ),
    )
    hold.require()
    stored = await storage.put(
        manifest_name(order.name),
        manifest.encode(),
        info=place.file_info(),
        content_type=MANIFEST_CONTENT_TYPE,
    )
    return FoundBackup(manifest=manifest, manifest_file_id=stored.file_id)
