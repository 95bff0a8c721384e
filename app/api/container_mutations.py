"""Containers made, changed, deleted and brought back."""

from typing import Annotated

import strawberry

from app.api import access
from app.api.arguments import IdempotencyKey, LabelInput, collect, given, name_id
from app.api.containers import Container
from app.api.context import Info
from app.api.user_errors import UserError
from app.model import containers as model
from app.model.access import Capability
from app.service import containers as service

_LABELS = "Labels for your own use; each name once, at most 64."


@strawberry.type(description="What `createContainer` answers.")
class CreateContainerPayload:
    container: Container | None = strawberry.field(
        default=None, description="The new container; null where it was refused."
    )
    errors: list[UserError] = strawberry.field(
        default_factory=list, description="Why it was refused; empty where it was not."
    )


@strawberry.type(description="What `updateContainer` answers.")
class UpdateContainerPayload:
    container: Container | None = strawberry.field(
        default=None, description="The container as it is now; null where it was refused."
    )
    errors: list[UserError] = strawberry.field(
        default_factory=list, description="Why it was refused; empty where it was not."
    )


@strawberry.type(description="What `deleteContainer` answers.")
class DeleteContainerPayload:
    container: Container | None = strawberry.field(
        default=None, description="The container, `DELETING`; null where it was refused."
    )
    warnings: list[str] = strawberry.field(
        default_factory=list,
        description="Sentences that say how many backups and bytes go with it, and when.",
    )
    errors: list[UserError] = strawberry.field(
        default_factory=list, description="Why it was refused; empty where it was not."
    )


@strawberry.type(description="What `undeleteContainer` answers.")
class UndeleteContainerPayload:
    container: Container | None = strawberry.field(
        default=None, description="The container, `LIVE` again; null where it was refused."
    )
    errors: list[UserError] = strawberry.field(
        default_factory=list, description="Why it was refused; empty where it was not."
    )


@strawberry.type
class ContainerMutations:
    @access.mutation(
        Capability.CONFIGURE, CreateContainerPayload, description="Create a container."
    )
    async def create_container(
        self,
        info: Info,
        *,
        identifier: Annotated[
            str,
            strawberry.argument(
                description="Its name for programs: 1 to 63 lower case letters, digits, `-`, `_`, "
                "`.`, unique among your containers (`IDENTIFIER_TAKEN`). It cannot be changed."
            ),
        ],
        name: Annotated[
            str | None,
            strawberry.argument(
                description="Its name for people, 1 to 200 characters; the identifier where absent."
            ),
        ] = strawberry.UNSET,
        stateful: Annotated[
            bool, strawberry.argument(description="It holds data, and can have backups.")
        ],
        labels: Annotated[
            list[LabelInput] | None, strawberry.argument(description=_LABELS)
        ] = strawberry.UNSET,
        idempotency_key: IdempotencyKey = None,
    ) -> CreateContainerPayload:
        created = await service.create_container(
            info.context.parts.database,
            info.context.principal,
            new=model.NewContainer(
                identifier=identifier,
                name=identifier if given(name) is None else str(name),
                stateful=stateful,
                labels=collect(given(labels) or [], "labels"),
            ),
            idempotency_key=idempotency_key,
        )
        return CreateContainerPayload(container=Container.of(created))

    @access.mutation(
        Capability.CONFIGURE,
        UpdateContainerPayload,
        description="Change a container. What is left out or null stays as it is.",
    )
    async def update_container(
        self,
        info: Info,
        *,
        id: Annotated[strawberry.ID, strawberry.argument(description="The container.")],
        name: Annotated[
            str | None,
            strawberry.argument(description="Its new name for people, 1 to 200 characters."),
        ] = strawberry.UNSET,
        labels: Annotated[
            list[LabelInput] | None,
            strawberry.argument(description=f"{_LABELS} They replace all that it had."),
        ] = strawberry.UNSET,
        follow_labels: Annotated[
            bool,
            strawberry.argument(
                description="For one that was found on an engine: what was set through the API "
                "before (name, policy, folders) is given back to its labels there. A policy of "
                "which they say nothing is removed; backups stay. False changes nothing."
            ),
        ] = False,
        idempotency_key: IdempotencyKey = None,
    ) -> UpdateContainerPayload:
        wanted = given(labels)
        updated = await service.update_container(
            info.context.parts.database,
            info.context.principal,
            id=name_id("Container", id),
            name=given(name),
            labels=None if wanted is None else collect(wanted, "labels"),
            follow_labels=follow_labels,
            idempotency_key=idempotency_key,
        )
        return UpdateContainerPayload(container=Container.of(updated))

    @access.mutation(
        Capability.DELETE_CONTAINERS,
        DeleteContainerPayload,
        description="Delete a container and all its backups. Its runs are cancelled at once; the "
        "objects go after a grace that the operator sets (1 hour by default). The container is "
        "`DELETED` when Backblaze B2 has confirmed that all of them are gone.",
    )
    async def delete_container(
        self,
        info: Info,
        *,
        id: Annotated[strawberry.ID, strawberry.argument(description="The container.")],
        confirm: Annotated[
            str,
            strawberry.argument(
                description="Its identifier, typed again; anything else is refused "
                "(`CONFIRM_MISMATCH`)."
            ),
        ],
        idempotency_key: IdempotencyKey = None,
    ) -> DeleteContainerPayload:
        parts = info.context.parts
        deleted, warnings = await service.delete_container(
            parts.database,
            info.context.principal,
            id=name_id("Container", id),
            confirm=confirm,
            grace=parts.delete_grace,
            idempotency_key=idempotency_key,
            step=info.context.parts.step,
        )
        return DeleteContainerPayload(container=Container.of(deleted), warnings=warnings)

    @access.mutation(
        Capability.DELETE_CONTAINERS,
        UndeleteContainerPayload,
        description="Bring a container back that is `DELETING`, with its policy and all backups "
        "that went with it, while its grace lasts (`Container.goesAt`; then `DELETION_BEGUN`). "
        "Backups that were deleted by themselves stay so, cancelled runs stay cancelled, and due "
        "times that have passed are not made up for. One that is `LIVE` stays as it is.",
    )
    async def undelete_container(
        self,
        info: Info,
        *,
        id: Annotated[strawberry.ID, strawberry.argument(description="The container.")],
        idempotency_key: IdempotencyKey = None,
    ) -> UndeleteContainerPayload:
        back = await service.undelete_container(
            info.context.parts.database,
            info.context.principal,
            id=name_id("Container", id),
            most_jitter=info.context.parts.schedule_jitter,
            idempotency_key=idempotency_key,
        )
        return UndeleteContainerPayload(container=Container.of(back))
