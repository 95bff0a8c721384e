"""Workers say that they are there, so that whoever waits is told where none is."""

from collections.abc import Collection

from app.model.waiting import KEPT
from app.postgres.pool import Database
from app.queries import presence


async def show(database: Database, owner: str, places: Collection[str]) -> None:
    """Raises DatabaseUnavailable."""
    async with database.transaction(None) as connection:
        await presence.show(connection, owner, places)
        await presence.prune(connection, KEPT)
