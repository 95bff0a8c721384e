"""A hub's connection to Backblaze B2."""

import re
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

from app.errors import InvalidInput
from app.model.texts import check_line, check_name, check_path

LONGEST_PREFIX_BYTES: Final = 500
"""An object's whole name has at most 1,024 bytes; ours take up to 170 below the prefix."""
LONGEST_SEGMENT_BYTES: Final = 250
LONGEST_KEY: Final = 200

_BUCKET = re.compile(r"[A-Za-z0-9-]{6,63}")
_KEY = re.compile(r"[\x21-\x7e]+")


class IntegrationState(StrEnum):
    VERIFYING = "VERIFYING"
    LIVE = "LIVE"
    FAILED = "FAILED"
    DELETING = "DELETING"
    DELETED = "DELETED"


GOING: Final = frozenset({IntegrationState.DELETING, IntegrationState.DELETED})


class Realm(StrEnum):
    """Which B2 a key belongs to: the embedded one, or the operator's (default: Backblaze)."""

    EMBEDDED = "EMBEDDED"
    BACKBLAZE = "BACKBLAZE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Integration:
    id: UUID
    hub_id: UUID
    name: str
    realm: Realm
    key_id: str
    bucket: str
    prefix: str
    state: IntegrationState
    error_code: str | None
    error_message: str | None
    verified_at: datetime | None
    """When a check last succeeded; None: never."""
    created_at: datetime
    next_key_id: str | None = None
    """A new key's id that waits for its check."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewIntegration:
    name: str
    key_id: str
    key: str = field(repr=False)
    bucket: str
    prefix: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageAccess:
    """What a worker needs to reach an integration's bucket; the key is unsealed, never logged."""

    integration_id: UUID
    realm: Realm
    key_id: str
    key: str = field(repr=False)
    bucket: str
    prefix: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedAccess:
    """A `StorageAccess` whose key is still sealed: what the database holds."""

    integration_id: UUID
    realm: Realm
    key_id: str
    sealed_key: bytes = field(repr=False)
    bucket: str
    prefix: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IntegrationCheck:
    """One check that a worker has to do now."""

    integration: Integration
    access: StorageAccess
    next_access: StorageAccess | None
    """Access by the new key that waits: then this one is to be checked."""
    sample: tuple[str, str] | None
    """File id and name of an object that the key must reach; None: there is none yet."""
    version: datetime
    """What the row said when the check was handed out; an answer to an older one is not taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IntegrationFilter:
    states: tuple[IntegrationState, ...] | None = None
    """None: all but DELETED."""


def check_integration(new: NewIntegration) -> None:
    """Raise InvalidInput where an integration cannot be made like this."""
    check_name(new.name, what="The name", path=("name",))
    check_key(new.key_id, new.key)
    if not _BUCKET.fullmatch(new.bucket) or new.bucket.lower().startswith("b2-"):
        raise InvalidInput(
            "A bucket's name has 6 to 63 letters, digits and -, and does not begin with `b2-`;"
            " copy it from your Backblaze account.",
            path=("bucket",),
        )
    check_prefix(new.prefix)


def check_key(key_id: str, key: str) -> None:
    """Raise InvalidInput where these cannot be an application key. Never shows the key."""
    for value, what, path in (
        (key_id, "The application key id", "keyId"),
        (key, "The application key", "key"),
    ):
        check_line(value, what=what, path=(path,), longest=LONGEST_KEY, shortest=1)
        if not _KEY.fullmatch(value):
            raise InvalidInput(
                f"{what} may hold no spaces and no letters beyond ASCII; copy it again.",
                path=(path,),
            )


def check_prefix(prefix: str) -> None:
    """Raise InvalidInput where names of objects cannot begin like this. Empty: the whole bucket."""
    if not prefix:
        return
    check_path(prefix, what="The prefix", path=("prefix",), longest_bytes=LONGEST_PREFIX_BYTES)
    if any(len(segment.encode()) > LONGEST_SEGMENT_BYTES for segment in prefix.split("/")):
        raise InvalidInput(
            f"The prefix has a segment of more than {LONGEST_SEGMENT_BYTES} bytes; shorten it.",
            path=("prefix",),
        )


def realm_of(key_id: str, embedded_key_prefix: str | None) -> Realm:
    """Which B2 issued a key. `embedded_key_prefix` None: there is no embedded B2."""
    if embedded_key_prefix and key_id.startswith(embedded_key_prefix):
        return Realm.EMBEDDED
    return Realm.BACKBLAZE
