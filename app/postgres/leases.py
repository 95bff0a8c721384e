"""Leases: who carries out a run, by the database's clock and by the worker's own.

A lease excludes, fences and lets others take over without a connection for each run. The functions
only move it; whether a run may be claimed or taken over is decided above.
"""

import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Final
from uuid import UUID

from app.postgres.pool import Connection
from app.postgres.statements import load

GIVE_UP_SECONDS: Final = 7.0

# It goes on in suspend, unlike CLOCK_MONOTONIC, which is what macOS calls its like.
_BOOT_CLOCK: Final[int] = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

_SQL = load("workers_leases")


async def take(  # noqa: PLR0917 - the row, column by column
    connection: Connection,
    instance_id: UUID | None,
    run_id: UUID,
    epoch: int,
    owner: str,
    ttl: timedelta,
) -> bool:
    """Take the instance for a run's epoch; None: it needs none, and its lease is its own.

    False: somebody holds it, the same run included.
    """
    if instance_id is None:
        return bool(await connection.fetchval(_SQL["take_run"], run_id, epoch, owner, ttl))
    return bool(await connection.fetchval(_SQL["take"], instance_id, run_id, epoch, owner, ttl))


async def renew(
    connection: Connection, owner: str, epochs: Mapping[UUID, int], ttl: timedelta
) -> frozenset[UUID]:
    """Renew the owner's leases of these runs (run id -> epoch); returns the runs still held.

    A lease that has passed is not renewed: somebody may be about to take it over.
    """
    rows = await connection.fetch(
        _SQL["renew"], owner, list(epochs.keys()), list(epochs.values()), ttl
    )
    return frozenset(row["run_id"] for row in rows)


async def let_go(
    connection: Connection, instance_id: UUID | None, run_id: UUID, epoch: int
) -> bool:
    """Free the instance. False: it was not this run's and epoch's any more."""
    if instance_id is None:
        return bool(await connection.fetchval(_SQL["let_go_run"], run_id, epoch))
    return bool(await connection.fetchval(_SQL["let_go"], instance_id, run_id, epoch))


def read_boot_time() -> float:
    """Seconds since the machine started, those in suspend included."""
    return time.clock_gettime(_BOOT_CLOCK)


class LeaseClock:
    """How long a worker may count on a lease.

    It counts from *before* the claim or the last successful renewal was sent: the database's ten
    seconds began later than that, so giving up after seven leaves three to kill the command in.
    Make it before the claim is sent.
    """

    def __init__(
        self,
        give_up_seconds: float = GIVE_UP_SECONDS,
        *,
        read_time: Callable[[], float] = read_boot_time,
    ) -> None:
        self._give_up_seconds = give_up_seconds
        self._read_time = read_time
        self._renewed_at = read_time()

    def now(self) -> float:
        """What to hand to `renewed` later: read it before the renewal is sent."""
        return self._read_time()

    def renewed(self, sent_at: float) -> None:
        """A renewal that was sent at this time has succeeded."""
        self._renewed_at = max(self._renewed_at, sent_at)

    def expired(self) -> bool:
        """The worker must have given up by now."""
        return self._read_time() - self._renewed_at >= self._give_up_seconds
