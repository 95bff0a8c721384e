"""Containers: the workloads whose instances are saved and restored."""

from datetime import datetime
from typing import Annotated, Self

import strawberry

from app.api import access
from app.api.arguments import Label, given
from app.api.backups import Backup, BackupFilter
from app.api.backups import read_filter as read_backup_filter
from app.api.context import Info, make_id
from app.api.enums import CreationOrder
from app.api.instances import Instance
from app.api.nodes import Node, refer
from app.api.paging import After, Before, Connection, First, Last, OrderBy, read_page, show_page
from app.api.policies import BackupPolicy
from app.api.restores import Restore, RestoreFilter
from app.api.restores import read_filter as read_restore_filter
from app.api.retention_plans import KeepToPreview, PlannedBackup, PolicyToPreview, preview
from app.api.scalars import BigInt
from app.api.sources import ValueOrigin
from app.model import containers as model
from app.model.access import Capability
from app.model.containers import ContainerState
from app.model.ids import decode_id_of, describe_list
from app.model.sources import CONTAINER_VALUES
from app.queries import backups as backups_queries
from app.queries import containers as queries
from app.queries import instances as instances_queries
from app.queries import policies as policies_queries
from app.queries import restores as restores_queries
from app.queries import schedules as schedules_queries


@strawberry.type(
    description="A workload. Only a stateful one can have backups. Deleting it removes all its "
    "backups."
)
class Container(Node):
    identifier: str = strawberry.field(
        description="Its name for programs, unique among your containers, fixed once it is created."
    )
    name: str = strawberry.field(description="Its name for people.")
    stateful: bool = strawberry.field(description="It holds data, and can have backups.")
    state: ContainerState = strawberry.field(description="Where it is in its life.")
    labels: list[Label] = strawberry.field(description="Its labels, by name.")
    created_at: datetime = strawberry.field(description="When it was created.")
    goes_at: datetime | None = strawberry.field(
        description="When the removal of its backups begins; until then `undeleteContainer` brings "
        "it back. Null where it is not being deleted."
    )
    compose_project: str | None = strawberry.field(
        description="The Compose project where it was found; null where it was found without "
        "Compose, or made through the API."
    )
    compose_service: str | None = strawberry.field(
        description="The service of its Compose project whose replicas are its instances."
    )
    record: strawberry.Private[model.Container]

    @classmethod
    def of(cls, record: model.Container) -> Self:
        return cls(
            id=make_id("Container", record.id),
            identifier=record.identifier,
            name=record.name,
            stateful=record.stateful,
            state=record.state,
            labels=[Label(name=name, value=value) for name, value in sorted(record.labels.items())],
            created_at=record.created_at,
            goes_at=record.goes_at,
            compose_project=record.found_project,
            compose_service=record.found_service,
            record=record,
        )

    @strawberry.field(
        description="The engine where it was found by its labels; null where it was made through "
        "the API.",
        graphql_type=refer("Engine", "app.api.engines") | None,
    )
    async def engine(self, info: Info) -> Node | None:
        id = self.record.found_engine_id
        return None if id is None else await info.context.load_node("Engine", id)

    @strawberry.field(
        description="Where its values come from: `identifier`, `name`, `stateful`, `labels`, and "
        "`backupPolicy` (`API` where one was set or removed through the API: labels do not count "
        "then)."
    )
    def sources(self) -> list[ValueOrigin]:
        return ValueOrigin.list_of(CONTAINER_VALUES, self.record.sources)

    @strawberry.field(
        description="How its backups are made; null where none are (they can still be kept)."
    )
    async def backup_policy(self, info: Info) -> BackupPolicy | None:
        found = await info.context.load(policies_queries.by_containers, self.record.id)
        return None if found is None else BackupPolicy.of(found)

    @strawberry.field(description="Its newest backup that is `LIVE`; null where it has none.")
    async def last_backup(self, info: Info) -> Backup | None:
        found = await info.context.load(backups_queries.last_live, self.record.id)
        return None if found is None else Backup.of(found)

    @strawberry.field(
        description="When backups of it are made next by its policy's schedule, the jitter of up "
        "to 5 minutes included; null where none is. In the past: it is due, and no worker has "
        "taken it yet."
    )
    async def next_backup_at(self, info: Info) -> datetime | None:
        found = await info.context.load(schedules_queries.by_containers, self.record.id)
        return None if found is None else found.next_at

    @strawberry.field(
        description="Since when a backup is missing: something was due, and until then (the "
        "policy's `overdueAfter` later) no backup of each instance that the policy means became "
        "`LIVE`. Null where nothing is overdue. It ends with a `LIVE` backup that was asked for "
        "after the due time, scheduled or not."
    )
    async def overdue_since(self, info: Info) -> datetime | None:
        found = await info.context.load(schedules_queries.by_containers, self.record.id)
        return None if found is None else found.overdue_since

    @strawberry.field(
        description="How many bytes its backups take in storage: those that are `LIVE` or "
        "`DELETING`."
    )
    async def stored_bytes(self, info: Info) -> BigInt:
        found = await info.context.load(backups_queries.stored_bytes, self.record.id)
        return BigInt(found or 0)

    @strawberry.field(description="Its instances.")
    async def instances(
        self,
        info: Info,
        *,
        order_by: OrderBy = CreationOrder.OLDEST_FIRST,
        first: First = strawberry.UNSET,
        after: After = strawberry.UNSET,
        last: Last = strawberry.UNSET,
        before: Before = strawberry.UNSET,
    ) -> Connection[Instance]:
        id = self.record.id
        wanted = model.InstanceFilter()
        scope = describe_list(f"container.instances:{id}", order_by, wanted)
        page = read_page(scope, order_by, first=first, after=after, last=last, before=before)
        found = await info.context.load(instances_queries.pages, id, wanted, page)
        return show_page(
            found,
            scope,
            show=Instance.of,
            count=lambda: info.context.load(instances_queries.counts, id, wanted),
        )

    @strawberry.field(description="Its backups; without a filter all but those `DELETED`.")
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
        id = self.record.id
        wanted = read_backup_filter(filter)
        scope = describe_list(f"container.backups:{id}", order_by, wanted)
        page = read_page(scope, order_by, first=first, after=after, last=last, before=before)
        found = await info.context.load(backups_queries.pages, id, wanted, page)
        return show_page(
            found,
            scope,
            show=Backup.of,
            count=lambda: info.context.load(backups_queries.counts, id, wanted),
        )

    @strawberry.field(
        description="A dry run of retention over its `LIVE` backups, the newest first: which would "
        "stay, which would go, and why, if it were carried out now. Changes nothing. A policy that "
        "`configureBackups` would refuse is an error here. After a policy's retention was changed "
        "nothing is removed for an hour."
    )
    async def retention_preview(
        self,
        info: Info,
        *,
        policy: PolicyToPreview = strawberry.UNSET,
        keep: KeepToPreview = strawberry.UNSET,
        first: First = strawberry.UNSET,
        after: After = strawberry.UNSET,
        last: Last = strawberry.UNSET,
        before: Before = strawberry.UNSET,
    ) -> Connection[PlannedBackup]:
        return await preview(
            info.context,
            self.record.id,
            policy,
            keep=keep,
            first=first,
            after=after,
            last=last,
            before=before,
        )

    @strawberry.field(description="The restores into its instances.")
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
        id = self.record.id
        wanted = read_restore_filter(filter)
        scope = describe_list(f"container.restores:{id}", order_by, wanted)
        page = read_page(scope, order_by, first=first, after=after, last=last, before=before)
        found = await info.context.load(restores_queries.pages_by_container, id, wanted, page)
        return show_page(
            found,
            scope,
            show=Restore.of,
            count=lambda: info.context.load(restores_queries.counts_by_container, id, wanted),
        )


@strawberry.input(description="Which containers to list. What is absent or null does not narrow.")
class ContainerFilter:
    identifier: str | None = strawberry.field(
        default=strawberry.UNSET, description="Only the one with exactly this identifier."
    )
    stateful: bool | None = strawberry.field(
        default=strawberry.UNSET, description="Only stateful ones, or only those that are not."
    )
    states: list[ContainerState] | None = strawberry.field(
        default=strawberry.UNSET,
        description="Only those in one of these states; where absent, all but `DELETED`.",
    )


def _read_filter(filter: ContainerFilter | None) -> model.ContainerFilter:
    if not isinstance(filter, ContainerFilter):
        return model.ContainerFilter()
    states = given(filter.states)
    return model.ContainerFilter(
        identifier=given(filter.identifier),
        stateful=given(filter.stateful),
        # In one order: a cursor goes on where the same ones are named in another.
        states=None if states is None else tuple(sorted(set(states))),
    )


@strawberry.type
class ContainerQueries:
    @access.query(
        Capability.READ, description="One container; null where your hub has none with this id."
    )
    async def container(
        self,
        info: Info,
        *,
        id: Annotated[strawberry.ID, strawberry.argument(description="The id of a container.")],
    ) -> Container | None:
        decoded = decode_id_of("Container", id)
        found = None if decoded is None else await info.context.load(queries.by_ids, decoded)
        return None if found is None else Container.of(found)

    @access.query(
        Capability.READ,
        description="The containers of your hub; without a filter all but those `DELETED`.",
    )
    async def containers(
        self,
        info: Info,
        *,
        filter: Annotated[
            ContainerFilter | None, strawberry.argument(description="Which of them.")
        ] = strawberry.UNSET,
        order_by: OrderBy = CreationOrder.NEWEST_FIRST,
        first: First = strawberry.UNSET,
        after: After = strawberry.UNSET,
        last: Last = strawberry.UNSET,
        before: Before = strawberry.UNSET,
    ) -> Connection[Container]:
        context = info.context
        wanted = _read_filter(filter)
        scope = describe_list(f"containers:{context.hub_id}", order_by, wanted)
        page = read_page(scope, order_by, first=first, after=after, last=last, before=before)
        async with context.read() as connection:
            found = await queries.page(connection, context.hub_id, wanted, page)

        async def count() -> int:
            async with context.read() as connection:
                return await queries.count(connection, context.hub_id, wanted)

        return show_page(found, scope, show=Container.of, count=count)
