"""Sends events to webhooks, again and again over about a day where one is not taken."""

import asyncio
from collections.abc import Sequence
from itertools import groupby

import structlog

from app.errors import DatabaseUnavailable, WebhookFailed, WebhookGone
from app.model.webhooks import Delivery, write_message
from app.service import webhooks
from app.worker.parts import Parts

BATCH = 500
AT_ONCE = 4
"""Messages to one webhook."""
RECEIVERS_AT_ONCE = 20

log = structlog.get_logger()


async def carry_out_due(parts: Parts) -> int:
    """Send what is due now; returns how many there were. Raises DatabaseUnavailable."""
    deliveries = await webhooks.take_due(parts.database, parts.sealer, BATCH)
    limit = asyncio.Semaphore(RECEIVERS_AT_ONCE)

    async def serve(group: Sequence[Delivery]) -> None:
        async with limit:
            await _Receiver(parts).send(group)

    async with asyncio.TaskGroup() as tasks:
        # Side by side: one that does not answer keeps no other one waiting.
        for _, group in groupby(deliveries, key=lambda delivery: delivery.webhook_id):
            tasks.create_task(serve(list(group)))
    return len(deliveries)


class _Receiver:
    """What one webhook is sent at a time. After a failure the rest waits for its next turn."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._failed = False

    async def send(self, deliveries: Sequence[Delivery]) -> None:
        limit = asyncio.Semaphore(AT_ONCE)

        async def one(delivery: Delivery) -> None:
            async with limit:
                if not self._failed:
                    await self._send(delivery)

        async with asyncio.TaskGroup() as tasks:
            for delivery in deliveries:
                tasks.create_task(one(delivery))

    async def _send(self, delivery: Delivery) -> None:
        database, hook = self._parts.database, str(delivery.webhook_id)
        try:
            await self._parts.receivers.post(delivery.url, write_message(delivery))
            await webhooks.delivered(database, delivery)
        except DatabaseUnavailable:
            # It is sent once more; its id tells the receiver that it has had it.
            log.warning("a delivery could not be recorded", webhook=hook)
        except WebhookFailed as error:
            self._failed = True
            log.warning("a webhook failed", webhook=hook, code=error.code, error=error.message)
            gone = isinstance(error, WebhookGone)
            try:
                await webhooks.failed(database, delivery, error.message, is_gone=gone)
            except DatabaseUnavailable:
                log.warning("a failed delivery could not be recorded", webhook=hook)
