"""API keys: who may ask this gateway, and what each may do."""

from datetime import datetime
from typing import Annotated, Self

import strawberry

from app.api import access
from app.api.arguments import IdempotencyKey, given, name_id
from app.api.context import Info, make_id
from app.api.nodes import Node
from app.api.user_errors import UserError
from app.model import keys as model
from app.model.access import Capability, Role
from app.service import keys as service

WITHOUT_READ = (
    "Without `READ` a key can ask for only `id` and `state` of the objects that its mutations "
    "answer: one that asks for more is refused as a whole (`FORBIDDEN`), and nothing is done."
)
LIST_CAPABILITIES = ", ".join(f"`{capability}`" for capability in Capability)


@strawberry.type(
    description="An API key of your hub. Needs the capability `MANAGE_KEYS`; without it `node` "
    "answers null. What makes it secret can never be read again."
)
class ApiKey(Node):
    name: str = strawberry.field(description="What people call it.")
    prefix: str = strawberry.field(
        description="The eight characters after `bg_`, by which the key can be recognised."
    )
    role: Role | None = strawberry.field(
        description="Its role; null where it has a list of capabilities instead."
    )
    capabilities: list[str] = strawberry.field(
        description="What it may do, by its role or its list, as `viewer.capabilities` says it."
    )
    created_at: datetime = strawberry.field(description="When it was created.")
    expires_at: datetime | None = strawberry.field(
        description="When it stops working; null where it does not."
    )
    revoked_at: datetime | None = strawberry.field(
        description="When it was revoked; null where it was not."
    )

    @classmethod
    def of(cls, record: model.ApiKey) -> Self:
        return cls(
            id=make_id("ApiKey", record.id),
            name=record.name,
            prefix=record.prefix,
            role=record.role,
            capabilities=sorted(record.capabilities),
            created_at=record.created_at,
            expires_at=record.expires_at,
            revoked_at=record.revoked_at,
        )


@strawberry.type(description="What `createApiKey` answers.")
class CreateApiKeyPayload:
    api_key: ApiKey | None = strawberry.field(
        default=None, description="The new key; null where it was refused."
    )
    secret: str | None = strawberry.field(
        default=None,
        description="The key itself, to be sent as `Authorization: Bearer SECRET`. It is shown "
        "this once: null where it was refused, and where a call is repeated with its "
        "`idempotencyKey`.",
    )
    errors: list[UserError] = strawberry.field(
        default_factory=list, description="Why it was refused; empty where it was not."
    )


@strawberry.type(description="What `revokeApiKey` answers.")
class RevokeApiKeyPayload:
    api_key: ApiKey | None = strawberry.field(
        default=None, description="The key as it is now; null where it was refused."
    )
    errors: list[UserError] = strawberry.field(
        default_factory=list, description="Why it was refused; empty where it was not."
    )


@strawberry.type
class KeyMutations:
    @access.mutation(
        Capability.MANAGE_KEYS,
        CreateApiKeyPayload,
        description="Create an API key of your hub, with a role or a list of capabilities, but "
        "with nothing that your own key lacks (`NotPermittedError`).",
    )
    async def create_api_key(
        self,
        info: Info,
        *,
        name: Annotated[
            str, strawberry.argument(description="What people call it, 1 to 200 characters.")
        ],
        role: Annotated[
            Role | None,
            strawberry.argument(description="What it may do; or give `capabilities`, not both."),
        ] = strawberry.UNSET,
        capabilities: Annotated[
            list[str] | None,
            strawberry.argument(
                description=f"What it may do, each once: {LIST_CAPABILITIES}. Or give `role`. "
                f"{WITHOUT_READ}"
            ),
        ] = strawberry.UNSET,
        expires_at: Annotated[
            datetime | None,
            strawberry.argument(
                description="When it stops working, in the future; never where absent."
            ),
        ] = strawberry.UNSET,
        idempotency_key: IdempotencyKey = None,
    ) -> CreateApiKeyPayload:
        key, secret = await service.create_api_key(
            info.context.parts.database,
            info.context.principal,
            name=name,
            role=given(role),
            capabilities=given(capabilities),
            expires_at=given(expires_at),
            idempotency_key=idempotency_key,
        )
        return CreateApiKeyPayload(api_key=ApiKey.of(key), secret=secret)

    @access.mutation(
        Capability.MANAGE_KEYS,
        RevokeApiKeyPayload,
        description="End an API key for ever, be it your own: requests by it are refused at once, "
        "its sockets and streams end, and so do the addresses of `createDownload` that it made. "
        "One that was revoked already stays as it is.",
    )
    async def revoke_api_key(
        self,
        info: Info,
        *,
        id: Annotated[strawberry.ID, strawberry.argument(description="The key.")],
        idempotency_key: IdempotencyKey = None,
    ) -> RevokeApiKeyPayload:
        key = await service.revoke_api_key(
            info.context.parts.database,
            info.context.principal,
            id=name_id("ApiKey", id),
            idempotency_key=idempotency_key,
        )
        return RevokeApiKeyPayload(api_key=ApiKey.of(key))
