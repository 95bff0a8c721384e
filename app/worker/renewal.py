"""Renews the leases of this worker's runs, and ends those whose lease it could not keep."""

import asyncio
from datetime import timedelta

import structlog

from app.errors import DatabaseUnavailable, Fenced
from app.service import runs
from app.worker.parts import Parts
from app.worker.running import Roster

log = structlog.get_logger()

WATCH_SECONDS = 0.25


async def renew_leases(parts: Parts, roster: Roster) -> None:
    """Renew every few seconds until cancelled; a clock counts from before the request is sent."""
    while True:
        await asyncio.sleep(parts.times.renew)
        sent = {running: running.clock.now() for running in roster}
        if not sent:
            continue
        try:
            async with asyncio.timeout(parts.times.give_up):
                kept = await runs.renew_leases(
                    parts.database,
                    owner=parts.owner,
                    held={running.lease for running in sent},
                    ttl=timedelta(seconds=parts.times.lease),
                )
        except (DatabaseUnavailable, TimeoutError):
            log.warning("leases could not be renewed")
            continue
        except Exception:
            # The clocks of the runs decide; this loop has to be there for the next try.
            log.exception("leases could not be renewed")
            continue
        for running, at in sent.items():
            if running.holder.id in kept:
                running.clock.renewed(at)
            else:
                running.stop(Fenced())


async def end_the_lost(roster: Roster) -> None:
    """Stop what has no certain lease any more, until cancelled; in time before others take over."""
    while True:
        await asyncio.sleep(WATCH_SECONDS)
        for running in roster:
            if running.clock.expired():
                running.stop(Fenced())
