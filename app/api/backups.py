"""Backups: what was saved of a container's instances."""

from datetime import datetime, timedelta
from typing import Annotated, Self

import strawberry

from app.api import access
from app.api.arguments import filter_id, given
from app.api.context import Info, make_id
from app.api.enums import CreationOrder
from app.api.failures import Failure, RequesterOfRun
from app.api.instances import Instance
from app.api.integrations import Integration
from app.api.logs import DESCRIPTION as LOGS
from app.api.logs import LogEntryConnection, load_log
from app.api.nodes import Node, refer
from app.api.paging import (
    After,
    Before,
    Connection,
    First,
    Last,
    OrderBy,
    read_page,
    show_page,
)
from app.api.restores import Restore, RestoreFilter
from app.api.restores import read_filter as read_restore_filter
from app.api.retention_plans import BackupRetention, find_verdict, show_retention
from app.api.scalars import BigInt
from app.api.stored_objects import BackupStorage, look_at
from app.api.verifications import Verification, VerificationFilter
from app.api.verifications import read_filter as read_verification_filter
from app.model import backups as model
from app.model.access import Capability
from app.model.backups import BackupState, BackupTrigger
from app.model.ids import decode_id_of, describe_list
from app.queries import backups as queries
from app.queries import instances as instances_queries
from app.queries import integrations as integrations_queries
from app.queries import restores as restores_queries
from app.queries import verifications as verifications_queries
from app.queries import waiting as waiting_queries


@strawberry.type(description="The commands of a backup's time, as the policy had them then.")
class Commands:
    backup: str = strawberry.field(description="The command that made it.")
    restore: str | None = strawberry.field(
        description="The restore command of that time; null where there was none. A restore runs "
        "the container's present one."
    )


@strawberry.type(description="Where a backup's object is.")
class BackupTarget:
    bucket: str = strawberry.field(description="The name of the bucket.")
    path: str | None = strawberry.field(
        description="The full name of the object in the bucket; null before it has one."
    )
    file_id: str | None = strawberry.field(
        description="What Backblaze B2 calls this version of the object; null before it is there."
    )
    record: strawberry.Private[model.Backup]

    @strawberry.field(description="The connection that it was saved through.")
    async def integration(self, info: Info) -> Integration:
        found = await info.context.load(integrations_queries.by_ids, self.record.integration_id)
        assert found is not None
        return Integration.of(found)


@strawberry.type(description="How far a backup is. How large it will be is not known before.")
class BackupProgress:
    bytes_read: BigInt = strawberry.field(description="Bytes read from the backup command.")
    bytes_stored: BigInt = strawberry.field(description="Bytes that Backblaze B2 confirmed.")
    bytes_per_second: BigInt | None = strawberry.field(
        description="The rate of the last seconds, in bytes a second; null where none is known yet."
    )
    updated_at: datetime | None = strawberry.field(
        description="When these figures were true; null before the first byte."
    )


@strawberry.type(
    description="One attempt to save one instance: `QUEUED`, `SAVING`, `LIVE`, `DELETING`, "
    "`DELETED`; or `FAILED`, `CANCELED`, `SKIPPED`. Only a `LIVE` one can be restored."
)
class Backup(Node):
    instance_hostname: str = strawberry.field(
        description="The hostname of the instance that was saved; stays when that is gone. Empty "
        "where a scheduled backup found no instance at all."
    )
    state: BackupState = strawberry.field(description="Where it is in its life.")
    trigger: BackupTrigger = strawberry.field(description="Why it was made.")
    created_at: datetime = strawberry.field(description="When it was asked for.")
    started_at: datetime | None = strawberry.field(description="When a worker began with it.")
    finished_at: datetime | None = strawberry.field(
        description="When it became `LIVE` or ended otherwise."
    )
    duration: timedelta | None = strawberry.field(
        description="How long it took, from `startedAt` to `finishedAt`; null before."
    )
    size_bytes: BigInt | None = strawberry.field(
        description="The exact size of its object in bytes; null where it never was `LIVE`."
    )
    sha256: str | None = strawberry.field(
        description="The SHA-256 of its bytes, 64 hexadecimal digits; null where it never was "
        "`LIVE`."
    )
    size_dropped: bool = strawberry.field(
        description="It has under half of the bytes that the last five `LIVE` backups of its "
        "instance had in the middle (the median; of fewer where there are fewer)."
    )
    exit_code: int | None = strawberry.field(
        description="What the backup command exited with, 0 to 255; 128 and the number of a signal "
        "where one ended it; null where it has not exited or that is unknown."
    )
    error: Failure | None = strawberry.field(
        description="Why it failed or was skipped; null where it was not."
    )
    target: BackupTarget = strawberry.field(description="Where its object is.")
    pinned: bool = strawberry.field(
        description="It is not deleted by itself: `deleteBackups` refuses it. Its container can "
        "still be deleted, and takes it along."
    )
    note: str | None = strawberry.field(
        description="What somebody wrote about it; null where nobody did."
    )
    progress: BackupProgress = strawberry.field(description="How far it is.")
    requested_by: RequesterOfRun = strawberry.field(description="Who asked for it.")
    deletion_requested_by: RequesterOfRun | None = strawberry.field(
        description="Who deleted it: a key by `deleteBackups`, or the `GATEWAY` by the retention "
        "of the policy; null where nobody did and where it goes with its container."
    )
    record: strawberry.Private[model.Backup]

    @classmethod
    def of(cls, record: model.Backup) -> Self:
        size, error, rate = record.size_bytes, record.error, record.bytes_per_second
        started, finished = record.started_at, record.finished_at
        return cls(
            id=make_id("Backup", record.id),
            instance_hostname=record.instance_hostname,
            state=record.state,
            trigger=record.trigger,
            created_at=record.created_at,
            started_at=started,
            finished_at=finished,
            duration=finished - started if started and finished else None,
            size_bytes=None if size is None else BigInt(size),
            sha256=None if record.sha256 is None else record.sha256.hex(),
            size_dropped=record.size_dropped,
            exit_code=record.exit_code,
            error=None if error is None else Failure.of(error.code, error.message),
            target=BackupTarget(
                bucket=record.bucket, path=record.object_name, file_id=record.file_id, record=record
            ),
            pinned=record.pinned,
            note=record.note,
            progress=BackupProgress(
                bytes_read=BigInt(record.bytes_read),
                bytes_stored=BigInt(record.bytes_stored),
                bytes_per_second=None if rate is None else BigInt(rate),
                updated_at=record.progress_at,
            ),
            requested_by=RequesterOfRun.of(record.requested_by),
            deletion_requested_by=None
            if record.deletion_requested_by is None
            else RequesterOfRun.of(record.deletion_requested_by),
            record=record,
        )

    @strawberry.field(
        description="Why it waits while it is `QUEUED`, where it is for more than its turn: no "
        "worker that reaches its place has been seen, or its engine is `UNREACHABLE`. Null "
        "otherwise."
    )
    async def waiting_reason(self, info: Info) -> str | None:
        if self.record.state is not BackupState.QUEUED:
            return None
        return await info.context.load(waiting_queries.reasons, self.record.id)

    @strawberry.field(
        description="The container that it belongs to.",
        graphql_type=refer("Container", "app.api.containers"),
    )
    async def container(self, info: Info) -> Node | None:
        return await info.context.load_node("Container", self.record.container_id)

    @strawberry.field(description="The instance that was saved; null where it is gone.")
    async def instance(self, info: Info) -> Instance | None:
        id = self.record.instance_id
        found = None if id is None else await info.context.load(instances_queries.by_ids, id)
        return None if found is None else Instance.of(found)

    @strawberry.field(
        description="The commands of its time. Needs the capability `READ_COMMANDS`: without it "
        "null, with a `FORBIDDEN` error at this field."
    )
    def commands(self, info: Info) -> Commands | None:
        info.context.principal.require(Capability.READ_COMMANDS)
        return Commands(backup=self.record.backup_command, restore=self.record.restore_command)

    @strawberry.field(
        description="Whether its object is still in Backblaze B2. Only a `LIVE` backup has one."
    )
    async def storage(
        self,
        info: Info,
        *,
        live: Annotated[
            bool,
            strawberry.argument(
                description="Ask Backblaze B2 now, within 5 seconds, and keep what it says: "
                "whether the object is there under its name and with its size; its bytes are not "
                "read. Else answer what was seen last."
            ),
        ] = False,
    ) -> BackupStorage:
        return BackupStorage.of(await look_at(info.context, self.record, live=live))

    @strawberry.field(
        description="What the retention of its container's policy makes of it: whether it stays, "
        "and why. For one that retention has removed, why it did. Null for others that are not "
        "`LIVE`."
    )
    async def retention(self, info: Info) -> BackupRetention | None:
        return await show_retention(info.context, self.record)

    @strawberry.field(
        description="When retention takes it if nothing else changes; a newer backup may take its "
        "slot earlier. Null where nothing takes it as things stand: pinned, the last good one of "
        "its instance, no policy, or not `LIVE`."
    )
    async def expires_at(self, info: Info) -> datetime | None:
        verdict = await find_verdict(info.context, self.record)
        return None if verdict is None else verdict.expires_at

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

    @strawberry.field(description="The restores that put this backup back.")
    async def restores(
        self,
        info: Info,
        *,
        filter: Annotated[
            RestoreFilter | None, strawberry.argument(description="Which of them; all by default.")
        ] = strawberry.UNSET,
        order_by: OrderBy = CreationOrder.NEWEST_FIRST,
        first: First = strawberry.UNSET,
        after: After = strawberry.UNSET,
        last: Last = strawberry.UNSET,
        before: Before = strawberry.UNSET,
    ) -> Connection[Restore]:
        id = self.record.id
        wanted = read_restore_filter(filter)
        scope = describe_list(f"backup.restores:{id}", order_by, wanted)
        page = read_page(scope, order_by, first=first, after=after, last=last, before=before)
        found = await info.context.load(restores_queries.pages_by_backup, id, wanted, page)
        return show_page(
            found,
            scope,
            show=Restore.of,
            count=lambda: info.context.load(restores_queries.counts_by_backup, id, wanted),
        )

    @strawberry.field(
        description="The last attempt to prove it, whatever became of that; null where there was "
        "none."
    )
    async def verification(self, info: Info) -> Verification | None:
        found = await info.context.load(verifications_queries.last_by_backup, self.record.id)
        return None if found is None else Verification.of(found)

    @strawberry.field(description="All attempts to prove it.")
    async def verifications(
        self,
        info: Info,
        *,
        filter: Annotated[
            VerificationFilter | None,
            strawberry.argument(description="Which of them; all by default."),
        ] = strawberry.UNSET,
        order_by: OrderBy = CreationOrder.NEWEST_FIRST,
        first: First = strawberry.UNSET,
        after: After = strawberry.UNSET,
        last: Last = strawberry.UNSET,
        before: Before = strawberry.UNSET,
    ) -> Connection[Verification]:
        id = self.record.id
        wanted = read_verification_filter(filter)
        scope = describe_list(f"backup.verifications:{id}", order_by, wanted)
        page = read_page(scope, order_by, first=first, after=after, last=last, before=before)
        found = await info.context.load(verifications_queries.pages_by_backup, id, wanted, page)
        return show_page(
            found,
            scope,
            show=Verification.of,
            count=lambda: info.context.load(verifications_queries.counts_by_backup, id, wanted),
        )


@strawberry.input(description="Which backups to list. What is absent or null does not narrow.")
class BackupFilter:
    states: list[BackupState] | None = strawberry.field(
        default=strawberry.UNSET,
        description="Only those in one of these states; where absent, all but `DELETED`.",
    )
    instance_id: strawberry.ID | None = strawberry.field(
        default=strawberry.UNSET, description="Only those of this instance."
    )
    trigger: BackupTrigger | None = strawberry.field(
        default=strawberry.UNSET, description="Only those made for this reason."
    )
    created_after: datetime | None = strawberry.field(
        default=strawberry.UNSET, description="Only those asked for at this moment or later."
    )
    created_before: datetime | None = strawberry.field(
        default=strawberry.UNSET, description="Only those asked for before this moment."
    )


def read_filter(filter: BackupFilter | None) -> model.BackupFilter:
    if not isinstance(filter, BackupFilter):
        return model.BackupFilter()
    states = given(filter.states)
    return model.BackupFilter(
        # In one order: a cursor goes on where the same ones are named in another.
        states=None if states is None else tuple(sorted(set(states))),
        instance_id=filter_id("Instance", filter.instance_id),
        trigger=given(filter.trigger),
        created_after=given(filter.created_after),
        created_before=given(filter.created_before),
    )


@strawberry.type
class BackupQueries:
    @access.query(
        Capability.READ, description="One backup; null where your hub has none with this id."
    )
    async def backup(
        self,
        info: Info,
        *,
        id: Annotated[strawberry.ID, strawberry.argument(description="The id of a backup.")],
    ) -> Backup | None:
        decoded = decode_id_of("Backup", id)
        found = None if decoded is None else await info.context.load(queries.by_ids, decoded)
        return None if found is None else Backup.of(found)
