"""Durations as people write them."""

import re
from datetime import timedelta

_ISO = re.compile(
    r"P(?:(?P<years>[0-9]{1,4})Y)?(?:(?P<weeks>[0-9]{1,5})W)?(?:(?P<days>[0-9]{1,6})D)?"
    r"(?:T(?=[0-9])(?:(?P<hours>[0-9]{1,8})H)?(?:(?P<minutes>[0-9]{1,9})M)?"
    r"(?:(?P<seconds>[0-9]{1,11}(?:\.[0-9]{1,6})?)S)?)?"
)
_SHORT = re.compile(
    r"(?:(?P<weeks>[0-9]{1,5})w)?(?:(?P<days>[0-9]{1,6})d)?(?:(?P<hours>[0-9]{1,8})h)?"
    r"(?:(?P<minutes>[0-9]{1,9})m)?(?:(?P<seconds>[0-9]{1,11})s)?"
)


def parse_duration(text: str) -> timedelta:
    """ISO 8601 without months (a year is 365 days), or `365d`, `1h30m`.

    Raises ValueError, which says what is wrong.
    """
    match = None
    if text not in {"", "P"}:
        match = _ISO.fullmatch(text) or _SHORT.fullmatch(text)
    if match is None:
        raise ValueError(
            "A Duration is ISO 8601 like P1DT2H or PT90S, or short like 365d or 1h30m."
        )
    parts = {unit: amount for unit, amount in match.groupdict().items() if amount is not None}
    seconds, _, fraction = parts.pop("seconds", "0").partition(".")
    days = int(parts.pop("years", 0)) * 365 + int(parts.pop("days", 0))
    amounts = {unit: int(amount) for unit, amount in parts.items()}
    try:
        return timedelta(
            days=days,
            seconds=int(seconds),
            microseconds=int(fraction.ljust(6, "0")) if fraction else 0,
            **amounts,
        )
    except OverflowError:
        raise ValueError("The Duration is too long.") from None
