"""The refusals of mutations: one interface with exactly six types, for ever."""

import strawberry

from app import errors

_PATH = "The argument that the refusal is about, as a path of names; null where it is about none."

CODES: dict[type[errors.UserError], tuple[str, ...]] = {
    errors.NotFound: ("NOT_FOUND",),
    errors.InvalidInput: (
        "INVALID_INPUT",
        "CONFIRM_MISMATCH",
        "SCRATCH_WAS_SAVED",
        "TOO_MANY_IDS",
    ),
    errors.InvalidState: (
        "INVALID_STATE",
        "CONTAINER_NOT_STATEFUL",
        "CONTAINER_DELETING",
        "CONTAINER_DELETED",
        "DELETION_BEGUN",
        "NO_BACKUP_POLICY",
        "NO_RESTORE_COMMAND",
        "NO_CHECK_COMMAND",
        "NO_INSTANCE",
        "NOT_SCRATCH",
        "INTEGRATION_NOT_LIVE",
        "ENGINE_IN_USE",
        "ENGINE_NOT_LIVE",
        "INTEGRATION_IN_USE",
        "INTEGRATION_DELETED",
        "INSTANCE_NOT_RUNNING",
        "INSTANCE_DELETING",
        "INSTANCE_UNREACHABLE",
        "DRIFT_RESOLVED",
        "NOT_AN_ORPHAN",
        "FOREIGN_OBJECT",
        "HAS_RECORD",
        "ADOPTING",
        "NOT_MISSING",
        "BACKUP_NOT_LIVE",
        "BACKUP_RUNNING",
        "BACKUP_IN_USE",
        "PINNED",
        "COMMAND_CHANGED",
        "OTHER_CONTAINER",
        "TOO_MANY_WEBHOOKS",
    ),
    errors.Conflict: (
        "CONFLICT",
        "INSTANCE_BUSY",
        "IDENTIFIER_TAKEN",
        "HOSTNAME_TAKEN",
        "IDEMPOTENCY_KEY_REUSED",
    ),
    errors.NotPermitted: ("NOT_PERMITTED", "LAST_GOOD_BACKUP"),
    errors.StorageRefused: ("STORAGE", "OBJECT_MISSING", "OBJECT_MISMATCH"),
}
"""The documented codes of each type; new ones may join them."""


def _sentence(meaning: str, error: type[errors.UserError]) -> str:
    codes = ", ".join(f"`{code}`" for code in CODES[error])
    return f"{meaning} Codes: {codes}; more may come."


@strawberry.interface(
    description=(
        "Why a mutation was refused. Exactly six types implement it, and no other ever will: "
        "`NotFoundError`, `InvalidInputError`, `InvalidStateError`, `ConflictError`, "
        "`NotPermittedError`, `StorageError`. Switch on `__typename` with a default branch that "
        "shows `message`. A refused mutation has changed nothing."
    )
)
class UserError:
    message: str = strawberry.field(description="A sentence for a person: what is wrong, and why.")
    code: str = strawberry.field(
        description="The reason in one word, for programs; the types list theirs. New codes may "
        "come: treat one that you do not know like its type."
    )
    path: list[str] | None = strawberry.field(description=_PATH)


@strawberry.type(
    description=_sentence(
        "There is no such object in your hub, or no longer.",
        errors.NotFound,
    )
)
class NotFoundError(UserError):
    pass


@strawberry.type(
    description=_sentence("An argument cannot be used as it is.", errors.InvalidInput),
)
class InvalidInputError(UserError):
    pass


@strawberry.type(
    description=_sentence(
        "The object is in a state that does not allow this now.",
        errors.InvalidState,
    )
)
class InvalidStateError(UserError):
    pass


@strawberry.type(
    description=_sentence(
        "Something else stands in the way: another run, a name, or an earlier call.",
        errors.Conflict,
    )
)
class ConflictError(UserError):
    pass


@strawberry.type(
    description=_sentence(
        "Your key lacks the capability; see `viewer.capabilities`.",
        errors.NotPermitted,
    )
)
class NotPermittedError(UserError):
    pass


@strawberry.type(
    description=_sentence("Backblaze B2 stands in the way.", errors.StorageRefused),
)
class StorageError(UserError):
    pass


TYPES: dict[type[errors.UserError], type[UserError]] = {
    errors.NotFound: NotFoundError,
    errors.InvalidInput: InvalidInputError,
    errors.InvalidState: InvalidStateError,
    errors.Conflict: ConflictError,
    errors.NotPermitted: NotPermittedError,
    errors.StorageRefused: StorageError,
}


def show(error: errors.UserError) -> UserError:
    """The GraphQL object of a refusal."""
    for kind, type_ in TYPES.items():
        if isinstance(error, kind):
            path = None if error.path is None else list(error.path)
            return type_(message=error.message, code=error.reason, path=path)
    raise TypeError(error)
