"""The hub: the tenant that a key belongs to."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Self
from uuid import UUID

import strawberry

from app.api import access
from app.api.arguments import IdempotencyKey
from app.api.backups import Backup, BackupFilter
from app.api.backups import read_filter as read_backup_filter
from app.api.context import Info, make_id
from app.api.drifts import Drift, DriftFilter
from app.api.drifts import read_filter as read_drift_filter
from app.api.engines import Engine
from app.api.enums import CreationOrder
from app.api.events import Event, EventFilter
from app.api.events import read_filter as read_event_filter
from app.api.integrations import Integration
from app.api.keys import ApiKey
from app.api.nodes import Node
from app.api.paging import After, Before, Connection, First, Last, OrderBy, read_page, show_page
from app.api.reclaims import Reclaim
from app.api.restores import Restore, RestoreFilter
from app.api.restores import read_filter as read_restore_filter
from app.api.scalars import BigInt
from app.api.user_errors import UserError
from app.api.webhooks import Webhook
from app.model import hubs as model
from app.model.access import Capability
from app.model.ids import describe_list
from app.model.integrations import IntegrationFilter
from app.postgres import pool
from app.queries import backups as backups_queries
from app.queries import drifts as drifts_queries
from app.queries import engines as engines_queries
from app.queries import events as events_queries
from app.queries import hubs as queries
from app.queries import integrations as integrations_queries
from app.queries import keys as keys_queries
from app.queries import reclaims as reclaims_queries
from app.queries import restores as restores_queries
from app.queries import webhooks as webhooks_queries
from app.service import hub_deletions


@strawberry.type(description="The tenant: everything that a key sees belongs to its hub.")
class Hub(Node):
    name: str = strawberry.field(description="What people call it.")
    created_at: datetime = strawberry.field(description="When it was created.")

    @classmethod
    def of(cls, record: model.Hub) -> Self:
        return cls(id=make_id("Hub", record.id), name=record.name, created_at=record.created_at)

    @strawberry.field(description="Its container engines, without those `DELETED`.")
    async def engines(
        self,
        info: Info,
        *,
        order_by: OrderBy = CreationOrder.NEWEST_FIRST,
        first: First = strawberry.UNSET,
        after: After = strawberry.UNSET,
        last: Last = strawberry.UNSET,
        before: Before = strawberry.UNSET,
    ) -> Connection[Engine]:
        context = info.context
        scope = f"hub.engines:{context.hub_id}|{order_by}"
        page = read_page(scope, order_by, first=first, after=after, last=last, before=before)
        async with context.read() as connection:
            found = await engines_queries.page(connection, context.hub_id, page)

        async def count() -> int:
            async with context.read() as connection:
                return await engines_queries.count(connection, context.hub_id)

        return show_page(found, scope, show=Engine.of, count=count)

    @strawberry.field(description="Its connections to Backblaze B2, without those `DELETED`.")
    async def integrations(
        self,
        info: Info,
        *,
        order_by: OrderBy = CreationOrder.NEWEST_FIRST,
        first: First = strawberry.UNSET,
        after: After = strawberry.UNSET,
        last: Last = strawberry.UNSET,
        before: Before = strawberry.UNSET,
    ) -> Connection[Integration]:
        context = info.context
        wanted = IntegrationFilter()
        scope = describe_list(f"hub.integrations:{context.hub_id}", order_by, wanted)
        page = read_page(scope, order_by, first=first, after=after, last=last, before=before)
        async with context.read() as connection:
            found = await integrations_queries.page(connection, context.hub_id, wanted, page)

        async def count() -> int:
            async with context.read() as connection:
                return await integrations_queries.count(connection, context.hub_id, wanted)

        return show_page(found, scope, show=Integration.of, count=count)

    @strawberry.field(
        description="The backups of all containers; without a filter all but those `DELETED`."
    )
    async def backups(
        self,
        info: Info,
        *,
        filter: Annotated[
            BackupFilter | None, strawberry.argument(description="Which of them.")
        ] = strawberry.UNSET,
        order_by: OrderBy = CreationOrder.NEWEST_FIRST,
        first: First = strawberry.UNSET,
        after: After = strawberry.UNSET,
        last: Last = strawberry.UNSET,
        before: Before = strawberry.UNSET,
    ) -> Connection[Backup]:
        context = info.context
        wanted = read_backup_filter(filter)
        scope = describe_list(f"hub.backups:{context.hub_id}", order_by, wanted)
        page = read_page(scope, order_by, first=first, after=after, last=last, before=before)
        async with context.read() as connection:
            found = await backups_queries.page(connection, context.hub_id, wanted, page)

        async def count() -> int:
            async with context.read() as connection:
                return await backups_queries.count(connection, context.hub_id, wanted)

        return show_page(found, scope, show=Backup.of, count=count)

    @strawberry.field(description="The restores into the instances of all containers.")
    async def restores(
        self,
        info: Info,
        *,
        filter: Annotated[
            RestoreFilter | None, strawberry.argument(description="Which of them; all by default.")
        ] = strawberry.UNSET,
        order_by: OrderBy = CreationOrder.NEWEST_FIRST,
        first: First = strawberry.UNSET,
        after: After = strawberry.UNSET,
        last: Last = strawberry.UNSET,
        before: Before = strawberry.UNSET,
    ) -> Connection[Restore]:
        context = info.context
        wanted = read_restore_filter(filter)
        scope = describe_list(f"hub.restores:{context.hub_id}", order_by, wanted)
        page = read_page(scope, order_by, first=first, after=after, last=last, before=before)
        async with context.read() as connection:
            found = await restores_queries.page(connection, context.hub_id, wanted, page)

        async def count() -> int:
            async with context.read() as connection:
                return await restores_queries.count(connection, context.hub_id, wanted)

        return show_page(found, scope, show=Restore.of, count=count)

    @strawberry.field(
        description="What people were told of: failures, what is overdue, what disagrees."
    )
    async def events(
        self,
        info: Info,
        *,
        filter: Annotated[
            EventFilter | None, strawberry.argument(description="Which of them; all by default.")
        ] = strawberry.UNSET,
        order_by: OrderBy = CreationOrder.NEWEST_FIRST,
        first: First = strawberry.UNSET,
        after: After = strawberry.UNSET,
        last: Last = strawberry.UNSET,
        before: Before = strawberry.UNSET,
    ) -> Connection[Event]:
        context = info.context
        wanted = read_event_filter(filter)
        scope = describe_list(f"hub.events:{context.hub_id}", order_by, wanted)
        page = read_page(scope, order_by, first=first, after=after, last=last, before=before)
        async with context.read() as connection:
            found = await events_queries.page(connection, context.hub_id, wanted, page)

        async def count() -> int:
            async with context.read() as connection:
                return await events_queries.count(connection, context.hub_id, wanted)

        return show_page(found, scope, show=Event.of, count=count)

    @strawberry.field(
        description="Where its buckets and the records disagree, as the last reconciles found it, "
        "without what is over. Of `ORPHAN`, `UNFINISHED` and `FOREIGN` at most 10,000 each of an "
        "integration are kept; its `reconcile` counts all."
    )
    async def storage_drift(
        self,
        info: Info,
        *,
        filter: Annotated[
            DriftFilter | None, strawberry.argument(description="Which of it; all by default.")
        ] = strawberry.UNSET,
        order_by: OrderBy = CreationOrder.NEWEST_FIRST,
        first: First = strawberry.UNSET,
        after: After = strawberry.UNSET,
        last: Last = strawberry.UNSET,
        before: Before = strawberry.UNSET,
    ) -> Connection[Drift]:
        context = info.context
        wanted = read_drift_filter(filter)
        scope = describe_list(f"hub.storageDrift:{context.hub_id}", order_by, wanted)
        page = read_page(scope, order_by, first=first, after=after, last=last, before=before)
        async with context.read() as connection:
            found = await drifts_queries.page(connection, context.hub_id, wanted, page)

        async def count() -> int:
            async with context.read() as connection:
                return await drifts_queries.count(connection, context.hub_id, wanted)

        return show_page(found, scope, show=Drift.of, count=count)

    @strawberry.field(
        description="What is still to be removed from storage, and what stands in the way."
    )
    async def reclaims(
        self,
        info: Info,
        *,
        order_by: OrderBy = CreationOrder.OLDEST_FIRST,
        first: First = strawberry.UNSET,
        after: After = strawberry.UNSET,
        last: Last = strawberry.UNSET,
        before: Before = strawberry.UNSET,
    ) -> Connection[Reclaim]:
        context = info.context
        scope = f"hub.reclaims:{context.hub_id}|{order_by}"
        page = read_page(scope, order_by, first=first, after=after, last=last, before=before)
        async with context.read() as connection:
            found = await reclaims_queries.page(connection, context.hub_id, page)

        async def count() -> int:
            async with context.read() as connection:
                return await reclaims_queries.count(connection, context.hub_id)

        return show_page(found, scope, show=Reclaim.of, count=count)

    @strawberry.field(
        description="Its API keys, those that were revoked or expired included. Needs the "
        "capability `MANAGE_KEYS`: without it null, with a `FORBIDDEN` error at this field."
    )
    async def api_keys(
        self,
        info: Info,
        *,
        order_by: OrderBy = CreationOrder.NEWEST_FIRST,
        first: First = strawberry.UNSET,
        after: After = strawberry.UNSET,
        last: Last = strawberry.UNSET,
        before: Before = strawberry.UNSET,
    ) -> Connection[ApiKey] | None:
        context = info.context
        context.principal.require(Capability.MANAGE_KEYS)
        scope = f"hub.apiKeys:{context.hub_id}|{order_by}"
        page = read_page(scope, order_by, first=first, after=after, last=last, before=before)
        async with context.read() as connection:
            found = await keys_queries.page(connection, context.hub_id, page)

        async def count() -> int:
            async with context.read() as connection:
                return await keys_queries.count(connection, context.hub_id)

        return show_page(found, scope, show=ApiKey.of, count=count)

    @strawberry.field(
        description="The addresses that its events are sent to. Needs the capability `CONFIGURE`: "
        "without it null, with a `FORBIDDEN` error at this field."
    )
    async def webhooks(
        self,
        info: Info,
        *,
        order_by: OrderBy = CreationOrder.NEWEST_FIRST,
        first: First = strawberry.UNSET,
        after: After = strawberry.UNSET,
        last: Last = strawberry.UNSET,
        before: Before = strawberry.UNSET,
    ) -> Connection[Webhook] | None:
        context = info.context
        context.principal.require(Capability.CONFIGURE)
        scope = f"hub.webhooks:{context.hub_id}|{order_by}"
        page = read_page(scope, order_by, first=first, after=after, last=last, before=before)
        async with context.read() as connection:
            found = await webhooks_queries.page(connection, context.hub_id, page)

        async def count() -> int:
            async with context.read() as connection:
                return await webhooks_queries.count(connection, context.hub_id)

        return show_page(found, scope, show=Webhook.of, count=count)

    @strawberry.field(
        description="How many bytes all of its backups take in storage: those that are `LIVE` or "
        "`DELETING`."
    )
    async def stored_bytes(self, info: Info) -> BigInt:
        async with info.context.read() as connection:
            found = await backups_queries.stored_bytes_of_hub(connection, info.context.hub_id)
        return BigInt(found)


async def by_ids(
    connection: pool.Connection, hub_id: UUID, ids: Sequence[UUID]
) -> dict[UUID, model.Hub]:
    """The principal's own hub, where it is asked for: no other can be seen."""
    found = await queries.get(connection, hub_id) if hub_id in ids else None
    return {} if found is None else {found.id: found}


@strawberry.type(description="What `deleteHub` answers.")
class DeleteHubPayload:
    hub: Hub | None = strawberry.field(
        default=None, description="The hub that goes; null where it was refused."
    )
    warnings: list[str] = strawberry.field(
        default_factory=list,
        description="Sentences that say what goes with each container, and when.",
    )
    errors: list[UserError] = strawberry.field(
        default_factory=list, description="Why it was refused; empty where it was not."
    )


@strawberry.type
class HubMutations:
    @access.mutation(
        Capability.DELETE_HUB,
        DeleteHubPayload,
        description="Delete your hub: all containers with their backups, integrations and keys, "
        "the one that you use included. It cannot be undone. Runs are cancelled at once; objects "
        "go after the grace that the operator sets (1 hour by default), and the hub is gone when "
        "Backblaze B2 has confirmed that all of them are.",
    )
    async def delete_hub(
        self,
        info: Info,
        *,
        confirm: Annotated[
            str,
            strawberry.argument(
                description="Its name, typed again; anything else is refused (`CONFIRM_MISMATCH`)."
            ),
        ],
        idempotency_key: IdempotencyKey = None,
    ) -> DeleteHubPayload:
        parts = info.context.parts
        deleted, warnings = await hub_deletions.delete_hub(
            parts.database,
            info.context.principal,
            confirm=confirm,
            grace=parts.delete_grace,
            idempotency_key=idempotency_key,
            step=info.context.parts.step,
        )
        return DeleteHubPayload(hub=Hub.of(deleted), warnings=warnings)


@strawberry.type
class HubQueries:
    @access.query(Capability.READ, description="The hub that your key belongs to.")
    async def hub(self, info: Info) -> Hub:
        found = await info.context.load(by_ids, info.context.hub_id)
        assert found is not None
        return Hub.of(found)
