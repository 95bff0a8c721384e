"""Objects of backups in Backblaze B2, as they were seen last or are seen now."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Self
from uuid import UUID

import strawberry

from app.api.context import Context
from app.api.failures import Failure
from app.errors import GatewayError
from app.model.backups import Backup, StorageStatus
from app.model.runs import RunError
from app.model.stored_objects import ExpectedObject, Look, advise
from app.service import stored_objects as service
from app.transfer.objects import Objects


@strawberry.type(description="What is known of a backup's object in Backblaze B2.")
class BackupStorage:
    status: StorageStatus = strawberry.field(
        description="What was found. A `MISMATCH` stays until all bytes were read and found to be "
        "right after all, as by a whole download."
    )
    advice: str | None = strawberry.field(
        description="A sentence that says what to do about it; null where there is nothing to do."
    )
    checked_at: datetime | None = strawberry.field(
        description="When somebody looked last; null where nobody did."
    )
    error: Failure | None = strawberry.field(
        description="With `live: true`, why Backblaze B2 could not be asked now: then `status` and "
        "`checkedAt` are those of the last look. Null else."
    )

    @classmethod
    def of(cls, look: Look) -> Self:
        error = look.error
        return cls(
            status=look.status,
            advice=advise(look.status),
            checked_at=look.checked_at,
            error=None if error is None else Failure.of(error.code, error.message),
        )


async def look_at(context: Context, backup: Backup, *, live: bool) -> Look:
    """What the record says, or what B2 says now of a LIVE backup's object."""
    known = Look(status=backup.storage_status, checked_at=backup.storage_checked_at)
    if not live:
        return known
    found = await context.work(look_now, backup.id)
    if found is None:
        return known
    return Look(
        status=found.status if found.error is None else known.status,
        checked_at=found.checked_at if found.error is None else known.checked_at,
        error=found.error,
    )


async def look_now(context: Context, ids: Sequence[UUID]) -> Mapping[UUID, Look]:
    """Ask B2 about many backups at once, and keep what it said. Those not LIVE are left out."""
    parts, hub_id = context.parts, context.hub_id
    found = await service.find_objects(parts.database, hub_id, ids, sealer=parts.sealer)
    answers = dict(
        zip(
            found,
            await asyncio.gather(*(_ask(parts.objects, wanted) for wanted in found.values())),
            strict=True,
        )
    )
    seen = {id: answer for id, answer in answers.items() if isinstance(answer, StorageStatus)}
    looks = await service.record_looks(parts.database, hub_id, seen) if seen else {}
    failed = {
        id: Look(
            status=StorageStatus.UNCHECKED,
            checked_at=None,
            error=RunError(code=answer.code, message=answer.message),
        )
        for id, answer in answers.items()
        if isinstance(answer, GatewayError)
    }
    return {**looks, **failed}


async def _ask(
    objects: Objects, wanted: ExpectedObject | GatewayError
) -> StorageStatus | GatewayError:
    if isinstance(wanted, GatewayError):
        return wanted
    try:
        return await objects.look(wanted)
    except GatewayError as error:
        return error
