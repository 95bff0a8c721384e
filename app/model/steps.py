"""Steps: the moments of background work at which a crash must leave nothing wrong, by name."""

from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import TypeAlias


class Step(StrEnum):
    """Each is passed once its own effect is durable, and before the next one is begun."""

    BACKUP_CLAIMED = "BACKUP_CLAIMED"
    """The run and the lease of its instance are ours."""
    BACKUP_STARTED = "BACKUP_STARTED"
    """What the former owner left is dead; the object's name is recorded."""
    BACKUP_COMMAND_STARTED = "BACKUP_COMMAND_STARTED"
    """What finds the command's processes again is recorded."""
    BACKUP_UPLOAD_STARTED = "BACKUP_UPLOAD_STARTED"
    """The unfinished upload's id is recorded."""
    BACKUP_OBJECT_STORED = "BACKUP_OBJECT_STORED"
    """The command ended well and its object is whole in the bucket, without a manifest."""
    BACKUP_TRANSFERRED = "BACKUP_TRANSFERRED"
    """Object and manifest are in the bucket; the record does not know it."""
    BACKUP_RECORDED = "BACKUP_RECORDED"
    """The run has ended, one way or the other."""

    RESTORE_CLAIMED = "RESTORE_CLAIMED"
    RESTORE_STARTED = "RESTORE_STARTED"
    RESTORE_COMMAND_STARTED = "RESTORE_COMMAND_STARTED"
    RESTORE_TOUCHED = "RESTORE_TOUCHED"
    """It is recorded that bytes reach the command from now on."""
    RESTORE_DELIVERED = "RESTORE_DELIVERED"
    """Every byte was handed over, the end mark was not."""
    RESTORE_TRANSFERRED = "RESTORE_TRANSFERRED"
    """The command ended well; the record does not know it."""
    RESTORE_RECORDED = "RESTORE_RECORDED"

    SAFETY_BACKUP_BEGUN = "SAFETY_BACKUP_BEGUN"
    """In a restore: the save of its target has its object's name; no command was started."""
    SAFETY_BACKUP_RECORDED = "SAFETY_BACKUP_RECORDED"
    """The target is saved, and its record says so; nothing of the restore has begun."""

    VERIFICATION_CLAIMED = "VERIFICATION_CLAIMED"
    VERIFICATION_STARTED = "VERIFICATION_STARTED"
    VERIFICATION_COMMAND_STARTED = "VERIFICATION_COMMAND_STARTED"
    VERIFICATION_TRANSFERRED = "VERIFICATION_TRANSFERRED"
    """The object was read and accepted; the record does not know it."""
    VERIFICATION_RECORDED = "VERIFICATION_RECORDED"

    RECLAIM_TAKEN = "RECLAIM_TAKEN"
    RECLAIM_REMOVED = "RECLAIM_REMOVED"
    """B2 has confirmed the removal; the record does not know it."""
    RECLAIM_SETTLED = "RECLAIM_SETTLED"

    OWNER_TURN_BEGUN = "OWNER_TURN_BEGUN"
    """The only turn to read and advance the owner object is ours."""
    OWNER_MARK_ISSUED = "OWNER_MARK_ISSUED"
    """The next version's mark is known; the bucket does not hold it."""
    OWNER_WRITTEN = "OWNER_WRITTEN"
    """The bucket holds two versions of ours; the record does not know the new one."""
    OWNER_CONFIRMED = "OWNER_CONFIRMED"
    """The record knows the new version; the old one is still there."""

    CASCADE_MARKING = "CASCADE_MARKING"
    """In a gateway: all that goes is marked, in a transaction that is not committed."""
    CASCADE_MARKED = "CASCADE_MARKED"
    """In a gateway: it is committed; whoever asked for it has no answer."""
    CASCADE_CANCEL_HEARD = "CASCADE_CANCEL_HEARD"
    """A run was told to end, and its command was not."""
    CASCADE_CONTAINER_ENDED = "CASCADE_CONTAINER_ENDED"
    CASCADE_PLACE_FREED = "CASCADE_PLACE_FREED"
    """The owner object of an integration that goes is removed; its key is still there."""
    CASCADE_INTEGRATION_ENDED = "CASCADE_INTEGRATION_ENDED"
    CASCADE_HUB_FORGOTTEN = "CASCADE_HUB_FORGOTTEN"
    """A part of what is left of a hub is removed, its row last."""

    PLAN_TAKEN = "PLAN_TAKEN"
    """Plans of verifications are looked at by us only."""
    PLAN_QUEUED = "PLAN_QUEUED"
    """A verification is queued; when its plan is looked at next is not written yet."""

    SCHEDULE_MAKING = "SCHEDULE_MAKING"
    """Runs, skipped backups and next times are written, in a transaction that is not committed."""
    SCHEDULE_MADE = "SCHEDULE_MADE"
    SCHEDULE_TOLD = "SCHEDULE_TOLD"
    """What is overdue has its events."""

    RETENTION_TAKEN = "RETENTION_TAKEN"
    """Containers are looked at by us only."""
    RETENTION_MARKED = "RETENTION_MARKED"
    """What one of them does not keep is marked."""

    ADOPT_TAKEN = "ADOPT_TAKEN"
    ADOPT_MANIFEST_STORED = "ADOPT_MANIFEST_STORED"
    """The orphan was read, and has a manifest."""
    ADOPT_RECORDED = "ADOPT_RECORDED"

    RECONCILE_TAKEN = "RECONCILE_TAKEN"
    """A step of a walk over the bucket is ours; nothing was asked for."""
    RECONCILE_LISTING = "RECONCILE_LISTING"
    """A page was compared with the records, as in each of the following: that part is over."""
    RECONCILE_WITNESSING = "RECONCILE_WITNESSING"
    RECONCILE_DISCARDING = "RECONCILE_DISCARDING"
    RECONCILE_MARKING = "RECONCILE_MARKING"
    RECONCILE_RESOLVING = "RECONCILE_RESOLVING"
    RECONCILE_SHOWING = "RECONCILE_SHOWING"

    RECOVER_TAKEN = "RECOVER_TAKEN"
    RECOVER_LOOKING = "RECOVER_LOOKING"
    RECOVER_READING = "RECOVER_READING"


PassStep: TypeAlias = Callable[[Step], Awaitable[None]]


def step_of(kind: str, moment: str) -> Step:
    """Name a moment that every kind of run or scan has, such as CLAIMED."""
    return Step(f"{kind}_{moment}")


async def pass_step(step: Step) -> None:
    """Go on: what a worker does at a step unless somebody wants to look at it there."""
