"""Hubs: made and found by the operator, in the database owner's role."""

from uuid import UUID

from app.errors import Conflict
from app.model.hubs import Hub, check_hub_name
from app.postgres.pool import Database
from app.queries import hubs


async def create_hub(database: Database, name: str) -> Hub:
    """Raises InvalidInput, Conflict (HUB_NAME_TAKEN)."""
    check_hub_name(name)
    async with database.transaction(None) as connection:
        hub = await hubs.create(connection, name)
    if hub is None:
        raise Conflict(
            "There is a hub of this name already; choose another one.",
            code="HUB_NAME_TAKEN",
            path=("name",),
        )
    return hub


async def find_hub(database: Database, name_or_id: str) -> Hub | None:
    """By name; or by id, where no hub is called so."""
    try:
        id = UUID(name_or_id)
    except ValueError:
        id = None
    async with database.connection(None) as connection:
        return await hubs.find(connection, name_or_id, id)
