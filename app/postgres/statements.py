"""Named statements: reads `db/queries/<noun>.sql` into texts by name.

A file holds blocks of this form; what is common to a file (why it crosses hubs, say) may stand as
comments above the first block:

    -- name: find
    -- One line that says what it is for.
    select id from backups where hub_id = $1 and id = $2;
"""

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

DB = Path(__file__).resolve().parents[2] / "db"
"""Lies beside the package `app`, in a checkout and in an installed wheel alike."""

_NAME = re.compile(r"^-- name: (?P<name>\S+)$", re.MULTILINE)
_WORD = re.compile(r"[a-z][a-z0-9_]*")


def load(noun: str, folder: Path = DB / "queries") -> Mapping[str, str]:
    """Return the statements of `<noun>.sql` by name.

    Raises ValueError where the file is not in the form above.
    """
    path = folder / f"{noun}.sql"
    _, *parts = _NAME.split(path.read_text(encoding="utf-8"))
    statements: dict[str, str] = {}
    for name, block in zip(parts[::2], parts[1::2], strict=True):
        where = f"{path.name}: {name}"
        if not _WORD.fullmatch(name):
            raise ValueError(f"{where}: a name is lower case words joined by underscores")
        if name in statements:
            raise ValueError(f"{where}: this name is taken")
        purpose, _, statement = block.strip().partition("\n")
        if not re.match(r"-- \w", purpose):
            raise ValueError(f"{where}: the first line must say what it is for")
        statement = statement.strip()
        if not statement.endswith(";") or ";" in _without_noise(statement[:-1]):
            raise ValueError(f"{where}: must be one statement that ends with a semicolon")
        statements[name] = statement[:-1]
    if not statements:
        raise ValueError(f"{path.name}: holds no statement")
    return MappingProxyType(statements)


def _without_noise(statement: str) -> str:
    """Drop comments and literals, which may hold semicolons."""
    return re.sub(r"--[^\n]*|'[^']*'", "", statement)
