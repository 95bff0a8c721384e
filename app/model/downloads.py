"""Downloads: one-time addresses that stream a backup's bytes."""

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

VALID_FOR: Final = timedelta(minutes=5)
SECRET_BYTES: Final = 32
FOLDER: Final = "downloads"

_SECRET = re.compile(r"[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    id: UUID
    backup_id: UUID
    expires_at: datetime


def is_secret(text: str) -> bool:
    """Whether it can be the secret of an address at all: then asking the database is worth it."""
    return _SECRET.fullmatch(text) is not None


def hash_secret(secret: str) -> bytes:
    """What is stored of a secret. It has 256 random bits: no salt or slowness is needed."""
    return hashlib.sha256(secret.encode()).digest()


def write_address(secret: str) -> str:
    """Relative to the GraphQL endpoint, whatever the gateway is called from outside."""
    return f"{FOLDER}/{secret}"
