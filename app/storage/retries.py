"""Retries: how long failures in a row are borne, and how long to pause between tries."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Event
from typing import TypeVar

import structlog
from b2sdk.v3.exception import B2Error  # type: ignore[import-untyped]

from app.storage.failures import Failed, Stopped, translate

log = structlog.get_logger()

T = TypeVar("T")
_LONGEST_RETRY_AFTER = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long failures in a row are borne.

    Given up once `budget` seconds have passed since the first of them, but not before `tries`
    tries: a part may take longer than the budget. Pauses double from `first` to `longest` seconds.
    """

    budget: float = 120.0
    tries: int = 3
    first: float = 0.25
    longest: float = 10.0


class Retries:
    """Failures in a row of one thing that is tried again."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._random = random.SystemRandom()
        self._failures = 0
        self._since = 0.0

    def succeed(self) -> None:
        """Progress was made: the next failure is the first of a new row."""
        self._failures = 0

    def pause(self, failure: Failed) -> float | None:
        """Seconds to wait before the next try; None where no other try is worth it."""
        if not failure.transient:
            return None
        now = time.monotonic()
        if self._failures == 0:
            self._since = now
        self._failures += 1
        patience = self._patience
        if self._failures >= patience.tries and now - self._since >= patience.budget:
            return None
        if self._failures in (patience.tries, 10 * patience.tries):
            log.warning(
                "B2 keeps failing",
                status=failure.status,
                code=failure.code,
                failures=self._failures,
                seconds=round(now - self._since),
            )
        pause = min(patience.longest, patience.first * float(1 << min(self._failures - 1, 30)))
        pause *= self._random.uniform(0.5, 1.0)
        return max(pause, min(failure.retry_after or 0.0, _LONGEST_RETRY_AFTER))


def persist(action: str, attempt: Callable[[], T], *, patience: Patience, stop: Event) -> T:
    """Try until it works; for threads.

    Raises StorageError once patience is used up or where no other try can help, Stopped as soon as
    `stop` is set during a pause.
    """
    retries = Retries(patience)
    while True:
        outcome = _attempt(attempt)
        if not isinstance(outcome, Failed):
            return outcome
        if stop.is_set():
            raise Stopped
        pause = retries.pause(outcome)
        if pause is None:
            raise translate(outcome, action)
        if stop.wait(pause):
            raise Stopped


def _attempt(attempt: Callable[[], T]) -> T | Failed:
    """Try once. A failure comes back bare: the frames of b2sdk hold keys and buffers."""
    try:
        return attempt()
    except Failed as failure:
        failure.__traceback__ = None
        return failure
    except B2Error as error:
        # What b2sdk itself objects to, such as a name that cannot be: no other try helps.
        return Failed(status=None, code=type(error).__name__, lasting=True)
