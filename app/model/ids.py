"""Opaque ids and page cursors: one spelling each, checked strictly when they come back."""

import base64
import binascii
import hashlib
import re
import struct
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from app.model.paging import Cursor

MAX_ID_LENGTH = 200

_ID = re.compile(r"(?P<type>[A-Z][A-Za-z]*):(?P<uuid>[0-9a-f-]{36})")
_BASE64 = re.compile(r"[A-Za-z0-9_-]+")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TICK = timedelta(microseconds=1)
_SCOPE_BYTES = 8
_PLACE = struct.Struct(f">{_SCOPE_BYTES}sq16s")
_SEQUENCE = struct.Struct(f">{_SCOPE_BYTES}sq")


def encode_id(type_name: str, id: UUID) -> str:
    return _encode(f"{type_name}:{id}".encode())


def decode_id(text: str) -> tuple[str, UUID] | None:
    """The type name and the uuid of an id; None for anything that `encode_id` did not write."""
    data = _decode(text)
    if data is None:
        return None
    match = _ID.fullmatch(data.decode("latin-1"))
    if match is None:
        return None
    try:
        id = UUID(match["uuid"])
    except ValueError:
        return None
    # UUID() is generous about hyphens; a spelling that we did not write is not ours.
    return (match["type"], id) if encode_id(match["type"], id) == text else None


def decode_id_of(type_name: str, text: str) -> UUID | None:
    """The uuid of an id of this type; None for every other text."""
    decoded = decode_id(text)
    return decoded[1] if decoded is not None and decoded[0] == type_name else None


def describe_list(name: str, order: str, wanted: Any) -> str:  # noqa: ANN401 - any filter dataclass
    """The words that tell one list, order and filter from another; a cursor is bound to them."""
    chosen = (
        f"{field.name}={getattr(wanted, field.name)!s}"
        for field in fields(wanted)
        if getattr(wanted, field.name) is not None
    )
    return "|".join((name, order, *chosen))


def encode_cursor(scope: str, cursor: Cursor) -> str:
    ticks = (cursor.at - _EPOCH) // _TICK
    return _encode(_PLACE.pack(_digest(scope), ticks, cursor.id.bytes))


def decode_cursor(scope: str, text: str) -> Cursor | None:
    """The place that a cursor names; None where it is not a cursor of this list."""
    data = _decode(text)
    if data is None or len(data) != _PLACE.size:
        return None
    digest, ticks, id = _PLACE.unpack(data)
    if digest != _digest(scope):
        return None
    try:
        return Cursor(at=_EPOCH + ticks * _TICK, id=UUID(bytes=id))
    except OverflowError:
        return None


def encode_sequence(scope: str, sequence: int) -> str:
    """The cursor of a list that is ordered by a number."""
    return _encode(_SEQUENCE.pack(_digest(scope), sequence))


def decode_sequence(scope: str, text: str) -> int | None:
    data = _decode(text)
    if data is None or len(data) != _SEQUENCE.size:
        return None
    digest, sequence = _SEQUENCE.unpack(data)
    return int(sequence) if digest == _digest(scope) else None


def _digest(scope: str) -> bytes:
    return hashlib.sha256(scope.encode()).digest()[:_SCOPE_BYTES]


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes | None:
    """Strict: what does not encode to the same text again is refused."""
    if len(text) > MAX_ID_LENGTH or not _BASE64.fullmatch(text):
        return None
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error:
        return None
    return data if _encode(data) == text else None
