"""Statements about webhooks, and what they are still to be sent."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg

from app.model.paging import Page, Slice, cut_slice, open_window
from app.model.webhooks import Webhook
from app.postgres.pool import Connection
from app.postgres.statements import load

_SQL = load("webhooks")
_WORKERS = load("workers_webhooks")


@dataclass(frozen=True, slots=True, kw_only=True)
class DueDelivery:
    """A delivery that was taken: it is due again later unless it is settled."""

    id: UUID
    webhook_id: UUID
    hub_id: UUID
    event_id: UUID
    url: str
    sealed_secrets: Sequence[bytes] = field(repr=False)
    enabled: bool
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedWebhook:
    """A webhook that nobody changes until the transaction ends."""

    hub_id: UUID
    enabled: bool
    is_hopeless: bool
    """It has been failing for longer than was asked."""


async def create(
    connection: Connection,
    hub_id: UUID,
    id: UUID,
    *,
    url: str,
    kinds: Sequence[str] | None,
    sealed_secret: bytes,
) -> Webhook:
    words = None if kinds is None else list(kinds)
    row = await connection.fetchrow(_SQL["create"], hub_id, id, url, words, sealed_secret)
    assert row is not None
    return _read(row)


async def get(connection: Connection, hub_id: UUID, id: UUID) -> Webhook | None:
    return (await by_ids(connection, hub_id, [id])).get(id)


async def by_ids(
    connection: Connection, hub_id: UUID, ids: Collection[UUID]
) -> dict[UUID, Webhook]:
    rows = await connection.fetch(_SQL["by_ids"], hub_id, list(ids))
    return {row["id"]: _read(row) for row in rows}


async def lock(connection: Connection, hub_id: UUID, id: UUID) -> Webhook | None:
    row = await connection.fetchrow(_SQL["lock"], hub_id, id)
    return None if row is None else _read(row)


async def change(
    connection: Connection,
    hub_id: UUID,
    id: UUID,
    *,
    url: str,
    kinds: Sequence[str] | None,
    enabled: bool,
) -> None:
    words = None if kinds is None else list(kinds)
    await connection.execute(_SQL["change"], hub_id, id, url, words, enabled)


async def replace_secret(
    connection: Connection, hub_id: UUID, id: UUID, sealed_secret: bytes, overlap: timedelta
) -> None:
    await connection.execute(_SQL["replace_secret"], hub_id, id, sealed_secret, overlap)


async def delete(connection: Connection, hub_id: UUID, id: UUID) -> bool:
    """False: there is none."""
    return await connection.fetchval(_SQL["delete"], hub_id, id) is not None


async def page(connection: Connection, hub_id: UUID, page: Page) -> Slice[Webhook]:
    window = open_window(page)
    rows = await connection.fetch(
        _SQL["page_down" if window.newest_first else "page_up"],
        hub_id,
        window.lower.at,
        window.lower.id,
        window.upper.at,
        window.upper.id,
        window.limit,
    )
    return cut_slice([_read(row) for row in rows], page)


async def count(connection: Connection, hub_id: UUID) -> int:
    return int(await connection.fetchval(_SQL["count"], hub_id))


async def pending(connection: Connection, hub_id: UUID, ids: Sequence[UUID]) -> dict[UUID, int]:
    """How many events each is still to be sent."""
    rows = await connection.fetch(_SQL["pending"], hub_id, list(ids))
    return dict.fromkeys(ids, 0) | {row["webhook_id"]: row["deliveries"] for row in rows}


async def queue(connection: Connection, hub_id: UUID, event_id: UUID, kind: str) -> bool:
    """Put an event into the outbox of each webhook that wants it. False: none does."""
    return bool(await connection.fetch(_SQL["queue"], hub_id, event_id, kind))


async def forget(connection: Connection, hub_id: UUID, id: UUID) -> None:
    """Drop what it was still to be sent."""
    await connection.execute(_SQL["forget"], hub_id, id)


# --- workers ------------------------------------------------------------------------------------


async def take_due(connection: Connection, limit: int, a_webhook: int) -> list[DueDelivery]:
    """Take deliveries that are due, of each webhook so many, which nobody else takes now."""
    rows = await connection.fetch(_WORKERS["take_due"], limit, a_webhook)
    return [
        DueDelivery(
            id=row["id"],
            webhook_id=row["webhook_id"],
            hub_id=row["hub_id"],
            event_id=row["event_id"],
            url=row["url"],
            sealed_secrets=[
                sealed
                for sealed in (row["sealed_secret"], row["former_sealed_secret"])
                if sealed is not None
            ],
            enabled=row["enabled"],
            at=row["at"],
        )
        for row in rows
    ]


async def lock_for_worker(
    connection: Connection, id: UUID, hopeless_after: timedelta
) -> LockedWebhook | None:
    row = await connection.fetchrow(_WORKERS["lock"], id, hopeless_after)
    if row is None:
        return None
    return LockedWebhook(
        hub_id=row["hub_id"], enabled=row["enabled"], is_hopeless=bool(row["is_hopeless"])
    )


async def settle(connection: Connection, delivery_id: UUID) -> None:
    await connection.execute(_WORKERS["settle"], delivery_id)


async def give_up(connection: Connection, delivery_id: UUID, after: timedelta) -> None:
    """Drop a delivery that was tried for so long."""
    await connection.execute(_WORKERS["give_up"], delivery_id, after)


async def delivered(connection: Connection, id: UUID) -> None:
    await connection.execute(_WORKERS["delivered"], id)


async def failed(connection: Connection, id: UUID, error: str) -> None:
    await connection.execute(_WORKERS["failed"], id, error)


async def disable(connection: Connection, id: UUID) -> None:
    """Send it nothing any more, nor what waits."""
    await connection.execute(_WORKERS["disable"], id)
    await connection.execute(_WORKERS["forget"], id)


def _read(row: asyncpg.Record) -> Webhook:
    kinds = row["kinds"]
    return Webhook(
        id=row["id"],
        hub_id=row["hub_id"],
        url=row["url"],
        kinds=None if kinds is None else tuple(kinds),
        enabled=row["enabled"],
        last_delivered_at=row["last_delivered_at"],
        failing_since=row["failing_since"],
        last_error=row["last_error"],
        former_until=row["former_until"],
        created_at=row["created_at"],
    )
