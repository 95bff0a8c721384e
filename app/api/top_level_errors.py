"""Top-level errors: each with a code, none with a stack, SQL, a path or a suggestion of names."""

import re
from typing import Any

from graphql import GraphQLError, GraphQLSyntaxError

from app import errors
from app.defects import mask

_SUGGESTION = re.compile(r",? ?Did you mean.*", re.DOTALL)


def make_error(code: str, message: str, **extensions: object) -> dict[str, Any]:
    """An error of the request as a whole."""
    return {"message": message, "extensions": {"code": code, **extensions}}


def show_error(error: GraphQLError, *, code: str) -> dict[str, Any]:
    """What a client sees of an error; `code` is that of errors which have none of their own.

    A defect is logged, and shown as INTERNAL with the reference of the log line.
    """
    shown: dict[str, Any] = {
        "message": _SUGGESTION.sub("", error.message),
        "extensions": {"code": code, **(error.extensions or {})},
    }
    if error.locations:
        shown["locations"] = [location.formatted for location in error.locations]
    if error.path is not None:
        shown["path"] = error.path
    cause = _find_cause(error)
    if isinstance(error, GraphQLSyntaxError):
        shown["extensions"] = {"code": "PARSE_FAILED"}
    elif isinstance(cause, errors.NotPermitted):
        shown["message"], shown["extensions"] = cause.message, {"code": "FORBIDDEN"}
    elif isinstance(cause, errors.UserError):
        shown["message"], shown["extensions"] = cause.message, {"code": cause.reason}
    elif isinstance(cause, errors.GatewayError):
        shown["message"], shown["extensions"] = cause.message, {"code": cause.code}
    elif cause is not None:
        shown.update(hide(cause))
    return shown


def hide(cause: BaseException) -> dict[str, Any]:
    """Log a defect; the client gets its reference only."""
    defect = mask(cause)
    return make_error(defect.code, defect.message, reference=defect.reference)


def _find_cause(error: GraphQLError) -> BaseException | None:
    """What a resolver raised; None where it is GraphQL's own error."""
    cause: BaseException | None = error
    while isinstance(cause, GraphQLError):
        cause = cause.original_error
    return cause
