"""Webhooks: addresses of yours that events are sent to, signed."""

from datetime import datetime
from typing import Annotated, Any, Self

import strawberry

from app.api import access
from app.api.arguments import IdempotencyKey, given, name_id
from app.api.context import Info, make_id
from app.api.nodes import Node
from app.api.user_errors import UserError
from app.errors import InvalidInput
from app.model import webhooks as model
from app.model.access import Capability
from app.queries import webhooks as queries
from app.service import webhooks as service

_URL = (
    "Where to: an `https` address without user or password, at most 2,000 characters. It must not "
    "be a private one, when it is used, unless the operator allowed that."
)
_KINDS = "Only events of these kinds, as `Event.kind`; all, also those to come, where {}."


@strawberry.type(
    description="An address of yours that events are sent to, as Standard Webhooks says: a POST "
    "with the headers `webhook-id` (the same for each try), `webhook-timestamp` and "
    "`webhook-signature` (`v1`), and a body `{type, timestamp, data}`: `type` is the event's kind, "
    "`data` holds its id, its message, the ids of what it is about and its details. Answer with "
    "2xx within 15 s; what the answer says is not read, and redirects are not followed. What was "
    "not taken is sent again with growing pauses for 28 hours. Needs the capability `CONFIGURE`; "
    "without it `node` answers null. Its secret can never be read again."
)
class Webhook(Node):
    url: str = strawberry.field(description="Where it goes.")
    kinds: list[str] | None = strawberry.field(
        description="The kinds of events that are sent; null for all."
    )
    enabled: bool = strawberry.field(
        description="Whether events are sent. It is switched off by itself, which is an event, "
        "after 3 days in which nothing was taken, and at once where the receiver answers 410."
    )
    last_delivered_at: datetime | None = strawberry.field(
        description="When it last took an event; null where it never did."
    )
    failing_since: datetime | None = strawberry.field(
        description="Since when it has taken nothing of what was sent; null where it is well."
    )
    last_error: str | None = strawberry.field(
        description="Why the last try failed, in a sentence; null where it did not."
    )
    former_secret_until: datetime | None = strawberry.field(
        description="Until when messages are signed by the secret before this one as well; null "
        "where it was never replaced."
    )
    created_at: datetime = strawberry.field(description="When it was created.")
    record: strawberry.Private[model.Webhook]

    @classmethod
    def of(cls, record: model.Webhook) -> Self:
        return cls(
            id=make_id("Webhook", record.id),
            url=record.url,
            kinds=None if record.kinds is None else list(record.kinds),
            enabled=record.enabled,
            last_delivered_at=record.last_delivered_at,
            failing_since=record.failing_since,
            last_error=record.last_error,
            former_secret_until=record.former_until,
            created_at=record.created_at,
            record=record,
        )

    @strawberry.field(description="How many events it is still to be sent.")
    async def pending(self, info: Info) -> int:
        return await info.context.load(queries.pending, self.record.id) or 0


@strawberry.type(description="What `createWebhook` answers.")
class CreateWebhookPayload:
    webhook: Webhook | None = strawberry.field(
        default=None, description="The new webhook; null where it was refused."
    )
    secret: str | None = strawberry.field(
        default=None,
        description="What its messages are signed with, `whsec_` and Base64, for the receiver's "
        "library. It is shown this once: null where it was refused, and where a call is repeated "
        "with its `idempotencyKey`.",
    )
    errors: list[UserError] = strawberry.field(
        default_factory=list, description="Why it was refused; empty where it was not."
    )


@strawberry.type(description="What `updateWebhook` answers.")
class UpdateWebhookPayload:
    webhook: Webhook | None = strawberry.field(
        default=None, description="The webhook as it is now; null where it was refused."
    )
    secret: str | None = strawberry.field(
        default=None,
        description="The new secret, shown this once; null where none was asked for, where it was "
        "refused, and where a call is repeated with its `idempotencyKey`.",
    )
    errors: list[UserError] = strawberry.field(
        default_factory=list, description="Why it was refused; empty where it was not."
    )


@strawberry.type(description="What `deleteWebhook` answers.")
class DeleteWebhookPayload:
    id: strawberry.ID | None = strawberry.field(
        default=None, description="The id of the webhook that is gone; null where it was refused."
    )
    errors: list[UserError] = strawberry.field(
        default_factory=list, description="Why it was refused; empty where it was not."
    )


@strawberry.type
class WebhookMutations:
    @access.mutation(
        Capability.CONFIGURE,
        CreateWebhookPayload,
        description="Have the events of your hub sent to an address from now on. A hub has at most "
        f"{model.MOST_WEBHOOKS} webhooks (`TOO_MANY_WEBHOOKS`).",
    )
    async def create_webhook(
        self,
        info: Info,
        *,
        url: Annotated[str, strawberry.argument(description=_URL)],
        kinds: Annotated[
            list[str] | None, strawberry.argument(description=_KINDS.format("absent"))
        ] = strawberry.UNSET,
        idempotency_key: IdempotencyKey = None,
    ) -> CreateWebhookPayload:
        parts = info.context.parts
        webhook, secret = await service.create_webhook(
            parts.database,
            info.context.principal,
            url=url,
            kinds=given(kinds),
            sealer=parts.sealer,
            http=parts.webhooks_without_tls,
            idempotency_key=idempotency_key,
        )
        return CreateWebhookPayload(webhook=Webhook.of(webhook), secret=secret)

    @access.mutation(
        Capability.CONFIGURE,
        UpdateWebhookPayload,
        description="Change a webhook, or replace its secret. One that is switched off forgets "
        "what it was still to be sent.",
    )
    async def update_webhook(
        self,
        info: Info,
        *,
        id: Annotated[strawberry.ID, strawberry.argument(description="The webhook.")],
        url: Annotated[
            str | None, strawberry.argument(description=f"{_URL} The old one where absent.")
        ] = strawberry.UNSET,
        kinds: Annotated[
            list[str] | None,
            strawberry.argument(
                description=f"{_KINDS.format('null')} Those of before where absent."
            ),
        ] = strawberry.UNSET,
        enabled: Annotated[
            bool | None,
            strawberry.argument(description="Whether events are sent; as before where absent."),
        ] = strawberry.UNSET,
        replace_secret: Annotated[
            bool,
            strawberry.argument(
                description="Make a new secret. For 24 hours messages are signed by both, so that "
                "the receiver can change over meanwhile."
            ),
        ] = False,
        idempotency_key: IdempotencyKey = None,
    ) -> UpdateWebhookPayload:
        parts = info.context.parts
        changes: dict[str, Any] = {}
        if kinds is not strawberry.UNSET:
            changes["kinds"] = kinds
        for name, value in (("url", url), ("enabled", enabled)):
            if value is None:
                raise InvalidInput(f"`{name}` cannot be null; leave it out.", path=(name,))
            if value is not strawberry.UNSET:
                changes[name] = value
        webhook, secret = await service.update_webhook(
            parts.database,
            info.context.principal,
            id=name_id("Webhook", id),
            changes=changes,
            replace_secret=replace_secret,
            sealer=parts.sealer,
            http=parts.webhooks_without_tls,
            idempotency_key=idempotency_key,
        )
        return UpdateWebhookPayload(webhook=Webhook.of(webhook), secret=secret)

    @access.mutation(
        Capability.CONFIGURE,
        DeleteWebhookPayload,
        description="Delete a webhook, with its secret and what it was still to be sent.",
    )
    async def delete_webhook(
        self,
        info: Info,
        *,
        id: Annotated[strawberry.ID, strawberry.argument(description="The webhook.")],
        idempotency_key: IdempotencyKey = None,
    ) -> DeleteWebhookPayload:
        await service.delete_webhook(
            info.context.parts.database,
            info.context.principal,
            id=name_id("Webhook", id),
            idempotency_key=idempotency_key,
        )
        return DeleteWebhookPayload(id=id)
