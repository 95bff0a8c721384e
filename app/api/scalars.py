"""The scalars of the contract: BigInt, DateTime, Duration."""

import re
from datetime import UTC, datetime, timedelta
from typing import NewType

import strawberry
from graphql import GraphQLError
from strawberry.types.scalar import ScalarDefinition

from app.model.durations import parse_duration

BigInt = NewType("BigInt", int)
LARGEST = 2**53 - 1

_DIGITS = re.compile(r"-?[0-9]{1,16}")
_RFC_3339 = re.compile(
    r"(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})[Tt](?P<time>[0-9]{2}:[0-9]{2}:[0-9]{2})"
    r"(?:\.(?P<fraction>[0-9]{1,9}))?(?P<offset>[Zz]|[+-][0-9]{2}:[0-9]{2})"
)
_SECOND = timedelta(seconds=1)


def write_big_int(value: object) -> int:
    """Raise ValueError above 2^53-1: a client would read another number."""
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) > LARGEST:
        raise ValueError(value)
    return value


def read_big_int(value: object) -> int:
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) > LARGEST:
        raise _refuse("A BigInt is a whole number, or a string of digits, up to 2^53-1.")
    return value


def write_date_time(value: object) -> str:
    """Six fraction digits or none: some clients misread every other count."""
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise ValueError(value)
    return value.astimezone(UTC).isoformat().removesuffix("+00:00") + "Z"


def read_date_time(value: object) -> datetime:
    match = _RFC_3339.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise _refuse("A DateTime is RFC 3339 with an offset, like 2026-05-04T03:02:01Z.")
    fraction = (match["fraction"] or "0")[:6].ljust(6, "0")
    offset = match["offset"].upper().replace("Z", "+00:00")
    try:
        at = datetime.fromisoformat(f"{match['date']}T{match['time']}.{fraction}{offset}")
        return at.astimezone(UTC)
    except (ValueError, OverflowError):
        raise _refuse("There is no such date and time.") from None


def write_duration(value: object) -> str:
    """`PnDTnHnMnS`, without the parts that are zero; zero itself is `PT0S`."""
    if not isinstance(value, timedelta) or value < timedelta(0):
        raise ValueError(value)
    minutes, rest = divmod(value - timedelta(days=value.days), timedelta(minutes=1))
    hours, minutes = divmod(minutes, 60)
    seconds = str(rest // _SECOND)
    if rest.microseconds:
        seconds += f".{rest.microseconds:06}".rstrip("0")
    days = f"{value.days}D" if value.days else ""
    parts = ((str(hours), "H"), (str(minutes), "M"), (seconds, "S"))
    time = "".join(number + unit for number, unit in parts if number != "0")
    if time:
        return f"P{days}T{time}"
    return f"P{days}" if days else "PT0S"


def read_duration(value: object) -> timedelta:
    """ISO 8601 without months (a year is 365 days), or `365d`, `1h30m`."""
    try:
        return parse_duration(value if isinstance(value, str) else "")
    except ValueError as error:
        raise _refuse(str(error)) from None


def _refuse(message: str) -> GraphQLError:
    return GraphQLError(message, extensions={"code": "BAD_USER_INPUT"})


BIG_INT = strawberry.scalar(
    name="BigInt",
    description=(
        "A whole number between -(2^53-1) and 2^53-1, as a JSON number: bytes, offsets, sequences, "
        "rates. Input also takes a string of digits; never a fraction or a boolean. Map it to "
        "`number` in TypeScript, `int` in Python, `int64` in Go."
    ),
    specified_by_url="https://www.rfc-editor.org/rfc/rfc8259#section-6",
    serialize=write_big_int,
    parse_value=read_big_int,
)
DATE_TIME = strawberry.scalar(
    name="DateTime",
    description=(
        "A moment as RFC 3339 in UTC with `Z`, and six fraction digits or none: "
        "`2026-05-04T03:02:01.123456Z`. Input may have any offset, but must have one; more than "
        "six fraction digits are cut. Map it to `string` or `Date` in TypeScript, `datetime` in "
        "Python, `time.Time` in Go."
    ),
    specified_by_url="https://www.rfc-editor.org/rfc/rfc3339",
    serialize=write_date_time,
    parse_value=read_date_time,
)
DURATION = strawberry.scalar(
    name="Duration",
    description=(
        "A length of time as ISO 8601 of the form `PnDTnHnMnS`, like `PT12H` or `P1DT0.5S`. Input "
        "also takes `P1Y` (365 days), `P1W`, and the short forms `365d` and `1h30m`; no months and "
        "nothing negative. Map it to `string` in TypeScript, `timedelta` in Python."
    ),
    specified_by_url="https://www.rfc-editor.org/rfc/rfc3339#appendix-A",
    serialize=write_duration,
    parse_value=read_duration,
)
SCALARS: dict[object, ScalarDefinition] = {
    BigInt: BIG_INT,
    datetime: DATE_TIME,
    timedelta: DURATION,
}
