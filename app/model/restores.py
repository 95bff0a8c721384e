"""Restores: their states and phases, and what a record says."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from app.model.runs import Requester, Run, RunError


class RestoreState(StrEnum):
    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELED = "CANCELED"


class RestorePhase(StrEnum):
    PREPARING = "PREPARING"
    SAVING_TARGET = "SAVING_TARGET"
    TRANSFERRING = "TRANSFERRING"
    WAITING_FOR_COMMAND = "WAITING_FOR_COMMAND"
    CHECKING = "CHECKING"


class RestoreTrigger(StrEnum):
    MANUAL = "MANUAL"
    VERIFICATION = "VERIFICATION"


_S = RestoreState
MOVES: dict[RestoreState, frozenset[RestoreState]] = {
    _S.QUEUED: frozenset({_S.RUNNING, _S.FAILED, _S.CANCELED}),
    _S.RUNNING: frozenset({_S.SUCCEEDED, _S.QUEUED, _S.FAILED, _S.CANCELED}),
    _S.SUCCEEDED: frozenset(),
    _S.FAILED: frozenset(),
    _S.CANCELED: frozenset(),
}
"""RUNNING to QUEUED only where no byte had reached the command."""


def check_move(old: RestoreState, new: RestoreState) -> None:
    """Raise ValueError where no restore may ever move like this: the caller is wrong."""
    if new not in MOVES[old]:
        raise ValueError(f"{old} to {new} is no move of a restore")


ENDED = frozenset({_S.SUCCEEDED, _S.FAILED, _S.CANCELED})


def may_have_changed(run: Run, *, is_started: bool, by_its_owner: bool) -> bool:
    """Whether a restore that did not succeed may have left its instance otherwise than it was.

    Only its owner knows that its command was never started: `is_started` says that this epoch
    began a try. Of an earlier one nothing is known.
    """
    tries_before = run.attempt - int(is_started)
    ran = run.touched or run.trace is not None or not by_its_owner
    return tries_before > 0 or (is_started and ran)


@dataclass(frozen=True, slots=True, kw_only=True)
class Restore:
    """A record, with what its run says of it."""

    id: UUID
    hub_id: UUID
    container_id: UUID
    instance_id: UUID
    backup_id: UUID
    safety_backup_id: UUID | None
    """The save of the instance that comes first, or came."""
    check_command: str | None
    """Runs in the instance after the restore command, and decides with it."""
    state: RestoreState
    trigger: RestoreTrigger
    phase: RestorePhase
    bytes_total: int
    bytes_delivered: int
    bytes_per_second: int | None
    progress_at: datetime | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    exit_code: int | None
    error: RunError | None
    log_bytes: int
    log_truncated: bool
    requested_by: Requester


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreFilter:
    container_id: UUID | None = None
    backup_id: UUID | None = None
    instance_id: UUID | None = None
    states: tuple[RestoreState, ...] | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
