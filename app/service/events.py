"""Events: written down in the transaction that makes them true, and told to who follows."""

from uuid import UUID

from app.model.events import NewEvent
from app.postgres.listen import Wake, notify
from app.postgres.pool import Connection
from app.queries import events, webhooks
from app.service.topics import events_of


async def record_event(connection: Connection, hub_id: UUID, event: NewEvent) -> None:
    """Make an event, and what webhooks are to be sent of it, rows of the caller's transaction.

    Those who follow the hub's events, and those who send them, are woken when it commits.
    """
    id = await events.add(connection, hub_id, event)
    topics = [events_of(hub_id)]
    if await webhooks.queue(connection, hub_id, id, event.kind):
        topics.append(Wake("duty:webhooks"))
    await notify(connection, topics)
