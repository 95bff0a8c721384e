"""API keys: made by the operator and by requests, and recognised in requests."""

import secrets
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from app.errors import InvalidInput, NotFound, NotPermitted
from app.model.access import Capability, Principal, Role
from app.model.keys import (
    PREFIX_CHARACTERS,
    SECRET_BYTES,
    ApiKey,
    hash_token,
    is_token,
    read_capabilities,
    write_token,
)
from app.model.texts import check_name
from app.postgres.listen import notify
from app.postgres.pool import Database
from app.queries import hubs, keys
from app.service.idempotency import claim, keep


async def create_key(
    database: Database, *, hub_id: UUID, name: str, role: Role
) -> tuple[UUID, str]:
    """The key's id and its token, which is never to be had again. In the owner's role.

    Raises InvalidInput, NotFound.
    """
    check_name(name, what="The key's name", path=("name",))
    prefix, token = _make_token()
    async with database.transaction(None) as connection:
        if await hubs.get(connection, hub_id) is None:
            raise NotFound("There is no such hub.", path=("hub",))
        key = await keys.create(
            connection, hub_id, name=name, prefix=prefix, hash=hash_token(token), role=role
        )
    return key.id, token


async def create_api_key(
    database: Database,
    principal: Principal,
    *,
    name: str,
    role: Role | None = None,
    capabilities: Sequence[str] | None = None,
    expires_at: datetime | None = None,
    idempotency_key: str | None = None,
) -> tuple[ApiKey, str | None]:
    """A key of the principal's hub and its token, shown once; a replay gives the key alone.

    It gets a role or capabilities, and nothing that the principal lacks. Raises NotPermitted,
    InvalidInput.
    """
    principal.require(Capability.MANAGE_KEYS)
    check_name(name, what="The key's name", path=("name",))
    granted = read_capabilities(role, capabilities)
    if lacking := sorted(granted - principal.capabilities):
        raise NotPermitted(
            f"Your API key cannot give what it lacks: {', '.join(lacking)}.",
            path=("role" if role else "capabilities",),
        )
    hub_id = principal.hub_id
    arguments = {"name": name, "role": role, "granted": sorted(granted), "expiresAt": expires_at}
    call = (principal, "createApiKey", idempotency_key)
    async with database.transaction(hub_id) as connection:
        done = await claim(connection, *call, arguments)
        if done is not None:
            before = await keys.get(connection, hub_id, UUID(done["id"]))
            assert before is not None
            return before, None
        prefix, token = _make_token()
        key = await keys.create(
            connection,
            hub_id,
            name=name,
            prefix=prefix,
            hash=hash_token(token),
            role=role,
            capabilities=granted,
            expires_at=expires_at,
        )
        if expires_at is not None and expires_at <= key.created_at:
            raise InvalidInput("The key would have expired already.", path=("expiresAt",))
        await keep(connection, *call, {"id": str(key.id)})
        return key, token


async def revoke_api_key(
    database: Database, principal: Principal, *, id: UUID, idempotency_key: str | None = None
) -> ApiKey:
    """The key works no more, for ever; one that was revoked before stays as it is.

    Raises NotPermitted, NotFound.
    """
    principal.require(Capability.MANAGE_KEYS)
    call = (principal, "revokeApiKey", idempotency_key)
    async with database.transaction(principal.hub_id) as connection:
        await claim(connection, *call, {"id": id})
        key = await keys.revoke(connection, principal.hub_id, id)
        if key is None:
            raise NotFound(path=("id",))
        # Its sockets and streams end now, at whatever gateway they are.
        await notify(connection, [f"key:{id}"])
        await keep(connection, *call, {"id": str(id)})
        return key


async def authenticate(database: Database, token: str) -> Principal | None:
    """Whose token it is; None: nobody's, or one that is revoked or expired."""
    if not is_token(token):
        return None
    async with database.connection(None) as connection:
        return await keys.authenticate(connection, hash_token(token))


def _make_token() -> tuple[str, str]:
    prefix = secrets.token_hex(PREFIX_CHARACTERS // 2)
    return prefix, write_token(prefix, secrets.token_urlsafe(SECRET_BYTES))
