"""Events: what people are told of, as a list and as a stream without gaps."""

from collections.abc import AsyncGenerator, Sequence
from datetime import datetime
from typing import Annotated, Self
from uuid import UUID

import strawberry

from app.api import access
from app.api.arguments import filter_id, given
from app.api.backups import Backup
from app.api.containers import Container
from app.api.context import Info, make_id
from app.api.instances import Instance
from app.api.integrations import Integration
from app.api.nodes import Node
from app.api.paging import read_sequence, refuse
from app.api.restores import Restore
from app.api.verifications import Verification
from app.api.watching import LONGEST_SILENCE_SECONDS
from app.errors import InvalidInput
from app.model import events as model
from app.model.access import Capability
from app.model.ids import encode_sequence
from app.queries import backups as backups_queries
from app.queries import containers as containers_queries
from app.queries import events as queries
from app.queries import instances as instances_queries
from app.queries import integrations as integrations_queries
from app.queries import restores as restores_queries
from app.queries import verifications as verifications_queries

AT_ONCE = 50
"""Events that one look of a subscription reads."""

LIST_KINDS = "; ".join(f"`{kind}`: {meaning}" for kind, meaning in model.MEANINGS.items())


@strawberry.type(description="One thing more that an event says, for programs.")
class EventDetail:
    name: str = strawberry.field(description="What it is, in camel case.")
    value: str = strawberry.field(
        description="The value: a text as it is, anything else as JSON writes it."
    )


@strawberry.type(
    description="Something that people are told of; it is kept for 90 days (the operator "
    "may have changed that). What it is about may be gone since: then that is null."
)
class Event(Node):
    kind: str = strawberry.field(
        description=f"What happened, in one word, for programs. {LIST_KINDS}. More may come."
    )
    message: str = strawberry.field(description="A sentence for a person, without secrets.")
    created_at: datetime = strawberry.field(description="When it happened.")
    details: list[EventDetail] = strawberry.field(
        description="What a program may want to know beside that, by name; which there are depends "
        "on the kind, and more may come."
    )
    record: strawberry.Private[model.Event]

    @classmethod
    def of(cls, record: model.Event) -> Self:
        return cls(
            id=make_id("Event", record.id),
            kind=record.kind,
            message=record.message,
            created_at=record.created_at,
            details=[
                EventDetail(name=name, value=model.write_value(value))
                for name, value in sorted(record.data.items())
            ],
            record=record,
        )

    @strawberry.field(description="The container that it is about; null where it is about none.")
    async def container(self, info: Info) -> Container | None:
        id = self.record.container_id
        found = None if id is None else await info.context.load(containers_queries.by_ids, id)
        return None if found is None else Container.of(found)

    @strawberry.field(description="The instance that it is about; null where it is about none.")
    async def instance(self, info: Info) -> Instance | None:
        id = self.record.instance_id
        found = None if id is None else await info.context.load(instances_queries.by_ids, id)
        return None if found is None else Instance.of(found)

    @strawberry.field(description="The backup that it is about; null where it is about none.")
    async def backup(self, info: Info) -> Backup | None:
        id = self.record.backup_id
        found = None if id is None else await info.context.load(backups_queries.by_ids, id)
        return None if found is None else Backup.of(found)

    @strawberry.field(description="The restore that it is about; null where it is about none.")
    async def restore(self, info: Info) -> Restore | None:
        id = self.record.restore_id
        found = None if id is None else await info.context.load(restores_queries.by_ids, id)
        return None if found is None else Restore.of(found)

    @strawberry.field(description="The verification that it is about; null where it is about none.")
    async def verification(self, info: Info) -> Verification | None:
        id = self.record.verification_id
        found = None if id is None else await info.context.load(verifications_queries.by_ids, id)
        return None if found is None else Verification.of(found)

    @strawberry.field(
        description="The connection to Backblaze B2 that it is about; null where it is about none."
    )
    async def integration(self, info: Info) -> Integration | None:
        id = self.record.integration_id
        found = None if id is None else await info.context.load(integrations_queries.by_ids, id)
        return None if found is None else Integration.of(found)


@strawberry.input(description="Which events to list. What is absent or null does not narrow.")
class EventFilter:
    kinds: list[str] | None = strawberry.field(
        default=strawberry.UNSET, description="Only those of one of these kinds, as `Event.kind`."
    )
    container_id: strawberry.ID | None = strawberry.field(
        default=strawberry.UNSET, description="Only those about this container."
    )
    created_after: datetime | None = strawberry.field(
        default=strawberry.UNSET, description="Only those of this moment or later."
    )
    created_before: datetime | None = strawberry.field(
        default=strawberry.UNSET, description="Only those before this moment."
    )


def read_filter(filter: EventFilter | None) -> model.EventFilter:
    """Raises GraphQLError for a kind that there is not."""
    if not isinstance(filter, EventFilter):
        return model.EventFilter()
    return model.EventFilter(
        kinds=_read_kinds(given(filter.kinds), "filter"),
        container_id=filter_id("Container", filter.container_id),
        created_after=given(filter.created_after),
        created_before=given(filter.created_before),
    )


@strawberry.type(description="One message of `hubEvents`.")
class HubEvent:
    cursor: str = strawberry.field(
        description="The place in the stream after this message: keep it, and subscribe again "
        "`after` it. Opaque; valid for ever."
    )
    event: Event | None = strawberry.field(
        description="What happened; null in the first message, which only says where you are."
    )


@strawberry.type
class EventSubscriptions:
    @access.subscription(
        Capability.READ,
        description="Follow the events of your hub. The first message is at once, with a `cursor` "
        "and no event; then comes every event that happens, each once, in the order in which they "
        "became visible. After a lost connection subscribe again `after` the last `cursor` that "
        "you have: what happened meanwhile comes first, and nothing is lost or sent twice, as long "
        "as it is kept. It never completes by itself.",
    )
    async def hub_events(
        self,
        info: Info,
        *,
        after: Annotated[
            str | None,
            strawberry.argument(
                description="Only what follows this cursor of an earlier subscription; where "
                "absent, what happens from now on."
            ),
        ] = strawberry.UNSET,
        kinds: Annotated[
            list[str] | None,
            strawberry.argument(description="Only events of these kinds, as `Event.kind`."),
        ] = strawberry.UNSET,
    ) -> AsyncGenerator[HubEvent, None]:
        context = info.context
        scope = name_stream(context.hub_id)
        wanted = _read_kinds(given(kinds), "kinds")
        place = read_sequence(scope, "after", given(after))
        with context.parts.listen.subscribe(f"hub:{context.hub_id}") as mailbox:
            if place is None:
                async with context.read() as connection:
                    place = await queries.last_number(connection, context.hub_id)
            yield HubEvent(cursor=encode_sequence(scope, place), event=None)
            while True:
                context.forget()
                async with context.read() as connection:
                    found = await queries.following(
                        connection, context.hub_id, place, wanted, AT_ONCE
                    )
                for number, event in found:
                    place = number
                    yield HubEvent(cursor=encode_sequence(scope, place), event=Event.of(event))
                if not found:
                    await mailbox.wait(LONGEST_SILENCE_SECONDS)


def name_stream(hub_id: UUID) -> str:
    """The scope of a hub's stream: its cursors are of no other one."""
    return f"hubEvents:{hub_id}"


def _read_kinds(words: Sequence[str] | None, argument: str) -> tuple[str, ...] | None:
    if words is None:
        return None
    try:
        return model.read_kinds(words, path=(argument,))
    except InvalidInput as error:
        raise refuse(argument, error.message, None) from error
