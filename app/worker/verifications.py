"""Queues the verifications that policies plan: after each backup, and every so many days."""

from app.service import verification_plans
from app.worker.parts import Parts

# As many as are looked at in far less time than a look is held for.
BATCH = 10


async def carry_out_due(parts: Parts) -> int:
    """Look at the plans that are due; returns how many there were. Raises DatabaseUnavailable."""
    return await verification_plans.queue_due(parts.database, BATCH, parts.step)
