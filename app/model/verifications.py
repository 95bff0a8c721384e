"""Verifications: what a policy says of proving its backups."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final

from app.errors import InvalidInput
from app.model.texts import check_command

SHORTEST_EVERY: Final = timedelta(days=1)
LONGEST_EVERY: Final = timedelta(days=3_650)


class VerificationLevel(StrEnum):
    STORED = "STORED"
    READABLE = "READABLE"
    RESTORABLE = "RESTORABLE"


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationPlan:
    """When backups are verified by themselves, and how far."""

    level: VerificationLevel
    every: timedelta | None = None
    """None: not by the calendar."""
    after_each: bool = False
    check: str | None = None
    """The command that judges the stream (READABLE) or the scratch instance (RESTORABLE)."""


def check_verification_plan(plan: VerificationPlan, *, path: tuple[str, ...]) -> None:
    """Raise InvalidInput where nothing would ever be verified, or not as it is meant."""
    if plan.every is None and not plan.after_each:
        raise InvalidInput("Say when to verify: `every`, `afterEach`, or both.", path=path)
    if plan.every is not None and not SHORTEST_EVERY <= plan.every <= LONGEST_EVERY:
        raise InvalidInput(
            f"every must be between 1 day and {LONGEST_EVERY.days} days.", path=(*path, "every")
        )
    if plan.check is not None:
        check_command(plan.check, what="The verification's check", path=(*path, "check"))
    elif plan.level is VerificationLevel.READABLE:
        raise InvalidInput(
            "READABLE needs a `check`: the command that reads the backup and judges it.",
            path=(*path, "check"),
        )
