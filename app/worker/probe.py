"""Probes integrations: when made or changed, when asked to, where B2 was not reached, and daily."""

import asyncio
from uuid import UUID

import structlog

from app.defects import mask
from app.errors import DatabaseUnavailable, GatewayError, KeyReachesNothing, StorageUnavailable
from app.model.integrations import IntegrationCheck
from app.service import integration_checks
from app.worker.parts import Parts

BATCH = 4

log = structlog.get_logger()


async def carry_out_due(parts: Parts) -> int:
    """Probe what is due now; returns how many there were. Raises DatabaseUnavailable."""
    checks = await integration_checks.due_checks(parts.database, parts.sealer, BATCH)
    async with asyncio.TaskGroup() as tasks:
        # Side by side: a bucket that does not answer keeps no other hub waiting.
        for check in checks:
            tasks.create_task(_carry_out(parts, check))
    return len(checks)


async def look_soon(parts: Parts, integration_id: UUID, error: GatewayError) -> None:
    """Where a duty or a run could not reach B2, the integration is checked at once, not daily."""
    if not isinstance(error, StorageUnavailable):
        return
    try:
        await integration_checks.check_soon(parts.database, integration_id)
    except DatabaseUnavailable:
        log.warning("a probe waits for the database", integration=str(integration_id))


async def _carry_out(parts: Parts, check: IntegrationCheck) -> None:
    identifier = str(check.integration.id)
    error: GatewayError | None = None
    try:
        await _probe(parts, check)
    except GatewayError as failure:
        log.warning("probe failed", integration=identifier, code=failure.code)
        error = failure
    except Exception as cause:  # noqa: BLE001 - a defect is told like any other failure
        # A verdict all the same: nobody must wait for it, least of all the user.
        error = mask(cause, integration=identifier)
    try:
        if error is None:
            # Whether the place is another one's is told only to who has a key to it.
            await integration_checks.check_passed(parts.database, check)
        else:
            await integration_checks.check_failed(parts.database, check, error)
    except DatabaseUnavailable:
        log.warning("the result of a probe could not be recorded", integration=identifier)


async def _probe(parts: Parts, check: IntegrationCheck) -> None:
    storage = parts.storage_of(check.next_access or check.access)
    await storage.probe()
    # A new key must reach what the old one stored, or it belongs to another bucket or account.
    if check.next_access is not None and check.sample is not None:
        file_id, _ = check.sample
        if await storage.stat(file_id) is None:
            raise KeyReachesNothing
