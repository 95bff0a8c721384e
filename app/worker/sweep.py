"""Looks at the rows themselves: what no hint told of, dead runs, missed deadlines, what is old."""

from datetime import timedelta

import structlog

from app.errors import DatabaseUnavailable, GatewayError
from app.model.steps import Step
from app.postgres.pool import IDLE_TRANSACTION_SECONDS
from app.service import integrations, sweeps
from app.service.hub_deletions import finish_hub_deletions
from app.worker.ownership import release
from app.worker.parts import Parts

BATCH = 10

DEADLINE_MARGIN = timedelta(seconds=30)
"""The owner ends a run at its deadline; after this a sweep does."""

log = structlog.get_logger()


async def end_what_is_over(parts: Parts) -> None:
    """End runs that were cancelled before they had an owner, or that nobody can end any more.

    Raises DatabaseUnavailable.
    """
    database = parts.database
    await sweeps.cancel_waiting(database)
    await sweeps.end_unstarted(database)
    await sweeps.end_past_deadline(database, DEADLINE_MARGIN)
    await sweeps.end_owner_lost(database, timedelta(seconds=parts.times.owner_lost))
    if await sweeps.finish_container_deletions(database, parts.times.delete_grace):
        await parts.step(Step.CASCADE_CONTAINER_ENDED)
    await sweeps.finish_instance_deletions(database)
    await end_integrations(parts)
    if await finish_hub_deletions(database):
        await parts.step(Step.CASCADE_HUB_FORGOTTEN)


async def end_stalled(parts: Parts) -> int:
    """End sessions that a paused process left in the middle of a statement.

    Raises DatabaseUnavailable.
    """
    after = timedelta(seconds=IDLE_TRANSACTION_SECONDS)
    ended = await sweeps.end_stalled_sessions(parts.database, after)
    if ended:
        log.warning("sessions of a process that does not go on were ended", sessions=ended)
    return 0


async def end_integrations(parts: Parts) -> None:
    """Free the places of integrations in deletion that nothing needs, and wipe their keys.

    A bucket that refuses us for good keeps nobody waiting; the owner object stays in it then.
    Raises DatabaseUnavailable.
    """
    for id in await integrations.ending(parts.database, BATCH):
        try:
            await release(parts, id)
        except DatabaseUnavailable:
            raise
        except GatewayError as error:
            log.warning("an owner object is left", integration=str(id), code=error.code)
            if error.retry:
                continue
        await parts.step(Step.CASCADE_PLACE_FREED)
        if await integrations.end(parts.database, id):
            await parts.step(Step.CASCADE_INTEGRATION_ENDED)


async def free_instances(parts: Parts) -> None:
    """Kill what lost owners left running at our places; then their instances can be reached.

    Raises DatabaseUnavailable.
    """
    for left in await sweeps.left_behind(parts.database, parts.places, BATCH):
        leftover = left.leftover
        try:
            executor = await parts.executor_of(left.instance)
            await executor.kill_leftovers(leftover.trace or {}, leftover.run_mark)
        except GatewayError as error:
            log.warning(
                "an instance cannot be freed", instance=str(left.instance.id), code=error.code
            )
            continue
        await sweeps.free_instance(parts.database, left)


async def prune(parts: Parts) -> None:
    """Remove ended records and logs without an object after their time."""
    await sweeps.prune(parts.database, parts.times.keep_ended)
