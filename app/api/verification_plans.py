"""Verification as a policy has it: how far backups are proven, and when."""

from datetime import timedelta
from typing import Self

import strawberry

from app.api.arguments import given
from app.api.context import Info
from app.model import verifications as model
from app.model.access import Capability
from app.model.verifications import VerificationLevel

_LEVEL = "How far it goes."
_EVERY = "How old the last verification of an instance's newest backup may become"
_AFTER_EACH = "Every backup is verified as soon as it is `LIVE`."
_CHECK = (
    "Run by `sh -c`. For `READABLE` it gets the backup on its standard input and must read all of "
    "it; for `RESTORABLE` it runs in the scratch instance after the restore. Exit 0 passes."
)


@strawberry.type(description="How backups are verified by themselves.")
class VerificationPlan:
    level: VerificationLevel = strawberry.field(description=_LEVEL)
    every: timedelta | None = strawberry.field(description=f"{_EVERY}; null: not by the calendar.")
    after_each: bool = strawberry.field(description=_AFTER_EACH)
    text: strawberry.Private[str | None]

    @classmethod
    def of(cls, record: model.VerificationPlan) -> Self:
        return cls(
            level=record.level,
            every=record.every,
            after_each=record.after_each,
            text=record.check,
        )

    @strawberry.field(
        description=f"{_CHECK} Null where there is none. Needs the capability `READ_COMMANDS`: "
        "without it null, with a `FORBIDDEN` error at this field."
    )
    def check(self, info: Info) -> str | None:
        info.context.principal.require(Capability.READ_COMMANDS)
        return self.text


@strawberry.input(
    description="How backups are verified by themselves: `every`, `afterEach`, or both must be "
    "given."
)
class VerificationPlanInput:
    level: VerificationLevel = strawberry.field(description=_LEVEL)
    every: timedelta | None = strawberry.field(
        default=strawberry.UNSET,
        description=f"{_EVERY}: 1 day to 3,650 days. Absent or null: not by the calendar.",
    )
    after_each: bool = strawberry.field(
        default=False, description=f"{_AFTER_EACH} False where absent."
    )
    check: str | None = strawberry.field(
        default=strawberry.UNSET,
        description=f"{_CHECK} Needed for `READABLE`; at most 64 KiB, no NUL.",
    )


def read_verification(wanted: VerificationPlanInput | None) -> model.VerificationPlan | None:
    """What a client wants; None: nothing is verified by itself."""
    if wanted is None:
        return None
    return model.VerificationPlan(
        level=wanted.level,
        every=given(wanted.every),
        after_each=wanted.after_each,
        check=given(wanted.check),
    )
