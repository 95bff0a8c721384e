"""What a client of the local B2 sent, read field by field, and how B2 refuses it."""

import re
from collections.abc import Mapping
from typing import NoReturn, cast

_TYPE_NAMES = {
    str: "a string",
    int: "a number",
    bool: "a boolean",
    list: "a list",
    dict: "an object",
}

_INFO_NAME = re.compile(r"[A-Za-z0-9_.`~!#$%^&*'|+-]+")
_HEX_SHA1 = re.compile(r"[0-9a-f]{40}")
_NAME_BYTES = 1024
_SEGMENT_BYTES = 250
_FIRST_PRINTABLE = 32


class Refusal(Exception):
    """An error answer of B2: HTTP status, B2's code, a message for people."""

    def __init__(
        self, status: int, code: str, message: str, *, retry_after: int | None = None
    ) -> None:
        super().__init__(f"{status} {code} {message}")
        self.status = status
        self.code = code
        self.message = message
        self.retry_after = retry_after


def refuse(message: str, *, code: str = "bad_request") -> NoReturn:
    """Raise the refusal of a request that is wrong in itself (400)."""
    raise Refusal(400, code, message)


def forbid(message: str) -> NoReturn:
    """Raise the refusal of something that the key does not allow (401 unauthorized)."""
    raise Refusal(401, "unauthorized", message)


class Fields:
    """A JSON object (or a query string) whose fields are checked as they are read."""

    def __init__(self, values: Mapping[str, object]) -> None:
        self._values = values

    def __contains__(self, name: str) -> bool:
        return self._values.get(name) is not None

    def _read(self, name: str, kind: type) -> object:
        value = self._values.get(name)
        if value is not None and (not isinstance(value, kind) or type(value) is bool is not kind):
            refuse(f"{name} must be {_TYPE_NAMES[kind]}")
        return value

    def text(self, name: str) -> str:
        value = self.optional_text(name)
        if value is None:
            refuse(f"required field {name} is missing")
        return value

    def optional_text(self, name: str) -> str | None:
        return cast("str | None", self._read(name, str))

    def number(self, name: str, *, default: int, low: int, high: int) -> int:
        value = self._values.get(name)
        if isinstance(value, str) and value.isdecimal():
            value = int(value)  # of a query string
        if value is None:
            return default
        if type(value) is not int or not low <= value <= high:
            refuse(f"{name} must be a number from {low} to {high}")
        return value

    def optional_number(self, name: str) -> int | None:
        return cast("int | None", self._read(name, int))

    def flag(self, name: str) -> bool:
        return bool(self._read(name, bool))

    def items(self, name: str) -> list[object]:
        return cast("list[object]", self._read(name, list) or [])

    def texts(self, name: str) -> list[str]:
        items = self.items(name)
        if not all(isinstance(item, str) for item in items):
            refuse(f"{name} must be a list of strings")
        return cast("list[str]", items)

    def mapping(self, name: str) -> dict[str, object] | None:
        return cast("dict[str, object] | None", self._read(name, dict))

    def text_mapping(self, name: str) -> dict[str, str] | None:
        values = self.mapping(name)
        if values is not None and not all(isinstance(value, str) for value in values.values()):
            refuse(f"{name} must map strings to strings")
        return cast("dict[str, str] | None", values)


def check_file_name(name: str) -> str:
    """Return the name if B2 allows it; raises Refusal."""
    try:
        encoded = name.encode()
    except UnicodeEncodeError:
        refuse("File names must be valid UTF-8")
    if not 1 <= len(encoded) <= _NAME_BYTES:
        refuse("File names must have 1 to 1024 bytes")
    if any(ord(letter) < _FIRST_PRINTABLE or letter == "\x7f" for letter in name):
        refuse("File names must not contain control characters")
    if name[0] == "/" or name[-1] == "/" or "//" in name:
        refuse("File names must not start or end with '/' or contain '//'")
    if any(len(segment.encode()) > _SEGMENT_BYTES for segment in name.split("/")):
        refuse("Segments of file names must have at most 250 bytes")
    return name


def check_header(name: str, value: str) -> str:
    """Return the value if it can be sent back as a header; raises Refusal."""
    if not _INFO_NAME.fullmatch(name) or any(
        ord(letter) < _FIRST_PRINTABLE or letter == "\x7f" for letter in value
    ):
        refuse(f"{name[:50]} cannot be used as a header")
    return value


def check_sha1(text: str) -> str:
    """Return the 40 hex digits in lower case; raises Refusal."""
    if not _HEX_SHA1.fullmatch(text.lower()):
        refuse(f"Invalid sha1: {text[:50]}")
    return text.lower()
