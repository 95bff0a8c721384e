"""Downloads: one-time addresses that stream a backup's bytes."""

from datetime import datetime
from typing import Annotated

import strawberry

from app.api import access
from app.api.arguments import IdempotencyKey, name_id
from app.api.backups import Backup
from app.api.context import Info
from app.api.user_errors import UserError
from app.model import downloads as model
from app.model.access import Capability
from app.queries import backups as backups_queries
from app.service import downloads as service


@strawberry.type(description="A one-time address of a backup's bytes.")
class Download:
    address: str | None = strawberry.field(
        description="Where `GET` streams the bytes, once, without a key: keep it to yourself. It "
        "is relative to the URL of this GraphQL endpoint: `new URL(address, endpoint)`. Null "
        "where a call is repeated with its `idempotencyKey`: it is shown only once."
    )
    expires_at: datetime = strawberry.field(
        description="Until when it can be opened, 5 minutes after it was made. What streams then "
        "goes on to its end."
    )
    record: strawberry.Private[model.Download]

    @strawberry.field(
        description="The backup, with the `sizeBytes` and `sha256` of what is streamed."
    )
    async def backup(self, info: Info) -> Backup:
        found = await info.context.load(backups_queries.by_ids, self.record.backup_id)
        assert found is not None
        return Backup.of(found)


@strawberry.type(description="What `createDownload` answers.")
class CreateDownloadPayload:
    download: Download | None = strawberry.field(
        default=None, description="The download; null where it was refused."
    )
    errors: list[UserError] = strawberry.field(
        default_factory=list, description="Why it was refused; empty where it was not."
    )


@strawberry.type
class DownloadMutations:
    @access.mutation(
        Capability.DOWNLOAD,
        CreateDownloadPayload,
        description="Make an address that streams the bytes of a `LIVE` backup once. Every chunk "
        "of 4 MiB is checked against what was saved before it is sent, and the length is said "
        "before: a stream that ends short of it was cut, because the bytes were not right, "
        "Backblaze B2 failed or gave nothing for 60 s, or the client took less than 256 KiB in "
        "30 s. Then make another address. A stream has no deadline as a whole.",
    )
    async def create_download(
        self,
        info: Info,
        *,
        backup_id: Annotated[
            strawberry.ID, strawberry.argument(description="The backup; a `LIVE` one.")
        ],
        idempotency_key: IdempotencyKey = None,
    ) -> CreateDownloadPayload:
        made, address = await service.create_download(
            info.context.parts.database,
            info.context.principal,
            backup_id=name_id("Backup", backup_id),
            idempotency_key=idempotency_key,
        )
        download = Download(address=address, expires_at=made.expires_at, record=made)
        return CreateDownloadPayload(download=download)
