"""Failures of B2: one shape for what b2sdk, requests, httpx and ssl raise, and its public words."""

import ssl
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from re import fullmatch
from typing import ClassVar

from b2sdk.v3.exception import B2Error  # type: ignore[import-untyped]

from app.errors import (
    BucketNotFound,
    ObjectMissing,
    StorageCapability,
    StorageCapExceeded,
    StorageError,
    StorageUnavailable,
)

_RENEWED_BY_AUTHORIZING = frozenset({"expired_auth_token", "bad_auth_token"})
_NOT_THERE = frozenset({"file_not_present", "no_such_file"})
_OVERLOADED = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})
_NOT_ALLOWED = frozenset({"unauthorized", "access_denied"})


class Failed(B2Error):  # type: ignore[misc]
    """One try failed.

    It derives from B2Error because only that passes through b2sdk untouched: not retried there,
    not logged with the body of the answer. `status` is None where no answer arrived.
    """

    unreachable: ClassVar[str] = "unreachable"

    def __init__(
        self,
        *,
        status: int | None,
        code: str,
        retry_after: float | None = None,
        lasting: bool = False,
    ) -> None:
        super().__init__(f"{status} {code}")
        self.status = status
        self.code = code
        self.retry_after = retry_after
        self._lasting = lasting

    def copy(self) -> "Failed":
        """Make an equal failure, for another thread to raise."""
        return Failed(
            status=self.status,
            code=self.code,
            retry_after=self.retry_after,
            lasting=self._lasting,
        )

    @property
    def expired(self) -> bool:
        """A new authorisation, or a new upload URL, helps."""
        return self.status == HTTPStatus.UNAUTHORIZED and self.code in _RENEWED_BY_AUTHORIZING

    @property
    def transient(self) -> bool:
        """Another try can help."""
        if self._lasting:
            return False
        if self.status is None or self.expired:
            return True
        return self.status in _OVERLOADED or self.status >= HTTPStatus.INTERNAL_SERVER_ERROR

    @property
    def missing(self) -> bool:
        """B2 says that there is no such file."""
        return self.status == HTTPStatus.NOT_FOUND or self.code in _NOT_THERE


class Stopped(Exception):
    """The work was told to stop, since its task was cancelled."""


def refuse(status: int, body: object, headers: Mapping[str, str]) -> Failed:
    """Make a failure of an answer; of its body only a code in B2's own alphabet is kept."""
    code = body.get("code") if isinstance(body, dict) else None
    known = isinstance(code, str) and fullmatch(r"[a-z0-9_]{1,60}", code)
    return Failed(
        status=status,
        code=str(code) if known else "unknown",
        retry_after=_read_retry_after(headers),
    )


def lose(error: BaseException) -> Failed:
    """Make a failure of a connection that could not be made, or that broke."""
    distrusted = any(isinstance(cause, ssl.SSLCertVerificationError) for cause in _causes(error))
    code = "certificate" if distrusted else Failed.unreachable
    return Failed(status=None, code=code, lasting=distrusted)


def translate(failure: Failed, action: str) -> StorageError:  # noqa: PLR0911 - a table of words
    """Give a failure that is not tried again its public words. `action`: "list the bucket"."""
    status = "no answer" if failure.status is None else str(failure.status)
    if failure.code == "certificate":
        return StorageUnavailable(
            f"Could not {action}: the certificate of Backblaze B2's address cannot be trusted."
        )
    if failure.code == "address":
        return StorageError(f"Could not {action}: B2 named an address outside of its realm.")
    if failure.transient:
        return StorageUnavailable(
            f"Could not {action}: Backblaze B2 cannot be reached or is overloaded"
            f" ({status}, {failure.code}); try again later."
        )
    if failure.status == HTTPStatus.FORBIDDEN and failure.code.endswith("cap_exceeded"):
        return StorageCapExceeded()
    if failure.code in _NOT_ALLOWED:
        return StorageCapability(f"The application key is not allowed to {action}.")
    if failure.code == "bad_bucket_id":
        return BucketNotFound()
    if failure.missing:
        return ObjectMissing()
    return StorageError(f"Backblaze B2 refused to {action} ({status}, {failure.code}).")


def _read_retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait; a date counts from the date of the answer, since clocks differ."""
    value = headers.get("Retry-After")
    if value is None:
        return None
    try:
        if value.isascii() and value.isdigit():
            return float(value)
        return (
            parsedate_to_datetime(value) - parsedate_to_datetime(headers["Date"])
        ).total_seconds()
    except (ValueError, KeyError, TypeError):
        return None


def _causes(error: BaseException) -> list[BaseException]:
    """List everything that hides behind an exception: requests keeps it in the arguments."""
    found: list[BaseException] = []
    waiting: list[object] = [error]
    while waiting:
        cause = waiting.pop()
        if isinstance(cause, BaseException) and cause not in found:
            found.append(cause)
            waiting += [*cause.args, cause.__cause__, cause.__context__]
            waiting.append(getattr(cause, "reason", None))
    return found
