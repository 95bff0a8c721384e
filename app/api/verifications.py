"""Verifications: proving that a backup could be put back."""

from collections.abc import AsyncGenerator
from datetime import datetime
from typing import Annotated, Self

import strawberry

from app.api import access
from app.api.arguments import IdempotencyKey, given, name_id
from app.api.context import Info, make_id
from app.api.failures import Failure, RequesterOfRun
from app.api.instances import Instance
from app.api.logs import DESCRIPTION as LOGS
from app.api.logs import LogEntryConnection, load_log
from app.api.nodes import Node, refer
from app.api.paging import After, Before, First, Last
from app.api.restores import Restore
from app.api.scalars import BigInt
from app.api.user_errors import UserError
from app.api.watching import watch_run
from app.model import verifications as model
from app.model.access import Capability
from app.model.progress import estimate
from app.model.verifications import ENDED, VerificationLevel, VerificationState
from app.queries import instances as instances_queries
from app.queries import restores as restores_queries
from app.queries import verifications as queries
from app.queries import waiting as waiting_queries
from app.service import verifications as service


@strawberry.type(description="How far a verification is, byte by byte.")
class VerificationProgress:
    bytes_checked: BigInt = strawberry.field(
        description="Bytes that were read from storage, compared, and handed to the command where "
        "there is one."
    )
    bytes_total: BigInt = strawberry.field(description="The size of the backup in bytes.")
    fraction: float = strawberry.field(
        description="`bytesChecked` over `bytesTotal`, 0 to 1. At 1 a command may still work."
    )
    bytes_per_second: BigInt | None = strawberry.field(
        description="The rate of the last seconds, in bytes a second; null where none is known yet."
    )
    eta: datetime | None = strawberry.field(
        description="When all bytes will be checked at this rate; null where it is not `RUNNING` "
        "or no rate is known."
    )
    eta_seconds: float | None = strawberry.field(
        description="The seconds from `updatedAt` to `eta`."
    )
    updated_at: datetime | None = strawberry.field(
        description="When these figures were true; null before the first byte."
    )

    @classmethod
    def of(cls, record: model.Verification) -> Self:
        rate = record.bytes_per_second
        estimated = estimate(
            done=record.bytes_checked,
            total=record.bytes_total,
            bytes_per_second=rate,
            at=record.progress_at,
            running=record.state is VerificationState.RUNNING,
        )
        return cls(
            bytes_checked=BigInt(record.bytes_checked),
            bytes_total=BigInt(record.bytes_total),
            fraction=estimated.fraction,
            bytes_per_second=None if rate is None else BigInt(rate),
            eta=estimated.done_at,
            eta_seconds=estimated.seconds_left,
            updated_at=record.progress_at,
        )


@strawberry.type(
    description="One attempt to prove a backup: `QUEUED`, `RUNNING`, then `PASSED`, `FAILED` or "
    "`CANCELED`. A backup whose last verification failed does not count as a good one."
)
class Verification(Node):
    level: VerificationLevel = strawberry.field(description="What is to be proven.")
    state: VerificationState = strawberry.field(description="Where it is.")
    progress: VerificationProgress = strawberry.field(description="How far it is.")
    exit_code: int | None = strawberry.field(
        description="What the last command exited with, 0 to 255; 128 and the number of a signal "
        "where one ended it; null where none has exited or that is unknown."
    )
    error: Failure | None = strawberry.field(
        description="Why it failed; null where it did not. `OBJECT_MISSING` and `OBJECT_MISMATCH` "
        "are about the object, `CHECK_FAILED`, `COMMAND_FAILED` and `INPUT_NOT_READ` about the "
        "commands, all others about what was in the way."
    )
    created_at: datetime = strawberry.field(description="When it was asked for.")
    started_at: datetime | None = strawberry.field(description="When a worker began with it.")
    finished_at: datetime | None = strawberry.field(description="When it ended.")
    requested_by: RequesterOfRun = strawberry.field(description="Who asked for it.")
    record: strawberry.Private[model.Verification]

    @classmethod
    def of(cls, record: model.Verification) -> Self:
        error = record.error
        return cls(
            id=make_id("Verification", record.id),
            level=record.level,
            state=record.state,
            progress=VerificationProgress.of(record),
            exit_code=record.exit_code,
            error=None if error is None else Failure.of(error.code, error.message),
            created_at=record.created_at,
            started_at=record.started_at,
            finished_at=record.finished_at,
            requested_by=RequesterOfRun.of(record.requested_by),
            record=record,
        )

    @strawberry.field(
        description="Why it waits while it is `QUEUED`, where it is for more than its turn: no "
        "worker that reaches its place has been seen, or its engine is `UNREACHABLE`. Null "
        "otherwise."
    )
    async def waiting_reason(self, info: Info) -> str | None:
        if self.record.state is not VerificationState.QUEUED:
            return None
        return await info.context.load(waiting_queries.reasons, self.record.id)

    @strawberry.field(
        description="The backup that is to be proven.",
        graphql_type=refer("Backup", "app.api.backups"),
    )
    async def backup(self, info: Info) -> Node | None:
        return await info.context.load_node("Backup", self.record.backup_id)

    @strawberry.field(
        description="The container of the backup and the instance.",
        graphql_type=refer("Container", "app.api.containers"),
    )
    async def container(self, info: Info) -> Node | None:
        return await info.context.load_node("Container", self.record.container_id)

    @strawberry.field(
        description="The instance in which commands run; null for `STORED`, or where it is gone."
    )
    async def instance(self, info: Info) -> Instance | None:
        id = self.record.instance_id
        found = None if id is None else await info.context.load(instances_queries.by_ids, id)
        return None if found is None else Instance.of(found)

    @strawberry.field(
        description="The restore into the scratch instance that proves a `RESTORABLE` one, with "
        "its phase; null for the other levels."
    )
    async def restore(self, info: Info) -> Restore | None:
        if self.record.level is not VerificationLevel.RESTORABLE:
            return None
        found = await info.context.load(restores_queries.by_ids, self.record.id)
        return None if found is None else Restore.of(found)

    @strawberry.field(description=LOGS)
    async def logs(
        self,
        info: Info,
        *,
        first: First = strawberry.UNSET,
        after: After = strawberry.UNSET,
        last: Last = strawberry.UNSET,
        before: Before = strawberry.UNSET,
    ) -> LogEntryConnection:
        return await load_log(
            info,
            self.record.id,
            truncated=self.record.log_truncated,
            total_bytes=self.record.log_bytes,
            first=first,
            after=after,
            last=last,
            before=before,
        )


@strawberry.input(description="Which verifications to list. What is absent or null narrows not.")
class VerificationFilter:
    levels: list[VerificationLevel] | None = strawberry.field(
        default=strawberry.UNSET, description="Only those on one of these levels."
    )
    states: list[VerificationState] | None = strawberry.field(
        default=strawberry.UNSET, description="Only those in one of these states."
    )


def read_filter(filter: VerificationFilter | None) -> model.VerificationFilter:
    if not isinstance(filter, VerificationFilter):
        return model.VerificationFilter()
    levels, states = given(filter.levels), given(filter.states)
    return model.VerificationFilter(
        levels=None if levels is None else tuple(levels),
        states=None if states is None else tuple(states),
    )


@strawberry.type(description="What `verifyBackup` answers.")
class VerifyBackupPayload:
    verification: Verification | None = strawberry.field(
        default=None,
        description="The verification, `QUEUED`; follow it by `verificationProgress` or by asking "
        "again. Null where it was refused.",
    )
    errors: list[UserError] = strawberry.field(
        default_factory=list, description="Why it was refused; empty where it was not."
    )


@strawberry.type(description="What `cancelVerification` answers.")
class CancelVerificationPayload:
    verification: Verification | None = strawberry.field(
        default=None,
        description="The verification as it is now: it ends as `CANCELED` once its command has "
        "been killed. Null where it was refused.",
    )
    errors: list[UserError] = strawberry.field(
        default_factory=list, description="Why it was refused; empty where it was not."
    )


@strawberry.type
class VerificationMutations:
    @access.mutation(
        Capability.VERIFY,
        VerifyBackupPayload,
        description="Prove a backup. Answers at once. Refused with the reason where it could not "
        "work: the backup is not `LIVE` (`BACKUP_NOT_LIVE`), its object is missing "
        "(`OBJECT_MISSING`), the policy names no check (`NO_CHECK_COMMAND`) or no restore command "
        "(`NO_RESTORE_COMMAND`), the backup command has changed since (`COMMAND_CHANGED`; "
        "`STORED` still works), no instance that would do is running (`NO_INSTANCE`, "
        "`INSTANCE_NOT_RUNNING`) or it is busy (`INSTANCE_BUSY`).",
    )
    async def verify_backup(
        self,
        info: Info,
        *,
        backup_id: Annotated[
            strawberry.ID, strawberry.argument(description="The backup; a `LIVE` one.")
        ],
        level: Annotated[
            VerificationLevel,
            strawberry.argument(
                description="`STORED`: every byte is read again from storage and compared. "
                "`READABLE`: the policy's `verification.check` accepts the stream on its stdin. "
                "`RESTORABLE`: the restore command puts it into a scratch instance, then a check "
                "accepts what is there (`verification.check` where that is for this level, else "
                "`restore.check`)."
            ),
        ] = VerificationLevel.STORED,
        instance_id: Annotated[
            strawberry.ID | None,
            strawberry.argument(
                description="Where the commands run: an instance of the backup's container, for "
                "`RESTORABLE` a scratch one (else `NOT_SCRATCH`); none for `STORED`. Where absent "
                "one is chosen: a scratch one first, then, for `READABLE`, the one that was saved."
            ),
        ] = strawberry.UNSET,
        idempotency_key: IdempotencyKey = None,
    ) -> VerifyBackupPayload:
        parts = info.context.parts
        instance = given(instance_id)
        verification = await service.verify_backup(
            parts.database,
            info.context.principal,
            backup_id=name_id("Backup", backup_id),
            level=level,
            instance_id=None if instance is None else name_id("Instance", instance),
            start_within=parts.start_within,
            idempotency_key=idempotency_key,
        )
        return VerifyBackupPayload(verification=Verification.of(verification))

    @access.mutation(
        Capability.CANCEL,
        CancelVerificationPayload,
        description="Cancel a verification that is `QUEUED` or `RUNNING`. Its command is killed "
        "without ever seeing a normal end of its input. It then says nothing about the backup.",
    )
    async def cancel_verification(
        self,
        info: Info,
        *,
        id: Annotated[strawberry.ID, strawberry.argument(description="The verification.")],
        idempotency_key: IdempotencyKey = None,
    ) -> CancelVerificationPayload:
        verification = await service.cancel_verification(
            info.context.parts.database,
            info.context.principal,
            id=name_id("Verification", id),
            idempotency_key=idempotency_key,
        )
        return CancelVerificationPayload(verification=Verification.of(verification))


@strawberry.type
class VerificationSubscriptions:
    @access.subscription(
        Capability.READ,
        description="Follow a verification as `restoreProgress` follows a restore: its current "
        "state first, then every change (at most 4 a second, the newest wins), then the state that "
        "ended it. An id that is none of your hub's is a `NOT_FOUND` error.",
    )
    async def verification_progress(
        self,
        info: Info,
        *,
        verification_id: Annotated[
            strawberry.ID, strawberry.argument(description="The verification.")
        ],
    ) -> AsyncGenerator[Verification, None]:
        id = name_id("Verification", verification_id)
        async for found in watch_run(
            info.context, id, fetch=queries.by_ids, ended=lambda found: found.state in ENDED
        ):
            yield Verification.of(found)
