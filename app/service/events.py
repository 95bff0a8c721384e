"""Events: written down in the transaction that makes them true, and told to who follows."""

from uuid import UUID

from app.model.events import NewEvent
from app.postgres.listen import notify
from app.postgres.pool import Connection
from app.queries import events
from app.service.topics import events_of


async def record_event(connection: Connection, hub_id: UUID, event: NewEvent) -> None:
    """Make an event a row of the caller's transaction, and wake those who follow the hub's."""
    await events.add(connection, hub_id, event)
    await notify(connection, [events_of(hub_id)])
