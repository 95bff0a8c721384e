"""A session with B2: one application key, one bucket, one place that authorises."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, TypeVar

import requests
import urllib3
from b2sdk.v3 import (  # type: ignore[import-untyped]
    SSE_B2_AES,
    B2Http,
    B2HttpApiConfig,
    B2RawHTTPApi,
)
from requests.adapters import HTTPAdapter

from app.errors import BucketNotFound, StorageCredentials
from app.storage.addresses import Addresses
from app.storage.failures import Failed, Stopped, lose, refuse

T = TypeVar("T")
Answer = Mapping[str, Any]
SSE_B2 = SSE_B2_AES
"""Asked for on each upload: B2 encrypts what it stores."""
BODY_BLOCK = 256 * 1024
"""Bytes handed to the socket at a time; also how soon an upload notices that it should stop."""
_CONNECTIONS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Seconds that a connection may take, and that B2 may stay silent."""

    connect: float = 20.0
    answer: float = 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What an authorisation gave."""

    id: str
    token: str
    api_url: str
    download_url: str
    capabilities: frozenset[str]
    buckets: Mapping[str, str] | None
    """Names and ids of the only buckets that the key reaches; None: all of them."""
    name_prefix: str | None
    """The key reaches only names that begin so."""

    def __repr__(self) -> str:
        return "Account(...)"


class Session:
    """Single tries of calls to B2, for threads.

    They raise Failed, or StorageCredentials and BucketNotFound, which no other try can help.
    """

    def __init__(
        self,
        *,
        realm: str,
        key_id: str,
        key: str,
        bucket: str,
        user_agent: str,
        timeouts: Timeouts | None = None,
    ) -> None:
        self.bucket = bucket
        self._realm = realm.rstrip("/")
        self._key_id = key_id
        self._key = key
        self._addresses = Addresses(realm)
        self._transport = _Transport(timeouts or Timeouts())
        config = B2HttpApiConfig(
            http_session_factory=lambda: self._transport,
            # Nothing here depends on our clock: it must not decide if there are backups.
            install_clock_skew_hook=False,
            user_agent_append=user_agent,
            # Or b2sdk would replace the transport's adapters by its own.
            decode_content=True,
        )
        http = B2Http(config)
        self.user_agent = str(http.user_agent)
        self._raw = B2RawHTTPApi(http)
        self._lock = threading.Lock()
        self._account: Account | None = None
        self._refusals = 0
        self._refusal: Failed | None = None
        self._bucket_id: str | None = None

    def __repr__(self) -> str:
        return f"Session(bucket={self.bucket!r})"

    def close(self) -> None:
        self._transport.close()

    def authorize(self, *, stale: str | None = None) -> Account:
        """Give the authorisation; made anew where there is none, or where its token is `stale`."""
        seen = self._refusals
        with self._lock:
            if self._account is not None and self._account.token != stale:
                return self._account
            if self._refusals != seen and self._refusal is not None:
                # It came while we waited: or else one after the other would find B2 silent.
                raise self._refusal.copy()
            self._account = self._refusal = None
            try:
                self._account = self._authorize()
            except Failed as failure:
                self._refusals += 1
                self._refusal = failure.copy()
                raise
            return self._account

    def call(self, request: Callable[[Any, Account], T]) -> T:
        """Try `request(raw api, account)` once, and a second time if only the token had expired."""
        account = self.authorize()
        stale = False
        try:
            return request(self._raw, account)
        except Failed as failure:
            if failure.code == "bad_bucket_id":
                self._bucket_id = None
            stale = failure.expired
            if not stale:
                raise
        return request(self._raw, self.authorize(stale=account.token))

    def post(self, send: Callable[[Any, str, str], Answer], *, url: str, token: str) -> Answer:
        """Try `send(raw api, url, token)` once; the URL must be one that bytes may be sent to."""
        if not self._addresses.allow_upload(url):
            raise Failed(status=None, code="address", lasting=True)
        return send(self._raw, url, token)

    def find_bucket(self) -> Answer:
        """Look the bucket up. Raises BucketNotFound."""
        buckets: list[Answer] = self.call(
            lambda raw, account: raw.list_buckets(
                account.api_url, account.token, account.id, bucket_name=self.bucket
            )
        )["buckets"]
        for bucket in buckets:
            if bucket["bucketName"] == self.bucket:
                self._bucket_id = str(bucket["bucketId"])
                return bucket
        raise BucketNotFound(
            f"There is no bucket {self.bucket}, or the application key is not allowed to see it."
        )

    def bucket_id(self) -> str:
        """Give the bucket's id, looked up once. Raises BucketNotFound."""
        if self._bucket_id is None:
            only = self.authorize().buckets or {}
            self._bucket_id = only.get(self.bucket)
        if self._bucket_id is None:
            self.find_bucket()
        assert self._bucket_id is not None
        return self._bucket_id

    def _authorize(self) -> Account:
        answer: Answer | None = None
        try:
            answer = self._raw.authorize_account(self._realm, self._key_id, self._key)
        except Failed as failure:
            if failure.status != HTTPStatus.UNAUTHORIZED:
                raise
        if answer is None:
            raise StorageCredentials
        api = answer["apiInfo"]["storageApi"]
        allowed = api["allowed"]
        only = allowed.get("buckets")
        account = Account(
            id=str(answer["accountId"]),
            token=str(answer["authorizationToken"]),
            api_url=str(api["apiUrl"]),
            download_url=str(api["downloadUrl"]),
            capabilities=frozenset(map(str, allowed["capabilities"])),
            buckets=None if only is None else {str(b["name"]): str(b["id"]) for b in only},
            name_prefix=allowed.get("namePrefix"),
        )
        if not (
            self._addresses.allow(account.api_url) and self._addresses.allow(account.download_url)
        ):
            raise Failed(status=None, code="address", lasting=True)
        return account


class Body:
    """Bytes on their way; reading them ends as soon as the upload should stop."""

    def __init__(self, view: memoryview, stop: threading.Event) -> None:
        self._view = view
        self._stop = stop
        self._at = 0

    def read(self, size: int) -> bytes:
        """Give the next bytes. Raises Stopped."""
        if self._stop.is_set():
            raise Stopped
        block = bytes(self._view[self._at : self._at + size])
        self._at += len(block)
        return block

    def seek(self, at: int, whence: int = 0) -> int:
        self._at = at + (0, self._at, len(self._view))[whence]
        return self._at

    def tell(self) -> int:
        return self._at


class _Transport(requests.Session):
    """What b2sdk sends requests with; every answer that is not a success becomes Failed."""

    def __init__(self, timeouts: Timeouts) -> None:
        super().__init__()
        # Neither a proxy nor a .netrc of the environment has a say in where keys go.
        self.trust_env = False
        self._timeouts = (timeouts.connect, timeouts.answer)
        self.mount("https://", _Adapter())
        self.mount("http://", _Adapter())

    def request(self, method: str, url: Any, *args: Any, **kwargs: Any) -> requests.Response:  # noqa: ANN401 - as wide as the method that it overrides
        kwargs |= {"timeout": self._timeouts, "allow_redirects": False}
        outcome = self._try(method, url, *args, **kwargs)
        # Raised here and not where it was caught: no frame that holds a key stays with it.
        if isinstance(outcome, Failed):
            raise outcome
        return outcome

    def _try(self, method: str, url: Any, *args: Any, **kwargs: Any) -> requests.Response | Failed:  # noqa: ANN401
        try:
            response = super().request(method, url, *args, **kwargs)
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            return lose(error)
        except Stopped:
            return Failed(status=None, code="stopped", lasting=True)
        try:
            body = response.json()
        except ValueError:
            body = None
        if response.status_code == HTTPStatus.OK:
            # Every answer of the API is a JSON object; a proxy's page is none.
            good = isinstance(body, dict)
            return response if good else Failed(status=None, code=Failed.unreachable)
        return refuse(response.status_code, body, response.headers)


class _Adapter(HTTPAdapter):
    def __init__(self) -> None:
        super().__init__(pool_maxsize=_CONNECTIONS)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        # http.client's own 16 KiB cost a third of the speed.
        super().init_poolmanager(*args, **kwargs, blocksize=BODY_BLOCK)
