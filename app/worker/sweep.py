"""Looks at the rows themselves: what no hint told of, dead runs, missed deadlines, what is old."""

from datetime import timedelta

from app.service import sweeps
from app.worker.parts import Parts

DEADLINE_MARGIN = timedelta(seconds=30)
"""The owner ends a run at its deadline; after this a sweep does."""


async def end_what_is_over(parts: Parts) -> None:
    """End runs that were cancelled before they had an owner, or that nobody can end any more.

    Raises DatabaseUnavailable.
    """
    database = parts.database
    await sweeps.cancel_waiting(database)
    await sweeps.end_unstarted(database)
    await sweeps.end_past_deadline(database, DEADLINE_MARGIN)
    await sweeps.end_owner_lost(database, timedelta(seconds=parts.times.owner_lost))
    await sweeps.finish_container_deletions(database)
    await sweeps.finish_instance_deletions(database)


async def prune(parts: Parts) -> None:
    """Remove ended records and logs without an object after their time."""
    await sweeps.prune(parts.database, parts.times.keep_ended)
