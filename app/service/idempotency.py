"""Idempotency keys: a mutation that is asked for twice is done once."""

import hashlib
from collections.abc import Mapping
from typing import Any, Final

import orjson

from app.errors import Conflict
from app.model.access import Principal
from app.model.texts import check_line
from app.postgres.pool import Connection, Database
from app.queries import idempotency

LONGEST_KEY: Final = 200


async def claim(
    connection: Connection,
    principal: Principal,
    mutation: str,
    key: str | None,
    arguments: Mapping[str, Any],
) -> dict[str, Any] | None:
    """Take a key for this transaction; None: go on, the caller is the first.

    Where it was used within 24 h: what was kept then. A call that is still going is waited for,
    and where that one was refused this caller is the first. `arguments` must be JSON-like; of a
    secret among them pass `Sealer.fingerprint`. No key: always None.
    Raises Conflict (IDEMPOTENCY_KEY_REUSED) where the arguments were others.
    """
    if key is None:
        return None
    check_line(
        key,
        what="The idempotency key",
        path=("idempotencyKey",),
        longest=LONGEST_KEY,
        shortest=1,
    )
    place = (principal.key_id, mutation, key)
    hash = _hash(arguments)
    if await idempotency.claim(connection, principal.hub_id, *place, arguments=hash):
        return None
    found = await idempotency.find(connection, principal.hub_id, *place)
    # A key without a result was claimed by this transaction itself: that is a defect.
    assert found is not None
    used_for, result = found
    if used_for != hash:
        raise Conflict(
            "This idempotency key was used with other arguments; take a new one for a new request.",
            code="IDEMPOTENCY_KEY_REUSED",
            path=("idempotencyKey",),
        )
    assert result is not None
    return result


async def keep(
    connection: Connection,
    principal: Principal,
    mutation: str,
    key: str | None,
    result: dict[str, Any],
) -> None:
    """Keep what a replay needs: ids and warnings, never a secret. No key: nothing is kept."""
    if key is not None:
        await idempotency.keep(
            connection, principal.hub_id, principal.key_id, mutation, key, result=result
        )


async def prune(database: Database) -> None:
    """Drop keys older than 24 h, of all hubs; for workers."""
    async with database.transaction(None) as connection:
        await idempotency.prune(connection)


def _hash(arguments: Mapping[str, Any]) -> bytes:
    options = orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS
    return hashlib.sha256(orjson.dumps(dict(arguments), default=str, option=options)).digest()
