"""Compares buckets with their records: when asked to, and daily; one bounded step at a time."""

import asyncio
import functools
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Final
from uuid import UUID

import structlog

from app.defects import mask
from app.errors import DatabaseUnavailable, Fenced, GatewayError, StorageUnavailable
from app.model.drifts import DriftDetail, Territory, check_page, cut_page
from app.model.scans import ScanKind, ScanPhase, ScanStep
from app.model.steps import step_of
from app.postgres.leases import LeaseClock
from app.queries.reconciles import Unwitnessed
from app.service import reconciles, scans
from app.transfer.pipe import first_cause
from app.worker.holding import Hold
from app.worker.parts import Parts
from app.worker.probe import look_soon

BATCH: Final = 4
PAGE: Final = 5_000
"""Versions of a page. B2 bills a call for each 1,000."""
WITNESSES: Final = 100
ASKED_AT_ONCE: Final = 8
STEP_SECONDS: Final = 45.0

log = structlog.get_logger()


async def carry_out_due(parts: Parts, *, page: int = PAGE) -> int:
    """Do the next step of each reconcile that is due; returns how many there were.

    One step each, so that a large bucket keeps no other one waiting. Raises DatabaseUnavailable.
    """
    return await carry_out_steps(
        parts, ScanKind.RECONCILE, BATCH, lambda step: _work(parts, step, page)
    )


async def carry_out_steps(
    parts: Parts, kind: ScanKind, limit: int, work: Callable[[ScanStep], Awaitable[None]]
) -> int:
    """Do the next step of each scan that is due; returns how many there were.

    Raises DatabaseUnavailable.
    """
    clock = LeaseClock(parts.times.give_up)
    lease = timedelta(seconds=parts.times.lease)
    steps = await scans.take_due(parts.database, parts.sealer, kind, limit, lease=lease)
    async with asyncio.TaskGroup() as tasks:
        for step in steps:
            renew = functools.partial(scans.renew, parts.database, step)
            hold = Hold(parts.times, clock, renew)
            tasks.create_task(_carry_out(parts, step, hold, work))
    return len(steps)


async def _carry_out(
    parts: Parts, step: ScanStep, hold: Hold, work: Callable[[ScanStep], Awaitable[None]]
) -> None:
    """Do one step of a scan; where that cannot be, it is tried again later, from there."""
    place = {"integration": str(step.integration_id), "scan": step.kind, "phase": step.phase}
    error: GatewayError
    try:
        async with asyncio.timeout(STEP_SECONDS):
            await parts.step(step_of(step.kind, "TAKEN"))
            await hold.during(lambda: work(step))
            await parts.step(step_of(step.kind, step.phase))
    except DatabaseUnavailable:
        log.warning("a scan waits for the database", **place)
        return
    except Fenced:
        log.warning("a scan was taken over", **place)
        return
    except TimeoutError:
        error = StorageUnavailable("Backblaze B2 answers too slowly; it is tried again.")
    except GatewayError as failure:
        error = failure
    except Exception as cause:  # noqa: BLE001 - a defect is told like any other failure
        error = mask(cause, **place)
    else:
        return
    log.warning("a scan could not go on", code=error.code, error=error.message, **place)
    try:
        await scans.put_off(parts.database, step, error)
    except DatabaseUnavailable:
        log.warning("a scan waits for the database", **place)
    await look_soon(parts, step.integration_id, error)


async def _work(parts: Parts, step: ScanStep, page: int) -> None:
    if step.phase is ScanPhase.LISTING:
        await _list(parts, step, page)
    elif step.phase is ScanPhase.WITNESSING:
        await _witness(parts, step)
    else:
        await _REST[step.phase](parts.database, step)


_REST: Final[Mapping[ScanPhase, Callable[..., Awaitable[None]]]] = MappingProxyType(
    {
        ScanPhase.DISCARDING: reconciles.discard,
        ScanPhase.MARKING: reconciles.mark_present,
        ScanPhase.RESOLVING: reconciles.resolve,
        ScanPhase.SHOWING: reconciles.show,
    }
)


async def _list(parts: Parts, step: ScanStep, page: int) -> None:
    """Compare a page of the listing with the records of the same names."""
    access = step.storage
    start = step.cursor or ""
    listed = await parts.storage_of(access).page(access.prefix, start=start, limit=page)
    check_page(listed, prefix=access.prefix, start=start)
    versions, following = cut_page(listed, prefix=access.prefix)
    territory = Territory(
        prefix=access.prefix,
        installation_id=step.installation_id,
        hub_id=step.hub_id,
        former_hub_id=step.former_hub_id,
    )
    await reconciles.compare_page(parts.database, step, versions, following, territory=territory)


async def _witness(parts: Parts, step: ScanStep) -> None:
    """Ask for what is said to be gone by its id: a listing may come short, or lie."""
    asked = await reconciles.unwitnessed(parts.database, step, WITNESSES)
    storage = parts.storage_of(step.storage)
    limit = asyncio.Semaphore(ASKED_AT_ONCE)
    gone: list[UUID] = []
    there: list[Unwitnessed] = []

    async def ask(one: Unwitnessed) -> None:
        async with limit:
            found = await storage.stat(one.file_id)
        confirmed = found is None or (
            one.detail is DriftDetail.SIZE and found.size != one.size_bytes
        )
        if confirmed:
            gone.append(one.id)
        else:
            there.append(one)

    try:
        async with asyncio.TaskGroup() as tasks:
            for one in asked:
                tasks.create_task(ask(one))
    except BaseExceptionGroup as group:
        raise first_cause(group) from None
    await reconciles.record_witnesses(parts.database, step, gone=gone, there=there)
