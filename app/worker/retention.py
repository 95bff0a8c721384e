"""Removes the backups that a policy's retention takes, container by container."""

import asyncio
from datetime import timedelta
from typing import Final
from uuid import UUID

import structlog

from app.errors import DatabaseUnavailable, GatewayError
from app.model.steps import Step
from app.service import retention
from app.worker.answers import Answers
from app.worker.parts import Parts
from app.worker.probe import look_soon

AT_ONCE: Final = 4
AGAIN_AFTER_FAILURE: Final = timedelta(hours=1)

log = structlog.get_logger()


async def carry_out_due(parts: Parts) -> int:
    """Look at the containers that are due; returns how many there were.

    Each bucket is asked first whether it is still this database's: a copy of the database must not
    take its backups to be expired that the original keeps, or has removed already.
    Two workers that look at one container, because the first was slow, do it one after the other.
    Raises DatabaseUnavailable.
    """
    again_in = timedelta(seconds=2 * parts.times.lease)
    due = await retention.take_due(parts.database, again_in=again_in)
    if due:
        await parts.step(Step.RETENTION_TAKEN)
    answers = Answers(parts)
    limit = asyncio.Semaphore(AT_ONCE)

    async def one(hub_id: UUID, container_id: UUID) -> None:
        async with limit:
            await _carry_out(parts, answers, hub_id, container_id)

    async with asyncio.TaskGroup() as tasks:
        for hub_id, container_id in due:
            tasks.create_task(one(hub_id, container_id))
    return len(due)


async def _carry_out(parts: Parts, answers: Answers, hub_id: UUID, container_id: UUID) -> None:
    """Carry out the rule of a container; one that goes wrong keeps no other one waiting."""
    place = str(container_id)
    try:
        for integration_id in await retention.find_buckets(parts.database, hub_id, container_id):
            await _ask(parts, answers, integration_id)
        gone = await retention.carry_out(
            parts.database, hub_id, container_id, is_ours=answers.count
        )
        if gone:
            await parts.step(Step.RETENTION_MARKED)
            log.info("retention removes backups", container=place, backups=gone)
    except DatabaseUnavailable:
        # The container is due again by itself.
        log.warning("retention waits for the database", container=place)
    except Exception:
        log.exception("retention failed", container=place)
        await retention.put_off(parts.database, hub_id, container_id, again_in=AGAIN_AFTER_FAILURE)


async def _ask(parts: Parts, answers: Answers, integration_id: UUID) -> None:
    """Ask whose a bucket is. Nothing in it goes where that is not known to be ours."""
    try:
        await answers.require(integration_id)
    except DatabaseUnavailable:
        raise
    except GatewayError as error:
        log.warning("retention waits", integration=str(integration_id), code=error.code)
        await retention.put_off_bucket(parts.database, integration_id)
        await look_soon(parts, integration_id, error)
