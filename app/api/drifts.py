"""Drift: where bucket and records disagree, and what can be done about it."""

from datetime import datetime
from typing import Annotated, Self
from uuid import UUID

import strawberry

from app.api import access
from app.api.arguments import IdempotencyKey, filter_id, given, name_id
from app.api.backups import Backup
from app.api.context import Info, make_id
from app.api.failures import Failure
from app.api.integrations import Integration
from app.api.nodes import Node
from app.api.scalars import BigInt
from app.api.user_errors import UserError
from app.errors import InvalidInput
from app.model import drifts as model
from app.model.access import Capability
from app.model.drifts import DriftKind
from app.queries import backups as backups_queries
from app.queries import integrations as integrations_queries
from app.service import drifts as service
from app.service import recoveries, scans


@strawberry.type(
    description="Bucket and records disagree about one version of one object. It stays until a "
    "reconcile does not find it any more, or somebody decides about it."
)
class Drift(Node):
    kind: DriftKind = strawberry.field(description="How they disagree.")
    detail: str = strawberry.field(
        description="What exactly: the `OBJECT` or its `MANIFEST`; what differs, its `SIZE` or its "
        "`VERSION`; an unfinished `UPLOAD`, or a `MARKER` that hides an object. A `MISSING` "
        "manifest leaves the backup restorable; only its record could not be rebuilt."
    )
    name: str = strawberry.field(description="The object's full name in the bucket.")
    file_id: str = strawberry.field(
        description="The version in the bucket; of `MISSING` and `MISMATCH` the one that the "
        "record names."
    )
    size_bytes: BigInt | None = strawberry.field(
        description="How many bytes of it the bucket holds; null where it holds nothing."
    )
    uploaded_at: datetime | None = strawberry.field(
        description="When it was stored, by the bucket's clock; null where nothing is there."
    )
    found_at: datetime | None = strawberry.field(description="When a reconcile found it.")
    resolved_at: datetime | None = strawberry.field(
        description="When it was over; null while it is not."
    )
    resolution: str | None = strawberry.field(
        description="How it ended: `GONE` by itself, `ADOPTED`, `RECLAIMED` (the removal is "
        "promised), `LOSS_ACCEPTED`. Null while it has not."
    )
    adopting: bool = strawberry.field(
        description="It is being made a backup; without a manifest all of it is read for that."
    )
    bytes_read: BigInt = strawberry.field(description="How many bytes of it were read for that.")
    error: Failure | None = strawberry.field(
        description="Why it could not be made a backup; null where nothing went wrong."
    )
    record: strawberry.Private[model.Drift]

    @classmethod
    def of(cls, record: model.Drift) -> Self:
        return cls(
            id=make_id("Drift", record.id),
            kind=record.kind,
            detail=record.detail,
            name=record.name,
            file_id=record.file_id,
            size_bytes=None if record.size_bytes is None else BigInt(record.size_bytes),
            uploaded_at=record.uploaded_at,
            found_at=record.created_at,
            resolved_at=record.resolved_at,
            resolution=record.resolution,
            adopting=record.adopting,
            bytes_read=BigInt(record.bytes_read),
            error=None
            if record.error is None
            else Failure.of(record.error.code, record.error.message),
            record=record,
        )

    @strawberry.field(description="In whose bucket it is.")
    async def integration(self, info: Info) -> Integration:
        found = await info.context.load(integrations_queries.by_ids, self.record.integration_id)
        assert found is not None
        return Integration.of(found)

    @strawberry.field(
        description="The backup that it is about, or has become; null where there is none."
    )
    async def backup(self, info: Info) -> Backup | None:
        if self.record.backup_id is None:
            return None
        found = await info.context.load(backups_queries.by_ids, self.record.backup_id)
        return None if found is None else Backup.of(found)


@strawberry.input(description="Which drift a list shows. What is absent does not narrow it.")
class DriftFilter:
    integration_id: strawberry.ID | None = strawberry.field(
        default=strawberry.UNSET, description="Only of this integration's bucket."
    )
    kinds: list[DriftKind] | None = strawberry.field(
        default=strawberry.UNSET, description="Only of these kinds."
    )


def read_filter(filter: DriftFilter | None) -> model.DriftFilter:
    wanted = given(filter)
    if wanted is None:
        return model.DriftFilter()
    kinds = given(wanted.kinds)
    return model.DriftFilter(
        integration_id=filter_id("Integration", wanted.integration_id),
        kinds=None if kinds is None else tuple(kinds),
    )


@strawberry.type(description="What `reconcileStorage` answers.")
class ReconcileStoragePayload:
    integration: Integration | None = strawberry.field(
        default=None, description="The integration, being reconciled; null where it was refused."
    )
    errors: list[UserError] = strawberry.field(
        default_factory=list, description="Why it was refused; empty where it was not."
    )


@strawberry.type(description="What `recoverBackups` answers.")
class RecoverBackupsPayload:
    integration: Integration | None = strawberry.field(
        default=None, description="The integration, being recovered; null where it was refused."
    )
    errors: list[UserError] = strawberry.field(
        default_factory=list, description="Why it was refused; empty where it was not."
    )


@strawberry.type(description="What `adoptOrphan` answers.")
class AdoptOrphanPayload:
    drift: Drift | None = strawberry.field(
        default=None, description="The orphan, being adopted; null where it was refused."
    )
    errors: list[UserError] = strawberry.field(
        default_factory=list, description="Why it was refused; empty where it was not."
    )


@strawberry.type(description="What `deleteOrphan` answers.")
class DeleteOrphanPayload:
    drift: Drift | None = strawberry.field(
        default=None, description="The orphan, `RECLAIMED`; null where it was refused."
    )
    errors: list[UserError] = strawberry.field(
        default_factory=list, description="Why it was refused; empty where it was not."
    )


@strawberry.type(description="What `acceptLoss` answers.")
class AcceptLossPayload:
    backup: Backup | None = strawberry.field(
        default=None, description="The backup as it is now; null where it was refused."
    )
    errors: list[UserError] = strawberry.field(
        default_factory=list, description="Why it was refused; empty where it was not."
    )


@strawberry.type
class DriftMutations:
    @access.mutation(
        Capability.CONFIGURE,
        ReconcileStoragePayload,
        description="Compare an integration's bucket with the records now, as is done daily. It is "
        "carried out in the background; one that is under way goes on. Follow it in the "
        "integration's `reconcile`; what it finds is in `hub.storageDrift`.",
    )
    async def reconcile_storage(
        self,
        info: Info,
        *,
        integration_id: Annotated[
            strawberry.ID, strawberry.argument(description="The integration; a `LIVE` one.")
        ],
        believe_listing: Annotated[
            bool,
            strawberry.argument(
                description="The listing is right although it misses more than 10 objects and more "
                "than 10 % at once; without this such a one is `SUSPECT_LISTING` and changes "
                "nothing. Each object is still asked for by its id."
            ),
        ] = False,
        idempotency_key: IdempotencyKey = None,
    ) -> ReconcileStoragePayload:
        found = await scans.reconcile_storage(
            info.context.parts.database,
            info.context.principal,
            id=name_id("Integration", integration_id),
            believe_listing=believe_listing,
            idempotency_key=idempotency_key,
        )
        return ReconcileStoragePayload(integration=Integration.of(found))

    @access.mutation(
        Capability.CONFIGURE,
        RecoverBackupsPayload,
        description="Rebuild the records of all backups below an integration's prefix that have "
        "none, from their manifests: after the database was lost. Their containers are found by "
        "identifier, or made without a policy; instances are not made. The bucket is this "
        "gateway's from then on: another one that still uses it deletes nothing there any more. "
        "Twice makes nothing twice. Follow it in the integration's `recovery`.",
    )
    async def recover_backups(
        self,
        info: Info,
        *,
        integration_id: Annotated[
            strawberry.ID, strawberry.argument(description="The integration; a `LIVE` one.")
        ],
        former_hub_id: Annotated[
            str | None,
            strawberry.argument(
                description="Where backups of several lost hubs are below the prefix "
                "(`SEVERAL_HUBS`): the UUID of the one that was this hub, as it stands in the "
                "objects' names. Backups of other hubs of this gateway are never taken."
            ),
        ] = strawberry.UNSET,
        idempotency_key: IdempotencyKey = None,
    ) -> RecoverBackupsPayload:
        named = given(former_hub_id)
        found = await recoveries.recover_backups(
            info.context.parts.database,
            info.context.principal,
            id=name_id("Integration", integration_id),
            former_hub_id=None if named is None else _read_uuid(named),
            idempotency_key=idempotency_key,
        )
        return RecoverBackupsPayload(integration=Integration.of(found))

    @access.mutation(
        Capability.CONFIGURE,
        AdoptOrphanPayload,
        description="Make a `LIVE` backup of an `ORPHAN`, in the background. With its manifest it "
        "becomes what it was; without one all of it is read first, and it is `RECOVERED`.",
    )
    async def adopt_orphan(
        self,
        info: Info,
        *,
        id: Annotated[
            strawberry.ID, strawberry.argument(description="The drift: an orphaned object.")
        ],
        container_id: Annotated[
            strawberry.ID | None,
            strawberry.argument(
                description="The container that it belongs to; the one that its manifest or its "
                "name tells of where absent."
            ),
        ] = strawberry.UNSET,
        instance_hostname: Annotated[
            str | None,
            strawberry.argument(
                description="The instance that it was saved from, where no manifest says so; "
                "`recovered` where absent."
            ),
        ] = strawberry.UNSET,
        idempotency_key: IdempotencyKey = None,
    ) -> AdoptOrphanPayload:
        container = given(container_id)
        adopted = await service.adopt_orphan(
            info.context.parts.database,
            info.context.principal,
            id=name_id("Drift", id),
            container_id=None if container is None else name_id("Container", container),
            instance_hostname=given(instance_hostname),
            idempotency_key=idempotency_key,
        )
        return AdoptOrphanPayload(drift=Drift.of(adopted))

    @access.mutation(
        Capability.CONFIGURE,
        DeleteOrphanPayload,
        description="Remove an `ORPHAN` or `UNFINISHED` from the bucket: exactly this version, in "
        "the background. With the last version of an object its orphaned manifest goes, too.",
    )
    async def delete_orphan(
        self,
        info: Info,
        *,
        id: Annotated[strawberry.ID, strawberry.argument(description="The drift.")],
        foreign: Annotated[
            bool,
            strawberry.argument(
                description="Delete it although it is `FOREIGN`: it may be somebody's only copy."
            ),
        ] = False,
        idempotency_key: IdempotencyKey = None,
    ) -> DeleteOrphanPayload:
        deleted = await service.delete_orphan(
            info.context.parts.database,
            info.context.principal,
            id=name_id("Drift", id),
            foreign=foreign,
            idempotency_key=idempotency_key,
        )
        return DeleteOrphanPayload(drift=Drift.of(deleted))

    @access.mutation(
        Capability.CONFIGURE,
        AcceptLossPayload,
        description="Accept that the object of a backup is `MISSING`: nobody is told of it again. "
        "The record stays, to be deleted like any other; nothing in the bucket is touched.",
    )
    async def accept_loss(
        self,
        info: Info,
        *,
        backup_id: Annotated[
            strawberry.ID,
            strawberry.argument(description="The backup; a `LIVE` one that is `MISSING`."),
        ],
        idempotency_key: IdempotencyKey = None,
    ) -> AcceptLossPayload:
        accepted = await service.accept_loss(
            info.context.parts.database,
            info.context.principal,
            backup_id=name_id("Backup", backup_id),
            idempotency_key=idempotency_key,
        )
        return AcceptLossPayload(backup=Backup.of(accepted))


def _read_uuid(text: str) -> UUID:
    try:
        read = UUID(text)
    except ValueError:
        read = None
    if read is None or str(read) != text:
        raise InvalidInput(
            "A former hub is named by a UUID in lower case, with its hyphens.",
            path=("formerHubId",),
        )
    return read
