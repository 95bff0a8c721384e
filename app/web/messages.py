"""Requests as clients write them: JSON, read strictly, and the shape of a GraphQL request."""

import re
from collections.abc import Mapping
from typing import Any

import orjson

from app.api.execution import Request
from app.api.rates import RateSpent
from app.api.trusted_documents import hash_document
from app.web.visits import TooMany

_HASH = re.compile(r"[0-9a-f]{64}")


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


def read_request(body: object, size: int) -> Request:
    """The GraphQL request of a JSON value, which took so many bytes. Raises BadRequest."""
    if isinstance(body, list):
        raise BadRequest(400, "BATCHING_DISABLED", "Several operations in one body are not taken.")
    if not isinstance(body, dict):
        raise BadRequest(400, "BAD_REQUEST", "The body must be a JSON object.")
    query = _read_text(body, "query")
    document_id = _read_text(body, "documentId")
    digest = _read_hash(_read_object(body, "extensions"))
    if query is not None and document_id is not None:
        raise BadRequest(400, "BAD_REQUEST", "Send `query` or `documentId`, not both.")
    if query is None and document_id is None and digest is None:
        raise BadRequest(
            400, "BAD_REQUEST", "`query` must be there, or the `documentId` of a trusted document."
        )
    if query is not None and digest is not None and hash_document(query) != f"sha256:{digest}":
        raise BadRequest(400, "BAD_REQUEST", "`sha256Hash` is not the SHA-256 of `query`.")
    return Request(
        query=query,
        document_id=document_id,
        document_hash=digest,
        variables=_read_object(body, "variables"),
        operation_name=_read_text(body, "operationName", empty=True) or None,
        size=size,
    )


def _read_text(body: Mapping[str, Any], name: str, *, empty: bool = False) -> str | None:
    """A member that is a text, or null, or absent."""
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        raise BadRequest(400, "BAD_REQUEST", f"`{name}` must be a text.")
    if not empty and not value.strip():
        raise BadRequest(400, "BAD_REQUEST", f"`{name}` must not be empty.")
    return value


def _read_object(body: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    value = body.get(name)
    if value is not None and not isinstance(value, dict):
        raise BadRequest(400, "BAD_REQUEST", f"`{name}` must be an object.")
    return value


def _read_hash(extensions: Mapping[str, Any] | None) -> str | None:
    """The SHA-256 in hex by which Apollo's clients name a document; None where there is none."""
    named = _read_object(extensions or {}, "persistedQuery")
    if named is None:
        return None
    digest = named.get("sha256Hash")
    if named.get("version") != 1 or not isinstance(digest, str) or not _HASH.fullmatch(digest):
        message = "`persistedQuery` must have `version` 1, and a `sha256Hash` of 64 hex digits."
        raise BadRequest(400, "BAD_REQUEST", message)
    return digest
