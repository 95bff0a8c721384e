"""Removes the backups that a policy's retention takes, container by container."""

import structlog

from app.service import retention
from app.worker.parts import Parts

log = structlog.get_logger()


async def carry_out_due(parts: Parts) -> int:
    """Look at the containers that are due; returns how many there were.

    Raises DatabaseUnavailable.
    """
    due = await retention.take_due(parts.database)
    for hub_id, container_id in due:
        # A container that goes wrong waits for its next turn and keeps no other one waiting.
        try:
            gone = await retention.carry_out(parts.database, hub_id, container_id)
        except ValueError:
            log.exception("retention failed", container=str(container_id))
            continue
        if gone:
            log.info("retention removes backups", container=str(container_id), backups=gone)
    return len(due)
