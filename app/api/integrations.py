"""Integrations: a hub's connections to Backblaze B2."""

from datetime import datetime
from typing import Annotated, Self

import strawberry

from app.api import access
from app.api.arguments import IdempotencyKey, given, name_id
from app.api.context import Info, make_id
from app.api.failures import Failure
from app.api.nodes import Node
from app.api.scans import Reconcile, Recovery
from app.api.user_errors import UserError
from app.model import integrations as model
from app.model.access import Capability
from app.model.integrations import IntegrationState
from app.model.scans import Scan, ScanKind
from app.queries import scans as scans_queries
from app.service import integrations as service

_ID = "The integration."


@strawberry.type(
    description="A connection to Backblaze B2: an application key, a bucket and a name prefix. "
    "Bucket and prefix are fixed once it is created; the application key can never be read again."
)
class Integration(Node):
    name: str = strawberry.field(description="What people call it.")
    state: IntegrationState = strawberry.field(description="Whether it can be used.")
    key_id: str = strawberry.field(description="The id of the application key; not a secret.")
    next_key_id: str | None = strawberry.field(
        description="The id of a new application key that waits until a worker has tried it; null "
        "where none waits. Then it is the `keyId`, or `error` says why it was not taken."
    )
    bucket: str = strawberry.field(description="The name of the bucket.")
    prefix: str = strawberry.field(
        description="What the names of all its objects begin with; empty for the whole bucket."
    )
    error: Failure | None = strawberry.field(
        description="What was wrong when it was tried last; null where nothing was."
    )
    verified_at: datetime | None = strawberry.field(
        description="When it was last seen to work; null where it never was."
    )
    created_at: datetime = strawberry.field(description="When it was created.")
    record: strawberry.Private[model.Integration]

    @classmethod
    def of(cls, record: model.Integration) -> Self:
        return cls(
            id=make_id("Integration", record.id),
            name=record.name,
            state=record.state,
            key_id=record.key_id,
            next_key_id=record.next_key_id,
            bucket=record.bucket,
            prefix=record.prefix,
            error=Failure.of(record.error_code, record.error_message),
            verified_at=record.verified_at,
            created_at=record.created_at,
            record=record,
        )

    @strawberry.field(
        description="When its bucket and the records were last compared to the end, which is done "
        "daily; null where they never were."
    )
    async def last_reconciled_at(self, info: Info) -> datetime | None:
        scan = await self._scan(info, ScanKind.RECONCILE)
        return None if scan is None else scan.finished_at

    @strawberry.field(description="The comparison of its bucket with the records.")
    async def reconcile(self, info: Info) -> Reconcile | None:
        scan = await self._scan(info, ScanKind.RECONCILE)
        return None if scan is None else Reconcile.of(scan)

    @strawberry.field(
        description="The rebuilding of records from its bucket; null where nobody asked for it."
    )
    async def recovery(self, info: Info) -> Recovery | None:
        scan = await self._scan(info, ScanKind.RECOVER)
        return None if scan is None else Recovery.of(scan)

    async def _scan(self, info: Info, kind: ScanKind) -> Scan | None:
        return await info.context.load(scans_queries.by_integrations, self.record.id, kind)


@strawberry.type(description="What `createIntegration` answers.")
class CreateIntegrationPayload:
    integration: Integration | None = strawberry.field(
        default=None, description="The new integration, `VERIFYING`; null where it was refused."
    )
    errors: list[UserError] = strawberry.field(
        default_factory=list, description="Why it was refused; empty where it was not."
    )


@strawberry.type(description="What `updateIntegration` answers.")
class UpdateIntegrationPayload:
    integration: Integration | None = strawberry.field(
        default=None, description="The integration as it is now; null where it was refused."
    )
    errors: list[UserError] = strawberry.field(
        default_factory=list, description="Why it was refused; empty where it was not."
    )


@strawberry.type(description="What `verifyIntegration` answers.")
class VerifyIntegrationPayload:
    integration: Integration | None = strawberry.field(
        default=None, description="The integration, about to be tried; null where it was refused."
    )
    errors: list[UserError] = strawberry.field(
        default_factory=list, description="Why it was refused; empty where it was not."
    )


@strawberry.type(description="What `deleteIntegration` answers.")
class DeleteIntegrationPayload:
    integration: Integration | None = strawberry.field(
        default=None,
        description="The integration, `DELETING` or (where it never worked) `DELETED`; null where "
        "it was refused.",
    )
    warnings: list[str] = strawberry.field(
        default_factory=list,
        description="Sentences that say what goes with it, or what is given up.",
    )
    errors: list[UserError] = strawberry.field(
        default_factory=list, description="Why it was refused; empty where it was not."
    )


@strawberry.type
class IntegrationMutations:
    @access.mutation(
        Capability.CONFIGURE,
        CreateIntegrationPayload,
        description="Connect a bucket of Backblaze B2. It is `VERIFYING` until a worker has "
        "written, read and deleted a small object there; then `LIVE` or `FAILED` with the reason.",
    )
    async def create_integration(
        self,
        info: Info,
        *,
        name: Annotated[
            str, strawberry.argument(description="What people call it: 1 to 200 characters.")
        ],
        key_id: Annotated[
            str, strawberry.argument(description="The id of a Backblaze B2 application key.")
        ],
        key: Annotated[
            str,
            strawberry.argument(
                description="The application key itself. It is sealed at once and can never be "
                "read again."
            ),
        ],
        bucket: Annotated[
            str, strawberry.argument(description="The name of a private bucket the key can use.")
        ],
        prefix: Annotated[
            str,
            strawberry.argument(
                description="What the names of all objects shall begin with, without a slash at "
                "either end. No other integration may use an overlapping one in this bucket."
            ),
        ],
        idempotency_key: IdempotencyKey = None,
    ) -> CreateIntegrationPayload:
        parts = info.context.parts
        created = await service.create_integration(
            parts.database,
            info.context.principal,
            new=model.NewIntegration(
                name=name, key_id=key_id, key=key, bucket=bucket, prefix=prefix
            ),
            sealer=parts.sealer,
            embedded_key_prefix=parts.embedded_key_prefix,
            idempotency_key=idempotency_key,
        )
        return CreateIntegrationPayload(integration=Integration.of(created))

    @access.mutation(
        Capability.CONFIGURE,
        UpdateIntegrationPayload,
        description="Change an integration's name or application key. A new key replaces the old "
        "one only after it has reached what the old one stored; until then it is the `nextKeyId`.",
    )
    async def update_integration(
        self,
        info: Info,
        *,
        id: Annotated[strawberry.ID, strawberry.argument(description=_ID)],
        name: Annotated[
            str | None, strawberry.argument(description="The new name; the old one where absent.")
        ] = strawberry.UNSET,
        key_id: Annotated[
            str | None,
            strawberry.argument(
                description="The id of the new application key; only together with `key`."
            ),
        ] = strawberry.UNSET,
        key: Annotated[
            str | None,
            strawberry.argument(description="The new application key; only with `keyId`."),
        ] = strawberry.UNSET,
        idempotency_key: IdempotencyKey = None,
    ) -> UpdateIntegrationPayload:
        parts = info.context.parts
        updated = await service.update_integration(
            parts.database,
            info.context.principal,
            id=name_id("Integration", id),
            name=given(name),
            key_id=given(key_id),
            key=given(key),
            sealer=parts.sealer,
            embedded_key_prefix=parts.embedded_key_prefix,
            idempotency_key=idempotency_key,
        )
        return UpdateIntegrationPayload(integration=Integration.of(updated))

    @access.mutation(
        Capability.CONFIGURE,
        VerifyIntegrationPayload,
        description="Try an integration again now: a worker writes, reads and deletes a small "
        "object there.",
    )
    async def verify_integration(
        self,
        info: Info,
        *,
        id: Annotated[strawberry.ID, strawberry.argument(description=_ID)],
        idempotency_key: IdempotencyKey = None,
    ) -> VerifyIntegrationPayload:
        verified = await service.verify_integration(
            info.context.parts.database,
            info.context.principal,
            id=name_id("Integration", id),
            idempotency_key=idempotency_key,
        )
        return VerifyIntegrationPayload(integration=Integration.of(verified))

    @access.mutation(
        Capability.CONFIGURE,
        DeleteIntegrationPayload,
        description="Delete an integration. Refused (`INTEGRATION_IN_USE`) while a policy or a "
        "backup with an object points to it, unless `force` is true. Its key is kept, sealed, "
        "until nothing is to be removed by it any more; then it is `DELETED`.",
    )
    async def delete_integration(
        self,
        info: Info,
        *,
        id: Annotated[strawberry.ID, strawberry.argument(description=_ID)],
        force: Annotated[
            bool,
            strawberry.argument(
                description="Remove the policies that save to it, cancel its runs and delete all "
                "backups in its bucket, pinned ones too; needs the capability `DELETE_CONTAINERS` "
                "too. Said again while it is `DELETING`, it gives up what could not be removed by "
                "then: those objects stay in the bucket, and `warnings` names them."
            ),
        ] = False,
        idempotency_key: IdempotencyKey = None,
    ) -> DeleteIntegrationPayload:
        deleted, warnings = await service.delete_integration(
            info.context.parts.database,
            info.context.principal,
            id=name_id("Integration", id),
            force=force,
            idempotency_key=idempotency_key,
            step=info.context.parts.step,
        )
        return DeleteIntegrationPayload(integration=Integration.of(deleted), warnings=warnings)
