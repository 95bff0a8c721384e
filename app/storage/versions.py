"""File versions and unfinished uploads of one bucket: listed, looked at, removed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from threading import Event
from typing import Any, TypeVar

from app.errors import StorageError
from app.model.drifts import ListedPage, ListedVersion
from app.storage.failures import Failed
from app.storage.port import StoredObject, UnfinishedUpload
from app.storage.retries import Patience, persist
from app.storage.session import Account, Answer, Session

T = TypeVar("T")
_VERSIONS_A_PAGE = 1_000
_UNFINISHED_A_PAGE = 100
_BAD_REQUEST = 400
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Versions:
    """Calls about file versions, for threads; each is tried again until patience ends.

    They raise StorageError, and Stopped once `stop` is set.
    """

    def __init__(self, session: Session, *, patience: Patience, stop: Event) -> None:
        self._session = session
        self._patience = patience
        self._stop = stop

    def find(self, file_id: str) -> StoredObject | None:
        """Look at one version; None where it is not there, or is no finished object."""
        return self._persist("look at an object", lambda: self.look(file_id))

    def look(self, file_id: str) -> StoredObject | None:
        """Try `find` once. Raises Failed."""
        try:
            answer = self._session.call(
                lambda raw, account: raw.get_file_info_by_id(
                    account.api_url, account.token, file_id
                )
            )
        except Failed as failure:
            if failure.missing:
                return None
            raise
        return read_version(answer) if answer["action"] == "upload" else None

    def list_versions(self, name: str) -> list[StoredObject]:
        """List all versions of exactly this name, the newest first."""
        return [
            read_version(entry)
            for entry in self._pages(name)
            if entry["fileName"] == name and entry["action"] == "upload"
        ]

    def list_page(self, prefix: str, *, start: str, limit: int) -> ListedPage:
        """List up to `limit` versions of names that begin with `prefix`, from `start` on."""
        page = self._ask(
            "list the bucket",
            lambda raw, account: raw.list_file_versions(
                account.api_url,
                account.token,
                self._session.bucket_id(),
                start or prefix or None,
                None,
                limit,
                prefix or None,
            ),
        )
        with _understanding():
            versions = [_read_listed(entry) for entry in page["files"]]
            return ListedPage(versions=versions, is_last=page["nextFileName"] is None)

    def list_unfinished(self, prefix: str) -> list[UnfinishedUpload]:
        """List the unfinished uploads whose names begin with `prefix`."""
        found: list[UnfinishedUpload] = []
        start: str | None = None
        while True:
            page = self._page_unfinished(prefix, start)
            with _understanding():
                found += [
                    UnfinishedUpload(file_id=str(file["fileId"]), name=str(file["fileName"]))
                    for file in page["files"]
                ]
                start = page["nextFileId"]
            if start is None:
                return found

    def delete(self, file_id: str, name: str) -> None:
        """Delete one version; one that is not there counts as deleted."""

        def attempt() -> None:
            try:
                self._session.call(
                    lambda raw, account: raw.delete_file_version(
                        account.api_url, account.token, file_id, name
                    )
                )
            except Failed as failure:
                if not failure.missing:
                    raise

        self._persist("delete an object", attempt)

    def delete_others(self, name: str, *, keep: str | None) -> None:
        """Delete all versions of exactly this name but `keep`."""
        for version in self.list_versions(name):
            if version.file_id != keep:
                self.delete(version.file_id, name)

    def cancel(self, file_id: str) -> bool:
        """Cancel an unfinished upload; False where it had been finished: it is an object now."""

        def attempt() -> bool:
            try:
                self._session.call(
                    lambda raw, account: raw.cancel_large_file(
                        account.api_url, account.token, file_id
                    )
                )
            except Failed as failure:
                if not failure.missing and failure.status != _BAD_REQUEST:
                    raise
                refusal = failure
            else:
                return True
            # B2 gives the same refusal for what is gone and for what was finished.
            if self.look(file_id) is not None:
                return False
            if refusal.missing or not self._is_unfinished(file_id):
                return True
            raise refusal

        return self._persist("cancel an upload", attempt)

    def cancel_others(self, name: str, *, keep: str | None) -> None:
        """Cancel all unfinished uploads of exactly this name but `keep`."""
        for upload in self.list_unfinished(name):
            if upload.name == name and upload.file_id != keep:
                self.cancel(upload.file_id)

    def _is_unfinished(self, file_id: str) -> bool:
        try:
            answer = self._session.call(
                lambda raw, account: raw.get_file_info_by_id(
                    account.api_url, account.token, file_id
                )
            )
        except Failed as failure:
            if failure.missing or failure.status == _BAD_REQUEST:
                return False
            raise
        return bool(answer["action"] == "start")

    def _pages(self, name: str) -> Iterator[Answer]:
        """Walk the listing from `name` to the end of the names that begin with it."""
        start_name: str | None = name
        start_id: str | None = None
        # A name that only begins with ours comes after all versions of ours.
        while start_name == name:
            page = self._page_versions(name, start_id)
            yield from page["files"]
            start_name, start_id = page["nextFileName"], page["nextFileId"]

    def _page_versions(self, name: str, start_id: str | None) -> Answer:
        return self._ask(
            "list the bucket",
            lambda raw, account: raw.list_file_versions(
                account.api_url,
                account.token,
                self._session.bucket_id(),
                name,
                start_id,
                _VERSIONS_A_PAGE,
                name,
            ),
        )

    def _page_unfinished(self, prefix: str, start_id: str | None) -> Answer:
        return self._ask(
            "list unfinished uploads",
            lambda raw, account: raw.list_unfinished_large_files(
                account.api_url,
                account.token,
                self._session.bucket_id(),
                start_id,
                _UNFINISHED_A_PAGE,
                prefix,
            ),
        )

    def _ask(self, action: str, request: Callable[[Any, Account], Answer]) -> Answer:
        return self._persist(action, lambda: self._session.call(request))

    def _persist(self, action: str, attempt: Callable[[], T]) -> T:
        return persist(action, attempt, patience=self._patience, stop=self._stop)


def read_version(answer: Answer) -> StoredObject:
    """Read B2's description of a file version. Raises StorageError where it is none."""
    with _understanding():
        return StoredObject(
            file_id=str(answer["fileId"]),
            name=str(answer["fileName"]),
            size=int(answer["contentLength"]),
            info={str(name): str(value) for name, value in (answer.get("fileInfo") or {}).items()},
        )


@contextmanager
def _understanding() -> Iterator[None]:
    """While what B2 answered is read: what is not as B2 documents it is a failure of B2."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError):
        raise StorageError("Backblaze B2 answered in a way that is not understood.") from None


def _read_listed(answer: Answer) -> ListedVersion:
    return ListedVersion(
        file_id=str(answer["fileId"]),
        name=str(answer["fileName"]),
        action=str(answer["action"]),
        size=int(answer["contentLength"] or 0),
        uploaded_at=_EPOCH + timedelta(milliseconds=int(answer["uploadTimestamp"])),
    )
