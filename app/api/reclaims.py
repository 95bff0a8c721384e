"""Reclaims: what is still to be removed from storage."""

from datetime import datetime, timedelta
from typing import Self

import strawberry

from app.api.backups import Backup
from app.api.context import Info, make_id
from app.api.failures import Failure
from app.api.integrations import Integration
from app.api.nodes import Node
from app.api.scalars import BigInt
from app.model import reclaims as model
from app.queries import backups as backups_queries
from app.queries import integrations as integrations_queries


@strawberry.type(
    description="A promise to remove something from Backblaze B2. It is kept, however often that "
    "has to be tried, once a listing of the bucket no longer shows it."
)
class Reclaim(Node):
    kind: str = strawberry.field(
        description="What is removed. `OBJECT`: one version by its id; `UPLOAD`: an unfinished "
        "upload by its id; `NAME`: whatever bears exactly this name. More may come."
    )
    name: str = strawberry.field(description="The object's whole name in the bucket.")
    created_at: datetime = strawberry.field(description="When it was promised.")
    age: timedelta = strawberry.field(description="How long ago that was.")
    attempts: BigInt = strawberry.field(description="How often it was tried since it last worked.")
    last_error: Failure | None = strawberry.field(
        description="Why the last attempt failed; null where none did."
    )
    next_attempt_at: datetime = strawberry.field(
        description="When it is tried (again) at the earliest; what a run reads waits for its end."
    )
    confirmed_at: datetime | None = strawberry.field(
        description="When it was found to be gone for the first time: a name is looked up once "
        "more a day later. Null where it was not yet."
    )
    stuck_since: datetime | None = strawberry.field(
        description="Since when it counts as stuck: 8 attempts have failed, or 6 hours of them. "
        "Null where it does not."
    )
    record: strawberry.Private[model.Reclaim]

    @classmethod
    def of(cls, record: model.Reclaim) -> Self:
        return cls(
            id=make_id("Reclaim", record.id),
            kind=record.kind,
            name=record.name,
            created_at=record.created_at,
            age=record.age,
            attempts=BigInt(record.attempts),
            last_error=Failure.of(record.error_code, record.error_message),
            next_attempt_at=record.next_attempt_at,
            confirmed_at=record.confirmed_at,
            stuck_since=record.stuck_at,
            record=record,
        )

    @strawberry.field(
        description="The backup that it belongs to; null where it belongs to none, or the record "
        "is gone."
    )
    async def backup(self, info: Info) -> Backup | None:
        id = self.record.backup_id
        found = None if id is None else await info.context.load(backups_queries.by_ids, id)
        return None if found is None else Backup.of(found)

    @strawberry.field(description="Whose bucket it is in; null where the record is gone.")
    async def integration(self, info: Info) -> Integration | None:
        id = self.record.integration_id
        found = await info.context.load(integrations_queries.by_ids, id)
        return None if found is None else Integration.of(found)
