"""Requests as clients write them: JSON, read strictly, and the shape of a GraphQL request."""

from collections.abc import Mapping
from typing import Any

import orjson

from app.api.execution import Request
from app.api.rates import RateSpent
from app.web.visits import TooMany


class BadRequest(Exception):
    """The request is no GraphQL request; the message says why."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        headers: Mapping[str, str] | None = None,
        **extensions: object,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = dict(headers or {})
        self.extensions = extensions


REFUSALS = (BadRequest, RateSpent, TooMany)


def explain(refusal: BadRequest | RateSpent | TooMany) -> BadRequest:
    """The refusal as every transport tells it."""
    if isinstance(refusal, RateSpent):
        return BadRequest(
            429,
            "RATE_LIMIT",
            str(refusal),
            headers={"retry-after": str(refusal.seconds)},
            limit=refusal.limit,
            actual=refusal.requested,
            left=refusal.left,
            retryAfter=refusal.seconds,
        )
    if isinstance(refusal, TooMany):
        return BadRequest(
            503 if refusal.of_all else 429,
            refusal.code,
            str(refusal),
            headers={"retry-after": "10"},
            limit=refusal.limit,
            actual=refusal.actual,
        )
    return refusal


def read_json(text: bytes | str) -> Any:  # noqa: ANN401 - any JSON value
    """Raises BadRequest for what is not JSON in UTF-8, or nested too deeply."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        raise BadRequest(400, "BAD_REQUEST", "The body is not JSON in UTF-8.") from None


def read_request(body: object) -> Request:
    """The GraphQL request of a JSON value. Raises BadRequest."""
    if isinstance(body, list):
        raise BadRequest(400, "BATCHING_DISABLED", "Several operations in one body are not taken.")
    if not isinstance(body, dict):
        raise BadRequest(400, "BAD_REQUEST", "The body must be a JSON object.")
    query = body.get("query")
    variables = body.get("variables")
    operation_name = body.get("operationName")
    if not isinstance(query, str) or not query.strip():
        raise BadRequest(400, "BAD_REQUEST", "`query` must be a text that is not empty.")
    if variables is not None and not isinstance(variables, dict):
        raise BadRequest(400, "BAD_REQUEST", "`variables` must be an object.")
    if operation_name is not None and not isinstance(operation_name, str):
        raise BadRequest(400, "BAD_REQUEST", "`operationName` must be a text.")
    if not isinstance(body.get("extensions"), dict | None):
        raise BadRequest(400, "BAD_REQUEST", "`extensions` must be an object.")
    return Request(query=query, variables=variables, operation_name=operation_name or None)
