"""Reads engines' events, so that what changes there is looked at at once."""

import asyncio
import contextlib
from time import monotonic
from uuid import UUID

import structlog

from app.errors import DatabaseUnavailable, ExecutorNotAllowed, GatewayError
from app.model.labels import MARK
from app.service import engines
from app.worker.parts import Parts

MOST_WATCHED = 100
"""Engines whose events one worker reads."""
RENEW_SECONDS = 4.0
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 15.0
SETTLE_SECONDS = 0.2
"""What comes within so long after a change is seen by the same look."""
LEFT_SECONDS = 60.0
"""What this worker may not reach it leaves to others for so long."""

log = structlog.get_logger()


async def watch_engines(parts: Parts) -> None:
    """Read the events of all engines that no other worker reads, until it is cancelled."""
    watched = dict[UUID, asyncio.Task[None]]()
    left = dict[UUID, float]()
    async with asyncio.TaskGroup() as tasks:
        try:
            with parts.listener.subscribe("duty:watches") as mailbox:
                while True:
                    try:
                        await _give_back(parts, watched, left)
                        taken = await engines.take_watches(
                            parts.database, parts.owner, parts.places, but=left, limit=MOST_WATCHED
                        )
                        for id in watched.keys() - taken.keys():
                            watched.pop(id).cancel()
                        for id in taken.keys() - watched.keys():
                            watched[id] = tasks.create_task(_watch(parts, taken[id], id))
                    except DatabaseUnavailable:
                        log.warning("reading engines' events waits for the database")
                    except Exception:
                        log.exception("engines' events could not be taken up")
                    await mailbox.wait(RENEW_SECONDS)
        finally:
            for task in watched.values():
                task.cancel()
            with contextlib.suppress(DatabaseUnavailable):
                await engines.give_back_watches(parts.database, parts.owner)


async def _give_back(
    parts: Parts, watched: dict[UUID, asyncio.Task[None]], left: dict[UUID, float]
) -> None:
    """Leave to others for a while what this worker may not reach."""
    now = monotonic()
    for id in [id for id, until in left.items() if until < now]:
        del left[id]
    refused = [id for id, task in watched.items() if task.done()]
    if refused:
        await engines.give_back_watches(parts.database, parts.owner, refused)
    for id in refused:
        del watched[id]
        left[id] = now + LEFT_SECONDS


async def _watch(parts: Parts, hub_id: UUID, id: UUID) -> None:
    """Read one engine's events; after each gap have all looked at anew. Ends where it may not."""
    pause = FIRST_PAUSE_SECONDS
    while True:
        try:
            host = await parts.engine_of(hub_id, id)
            async with contextlib.aclosing(host.changes(MARK)) as changes:
                async for _ in changes:
                    pause = FIRST_PAUSE_SECONDS
                    await engines.changed(parts.database, id)
                    await asyncio.sleep(SETTLE_SECONDS)
            await engines.changed(parts.database, id)
        except ExecutorNotAllowed:
            return
        except GatewayError as error:
            log.info("an engine's events cannot be read", engine=str(id), code=error.code)
        except Exception:
            log.exception("an engine's events could not be read", engine=str(id))
        await asyncio.sleep(pause)
        pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
