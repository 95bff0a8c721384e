"""Probes integrations: when they are made or changed, when asked to, and daily."""

import structlog

from app.errors import DatabaseUnavailable, GatewayError, KeyReachesNothing, PrefixInUse
from app.model.integrations import IntegrationCheck
from app.service import integration_checks
from app.worker.parts import Parts

BATCH = 4

log = structlog.get_logger()


async def carry_out_due(parts: Parts) -> int:
    """Probe what is due now; returns how many there were. Raises DatabaseUnavailable."""
    checks = await integration_checks.due_checks(parts.database, parts.sealer, BATCH)
    for check in checks:
        await _carry_out(parts, check)
    return len(checks)


async def _carry_out(parts: Parts, check: IntegrationCheck) -> None:
    integration = check.integration
    try:
        if await integration_checks.overlapping(parts.database, integration):
            raise PrefixInUse
        await _probe(parts, check)
        await integration_checks.check_passed(parts.database, check)
    except DatabaseUnavailable:
        log.warning("the result of a probe could not be recorded", integration=str(integration.id))
    except GatewayError as error:
        log.warning("probe failed", integration=str(integration.id), code=error.code)
        await integration_checks.check_failed(parts.database, check, error)


async def _probe(parts: Parts, check: IntegrationCheck) -> None:
    storage = parts.storage_of(check.next_access or check.access)
    await storage.probe()
    # A new key must reach what the old one stored, or it belongs to another bucket or account.
    if check.next_access is not None and check.sample is not None:
        file_id, _ = check.sample
        if await storage.stat(file_id) is None:
            raise KeyReachesNothing
