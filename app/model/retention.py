"""How long backups are kept: what a policy says of it."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from app.errors import InvalidInput

DEFAULT_MAX_AGE: Final = timedelta(days=365)
DEFAULT_PRE_RESTORE_MAX_AGE: Final = timedelta(days=30)
SHORTEST_AGE: Final = timedelta(days=1)
LONGEST_AGE: Final = timedelta(days=36_500)
MOST_KEPT: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """None: this slot is not used. Days, weeks, months and years are those of the time zone."""

    max_age: timedelta = DEFAULT_MAX_AGE
    keep_last: int | None = None
    keep_hourly: int | None = None
    keep_daily: int | None = None
    keep_weekly: int | None = None
    keep_monthly: int | None = None
    keep_yearly: int | None = None
    pre_restore_max_age: timedelta = DEFAULT_PRE_RESTORE_MAX_AGE


def check_retention(retention: Retention, *, path: tuple[str, ...]) -> None:
    """Raise InvalidInput for ages and counts that cannot be meant."""
    for name, age in (
        ("maxAge", retention.max_age),
        ("preRestoreMaxAge", retention.pre_restore_max_age),
    ):
        if not SHORTEST_AGE <= age <= LONGEST_AGE:
            raise InvalidInput(
                f"{name} must be between 1 day and {LONGEST_AGE.days} days.", path=(*path, name)
            )
    for name, count in (
        ("keepLast", retention.keep_last),
        ("keepHourly", retention.keep_hourly),
        ("keepDaily", retention.keep_daily),
        ("keepWeekly", retention.keep_weekly),
        ("keepMonthly", retention.keep_monthly),
        ("keepYearly", retention.keep_yearly),
    ):
        if count is not None and not 1 <= count <= MOST_KEPT:
            raise InvalidInput(
                f"{name} is {count}; it must be between 1 and {MOST_KEPT}, or be left out.",
                path=(*path, name),
            )
