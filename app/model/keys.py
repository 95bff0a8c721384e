"""API keys: how a token looks, and what is kept of it."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from app.errors import InvalidInput
from app.model.access import CAPABILITIES, Capability, Role

PREFIX_CHARACTERS: Final = 8
SECRET_BYTES: Final = 32
LONGEST_TOKEN: Final = 100

_TOKEN = re.compile(r"bg_[0-9a-z]{8}_[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A key as lists show it. It has a role, or capabilities of its own."""

    id: UUID
    hub_id: UUID
    name: str
    prefix: str
    role: Role | None
    capabilities: frozenset[Capability]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


def read_capabilities(role: Role | None, words: Sequence[str] | None) -> frozenset[Capability]:
    """What a new key is to be allowed. Raises InvalidInput unless it is exactly one of the two."""
    if (role is None) == (words is None):
        raise InvalidInput("Give either a role or a list of capabilities.", path=("role",))
    if role is not None:
        return CAPABILITIES[role]
    path = ("capabilities",)
    unknown = [word for word in words or () if word not in set(Capability)]
    if unknown:
        known = ", ".join(Capability)
        raise InvalidInput(f"A capability is one of {known}; look for a slip.", path=path)
    if not words:
        raise InvalidInput("Name at least one capability.", path=path)
    if len(set(words)) < len(words):
        raise InvalidInput("Name each capability once.", path=path)
    return frozenset(Capability(word) for word in words)


def is_token(token: str) -> bool:
    """Whether a text can be an API key at all: then asking the database is worth it."""
    return len(token) <= LONGEST_TOKEN and _TOKEN.fullmatch(token) is not None


def write_token(prefix: str, secret: str) -> str:
    """The token that is shown once; its prefix tells keys apart later."""
    return f"bg_{prefix}_{secret}"


def hash_token(token: str) -> bytes:
    """What is stored of a token. It has 256 random bits: no salt or slowness is needed."""
    return hashlib.sha256(token.encode()).digest()
