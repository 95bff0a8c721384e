"""Engines: the Docker and Podman engines where a hub's containers run."""

from datetime import datetime
from typing import Annotated, Self

import strawberry

from app.api import access
from app.api.arguments import IdempotencyKey, given, name_id
from app.api.context import Info, make_id
from app.api.failures import Failure
from app.api.nodes import Node
from app.api.user_errors import UserError
from app.model import engines as model
from app.model.access import Capability
from app.model.engines import EngineState
from app.model.labels import PROBLEM_CODES, Problem
from app.service import engines as service

_ID = "The engine."
_AUTHORITY = (
    "The certificates, as PEM, by which the engine's own is trusted; those of the worker's machine "
    "where absent. Only with `https`."
)
_CERTIFICATE = "The client certificate, as PEM, that the engine asks for; only with `key`."
_KEY = "The client certificate's key, as PEM. It is sealed at once and can never be read again."


@strawberry.type(
    description="What is wrong with labels of an engine's containers: it was not taken as it was "
    "said."
)
class EngineProblem:
    code: str = strawberry.field(
        description="What kind of problem. More may come. "
        + " ".join(f"`{code}`: {meaning}" for code, meaning in PROBLEM_CODES.items())
    )
    message: str = strawberry.field(description="A sentence for people.")
    container: str | None = strawberry.field(
        description="What the engine calls the container; null where it is about none."
    )
    label: str | None = strawberry.field(
        description="The label; null where it is about none in particular."
    )

    @classmethod
    def of(cls, problem: Problem) -> Self:
        return cls(
            code=problem.code,
            message=problem.message,
            container=problem.container,
            label=problem.label,
        )


@strawberry.type(
    description="A container engine, Docker or Podman, reached through the Docker Engine API. "
    "Workers look at it every 15 s, and at the instances that are its containers: these are then "
    "`RUNNING`, `PAUSED`, `STOPPED` or `GONE` as the engine says. Containers there with the label "
    "`backup-gateway.container` are found by themselves."
)
class Engine(Node):
    name: str = strawberry.field(description="What people call it.")
    address: str = strawberry.field(
        description="Where it listens: `unix:///run/docker.sock`, `http://127.0.0.1:2375` or "
        "`https://host:2376`."
    )
    host: str | None = strawberry.field(
        description="The name of the only host whose workers reach it; null where any does."
    )
    state: EngineState = strawberry.field(description="Whether it can be used.")
    version: str | None = strawberry.field(
        description="What it is, such as `Docker 28.2.2`; null where it never answered."
    )
    error: Failure | None = strawberry.field(
        description="What was wrong when a worker looked last; null where nothing was."
    )
    unreachable_since: datetime | None = strawberry.field(
        description="Since when it does not work; null where it does."
    )
    checked_at: datetime | None = strawberry.field(
        description="When a worker looked last; null where none did yet."
    )
    created_at: datetime = strawberry.field(description="When it was created.")
    problems: list[EngineProblem] = strawberry.field(
        description="What was wrong with labels there when a worker looked last; at most 100."
    )

    @classmethod
    def of(cls, record: model.EngineRecord) -> Self:
        return cls(
            id=make_id("Engine", record.id),
            name=record.name,
            address=record.address,
            host=record.host,
            state=record.state,
            version=record.version,
            error=Failure.of(record.error_code, record.error_message),
            unreachable_since=record.unreachable_since,
            checked_at=record.checked_at,
            created_at=record.created_at,
            problems=[EngineProblem.of(problem) for problem in record.problems],
        )


@strawberry.type(description="What `createEngine` answers.")
class CreateEnginePayload:
    engine: Engine | None = strawberry.field(
        default=None, description="The new engine, `VERIFYING`; null where it was refused."
    )
    errors: list[UserError] = strawberry.field(
        default_factory=list, description="Why it was refused; empty where it was not."
    )


@strawberry.type(description="What `updateEngine` answers.")
class UpdateEnginePayload:
    engine: Engine | None = strawberry.field(
        default=None, description="The engine as it is now; null where it was refused."
    )
    errors: list[UserError] = strawberry.field(
        default_factory=list, description="Why it was refused; empty where it was not."
    )


@strawberry.type(description="What `deleteEngine` answers.")
class DeleteEnginePayload:
    engine: Engine | None = strawberry.field(
        default=None, description="The engine, `DELETED`; null where it was refused."
    )
    errors: list[UserError] = strawberry.field(
        default_factory=list, description="Why it was refused; empty where it was not."
    )


@strawberry.type
class EngineMutations:
    @access.mutation(
        Capability.CONFIGURE,
        CreateEnginePayload,
        description="Make a container engine known. A worker reaches it only where the operator "
        "allowed the address to your hub (`BACKUP_GATEWAY_ENGINES`); else it is `UNREACHABLE` with "
        "the `error` `EXECUTOR_NOT_ALLOWED`.",
    )
    async def create_engine(
        self,
        info: Info,
        *,
        name: Annotated[
            str, strawberry.argument(description="What people call it: 1 to 200 characters.")
        ],
        address: Annotated[
            str,
            strawberry.argument(
                description="Where it listens: `unix:///run/docker.sock`, `http://127.0.0.1:2375` "
                "(on the worker's own machine only) or `https://host:2376`."
            ),
        ],
        host: Annotated[
            str | None,
            strawberry.argument(
                description="The name of the only host whose workers reach it. Where absent: the "
                "gateway's own for `unix` and `http`, any worker's for `https`."
            ),
        ] = strawberry.UNSET,
        authority: Annotated[
            str | None, strawberry.argument(description=_AUTHORITY)
        ] = strawberry.UNSET,
        certificate: Annotated[
            str | None, strawberry.argument(description=_CERTIFICATE)
        ] = strawberry.UNSET,
        key: Annotated[str | None, strawberry.argument(description=_KEY)] = strawberry.UNSET,
        idempotency_key: IdempotencyKey = None,
    ) -> CreateEnginePayload:
        parts = info.context.parts
        created = await service.create_engine(
            parts.database,
            info.context.principal,
            new=model.NewEngine(
                name=name,
                address=address,
                host=given(host),
                authority=given(authority),
                certificate=given(certificate),
                key=given(key),
            ),
            default_host=parts.default_host,
            sealer=parts.sealer,
            idempotency_key=idempotency_key,
        )
        return CreateEnginePayload(engine=Engine.of(created))

    @access.mutation(
        Capability.CONFIGURE,
        UpdateEnginePayload,
        description="Change an engine's name or certificates. What is left out or null stays as it "
        "is; the address is fixed.",
    )
    async def update_engine(
        self,
        info: Info,
        *,
        id: Annotated[strawberry.ID, strawberry.argument(description=_ID)],
        name: Annotated[
            str | None, strawberry.argument(description="The new name.")
        ] = strawberry.UNSET,
        authority: Annotated[
            str | None, strawberry.argument(description=_AUTHORITY)
        ] = strawberry.UNSET,
        certificate: Annotated[
            str | None, strawberry.argument(description=_CERTIFICATE)
        ] = strawberry.UNSET,
        key: Annotated[str | None, strawberry.argument(description=_KEY)] = strawberry.UNSET,
        idempotency_key: IdempotencyKey = None,
    ) -> UpdateEnginePayload:
        parts = info.context.parts
        updated = await service.update_engine(
            parts.database,
            info.context.principal,
            id=name_id("Engine", id),
            name=given(name),
            tls=model.EngineTls(
                authority=given(authority), certificate=given(certificate), key=given(key)
            ),
            sealer=parts.sealer,
            idempotency_key=idempotency_key,
        )
        return UpdateEnginePayload(engine=Engine.of(updated))

    @access.mutation(
        Capability.CONFIGURE,
        DeleteEnginePayload,
        description="Forget an engine, with its key. Refused (`ENGINE_IN_USE`) while instances are "
        "containers there. Nothing on the engine is touched.",
    )
    async def delete_engine(
        self,
        info: Info,
        *,
        id: Annotated[strawberry.ID, strawberry.argument(description=_ID)],
        idempotency_key: IdempotencyKey = None,
    ) -> DeleteEnginePayload:
        deleted = await service.delete_engine(
            info.context.parts.database,
            info.context.principal,
            id=name_id("Engine", id),
            idempotency_key=idempotency_key,
        )
        return DeleteEnginePayload(engine=Engine.of(deleted))
