"""Makes the backups that are due by their policies, and tells of those that did not come."""

from app.model.steps import Step
from app.service import schedules, sweeps
from app.worker.parts import Parts


async def carry_out_due(parts: Parts) -> int:
    """Carry out a batch of what is due; returns how much was done. Raises DatabaseUnavailable."""
    database, times = parts.database, parts.times
    # A run that could not start until now has failed; it is not one that is still going.
    await sweeps.end_unstarted(database)
    due = await schedules.tick(
        database,
        start_within=times.start_within,
        most_jitter=times.schedule_jitter,
        step=parts.step,
    )
    told = await schedules.tell_overdue(database)
    if told:
        await parts.step(Step.SCHEDULE_TOLD)
    return due + told
