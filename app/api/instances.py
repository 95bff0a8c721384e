"""Instances: the running copies of a container, where commands run."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Self

import strawberry

from app.api import access
from app.api.arguments import IdempotencyKey, VariableInput, collect, given, name_id
from app.api.context import Info, make_id
from app.api.nodes import Node, refer
from app.api.sources import ValueOrigin
from app.api.user_errors import UserError
from app.model import containers as model
from app.model.access import Capability
from app.model.containers import InstanceState
from app.model.restorable import Obstacle, find_obstacle
from app.model.sources import INSTANCE_VALUES
from app.queries import containers as containers_queries
from app.queries import doubts as doubts_queries
from app.queries import engines as engines_queries
from app.queries import instances as instances_queries
from app.queries import policies as policies_queries
from app.service import instances as service

_ID = "The instance."
_VARIABLES = (
    "The environment variables of its commands, which replace all that it had. Values are sealed "
    "at once and can never be read again; at most 64 KiB in all."
)
_FOLDER = (
    "For `process`: the folder where commands run, relative to the folder that the operator allows "
    "your hub on that host; without `..`. For `docker`: the working folder in the container, an "
    "absolute path."
)


@strawberry.type(description="Whether a backup can be restored into an instance.")
class Restorability:
    possible: bool = strawberry.field(
        description="`restoreBackup` may be called. It still refuses while a run is going on in "
        "the instance (`INSTANCE_BUSY`)."
    )
    code: str | None = strawberry.field(
        description="The code that `restoreBackup` would refuse with; null where it is possible."
    )
    reason: str | None = strawberry.field(
        description="A sentence that says why not; null where it is possible."
    )

    @classmethod
    def of(cls, obstacle: Obstacle | None) -> Self:
        if obstacle is None:
            return cls(possible=True, code=None, reason=None)
        return cls(possible=False, code=obstacle.code, reason=obstacle.message)


@strawberry.type(
    description="One running copy of a container: the place where backup and restore commands run. "
    "Deleting it removes no backup."
)
class Instance(Node):
    hostname: str = strawberry.field(
        description="Unique in its container, like `1.db`; backups keep it when the instance is "
        "gone."
    )
    state: InstanceState = strawberry.field(description="Whether commands can run in it.")
    executor: str = strawberry.field(
        description="What runs its commands: `process` (in a folder on a worker's host) or "
        "`docker` (in a container of a Docker engine). More may come."
    )
    host: str | None = strawberry.field(
        description="The name of the only host whose workers reach it; null where any does."
    )
    folder: str | None = strawberry.field(description=_FOLDER + " Null where nothing was said.")
    engine_container: str | None = strawberry.field(
        description="For `docker`: what the engine calls the container, a name or an id."
    )
    user: str | None = strawberry.field(
        description="For `docker`: as whom commands run; null as the image says."
    )
    scratch: bool = strawberry.field(
        description="It is only for verification: backups are restored into it as a proof."
    )
    replica: int | None = strawberry.field(
        description="Which replica of its Compose service it is, 1 to 99,999; 1 where it was found "
        "without Compose, null where it was made through the API. One that was made anew is the "
        "same instance again."
    )
    created_at: datetime = strawberry.field(description="When it was created.")
    record: strawberry.Private[model.Instance]

    @classmethod
    def of(cls, record: model.Instance) -> Self:
        return cls(
            id=make_id("Instance", record.id),
            hostname=record.hostname,
            state=record.state,
            executor=record.executor,
            host=record.host,
            folder=record.folder,
            engine_container=record.engine_container,
            user=record.user,
            scratch=record.scratch,
            replica=record.replica,
            created_at=record.created_at,
            record=record,
        )

    @strawberry.field(
        description="Where its values come from: `hostname`, `folder`, `user` and `variables`."
    )
    def sources(self) -> list[ValueOrigin]:
        return ValueOrigin.list_of(INSTANCE_VALUES, self.record.sources)

    @strawberry.field(
        description="The container that it is a copy of.",
        graphql_type=refer("Container", "app.api.containers"),
    )
    async def container(self, info: Info) -> Node | None:
        return await info.context.load_node("Container", self.record.container_id)

    @strawberry.field(
        description="For `docker`: the engine that has the container; null for others.",
        graphql_type=refer("Engine", "app.api.engines") | None,
    )
    async def engine(self, info: Info) -> Node | None:
        id = self.record.engine_id
        return None if id is None else await info.context.load_node("Engine", id)

    @strawberry.field(
        description="The names of its environment variables; the values can never be read. Needs "
        "the capability `READ_COMMANDS`: without it null, with a `FORBIDDEN` error."
    )
    def variable_names(self, info: Info) -> list[str] | None:
        info.context.principal.require(Capability.READ_COMMANDS)
        return list(self.record.variable_names)

    @strawberry.field(
        description="Since when it may hold part of a backup: a restore into it failed, and since "
        "then no restore into it succeeded, no later backup of it was verified `READABLE` or "
        "`RESTORABLE`, and nobody marked it as well (`updateInstance(markAsWell: true)`). What is "
        "saved of it meanwhile is not good: it fills no slot of a retention and is nobody's last "
        "good backup. Null where it is well."
    )
    async def in_doubt_since(self, info: Info) -> datetime | None:
        return await info.context.load(doubts_queries.open_since, self.record.id)

    @strawberry.field(description="Whether a backup can be restored into it, and why not.")
    async def restorable(self, info: Info) -> Restorability:
        id = self.record.container_id
        container = await info.context.load(containers_queries.by_ids, id)
        policy = await info.context.load(policies_queries.by_containers, id)
        assert container is not None
        engine_id = self.record.engine_id
        engine = None
        if engine_id is not None:
            engine = await info.context.load(engines_queries.by_ids, engine_id)
        run = await info.context.load(instances_queries.open_runs, self.record.id)
        return Restorability.of(find_obstacle(container, self.record, policy, engine, run))


@strawberry.type(description="What `createInstance` answers.")
class CreateInstancePayload:
    instance: Instance | None = strawberry.field(
        default=None, description="The new instance; null where it was refused."
    )
    errors: list[UserError] = strawberry.field(
        default_factory=list, description="Why it was refused; empty where it was not."
    )


@strawberry.type(description="What `updateInstance` answers.")
class UpdateInstancePayload:
    instance: Instance | None = strawberry.field(
        default=None, description="The instance as it is now; null where it was refused."
    )
    errors: list[UserError] = strawberry.field(
        default_factory=list, description="Why it was refused; empty where it was not."
    )


@strawberry.type(description="What `deleteInstance` answers.")
class DeleteInstancePayload:
    instance: Instance | None = strawberry.field(
        default=None,
        description="The instance as it was left; `DELETING` while its runs end. Null where it was "
        "refused.",
    )
    errors: list[UserError] = strawberry.field(
        default_factory=list, description="Why it was refused; empty where it was not."
    )


@strawberry.type
class InstanceMutations:
    @access.mutation(
        Capability.CONFIGURE,
        CreateInstancePayload,
        description="Add an instance to a container.",
    )
    async def create_instance(
        self,
        info: Info,
        *,
        container_id: Annotated[
            strawberry.ID, strawberry.argument(description="The container to add it to.")
        ],
        hostname: Annotated[
            str,
            strawberry.argument(description="A name that no other of its instances has."),
        ],
        executor: Annotated[
            str,
            strawberry.argument(
                description="What runs its commands: `process`, in a folder of a worker's host, or "
                "`docker`, in a container of an engine."
            ),
        ] = "process",
        host: Annotated[
            str | None,
            strawberry.argument(
                description="For `process`: the name of the worker's host; the gateway's own where "
                "absent."
            ),
        ] = strawberry.UNSET,
        folder: Annotated[str | None, strawberry.argument(description=_FOLDER)] = strawberry.UNSET,
        engine_id: Annotated[
            strawberry.ID | None,
            strawberry.argument(description="For `docker`: the engine that has the container."),
        ] = strawberry.UNSET,
        engine_container: Annotated[
            str | None,
            strawberry.argument(
                description="For `docker`: the container's name there, or its id. A name finds a "
                "container that was made anew; an id does not."
            ),
        ] = strawberry.UNSET,
        user: Annotated[
            str | None,
            strawberry.argument(
                description="For `docker`: as whom commands run: `name`, `1000` or `name:group`; "
                "as the image says where absent."
            ),
        ] = strawberry.UNSET,
        state: Annotated[
            InstanceState, strawberry.argument(description="Whether commands can run in it.")
        ] = InstanceState.RUNNING,
        variables: Annotated[
            list[VariableInput] | None, strawberry.argument(description=_VARIABLES)
        ] = strawberry.UNSET,
        scratch: Annotated[
            bool,
            strawberry.argument(
                description="It is only for verification; cannot be changed once it was saved."
            ),
        ] = False,
        idempotency_key: IdempotencyKey = None,
    ) -> CreateInstancePayload:
        parts = info.context.parts
        engine = given(engine_id)
        created = await service.create_instance(
            parts.database,
            info.context.principal,
            new=model.NewInstance(
                container_id=name_id("Container", container_id),
                hostname=hostname,
                state=state,
                executor=executor,
                host=given(host),
                folder=given(folder),
                engine_id=None if engine is None else name_id("Engine", engine),
                engine_container=given(engine_container),
                user=given(user),
                variables=collect(given(variables) or [], "variables"),
                scratch=scratch,
            ),
            default_host=parts.default_host,
            sealer=parts.sealer,
            idempotency_key=idempotency_key,
        )
        return CreateInstancePayload(instance=Instance.of(created))

    @access.mutation(
        Capability.CONFIGURE,
        UpdateInstancePayload,
        description="Change an instance. What is left out or null stays as it is. Setting an "
        "`UNREACHABLE` one to another state confirms that nothing of a run is left there.",
    )
    async def update_instance(
        self,
        info: Info,
        *,
        id: Annotated[strawberry.ID, strawberry.argument(description=_ID)],
        state: Annotated[
            InstanceState | None, strawberry.argument(description="The new state.")
        ] = strawberry.UNSET,
        variables: Annotated[
            list[VariableInput] | None, strawberry.argument(description=_VARIABLES)
        ] = strawberry.UNSET,
        folder: Annotated[str | None, strawberry.argument(description=_FOLDER)] = strawberry.UNSET,
        mark_as_well: Annotated[
            bool,
            strawberry.argument(
                description="After a failed restore: somebody looked, its data is whole, and what "
                "is saved of it from now on is good again. False changes nothing."
            ),
        ] = False,
        idempotency_key: IdempotencyKey = None,
    ) -> UpdateInstancePayload:
        parts = info.context.parts
        wanted: Sequence[VariableInput] | None = given(variables)
        updated = await service.update_instance(
            parts.database,
            info.context.principal,
            id=name_id("Instance", id),
            state=given(state),
            variables=None if wanted is None else collect(wanted, "variables"),
            folder=given(folder),
            mark_as_well=mark_as_well,
            sealer=parts.sealer,
            idempotency_key=idempotency_key,
        )
        return UpdateInstancePayload(instance=Instance.of(updated))

    @access.mutation(
        Capability.CONFIGURE,
        DeleteInstancePayload,
        description="Delete an instance and cancel its runs. Its backups stay with the container "
        "and can be restored into another instance.",
    )
    async def delete_instance(
        self,
        info: Info,
        *,
        id: Annotated[strawberry.ID, strawberry.argument(description=_ID)],
        idempotency_key: IdempotencyKey = None,
    ) -> DeleteInstancePayload:
        deleted = await service.delete_instance(
            info.context.parts.database,
            info.context.principal,
            id=name_id("Instance", id),
            idempotency_key=idempotency_key,
        )
        return DeleteInstancePayload(instance=Instance.of(deleted))
