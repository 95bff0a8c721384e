"""API keys: made by the operator, and recognised in requests."""

import secrets
from uuid import UUID

from app.errors import NotFound
from app.model.access import Principal, Role
from app.model.keys import PREFIX_CHARACTERS, SECRET_BYTES, hash_token, is_token, write_token
from app.model.texts import check_name
from app.postgres.pool import Database
from app.queries import hubs, keys


async def create_key(
    database: Database, *, hub_id: UUID, name: str, role: Role
) -> tuple[UUID, str]:
    """The key's id and its token, which is never to be had again. In the owner's role.

    Raises InvalidInput, NotFound.
    """
    check_name(name, what="The key's name", path=("name",))
    prefix = secrets.token_hex(PREFIX_CHARACTERS // 2)
    token = write_token(prefix, secrets.token_urlsafe(SECRET_BYTES))
    async with database.transaction(None) as connection:
        if await hubs.get(connection, hub_id) is None:
            raise NotFound("There is no such hub.", path=("hub",))
        id = await keys.create(
            connection, hub_id, name=name, prefix=prefix, hash=hash_token(token), role=role
        )
    return id, token


async def authenticate(database: Database, token: str) -> Principal | None:
    """Whose token it is; None: nobody's, or one that is revoked or expired."""
    if not is_token(token):
        return None
    async with database.connection(None) as connection:
        return await keys.authenticate(connection, hash_token(token))
