"""What the transfer and the duties need from object storage; `b2.py` keeps it."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from app.model.drifts import ListedPage


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredObject:
    """One file version in the bucket."""

    file_id: str
    name: str
    size: int
    info: Mapping[str, str] = field(default_factory=dict, compare=False)
    """The file info that it was stored with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnfinishedUpload:
    file_id: str
    name: str


class Upload(Protocol):
    """An upload of unknown length that is under way."""

    @property
    def bytes_stored(self) -> int:
        """Bytes that B2 has confirmed so far (whole parts)."""
        ...

    async def write(self, data: bytes) -> None:
        """Take the next bytes; waits while enough parts are in flight (back-pressure).

        Raises StorageError once a part used up its retries.
        """
        ...

    async def finish(self) -> StoredObject:
        """Store the rest and return what B2 confirmed; its size is exactly the bytes written."""
        ...

    async def cancel(self) -> None:
        """Remove everything that was sent.

        Never raises StorageError: what is left is reclaimed by name.
        """
        ...


class Storage(Protocol):
    """One integration's bucket. Names are full names, prefix included."""

    async def start_upload(
        self,
        name: str,
        *,
        info: Mapping[str, str],
        on_file_id: Callable[[str], Awaitable[None]],
    ) -> Upload:
        """Begin an upload.

        `on_file_id` is awaited with the large file's id before any part is sent.
        A stream shorter than one part becomes one plain upload: then `on_file_id` is not called.
        """
        ...

    async def put(
        self,
        name: str,
        data: bytes,
        *,
        info: Mapping[str, str],
        content_type: str,
        alone: bool = True,
    ) -> StoredObject:
        """Store a small object whole. After a retried upload only the returned version is left.

        `alone` False: no version is removed, since the name is not ours alone.
        """
        ...

    def read(self, file_id: str, *, size: int, start: int = 0) -> AsyncGenerator[bytes, None]:
        """Stream an object's bytes from `start`, resuming cut connections at the byte.

        Raises ObjectMissing, ObjectMismatch (another size than `size`), StorageError.
        """
        ...

    async def stat(self, file_id: str) -> StoredObject | None:
        """The file version, or None where B2 says that it is not there."""
        ...

    async def versions(self, name: str) -> list[StoredObject]:
        """All versions of exactly this name."""
        ...

    async def page(self, prefix: str, *, start: str, limit: int) -> ListedPage:
        """Up to `limit` versions below the prefix from the name `start` on, as B2 sorts them.

        By name, byte for byte; of one name the newest first. Unfinished uploads and markers that
        hide others are among them. Raises StorageError for an answer that is anything else.
        """
        ...

    async def unfinished(self, prefix: str) -> list[UnfinishedUpload]:
        """Unfinished large files below the prefix."""
        ...

    async def delete(self, file_id: str, name: str) -> None:
        """Delete one file version; one that is not there counts as deleted."""
        ...

    async def cancel_unfinished(self, file_id: str) -> bool:
        """Cancel an unfinished large file; one that is not there counts as cancelled.

        False where it had been finished: it is an object now, with the same id, to be deleted.
        """
        ...

    async def probe(self) -> None:
        """Check everything that backups need.

        Key, capabilities, bucket, rules; then write, read and delete a small object.
        """
        ...
