"""What can be done with backups: back up, cancel, pin, delete."""

from typing import Annotated

import strawberry

from app.api import access
from app.api.arguments import IdempotencyKey, given, name_id
from app.api.backups import Backup
from app.api.context import Info
from app.api.user_errors import UserError, show
from app.errors import InvalidInput
from app.model import backups as model
from app.model.access import Capability
from app.model.ids import decode_id_of
from app.service import backups as service

MOST_DELETED_AT_ONCE = 100


@strawberry.type(description="What `createBackup` answers.")
class CreateBackupPayload:
    backup: Backup | None = strawberry.field(
        default=None,
        description="The backup, `QUEUED`; follow it by asking again. Null where it was refused.",
    )
    errors: list[UserError] = strawberry.field(
        default_factory=list, description="Why it was refused; empty where it was not."
    )


@strawberry.type(description="What `cancelBackup` answers.")
class CancelBackupPayload:
    backup: Backup | None = strawberry.field(
        default=None,
        description="The backup as it is now: it ends as `CANCELED` once its command has been "
        "killed and its upload removed. Null where it was refused.",
    )
    errors: list[UserError] = strawberry.field(
        default_factory=list, description="Why it was refused; empty where it was not."
    )


@strawberry.type(description="What `updateBackup` answers.")
class UpdateBackupPayload:
    backup: Backup | None = strawberry.field(
        default=None, description="The backup as it is now; null where it was refused."
    )
    errors: list[UserError] = strawberry.field(
        default_factory=list, description="Why it was refused; empty where it was not."
    )


@strawberry.type(description="The answer of `deleteBackups` for one id.")
class DeleteBackupResult:
    id: strawberry.ID = strawberry.field(description="The id as you gave it.")
    accepted: bool = strawberry.field(
        description="It is being deleted, or is deleted already; else `error` says why not."
    )
    backup: Backup | None = strawberry.field(
        description="The backup as it is now; null where there is none with this id."
    )
    error: UserError | None = strawberry.field(
        description="Why this one was refused; null where it was accepted."
    )


@strawberry.type(description="What `deleteBackups` answers.")
class DeleteBackupsPayload:
    results: list[DeleteBackupResult] = strawberry.field(
        default_factory=list,
        description="One for each different id, in the order in which they were given.",
    )
    errors: list[UserError] = strawberry.field(
        default_factory=list,
        description="Why the whole call was refused; empty where the ids have answers of their "
        "own.",
    )


@strawberry.type
class BackupMutations:
    @access.mutation(
        Capability.BACK_UP,
        CreateBackupPayload,
        description="Back up now. Answers at once. Refused with the reason where it could not "
        "work: the container is not stateful or has no policy, its integration is not `LIVE`, the "
        "instance is not running or busy.",
    )
    async def create_backup(
        self,
        info: Info,
        *,
        container_id: Annotated[
            strawberry.ID, strawberry.argument(description="The container to save.")
        ],
        instance_id: Annotated[
            strawberry.ID | None,
            strawberry.argument(
                description="The instance to save; where absent, the only one that is running. "
                "Where several are, it must be given."
            ),
        ] = strawberry.UNSET,
        idempotency_key: IdempotencyKey = None,
    ) -> CreateBackupPayload:
        instance = given(instance_id)
        backup = await service.create_backup(
            info.context.parts.database,
            info.context.principal,
            container_id=name_id("Container", container_id),
            instance_id=None if instance is None else name_id("Instance", instance),
            start_within=info.context.parts.start_within,
            idempotency_key=idempotency_key,
        )
        return CreateBackupPayload(backup=Backup.of(backup))

    @access.mutation(
        Capability.CANCEL,
        CancelBackupPayload,
        description="Cancel a backup that is `QUEUED` or `SAVING`. Nothing of it stays in storage.",
    )
    async def cancel_backup(
        self,
        info: Info,
        *,
        id: Annotated[strawberry.ID, strawberry.argument(description="The backup.")],
        idempotency_key: IdempotencyKey = None,
    ) -> CancelBackupPayload:
        backup = await service.cancel_backup(
            info.context.parts.database,
            info.context.principal,
            id=name_id("Backup", id),
            idempotency_key=idempotency_key,
        )
        return CancelBackupPayload(backup=Backup.of(backup))

    @access.mutation(
        Capability.PIN_BACKUPS,
        UpdateBackupPayload,
        description="Pin or unpin a backup, or write a note about it. What is left out or null "
        "stays as it is. Unpinning also needs `UNPIN_BACKUPS`.",
    )
    async def update_backup(
        self,
        info: Info,
        *,
        id: Annotated[strawberry.ID, strawberry.argument(description="The backup.")],
        pinned: Annotated[
            bool | None,
            strawberry.argument(
                description="Keep it from being deleted by itself; only a `QUEUED`, `SAVING` or "
                "`LIVE` one can be pinned."
            ),
        ] = strawberry.UNSET,
        note: Annotated[
            str | None,
            strawberry.argument(
                description="What is to be known of it, up to 1,000 characters; empty removes it."
            ),
        ] = strawberry.UNSET,
        idempotency_key: IdempotencyKey = None,
    ) -> UpdateBackupPayload:
        backup = await service.update_backup(
            info.context.parts.database,
            info.context.principal,
            id=name_id("Backup", id),
            pinned=given(pinned),
            note=given(note),
            idempotency_key=idempotency_key,
        )
        return UpdateBackupPayload(backup=Backup.of(backup))

    @access.mutation(
        Capability.DELETE_BACKUPS,
        DeleteBackupsPayload,
        description="Delete backups. Each id is answered by itself; one that is refused does not "
        "stop the others. A `LIVE` one is `DELETING` until Backblaze B2 has confirmed that its "
        "object is gone; `FAILED`, `CANCELED` and `SKIPPED` ones are `DELETED` at once; `QUEUED` "
        "and `SAVING` ones are refused (`BACKUP_RUNNING`: cancel them), and so are pinned ones "
        "(`PINNED`) and those that a run reads (`BACKUP_IN_USE`).",
    )
    async def delete_backups(
        self,
        info: Info,
        *,
        ids: Annotated[
            list[strawberry.ID],
            strawberry.argument(
                description="The backups, at most 100 (`TOO_MANY_IDS`); a repeated one counts once."
            ),
        ],
        idempotency_key: IdempotencyKey = None,
    ) -> DeleteBackupsPayload:
        if len(ids) > MOST_DELETED_AT_ONCE:
            raise InvalidInput(
                f"At most {MOST_DELETED_AT_ONCE} backups can be deleted at once, not {len(ids)}.",
                code="TOO_MANY_IDS",
                path=("ids",),
            )
        deletions = await service.delete_backups(
            info.context.parts.database,
            info.context.principal,
            ids=[(id, decode_id_of("Backup", id)) for id in dict.fromkeys(ids)],
            idempotency_key=idempotency_key,
        )
        return DeleteBackupsPayload(results=[_show_deletion(deletion) for deletion in deletions])


def _show_deletion(deletion: model.Deletion) -> DeleteBackupResult:
    refusal = deletion.refusal
    return DeleteBackupResult(
        id=strawberry.ID(deletion.id),
        accepted=refusal is None,
        backup=None if deletion.backup is None else Backup.of(deletion.backup),
        error=None if refusal is None else show(refusal),
    )
