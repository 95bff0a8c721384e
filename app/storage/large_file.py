"""The file that an upload becomes: started, sent, finished or removed; for threads."""

import hashlib
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from threading import Event
from typing import TypeVar

from app.errors import ObjectMismatch
from app.storage.failures import Failed
from app.storage.port import StoredObject
from app.storage.retries import Patience, persist
from app.storage.session import SSE_B2, Body, Session
from app.storage.versions import Versions, read_version

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What an upload becomes, and how hard it is tried."""

    name: str
    info: Mapping[str, str]
    content_type: str
    patience: Patience
    cancel_within: float
    """Seconds that cancelling may take."""


class LargeFile:
    """A file in the making. Its calls raise StorageError, and Stopped once `stop` is set.

    What a lost answer may have left is found by the name, which belongs to this upload alone.
    """

    def __init__(self, session: Session, target: Target) -> None:
        self.file_id: str | None = None
        self._session = session
        self._target = target
        # A URL is used by one part at a time; an unused one waits here for the next part.
        self._urls: deque[tuple[str, str]] = deque()
        self._starts = 0
        self._stored_whole = False

    def start(self, stop: Event) -> str:
        """Begin a large file and give its id."""
        versions = self._versions(stop)

        def attempt() -> str:
            if self._starts:
                # The answer to the try before may have been lost: then it has begun already.
                for upload in versions.list_unfinished(self._target.name):
                    if upload.name == self._target.name:
                        return upload.file_id
            self._starts += 1
            answer = self._session.call(
                lambda raw, account: raw.start_large_file(
                    account.api_url,
                    account.token,
                    self._session.bucket_id(),
                    self._target.name,
                    self._target.content_type,
                    dict(self._target.info),
                    SSE_B2,
                )
            )
            return str(answer["fileId"])

        self.file_id = self._persist("start an upload", attempt, stop)
        return self.file_id

    def send(self, number: int, data: memoryview, stop: Event) -> str:
        """Send one part, each try by a URL that has not failed, and give its SHA-1."""
        sha1 = hashlib.sha1(data).hexdigest()  # noqa: S324 - B2's checksum

        def attempt() -> str:
            url, token = self._take_url()
            self._session.post(
                lambda raw, url, token: raw.upload_part(
                    url, token, number, len(data), sha1, Body(data, stop)
                ),
                url=url,
                token=token,
            )
            self._urls.append((url, token))
            return sha1

        return self._persist("store a part", attempt, stop)

    def finish(self, sha1s: Sequence[str], stop: Event) -> StoredObject:
        """Make an object of the parts."""
        file_id = self.file_id
        assert file_id is not None
        versions = self._versions(stop)

        def attempt() -> StoredObject:
            try:
                answer = self._session.call(
                    lambda raw, account: raw.finish_large_file(
                        account.api_url, account.token, file_id, list(sha1s)
                    )
                )
            except Failed as failure:
                if failure.transient or failure.status == HTTPStatus.FORBIDDEN:
                    raise
                refusal = failure
            else:
                return read_version(answer)
            # A finished file cannot be finished again: the try before may have worked.
            stored = versions.look(file_id)
            if stored is None:
                raise refusal
            return stored

        stored = self._persist("finish an upload", attempt, stop)
        if self._starts > 1:
            versions.cancel_others(self._target.name, keep=None)
        return stored

    def store_whole(self, data: memoryview, stop: Event, *, alone: bool = True) -> StoredObject:
        """Store it in one request; after a retry no other version of its name is left.

        `alone` False: others may store by this name too, and what is there stays.
        """
        sha1 = hashlib.sha1(data).hexdigest()  # noqa: S324 - B2's checksum
        tries = 0

        def attempt() -> StoredObject:
            nonlocal tries
            place = self._session.call(
                lambda raw, account: raw.get_upload_url(
                    account.api_url, account.token, self._session.bucket_id()
                )
            )
            tries += 1
            self._stored_whole = True
            answer = self._session.post(
                lambda raw, url, token: raw.upload_file(
                    url,
                    token,
                    self._target.name,
                    len(data),
                    self._target.content_type,
                    sha1,
                    dict(self._target.info),
                    Body(data, stop),
                    SSE_B2,
                ),
                url=str(place["uploadUrl"]),
                token=str(place["authorizationToken"]),
            )
            return read_version(answer)

        stored = self._persist("store an object", attempt, stop)
        if alone and tries > 1:
            self._versions(stop).delete_others(self._target.name, keep=stored.file_id)
        return stored

    def remove(self, stop: Event) -> None:
        """Remove everything that may be in the bucket because of this upload, finished or not."""
        patience = replace(self._target.patience, budget=self._target.cancel_within / 2, tries=1)
        versions = Versions(self._session, patience=patience, stop=stop)
        name = self._target.name
        if self.file_id is not None and not versions.cancel(self.file_id):
            versions.delete(self.file_id, name)
        if self._starts > 1 or (self._starts and self.file_id is None):
            versions.cancel_others(name, keep=None)
        if self._stored_whole:
            versions.delete_others(name, keep=None)

    def _take_url(self) -> tuple[str, str]:
        try:
            return self._urls.pop()
        except IndexError:
            place = self._session.call(
                lambda raw, account: raw.get_upload_part_url(
                    account.api_url, account.token, self.file_id
                )
            )
            return str(place["uploadUrl"]), str(place["authorizationToken"])

    def _persist(self, action: str, attempt: Callable[[], T], stop: Event) -> T:
        return persist(action, attempt, patience=self._target.patience, stop=stop)

    def _versions(self, stop: Event) -> Versions:
        return Versions(self._session, patience=self._target.patience, stop=stop)


def check_size(stored: StoredObject, size: int) -> StoredObject:
    """Raise ObjectMismatch unless B2 confirmed exactly the bytes that were sent."""
    if stored.size != size:
        raise ObjectMismatch(f"B2 stored {stored.size} bytes of {size}.")
    return stored
