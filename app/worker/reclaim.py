"""Keeps the promises to remove objects and unfinished uploads from B2, with proof."""

import asyncio
from datetime import timedelta

import structlog

from app.errors import DatabaseUnavailable, GatewayError
from app.model.orders import ReclaimOrder
from app.service import reclaims
from app.storage.port import Storage
from app.worker.parts import Parts

BATCH = 20
AT_ONCE = 4
LOOK_AGAIN = timedelta(hours=25)
"""No upload URL that was given before is valid any more then."""

log = structlog.get_logger()


async def carry_out_due(parts: Parts) -> int:
    """Carry out what is due now; returns how many there were. Raises DatabaseUnavailable."""
    orders = await reclaims.take_due(parts.database, parts.sealer, BATCH)
    limit = asyncio.Semaphore(AT_ONCE)

    async def one(order: ReclaimOrder) -> None:
        async with limit:
            await _carry_out(parts, order)

    async with asyncio.TaskGroup() as tasks:
        for order in orders:
            tasks.create_task(one(order))
    return len(orders)


async def _carry_out(parts: Parts, order: ReclaimOrder) -> None:
    try:
        await _remove(parts.storage_of(order.storage), order)
        await reclaims.settle(parts.database, order.id, again_at=_again(order))
    except DatabaseUnavailable:
        # It comes up again by itself; removing twice is harmless.
        log.warning("a settled reclaim could not be recorded", reclaim=str(order.id))
    except GatewayError as error:
        log.warning("reclaim failed", reclaim=str(order.id), code=error.code, error=error.message)
        try:
            await reclaims.put_off(parts.database, order.id, error)
        except DatabaseUnavailable:
            log.warning("a failed reclaim could not be recorded", reclaim=str(order.id))


async def _remove(storage: Storage, order: ReclaimOrder) -> None:
    if order.kind == "OBJECT" and order.file_id is not None:
        await storage.delete(order.file_id, order.name)
        # The deletion counts once a listing no longer shows the version.
        if any(v.file_id == order.file_id for v in await storage.versions(order.name)):
            await storage.delete(order.file_id, order.name)
    elif order.kind == "UPLOAD" and order.file_id is not None:
        if not await storage.cancel_unfinished(order.file_id):
            await storage.delete(order.file_id, order.name)
    else:
        for upload in await storage.unfinished(order.name):
            if upload.name == order.name:
                await storage.cancel_unfinished(upload.file_id)
        for version in await storage.versions(order.name):
            await storage.delete(version.file_id, version.name)


def _again(order: ReclaimOrder) -> timedelta | None:
    """A name is looked up once more after every upload URL for it has expired."""
    if order.kind == "NAME" and order.age < LOOK_AGAIN:
        return LOOK_AGAIN - order.age
    return None
