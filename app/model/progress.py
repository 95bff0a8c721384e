"""How far a transfer is, and when it will be done."""

from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    fraction: float
    """0 to 1."""
    seconds_left: float | None
    done_at: datetime | None


def estimate(
    *, done: int, total: int, bytes_per_second: int | None, at: datetime | None, running: bool
) -> Estimate:
    """Estimate from bytes and their rate at the moment `at`; only a running transfer has an end."""
    fraction = min(1.0, done / total) if total > 0 else 0.0
    if not running or not bytes_per_second or at is None:
        return Estimate(fraction=fraction, seconds_left=None, done_at=None)
    seconds = max(0, total - done) / bytes_per_second
    try:
        return Estimate(
            fraction=fraction, seconds_left=seconds, done_at=at + timedelta(seconds=seconds)
        )
    except OverflowError:
        return Estimate(fraction=fraction, seconds_left=seconds, done_at=None)
