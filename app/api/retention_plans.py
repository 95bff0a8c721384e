"""What retention makes of backups: of each one, and as a dry run of a whole container."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Self
from uuid import UUID

import strawberry

from app.api.arguments import given
from app.api.context import Context, Info
from app.api.enums import CreationOrder
from app.api.nodes import Node, refer
from app.api.paging import Connection, read_page, show_page
from app.api.policies import BackupPolicyInput, read_policy
from app.model.backups import Backup, BackupState
from app.model.ids import describe_list
from app.model.paging import cut_slice, open_window
from app.model.policies import NewPolicy, check_policy
from app.model.retention import Verdict
from app.service import retention as service

CODES = (
    "Kept: `FILLS_SLOT` (of a `keep...`), `WITHIN_MAX_AGE`, `PINNED`, `LAST_GOOD` (the newest good "
    "one of its instance), `BEING_READ`, `YOUNG` (under 24 hours), `PLAN_REFUSED` (the rule would "
    "remove every backup of the container), `NO_POLICY`, `POLICY_OFF` (`enabled` is false). "
    "Removed: `FILLS_NO_SLOT`, `OLDER_THAN_MAX_AGE`. More may come."
)


@strawberry.type(description="What the retention of its container's policy makes of a backup.")
class BackupRetention:
    keep: bool = strawberry.field(
        description="It stays. False: it goes at the next look, which comes at least once a day."
    )
    code: str = strawberry.field(description=f"Why, in one word for programs. {CODES}")
    reason: str = strawberry.field(description="Why, in a sentence for a person.")

    @classmethod
    def of(cls, verdict: Verdict) -> Self:
        return cls(keep=verdict.keep, code=verdict.code, reason=verdict.reason)


async def find_verdict(context: Context, backup: Backup) -> Verdict | None:
    """What becomes of a LIVE backup; None of any other one."""
    if backup.state is not BackupState.LIVE:
        return None
    found = await context.load(service.plans, backup.container_id, None)
    planned = None if found is None else found.get(backup.id)
    return None if planned is None else planned[1]


async def show_retention(context: Context, backup: Backup) -> BackupRetention | None:
    """For one that retention took also why it did, in the words of then."""
    if backup.retention_code is not None and backup.retention_reason is not None:
        return BackupRetention(
            keep=False, code=backup.retention_code, reason=backup.retention_reason
        )
    verdict = await find_verdict(context, backup)
    return None if verdict is None else BackupRetention.of(verdict)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trial:
    """What a preview is asked for."""

    policy: NewPolicy | None
    """None: the container's own."""
    keep: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Planned:
    id: UUID
    created_at: datetime
    verdict: Verdict


@strawberry.type(description="What would become of one `LIVE` backup.")
class PlannedBackup:
    keep: bool = strawberry.field(description="It would stay.")
    code: str = strawberry.field(description=f"Why, in one word for programs. {CODES}")
    reason: str = strawberry.field(description="Why, in a sentence for a person.")
    expires_at: datetime | None = strawberry.field(
        description="When the rule takes it if nothing else changes; null where nothing would."
    )
    id: strawberry.Private[UUID]

    @classmethod
    def of(cls, planned: _Planned) -> Self:
        verdict = planned.verdict
        return cls(
            keep=verdict.keep,
            code=verdict.code,
            reason=verdict.reason,
            expires_at=verdict.expires_at,
            id=planned.id,
        )

    @strawberry.field(description="The backup.", graphql_type=refer("Backup", "app.api.backups"))
    async def backup(self, info: Info) -> Node | None:
        return await info.context.load_node("Backup", self.id)


PolicyToPreview = Annotated[
    BackupPolicyInput | None,
    strawberry.argument(
        description="The policy to try, as `configureBackups` would get it; where absent or null "
        "the one that the container has."
    ),
]
KeepToPreview = Annotated[
    bool | None,
    strawberry.argument(
        description="Only what would stay, or only what would go; both by default."
    ),
]


async def preview(
    context: Context,
    container_id: UUID,
    policy: BackupPolicyInput | None,
    *,
    keep: bool | None,
    first: int | None,
    after: str | None,
    last: int | None,
    before: str | None,
) -> Connection[PlannedBackup]:
    """A page of the dry run, the newest first. Raises InvalidInput for a policy that cannot be."""
    wanted = given(policy)
    trial = _Trial(policy=None if wanted is None else read_policy(wanted), keep=given(keep))
    if trial.policy is not None:
        check_policy(trial.policy)
    order = CreationOrder.NEWEST_FIRST
    scope = describe_list(f"container.retentionPreview:{container_id}", order, trial)
    page = read_page(scope, order, first=first, after=after, last=last, before=before)
    found = await context.load(service.plans, container_id, trial.policy)
    planned = [
        _Planned(id=candidate.id, created_at=candidate.created_at, verdict=verdict)
        for candidate, verdict in (found or {}).values()
        if trial.keep is None or verdict.keep is trial.keep
    ]
    window = open_window(page)
    lower, upper = (window.lower.at, window.lower.id), (window.upper.at, window.upper.id)
    inside: Sequence[_Planned] = [
        one for one in planned if lower < (one.created_at, one.id) < upper
    ]
    read = inside if window.newest_first else inside[::-1]

    async def count() -> int:
        return len(planned)

    return show_page(
        cut_slice(read[: window.limit], page), scope, show=PlannedBackup.of, count=count
    )
