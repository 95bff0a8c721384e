"""Webhooks: configured by requests; their deliveries handed to workers and settled."""

import secrets
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final
from uuid import UUID, uuid4

from app.errors import InvalidState, NotFound, SecretUnreadable
from app.model.access import Capability, Principal
from app.model.events import EventKind, NewEvent, read_kinds
from app.model.ids import encode_id
from app.model.webhooks import (
    MOST_WEBHOOKS,
    SECRET_BYTES,
    Delivery,
    Webhook,
    check_url,
    keep_kinds,
    write_secret,
)
from app.postgres.pool import Connection, Database
from app.queries import events, webhooks
from app.service.events import record_event
from app.service.idempotency import claim, keep
from app.service.secrets import Sealer, open_webhook_secret, seal_webhook_secret

FORMER_SIGNS_FOR: Final = timedelta(days=1)
"""How long the former secret of a webhook signs its messages, too."""
TRIED_FOR: Final = timedelta(hours=28)
"""After this long a message is not sent any more."""
HOPELESS_AFTER: Final = timedelta(days=3)
"""A webhook that took nothing for so long is switched off."""
OF_ONE_WEBHOOK: Final = 50
"""Deliveries of one webhook that a worker takes at once."""


async def create_webhook(
    database: Database,
    principal: Principal,
    *,
    url: str,
    kinds: Sequence[str] | None,
    sealer: Sealer,
    http: bool,
    idempotency_key: str | None = None,
) -> tuple[Webhook, str | None]:
    """A webhook and its secret, shown once; a replay gives the webhook alone.

    `http`: the operator allows addresses without TLS in networks that he listed. Raises
    NotPermitted, InvalidInput, InvalidState (TOO_MANY_WEBHOOKS).
    """
    principal.require(Capability.CONFIGURE)
    check_url(url, http=http)
    wanted = None if kinds is None else keep_kinds(read_kinds(kinds, path=("kinds",)))
    call = (principal, "createWebhook", idempotency_key)
    hub_id = principal.hub_id
    async with database.transaction(hub_id) as connection:
        done = await claim(connection, *call, {"url": url, "kinds": wanted})
        if done is not None:
            return await _get(connection, hub_id, UUID(done["id"])), None
        if await webhooks.count(connection, hub_id) >= MOST_WEBHOOKS:
            raise InvalidState(
                f"A hub has at most {MOST_WEBHOOKS} webhooks; delete one.", code="TOO_MANY_WEBHOOKS"
            )
        id, secret = uuid4(), secrets.token_bytes(SECRET_BYTES)
        webhook = await webhooks.create(
            connection,
            hub_id,
            id,
            url=url,
            kinds=wanted,
            sealed_secret=seal_webhook_secret(sealer, id, secret),
        )
        await keep(connection, *call, {"id": str(id)})
        return webhook, write_secret(secret)


async def update_webhook(
    database: Database,
    principal: Principal,
    *,
    id: UUID,
    changes: dict[str, Any],
    replace_secret: bool,
    sealer: Sealer,
    http: bool,
    idempotency_key: str | None = None,
) -> tuple[Webhook, str | None]:
    """Change what is given: `url`, `kinds` (None: all), `enabled`. The new secret, if there is one.

    One that is switched off forgets what it was still to be sent. Raises NotPermitted, NotFound,
    InvalidInput.
    """
    principal.require(Capability.CONFIGURE)
    if "url" in changes:
        check_url(changes["url"], http=http)
    if changes.get("kinds") is not None:
        changes["kinds"] = keep_kinds(read_kinds(changes["kinds"], path=("kinds",)))
    call = (principal, "updateWebhook", idempotency_key)
    arguments = {"id": id, **changes, "replaceSecret": replace_secret}
    hub_id = principal.hub_id
    async with database.transaction(hub_id) as connection:
        if await claim(connection, *call, arguments) is not None:
            return await _get(connection, hub_id, id), None
        webhook = await webhooks.lock(connection, hub_id, id)
        if webhook is None:
            raise NotFound(path=("id",))
        now = {"url": webhook.url, "kinds": webhook.kinds, "enabled": webhook.enabled} | changes
        await webhooks.change(connection, hub_id, id, **now)
        if not now["enabled"]:
            await webhooks.forget(connection, hub_id, id)
        shown = None
        if replace_secret:
            secret = secrets.token_bytes(SECRET_BYTES)
            sealed = seal_webhook_secret(sealer, id, secret)
            await webhooks.replace_secret(connection, hub_id, id, sealed, FORMER_SIGNS_FOR)
            shown = write_secret(secret)
        await keep(connection, *call, {"id": str(id)})
        return await _get(connection, hub_id, id), shown


async def delete_webhook(
    database: Database, principal: Principal, *, id: UUID, idempotency_key: str | None = None
) -> None:
    """It is gone, with its secret and what it was still to be sent.

    Raises NotPermitted, NotFound.
    """
    principal.require(Capability.CONFIGURE)
    call = (principal, "deleteWebhook", idempotency_key)
    async with database.transaction(principal.hub_id) as connection:
        if await claim(connection, *call, {"id": id}) is not None:
            return
        if not await webhooks.delete(connection, principal.hub_id, id):
            raise NotFound(path=("id",))
        await keep(connection, *call, {"id": str(id)})


# --- deliveries ---------------------------------------------------------------------------------


async def take_due(database: Database, sealer: Sealer, limit: int) -> list[Delivery]:
    """Take deliveries that are due; each is due again after a growing while unless it is settled.

    What can never be sent is settled here: its event is gone, or its webhook is off. One whose
    secret cannot be unsealed fails.
    """
    async with database.transaction(None) as connection:
        due = await webhooks.take_due(connection, limit, OF_ONE_WEBHOOK)
        deliveries = []
        for one in due:
            found = await events.by_ids(connection, one.hub_id, [one.event_id])
            if not one.enabled or one.event_id not in found:
                await webhooks.settle(connection, one.id)
                continue
            try:
                opened = [
                    open_webhook_secret(sealer, one.webhook_id, sealed)
                    for sealed in one.sealed_secrets
                ]
            except SecretUnreadable as error:
                await webhooks.failed(connection, one.webhook_id, error.message)
                await webhooks.give_up(connection, one.id, TRIED_FOR)
                continue
            deliveries.append(
                Delivery(
                    id=one.id,
                    webhook_id=one.webhook_id,
                    hub_id=one.hub_id,
                    url=one.url,
                    secrets=opened,
                    event=found[one.event_id],
                    at=one.at,
                )
            )
        return deliveries


async def delivered(database: Database, delivery: Delivery) -> None:
    """The receiver took it."""
    async with database.transaction(None) as connection:
        await webhooks.settle(connection, delivery.id)
        await webhooks.delivered(connection, delivery.webhook_id)


async def failed(
    database: Database, delivery: Delivery, error: str, *, is_gone: bool = False
) -> None:
    """The receiver did not take it; it is sent again when it is due, but not for ever.

    A webhook that took nothing for days, or whose receiver says that it is gone, is switched off,
    and that is an event.
    """
    async with database.transaction(None) as connection:
        locked = await webhooks.lock_for_worker(connection, delivery.webhook_id, HOPELESS_AFTER)
        if locked is None:
            return
        await webhooks.failed(connection, delivery.webhook_id, error)
        await webhooks.give_up(connection, delivery.id, TRIED_FOR)
        if locked.enabled and (is_gone or locked.is_hopeless):
            await webhooks.disable(connection, delivery.webhook_id)
            await record_event(connection, locked.hub_id, _tell_disabled(delivery, error))


def _tell_disabled(delivery: Delivery, error: str) -> NewEvent:
    return NewEvent(
        kind=EventKind.WEBHOOK_DISABLED,
        message=f"A webhook was switched off; its receiver does not take what it is sent: {error}",
        data={"webhook": encode_id("Webhook", delivery.webhook_id)},
    )


async def _get(connection: Connection, hub_id: UUID, id: UUID) -> Webhook:
    webhook = await webhooks.get(connection, hub_id, id)
    if webhook is None:
        raise NotFound(path=("id",))
    return webhook
