"""Keeps the promises to remove objects and unfinished uploads from B2, with proof."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

import structlog

from app.errors import DatabaseUnavailable, GatewayError, NotTheOwner, OwnerBusy, StillThere
from app.model.orders import ReclaimOrder
from app.model.steps import Step
from app.service import reclaims
from app.service.ownership import ASKED_AGAIN
from app.storage.port import Storage
from app.worker.answers import Answers
from app.worker.parts import Parts
from app.worker.probe import look_soon

BATCH = 40
AT_ONCE = 4
TRIES = 2
LOOK_AGAIN = timedelta(hours=25)
"""No upload URL that was given before is valid any more then."""

log = structlog.get_logger()


async def carry_out_due(parts: Parts) -> int:
    """Carry out what is due now; returns how many there were. Raises DatabaseUnavailable.

    Each bucket is asked first whether it is still this database's: nothing is removed from one
    that a copy of the database, or another installation, has taken.
    """
    orders = await reclaims.take_due(parts.database, parts.sealer, BATCH)
    if orders:
        await parts.step(Step.RECLAIM_TAKEN)
    batches: dict[UUID, list[ReclaimOrder]] = defaultdict(list)
    for order in orders:
        batches[order.storage.integration_id].append(order)
    limit = asyncio.Semaphore(AT_ONCE)
    async with asyncio.TaskGroup() as tasks:
        for batch in batches.values():
            tasks.create_task(_carry_out_batch(parts, batch, limit))
    return len(orders)


async def _carry_out_batch(
    parts: Parts, batch: Sequence[ReclaimOrder], limit: asyncio.Semaphore
) -> None:
    answers = Answers(parts)
    try:
        async with limit:
            await answers.require(batch[0].storage.integration_id)
    except DatabaseUnavailable:
        log.warning("reclaims wait for the database", reclaims=len(batch))
        return
    except GatewayError as error:
        again_in = ASKED_AGAIN if isinstance(error, NotTheOwner) else None
        await _put_off(parts, batch, error, again_in=again_in)
        return

    async def one(order: ReclaimOrder) -> None:
        async with limit:
            await _carry_out(parts, order, answers)

    async with asyncio.TaskGroup() as tasks:
        for order in batch:
            tasks.create_task(one(order))


async def _carry_out(parts: Parts, order: ReclaimOrder, answers: Answers) -> None:
    try:
        if not answers.count(order.storage.integration_id):
            raise OwnerBusy("It is too long ago that the bucket was asked whose it is.")
        await _remove(parts.storage_of(order.storage), order)
        await parts.step(Step.RECLAIM_REMOVED)
        await reclaims.settle(parts.database, order.id, again_at=_again(order))
        await parts.step(Step.RECLAIM_SETTLED)
    except DatabaseUnavailable:
        # It comes up again by itself; removing twice is harmless.
        log.warning("a settled reclaim could not be recorded", reclaim=str(order.id))
    except GatewayError as error:
        await _put_off(parts, [order], error)


async def _put_off(
    parts: Parts,
    batch: Sequence[ReclaimOrder],
    error: GatewayError,
    *,
    again_in: timedelta | None = None,
) -> None:
    for order in batch:
        log.warning("reclaim failed", reclaim=str(order.id), code=error.code, error=error.message)
    try:
        ids = [order.id for order in batch]
        await reclaims.put_off(parts.database, ids, error, again_in=again_in)
    except DatabaseUnavailable:
        log.warning("failed reclaims could not be recorded", reclaims=len(batch))
    await look_soon(parts, batch[0].storage.integration_id, error)


async def _remove(storage: Storage, order: ReclaimOrder) -> None:
    """It counts once a listing no longer shows it. Raises StorageError."""
    for _ in range(TRIES):
        await _delete(storage, order)
        if not await _is_there(storage, order):
            return
    raise StillThere


async def _delete(storage: Storage, order: ReclaimOrder) -> None:
    if order.file_id is None:
        for upload in await storage.unfinished(order.name):
            if upload.name == order.name:
                await storage.cancel_unfinished(upload.file_id)
        for version in await storage.versions(order.name):
            await storage.delete(version.file_id, version.name)
    elif order.kind == "OBJECT" or not await storage.cancel_unfinished(order.file_id):
        await storage.delete(order.file_id, order.name)


async def _is_there(storage: Storage, order: ReclaimOrder) -> bool:
    versions = await storage.versions(order.name)
    if order.file_id is not None:
        return any(version.file_id == order.file_id for version in versions)
    # Unfinished uploads of the name were listed and cancelled before.
    return bool(versions)


def _again(order: ReclaimOrder) -> timedelta | None:
    """A name is looked up once more after every upload URL for it has expired."""
    if order.kind == "NAME" and order.age < LOOK_AGAIN:
        return LOOK_AGAIN - order.age
    return None
