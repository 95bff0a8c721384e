"""The enums of the contract, complete from the first release, with the meaning of each value."""

from collections.abc import Mapping
from enum import Enum, StrEnum
from typing import Any, cast

import strawberry
from strawberry.types.enum import StrawberryEnumDefinition

from app.model.access import Role
from app.model.backups import BackupState, BackupTrigger, ListChange, StorageStatus
from app.model.containers import ContainerState, InstanceState
from app.model.drifts import DriftKind
from app.model.engines import EngineState
from app.model.integrations import IntegrationState
from app.model.restores import RestorePhase, RestoreState, RestoreTrigger
from app.model.runs import LogStream
from app.model.schedules import InstanceSelection
from app.model.sources import ValueSource
from app.model.verifications import VerificationLevel, VerificationState


class CreationOrder(StrEnum):
    NEWEST_FIRST = "NEWEST_FIRST"
    OLDEST_FIRST = "OLDEST_FIRST"


def _describe(enum: type[Enum], description: str, values: Mapping[str, str]) -> None:
    """Make a model's enum one of GraphQL; every value has its meaning."""
    strawberry.enum(enum, description=description)
    definition = cast("StrawberryEnumDefinition", cast("Any", enum).__strawberry_definition__)
    for value in definition.values:
        value.description = values[value.name]


_describe(
    Role,
    "What a key may do, in three steps; each includes the one before.",
    {
        "VIEWER": "Reads containers, backups, restores and logs.",
        "OPERATOR": "Also backs up, cancels, restores into the same container, deletes, pins and "
        "downloads backups.",
        "ADMIN": "Also configures, unpins, restores elsewhere, deletes containers, and reads "
        "commands.",
    },
)
_describe(
    BackupState,
    "Where a backup is in its life: `QUEUED`, `SAVING`, `LIVE`, `DELETING`, `DELETED`; or it ended "
    "as `FAILED`, `CANCELED`, `SKIPPED`. Only a `LIVE` one can be restored.",
    {
        "QUEUED": "Waits for a worker.",
        "SAVING": "Its command runs and its output goes to Backblaze B2.",
        "LIVE": "Complete and proven: it can be restored.",
        "DELETING": "Its object is being removed from Backblaze B2; it cannot be restored.",
        "DELETED": "Backblaze B2 confirmed that its object is gone.",
        "FAILED": "It could not be made; `error` says why. It has no object.",
        "CANCELED": "Somebody cancelled it. It has no object.",
        "SKIPPED": "Its due time was passed over; `error` says why. It never had an object.",
    },
)
_describe(
    StorageStatus,
    "What is known of a backup's object in Backblaze B2.",
    {
        "UNCHECKED": "Nobody has looked since it was stored.",
        "PRESENT": "It was there, as it was stored.",
        "MISSING": "It was not there any more; it cannot be restored.",
        "MISMATCH": "What was there is not what was stored; it cannot be restored.",
        "LOSS_ACCEPTED": "It is missing, and somebody has accepted that.",
    },
)
_describe(
    BackupTrigger,
    "Why a backup was made.",
    {
        "SCHEDULE": "It was due by the policy's schedule.",
        "MANUAL": "Somebody asked for it.",
        "PRE_RESTORE": "It keeps what an instance held before a restore into it.",
        "RECOVERED": "Its record was rebuilt from an object in the bucket without a manifest.",
    },
)
_describe(
    RestoreState,
    "Where a restore is: `QUEUED`, `RUNNING`, and then one of the three that end it.",
    {
        "QUEUED": "Waits for a worker.",
        "RUNNING": "In progress; `phase` says with what.",
        "SUCCEEDED": "The whole object was delivered and read, and the command exited with 0.",
        "FAILED": "It failed; `error` says why and whether the instance holds part of it.",
        "CANCELED": "Somebody cancelled it; the instance may hold part of it.",
    },
)
_describe(
    RestorePhase,
    "What a restore is doing.",
    {
        "PREPARING": "Makes sure that the instance is free and the object is there.",
        "SAVING_TARGET": "Saves what the instance holds before it is overwritten.",
        "TRANSFERRING": "Streams the object into the restore command.",
        "WAITING_FOR_COMMAND": "All is delivered; the command has not exited yet.",
        "CHECKING": "Runs the policy's check of what was restored.",
    },
)
_describe(
    RestoreTrigger,
    "Why a restore is made.",
    {
        "MANUAL": "Somebody asked for it.",
        "VERIFICATION": "It proves that a backup can be restored, in a scratch instance.",
    },
)
_describe(
    VerificationLevel,
    "What a verification proves.",
    {
        "STORED": "Every byte is still in storage and is what was saved: size and hashes.",
        "READABLE": "A check command accepts the stream, whose bytes are compared on the way.",
        "RESTORABLE": "It was restored into a scratch instance, and a check accepted what is there "
        "then.",
    },
)
_describe(
    VerificationState,
    "Where a verification is.",
    {
        "QUEUED": "It waits for a worker.",
        "RUNNING": "A worker carries it out.",
        "PASSED": "The backup is proven, on this level and as of then.",
        "FAILED": "It is not proven; `error` says why.",
        "CANCELED": "Somebody ended it before that; it says nothing.",
    },
)
_describe(
    ContainerState,
    "Where a container is in its life.",
    {
        "LIVE": "In use.",
        "DELETING": "It and all its backups are being deleted; nothing can be started in it.",
        "DELETED": "Gone, with all its objects.",
    },
)
_describe(
    InstanceState,
    "Whether commands can run in an instance.",
    {
        "RUNNING": "Commands can run in it.",
        "PAUSED": "Paused: no command can run.",
        "STOPPED": "Stopped: no command can run.",
        "UNREACHABLE": "No worker reaches it, or the worker's host went away in the middle of a "
        "run: what was left running there has not been ended yet.",
        "GONE": "It does not exist any more where it ran.",
        "DELETING": "It is being deleted; its runs are ending.",
    },
)
_describe(
    EngineState,
    "Whether a container engine can be used.",
    {
        "VERIFYING": "No worker has looked at it yet; ask again in a few seconds.",
        "LIVE": "It answers.",
        "UNREACHABLE": "It does not answer, or must not be asked; `error` says why.",
        "DELETING": "It is being deleted.",
        "DELETED": "Gone.",
    },
)
_describe(
    IntegrationState,
    "Whether a connection to Backblaze B2 can be used.",
    {
        "VERIFYING": "It is being tried out; ask again in a few seconds.",
        "LIVE": "It works.",
        "FAILED": "It does not work; `error` says what to do.",
        "DELETING": "It is being deleted.",
        "DELETED": "Gone.",
    },
)
_describe(
    DriftKind,
    "How a bucket and the records disagree.",
    {
        "MISSING": "A record without its object, or without its manifest.",
        "MISMATCH": "The object is not the one that was saved: its size or its version differs.",
        "ORPHAN": "An object of this hub, or a manifest, without a record.",
        "UNFINISHED": "An upload of a run that ended.",
        "FOREIGN": "Something that is not this hub's; shown, and never touched by itself.",
    },
)
_describe(
    LogStream,
    "Where a log entry comes from.",
    {
        "STDERR": "The command's standard error.",
        "STDOUT_TAIL": "The last 1,024 bytes of standard output of a command that failed and wrote "
        "nothing to standard error.",
    },
)
_describe(
    InstanceSelection,
    "Which of a container's instances a schedule saves; scratch ones never.",
    {
        "EACH": "Every one that is `RUNNING`, each by a backup of its own.",
        "FIRST_RUNNING": "The first one, by hostname, of those that are `RUNNING`.",
    },
)
_describe(
    CreationOrder,
    "The order of a list, by the time of creation.",
    {
        "NEWEST_FIRST": "The newest comes first.",
        "OLDEST_FIRST": "The oldest comes first.",
    },
)
_describe(
    ListChange,
    "What happened to the list of a container's backups that are not `DELETED`.",
    {
        "RESET": "Read the list again: from here on every change of it is told.",
        "ENTERED": "This backup is in the list; you may know it already.",
        "CHANGED": "This backup of the list says something else.",
        "LEFT": "This backup is not in the list any more.",
    },
)
_describe(
    ValueSource,
    "Where a value comes from. What was set through the API wins over a label, and that over the "
    "default.",
    {
        "API": "It was set through the API.",
        "LABEL": "A label of the container on its engine says it.",
        "DEFAULT": "Nothing says it.",
    },
)
