"""Restores: putting a backup into an instance, and watching it."""

from collections.abc import AsyncGenerator
from datetime import datetime
from typing import Annotated, Self

import strawberry

from app.api import access
from app.api.arguments import IdempotencyKey, filter_id, given, name_id
from app.api.context import Info, make_id
from app.api.failures import Failure, RequesterOfRun
from app.api.instances import Instance
from app.api.logs import DESCRIPTION as LOGS
from app.api.logs import LogEntryConnection, load_log
from app.api.nodes import Node, refer
from app.api.paging import After, Before, First, Last
from app.api.scalars import BigInt
from app.api.user_errors import UserError
from app.api.watching import watch_run
from app.model import restores as model
from app.model.access import Capability
from app.model.ids import decode_id_of
from app.model.progress import estimate
from app.model.restores import ENDED, RestorePhase, RestoreState, RestoreTrigger
from app.queries import instances as instances_queries
from app.queries import restores as queries
from app.queries import waiting as waiting_queries
from app.service import restores as service


@strawberry.type(description="How far a restore is, byte by byte.")
class RestoreProgress:
    bytes_delivered: BigInt = strawberry.field(
        description="Bytes that were handed to the restore command."
    )
    bytes_total: BigInt = strawberry.field(description="The size of the backup in bytes.")
    fraction: float = strawberry.field(
        description="`bytesDelivered` over `bytesTotal`, 0 to 1. At 1 the command may still work: "
        "see `phase`."
    )
    bytes_per_second: BigInt | None = strawberry.field(
        description="The rate of the last seconds, in bytes a second; null where none is known yet."
    )
    eta: datetime | None = strawberry.field(
        description="When all bytes will be delivered at this rate; null where it is not `RUNNING` "
        "or no rate is known."
    )
    eta_seconds: float | None = strawberry.field(
        description="The seconds from `updatedAt` to `eta`."
    )
    updated_at: datetime | None = strawberry.field(
        description="When these figures were true; null before the first byte."
    )

    @classmethod
    def of(cls, record: model.Restore) -> Self:
        estimated = estimate(
            done=record.bytes_delivered,
            total=record.bytes_total,
            bytes_per_second=record.bytes_per_second,
            at=record.progress_at,
            running=record.state is RestoreState.RUNNING,
        )
        rate = record.bytes_per_second
        return cls(
            bytes_delivered=BigInt(record.bytes_delivered),
            bytes_total=BigInt(record.bytes_total),
            fraction=estimated.fraction,
            bytes_per_second=None if rate is None else BigInt(rate),
            eta=estimated.done_at,
            eta_seconds=estimated.seconds_left,
            updated_at=record.progress_at,
        )


@strawberry.type(
    description="One attempt to put a backup into an instance: `QUEUED`, `RUNNING`, then "
    "`SUCCEEDED`, `FAILED` or `CANCELED`. It is never repeated by itself once a byte reached its "
    "command."
)
class Restore(Node):
    state: RestoreState = strawberry.field(description="Where it is.")
    trigger: RestoreTrigger = strawberry.field(description="Why it is made.")
    phase: RestorePhase = strawberry.field(
        description="What it is doing; once it ended, what it did last."
    )
    progress: RestoreProgress = strawberry.field(description="How far it is.")
    exit_code: int | None = strawberry.field(
        description="What the restore command exited with, or the check where one ran after it, "
        "0 to 255; 128 and the number of a signal where one ended it; null where none has exited "
        "or that is unknown."
    )
    error: Failure | None = strawberry.field(description="Why it failed; null where it did not.")
    created_at: datetime = strawberry.field(description="When it was asked for.")
    started_at: datetime | None = strawberry.field(description="When a worker began with it.")
    finished_at: datetime | None = strawberry.field(description="When it ended.")
    requested_by: RequesterOfRun = strawberry.field(description="Who asked for it.")
    record: strawberry.Private[model.Restore]

    @classmethod
    def of(cls, record: model.Restore) -> Self:
        error = record.error
        return cls(
            id=make_id("Restore", record.id),
            state=record.state,
            trigger=record.trigger,
            phase=record.phase,
            progress=RestoreProgress.of(record),
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
        if self.record.state is not RestoreState.QUEUED:
            return None
        return await info.context.load(waiting_queries.reasons, self.record.id)

    @strawberry.field(
        description="The backup that is put back.",
        graphql_type=refer("Backup", "app.api.backups"),
    )
    async def backup(self, info: Info) -> Node | None:
        return await info.context.load_node("Backup", self.record.backup_id)

    @strawberry.field(
        description="The container that the instance belongs to.",
        graphql_type=refer("Container", "app.api.containers"),
    )
    async def container(self, info: Info) -> Node | None:
        return await info.context.load_node("Container", self.record.container_id)

    @strawberry.field(
        description="The save of the instance that comes first (see `safetyBackup` of "
        "`restoreBackup`): a backup with the trigger `PRE_RESTORE`. Null where none was asked for. "
        "The restore does not begin before it is `LIVE`, and fails with `SAFETY_BACKUP_FAILED` "
        "where it never is; then nothing in the instance was touched.",
        graphql_type=refer("Backup", "app.api.backups") | None,
    )
    async def safety_backup(self, info: Info) -> Node | None:
        id = self.record.safety_backup_id
        return None if id is None else await info.context.load_node("Backup", id)

    @strawberry.field(description="The instance that it goes into; null where it is gone.")
    async def instance(self, info: Info) -> Instance | None:
        found = await info.context.load(instances_queries.by_ids, self.record.instance_id)
        return None if found is None else Instance.of(found)

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


@strawberry.input(description="Which restores to list. What is absent or null does not narrow.")
class RestoreFilter:
    states: list[RestoreState] | None = strawberry.field(
        default=strawberry.UNSET, description="Only those in one of these states."
    )
    instance_id: strawberry.ID | None = strawberry.field(
        default=strawberry.UNSET, description="Only those into this instance."
    )
    created_after: datetime | None = strawberry.field(
        default=strawberry.UNSET, description="Only those asked for at this moment or later."
    )
    created_before: datetime | None = strawberry.field(
        default=strawberry.UNSET, description="Only those asked for before this moment."
    )


def read_filter(filter: RestoreFilter | None) -> model.RestoreFilter:
    if not isinstance(filter, RestoreFilter):
        return model.RestoreFilter()
    states = given(filter.states)
    return model.RestoreFilter(
        # In one order: a cursor goes on where the same ones are named in another.
        states=None if states is None else tuple(sorted(set(states))),
        instance_id=filter_id("Instance", filter.instance_id),
        created_after=given(filter.created_after),
        created_before=given(filter.created_before),
    )


@strawberry.type(description="What `restoreBackup` answers.")
class RestoreBackupPayload:
    restore: Restore | None = strawberry.field(
        default=None,
        description="The restore, `QUEUED`; follow it by `restoreProgress` or by asking again. "
        "Null where it was refused.",
    )
    errors: list[UserError] = strawberry.field(
        default_factory=list, description="Why it was refused; empty where it was not."
    )


@strawberry.type(description="What `cancelRestore` answers.")
class CancelRestorePayload:
    restore: Restore | None = strawberry.field(
        default=None,
        description="The restore as it is now: it ends as `CANCELED` once its command has been "
        "killed. Null where it was refused.",
    )
    errors: list[UserError] = strawberry.field(
        default_factory=list, description="Why it was refused; empty where it was not."
    )


@strawberry.type
class RestoreQueries:
    @access.query(
        Capability.READ, description="One restore; null where your hub has none with this id."
    )
    async def restore(
        self,
        info: Info,
        *,
        id: Annotated[strawberry.ID, strawberry.argument(description="The id of a restore.")],
    ) -> Restore | None:
        decoded = decode_id_of("Restore", id)
        found = None if decoded is None else await info.context.load(queries.by_ids, decoded)
        return None if found is None else Restore.of(found)


@strawberry.type
class RestoreMutations:
    @access.mutation(
        Capability.RESTORE,
        RestoreBackupPayload,
        description="Put a backup into an instance, with the container's restore command as it is "
        "now, and then its `restore.check`, if it has one: where that fails, so does the restore "
        "(`CHECK_FAILED`). Answers at once. Refused with the reason where it could not work: the "
        "backup is not `LIVE` (`BACKUP_NOT_LIVE`), its object is missing or different, the policy "
        "has no restore command, the instance is not running or busy, and as the arguments say.",
    )
    async def restore_backup(
        self,
        info: Info,
        *,
        backup_id: Annotated[
            strawberry.ID, strawberry.argument(description="The backup; a `LIVE` one.")
        ],
        instance_id: Annotated[
            strawberry.ID, strawberry.argument(description="The instance to put it into.")
        ],
        allow_other_container: Annotated[
            bool,
            strawberry.argument(
                description="The instance may belong to another container than the backup; needs "
                "`RESTORE_ELSEWHERE`. Else refused with `OTHER_CONTAINER`."
            ),
        ] = False,
        accept_changed_command: Annotated[
            bool,
            strawberry.argument(
                description="The container's backup command may have changed since the backup was "
                "made. Else refused with `COMMAND_CHANGED`."
            ),
        ] = False,
        safety_backup: Annotated[
            bool | None,
            strawberry.argument(
                description="Save the instance first (phase `SAVING_TARGET`), with the container's "
                "backup command, and do not begin the restore where that fails. Nothing else gets "
                "into the instance in between. Where absent, as the policy's "
                "`restore.safetyBackup` says."
            ),
        ] = strawberry.UNSET,
        idempotency_key: IdempotencyKey = None,
    ) -> RestoreBackupPayload:
        parts = info.context.parts
        restore = await service.restore_backup(
            parts.database,
            info.context.principal,
            backup_id=name_id("Backup", backup_id),
            instance_id=name_id("Instance", instance_id),
            allow_other_container=allow_other_container,
            accept_changed_command=accept_changed_command,
            safety_backup=given(safety_backup),
            start_within=parts.start_within,
            idempotency_key=idempotency_key,
        )
        return RestoreBackupPayload(restore=Restore.of(restore))

    @access.mutation(
        Capability.CANCEL,
        CancelRestorePayload,
        description="Cancel a restore. Its command is killed without ever seeing a normal end of "
        "its input; the instance may hold part of the backup.",
    )
    async def cancel_restore(
        self,
        info: Info,
        *,
        id: Annotated[strawberry.ID, strawberry.argument(description="The restore.")],
        idempotency_key: IdempotencyKey = None,
    ) -> CancelRestorePayload:
        restore = await service.cancel_restore(
            info.context.parts.database,
            info.context.principal,
            id=name_id("Restore", id),
            idempotency_key=idempotency_key,
        )
        return CancelRestorePayload(restore=Restore.of(restore))


@strawberry.type
class RestoreSubscriptions:
    @access.subscription(
        Capability.READ,
        description="Follow a restore: its current state first, then every change that shows in "
        "the fields you select (at most 4 a second, the newest wins), then the state that ended "
        "it, even where the fields are the same; then the subscription completes. After a lost "
        "connection subscribe again: nothing that matters is lost. An id that is none of your "
        "hub's is a `NOT_FOUND` error.",
    )
    async def restore_progress(
        self,
        info: Info,
        *,
        restore_id: Annotated[strawberry.ID, strawberry.argument(description="The restore.")],
    ) -> AsyncGenerator[Restore, None]:
        id = name_id("Restore", restore_id)
        async for found in watch_run(
            info.context, id, fetch=queries.by_ids, ended=lambda restore: restore.state in ENDED
        ):
            yield Restore.of(found)
