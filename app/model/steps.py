"""Steps: the moments of background work at which a crash must leave nothing wrong, by name."""

from enum import StrEnum

from app.model.runs import RunKind


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

    RECLAIM_TAKEN = "RECLAIM_TAKEN"
    RECLAIM_REMOVED = "RECLAIM_REMOVED"
    """B2 has confirmed the removal; the record does not know it."""
    RECLAIM_SETTLED = "RECLAIM_SETTLED"


def step_of(kind: RunKind, moment: str) -> Step:
    """Name a moment that every kind of run has, such as CLAIMED."""
    return Step(f"{kind}_{moment}")


async def pass_step(step: Step) -> None:
    """Go on: what a worker does at a step unless somebody wants to look at it there."""
