"""Why a run waits that no worker has begun with, where it is more than its turn."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from app.model.engines import EngineState
from app.model.runs import ANYWHERE, CARRIED, host_of

SHOWN_EVERY: Final = timedelta(seconds=10)
"""How often a worker says that it is there."""
ABSENT_AFTER: Final = 3 * SHOWN_EVERY
KEPT: Final = timedelta(days=30)
"""How long a worker that is gone is remembered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    place: str
    seen_at: datetime | None
    """When a worker that reaches the place was there last; None: none is remembered."""
    engine: str | None = None
    """The name of the instance's engine, where it has one."""
    engine_state: EngineState | None = None
    engine_error: str | None = None
    unreachable_since: datetime | None = None


def explain(waiting: Waiting, *, now: datetime) -> str | None:
    """None: it waits for its turn, or for the run that it goes with."""
    if waiting.place == CARRIED:
        return None
    if waiting.seen_at is None or now - waiting.seen_at > ABSENT_AFTER:
        return _tell_absence(waiting)
    if waiting.engine_state is EngineState.UNREACHABLE:
        since = _tell_since(waiting.unreachable_since)
        reason = waiting.engine_error or "it does not answer"
        return f"The engine {waiting.engine} is UNREACHABLE{since}: {reason}"
    return None


def _tell_absence(waiting: Waiting) -> str:
    host = host_of(waiting.place)
    at = "" if waiting.place == ANYWHERE else f" on the host {host}"
    start = "start one." if not at else f"start one there, with BACKUP_GATEWAY_HOST_NAME={host}."
    seen = _tell_since(waiting.seen_at) or " yet"
    return f"No worker{at} has been seen{seen}: {start}"


def _tell_since(at: datetime | None) -> str:
    return "" if at is None else f" since {at:%Y-%m-%dT%H:%M:%SZ}"
