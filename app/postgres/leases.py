"""The worker's own clock for its leases: when to give up before others may take over.

The rows are moved by `db/queries/workers_runs.sql`, by the database's clock alone. What a worker
must decide without the database, it decides by the clock here.
"""

import time
from collections.abc import Callable
from typing import Final

GIVE_UP_SECONDS: Final = 7.0

# It goes on in suspend, unlike CLOCK_MONOTONIC, which is what macOS calls its like.
_BOOT_CLOCK: Final[int] = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


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
