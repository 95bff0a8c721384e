"""Looks at container engines: whether they answer, what containers they have, how those are."""

import asyncio
from uuid import UUID

import structlog

from app.defects import mask
from app.errors import DatabaseUnavailable, ExecutorNotAllowed, GatewayError
from app.executor.port import ContainerHost
from app.model.containers import InstanceState
from app.model.discovery import MOST_PROBLEMS, find
from app.model.labels import MARK
from app.service import engines
from app.service.discovery import resync
from app.service.engines import DueEngine
from app.worker.parts import Parts

BATCH = 8

log = structlog.get_logger()


async def carry_out_due(parts: Parts) -> int:
    """Look at what is due now; returns how many there were. Raises DatabaseUnavailable."""
    due = await engines.take_due(parts.database, BATCH, parts.places)
    async with asyncio.TaskGroup() as tasks:
        for one in due:
            tasks.create_task(_look(parts, one))
    return len(due)


async def _look(parts: Parts, due: DueEngine) -> None:
    identifier = str(due.engine.id)
    try:
        try:
            host = await parts.engine_of(due.engine.hub_id, due.engine.id)
            version = await host.describe()
            seen = await _see(host, due)
            of_api = {one.container for one in due.instances}
            found, problems = find(await host.list_labelled(MARK), of_api)
            problems += await resync(
                parts.database, due.engine, found, most_jitter=parts.times.schedule_jitter
            )
        except ExecutorNotAllowed as error:
            # Another worker may be allowed to reach what is bound to no host.
            if due.engine.host is not None or not await engines.leave(parts.database, due):
                await engines.failed(parts.database, due, error)
        except GatewayError as error:
            log.warning("an engine does not answer", engine=identifier, code=error.code)
            await engines.failed(parts.database, due, error)
        except Exception as cause:  # noqa: BLE001 - a defect is told like any other failure
            await engines.failed(parts.database, due, mask(cause, engine=identifier))
        else:
            await engines.answered(parts.database, due, version, seen, problems[:MOST_PROBLEMS])
    except DatabaseUnavailable:
        log.warning("what an engine said could not be recorded", engine=identifier)


async def _see(host: ContainerHost, due: DueEngine) -> dict[UUID, InstanceState]:
    return {one.id: await host.state_of(one.container) for one in due.instances}
