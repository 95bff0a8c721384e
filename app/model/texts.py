"""Texts that clients send: what every one of them must be, and what to say where it is not."""

import re
from typing import Final

from app.errors import InvalidInput

LONGEST_NAME: Final = 200
LONGEST_IDENTIFIER: Final = 63
LONGEST_HOSTNAME: Final = 253
LONGEST_COMMAND_BYTES: Final = 64 * 1024

_IDENTIFIER = re.compile(r"[a-z0-9]([-a-z0-9_.]*[a-z0-9])?")
_HOSTNAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
_SURROGATE = re.compile("[\ud800-\udfff]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def check_text(
    value: str, *, what: str, path: tuple[str, ...], longest: int, shortest: int = 0
) -> None:
    """Refuse NUL, lone surrogates and lengths (in characters) outside of the limits.

    `what` begins the message, `path` names the argument. Raises InvalidInput.
    """
    if "\0" in value:
        raise InvalidInput(f"{what} holds a NUL character; remove it.", path=path)
    if _SURROGATE.search(value):
        raise InvalidInput(
            f"{what} holds half of a surrogate pair; send well-formed Unicode.", path=path
        )
    if len(value) < shortest:
        raise InvalidInput(
            f"{what} is {len(value)} characters long; it must have at least {shortest}.", path=path
        )
    if len(value) > longest:
        raise InvalidInput(
            f"{what} is {len(value)} characters long; at most {longest} are allowed.", path=path
        )


def check_line(
    value: str, *, what: str, path: tuple[str, ...], longest: int, shortest: int = 0
) -> None:
    """Like `check_text`, and refuse control characters too: it is shown on one line."""
    check_text(value, what=what, path=path, longest=longest, shortest=shortest)
    if _CONTROL.search(value):
        raise InvalidInput(
            f"{what} holds a control character or a line break; remove it.", path=path
        )


def check_name(value: str, *, what: str, path: tuple[str, ...]) -> None:
    """A name for people: one line that is not blank. Raises InvalidInput."""
    check_line(value, what=what, path=path, longest=LONGEST_NAME, shortest=1)
    if value != value.strip():
        raise InvalidInput(f"{what} begins or ends with a space; remove it.", path=path)


def check_identifier(value: str, *, what: str, path: tuple[str, ...]) -> None:
    """A name for machines, unique among its kind. Raises InvalidInput."""
    check_line(value, what=what, path=path, longest=LONGEST_IDENTIFIER, shortest=1)
    if not _IDENTIFIER.fullmatch(value):
        raise InvalidInput(
            f"{what} may hold lower case letters, digits and - _ . between them;"
            " it must begin and end with a letter or a digit.",
            path=path,
        )


def check_hostname(value: str, *, what: str, path: tuple[str, ...]) -> None:
    """The name of an instance or a worker's host. Raises InvalidInput."""
    check_line(value, what=what, path=path, longest=LONGEST_HOSTNAME, shortest=1)
    if not _HOSTNAME.fullmatch(value):
        raise InvalidInput(
            f"{what} may hold letters, digits and - _ . between them;"
            " it must begin and end with a letter or a digit.",
            path=path,
        )


def check_command(value: str, *, what: str, path: tuple[str, ...]) -> None:
    """A command for `sh -c`. Raises InvalidInput."""
    check_text(value, what=what, path=path, longest=LONGEST_COMMAND_BYTES)
    if not value.strip():
        raise InvalidInput(f"{what} is empty; give the command to run.", path=path)
    size = len(value.encode())
    if size > LONGEST_COMMAND_BYTES:
        raise InvalidInput(
            f"{what} is {size} bytes long; at most {LONGEST_COMMAND_BYTES} are allowed."
            " Put it into a script in the instance and call that.",
            path=path,
        )


def check_path(value: str, *, what: str, path: tuple[str, ...], longest_bytes: int) -> None:
    """A relative path of plain segments: no `.`, no `..`, nothing empty. Raises InvalidInput."""
    check_line(value, what=what, path=path, longest=longest_bytes)
    size = len(value.encode())
    if size > longest_bytes:
        raise InvalidInput(
            f"{what} is {size} bytes long; at most {longest_bytes} are allowed.", path=path
        )
    if value.startswith("/") or value.endswith("/"):
        raise InvalidInput(f"{what} begins or ends with a slash; remove it.", path=path)
    if "\\" in value:
        raise InvalidInput(f"{what} holds a backslash; separate with slashes.", path=path)
    if any(segment in {"", ".", ".."} for segment in value.split("/")):
        raise InvalidInput(
            f"{what} has an empty segment or one that is `.` or `..`; name it plainly.", path=path
        )
