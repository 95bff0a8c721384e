"""Retention as a policy has it: how long backups are kept."""

from datetime import timedelta
from typing import Self

import strawberry

from app.api.arguments import given
from app.model import retention as model

_SLOT = "The newest good backup of each of so many {} is kept, by the policy's time zone"
_LAST = "So many of the newest good backups are kept"
_NO_RULE = "1 to 10,000, anything else is refused; absent or null: no such rule"
_AGES = "1 to 36,500 days, anything else is refused"
_MAX_AGE = "What is older goes, whatever else keeps it; never the last good backup of an instance"
_PRE_RESTORE = "The same for `PRE_RESTORE` copies, which no other rule keeps"


@strawberry.type(
    description="How long backups are kept. Without any `keep...` until they are older than "
    "`maxAge`; with them also no longer than they fill a slot of one."
)
class Retention:
    max_age: timedelta = strawberry.field(description=f"{_MAX_AGE}.")
    keep_last: int | None = strawberry.field(description=f"{_LAST}. Null: no such rule.")
    keep_hourly: int | None = strawberry.field(
        description=f"{_SLOT.format('hours')}. Null: no such rule."
    )
    keep_daily: int | None = strawberry.field(
        description=f"{_SLOT.format('days')}. Null: no such rule."
    )
    keep_weekly: int | None = strawberry.field(
        description=f"{_SLOT.format('weeks')}. Null: no such rule."
    )
    keep_monthly: int | None = strawberry.field(
        description=f"{_SLOT.format('months')}. Null: no such rule."
    )
    keep_yearly: int | None = strawberry.field(
        description=f"{_SLOT.format('years')}. Null: no such rule."
    )
    pre_restore_max_age: timedelta = strawberry.field(description=f"{_PRE_RESTORE}.")

    @classmethod
    def of(cls, record: model.Retention) -> Self:
        return cls(
            max_age=record.max_age,
            keep_last=record.keep_last,
            keep_hourly=record.keep_hourly,
            keep_daily=record.keep_daily,
            keep_weekly=record.keep_weekly,
            keep_monthly=record.keep_monthly,
            keep_yearly=record.keep_yearly,
            pre_restore_max_age=record.pre_restore_max_age,
        )


@strawberry.input(description="How long backups are kept.")
class RetentionInput:
    max_age: timedelta = strawberry.field(
        default=model.DEFAULT_MAX_AGE, description=f"{_MAX_AGE}. {_AGES}; 365 days where absent."
    )
    keep_last: int | None = strawberry.field(
        default=strawberry.UNSET, description=f"{_LAST}: {_NO_RULE}."
    )
    keep_hourly: int | None = strawberry.field(
        default=strawberry.UNSET,
        description=f"{_SLOT.format('hours')}: {_NO_RULE}.",
    )
    keep_daily: int | None = strawberry.field(
        default=strawberry.UNSET,
        description=f"{_SLOT.format('days')}: {_NO_RULE}.",
    )
    keep_weekly: int | None = strawberry.field(
        default=strawberry.UNSET,
        description=f"{_SLOT.format('weeks')}: {_NO_RULE}.",
    )
    keep_monthly: int | None = strawberry.field(
        default=strawberry.UNSET,
        description=f"{_SLOT.format('months')}: {_NO_RULE}.",
    )
    keep_yearly: int | None = strawberry.field(
        default=strawberry.UNSET,
        description=f"{_SLOT.format('years')}: {_NO_RULE}.",
    )
    pre_restore_max_age: timedelta = strawberry.field(
        default=model.DEFAULT_PRE_RESTORE_MAX_AGE,
        description=f"{_PRE_RESTORE}. {_AGES}; 30 days where absent.",
    )


def read_retention(wanted: RetentionInput | None) -> model.Retention:
    """What a client wants; the defaults where it says nothing."""
    if wanted is None:
        return model.Retention()
    return model.Retention(
        max_age=wanted.max_age,
        keep_last=given(wanted.keep_last),
        keep_hourly=given(wanted.keep_hourly),
        keep_daily=given(wanted.keep_daily),
        keep_weekly=given(wanted.keep_weekly),
        keep_monthly=given(wanted.keep_monthly),
        keep_yearly=given(wanted.keep_yearly),
        pre_restore_max_age=wanted.pre_restore_max_age,
    )
