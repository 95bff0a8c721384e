"""Rates: how many points each key may still spend at this gateway."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

_KEYS = 10_000
"""Keys that are remembered; one that was forgotten begins with all its points."""
_SECONDS = 60


class RateSpent(Exception):
    """The key has too few points left; `seconds` until it has enough."""

    def __init__(self, *, limit: int, requested: int, left: int, seconds: int) -> None:
        super().__init__(
            f"The request costs {requested} points; of {limit} a minute this key has {left} left. "
            f"Try again in {seconds} s."
        )
        self.limit = limit
        self.requested = requested
        self.left = left
        self.seconds = seconds


@dataclass(slots=True)
class _Account:
    points: float
    at: float


class Rates:
    """An account a key, which fills evenly up to what a minute allows."""

    def __init__(self, per_minute: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_minute = per_minute
        self._clock = clock
        self._accounts: dict[UUID, _Account] = {}

    def spend(self, key_id: UUID, points: int) -> int:
        """Take the points, and say how many are left. Raises RateSpent."""
        now = self._clock()
        # The one that was used last stands last.
        account = self._accounts.pop(key_id, None) or _Account(self.per_minute, now)
        self._accounts[key_id] = account
        filled = account.points + (now - account.at) * self.per_minute / _SECONDS
        account.points, account.at = min(self.per_minute, filled), now
        if len(self._accounts) > _KEYS:
            del self._accounts[next(iter(self._accounts))]
        # What costs more than a minute allows may go once all of it is there.
        needed = min(points, self.per_minute)
        if account.points < needed:
            missing = (needed - account.points) * _SECONDS / self.per_minute
            raise RateSpent(
                limit=self.per_minute,
                requested=points,
                left=math.floor(account.points),
                seconds=max(1, math.ceil(missing)),
            )
        account.points -= points
        return max(0, math.floor(account.points))
