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

    def check(self, key_id: UUID) -> None:
        """Raise RateSpent where not a single point is left."""
        account = self._fill(key_id)
        if account.points < 1:
            raise self._refuse(account, requested=1, needed=1)

    def spend(self, key_id: UUID, points: int, *, refusal: int = 0) -> int:
        """Take the points, and say how many are left. Raises RateSpent, which costs `refusal`."""
        account = self._fill(key_id)
        # What costs more than a minute allows may go once all of it is there.
        needed = min(points, self.per_minute)
        if account.points < needed:
            self._take(account, refusal)
            raise self._refuse(account, requested=points, needed=needed)
        account.points -= points
        return _say_left(account)

    def take(self, key_id: UUID, points: int) -> int:
        """Take points for what is done already, and say how many are left.

        An account may come to owe what a minute allows.
        """
        account = self._fill(key_id)
        self._take(account, points)
        return _say_left(account)

    def _take(self, account: _Account, points: int) -> None:
        if points:
            account.points = max(account.points - points, min(account.points, -self.per_minute))

    def _fill(self, key_id: UUID) -> _Account:
        now = self._clock()
        # The one that was used last stands last.
        account = self._accounts.pop(key_id, None) or _Account(self.per_minute, now)
        self._accounts[key_id] = account
        filled = account.points + (now - account.at) * self.per_minute / _SECONDS
        account.points, account.at = min(self.per_minute, filled), now
        if len(self._accounts) > _KEYS:
            del self._accounts[next(iter(self._accounts))]
        return account

    def _refuse(self, account: _Account, *, requested: int, needed: int) -> RateSpent:
        missing = (needed - account.points) * _SECONDS / self.per_minute
        return RateSpent(
            limit=self.per_minute,
            requested=requested,
            left=_say_left(account),
            seconds=max(1, math.ceil(missing)),
        )


def _say_left(account: _Account) -> int:
    return max(0, math.floor(account.points))
