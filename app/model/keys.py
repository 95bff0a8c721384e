"""API keys: how a token looks, and what is kept of it."""

import hashlib
import re
from typing import Final

PREFIX_CHARACTERS: Final = 8
SECRET_BYTES: Final = 32
LONGEST_TOKEN: Final = 100

_TOKEN = re.compile(r"bg_[0-9a-z]{8}_[A-Za-z0-9_-]{43}")


def is_token(token: str) -> bool:
    """Whether a text can be an API key at all: then asking the database is worth it."""
    return len(token) <= LONGEST_TOKEN and _TOKEN.fullmatch(token) is not None


def write_token(prefix: str, secret: str) -> str:
    """The token that is shown once; its prefix tells keys apart later."""
    return f"bg_{prefix}_{secret}"


def hash_token(token: str) -> bytes:
    """What is stored of a token. It has 256 random bits: no salt or slowness is needed."""
    return hashlib.sha256(token.encode()).digest()
