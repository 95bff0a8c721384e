"""Objects looked at and read for requests: with a deadline, a bounded number at a time."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import Executor as Threads
from contextlib import contextmanager
from uuid import UUID

from app.errors import DownloadsBusy, StorageUnavailable
from app.model.backups import StorageStatus
from app.model.integrations import StorageAccess
from app.model.stored_objects import ExpectedObject
from app.storage.port import Storage
from app.transfer.chunks import CheckedChunks

LOOKS = 8
LOOK_SECONDS = 5.0
STREAMS = 4


class Objects:
    """Reaches the objects of any integration, by its own key."""

    def __init__(
        self,
        storage_of: Callable[[StorageAccess], Storage],
        threads: Threads,
        *,
        looks: int = LOOKS,
        look_seconds: float = LOOK_SECONDS,
        streams: int = STREAMS,
    ) -> None:
        """`looks`, `streams`: at a time; `look_seconds`: for each look, its wait included."""
        self.streams = asyncio.Semaphore(streams)
        """To be held by whoever reads an object."""
        self.streams_of_hub = max(1, streams // 2)
        """As many of them may one hub hold at a time, so that it never holds them all."""
        self._held: Counter[UUID] = Counter()
        self._storage_of = storage_of
        self._threads = threads
        self._looks = asyncio.Semaphore(looks)
        self._look_seconds = look_seconds

    @contextmanager
    def share(self, hub_id: UUID) -> Iterator[None]:
        """To be held by whoever reads an object of this hub. Raises DownloadsBusy."""
        if self._held[hub_id] >= self.streams_of_hub:
            raise DownloadsBusy
        self._held[hub_id] += 1
        try:
            yield
        finally:
            self._held[hub_id] -= 1
            if not self._held[hub_id]:
                del self._held[hub_id]

    async def look(self, expected: ExpectedObject) -> StorageStatus:
        """Ask B2 whether the object is there, with its name and size; its bytes are not read.

        Raises StorageError, within the deadline.
        """
        try:
            async with asyncio.timeout(self._look_seconds), self._looks:
                found = await self._storage_of(expected.access).stat(expected.file_id)
        except TimeoutError:
            raise StorageUnavailable(
                f"Backblaze B2 did not answer within {self._look_seconds:g} s; try again later."
            ) from None
        if found is None:
            return StorageStatus.MISSING
        if (found.name, found.size) != (expected.name, expected.size_bytes):
            return StorageStatus.MISMATCH
        return StorageStatus.PRESENT

    def read(self, expected: ExpectedObject, chunk_hashes: bytes) -> AsyncGenerator[bytes, None]:
        """The object's bytes in chunks that each were checked; close it when leaving early.

        Raises StorageError; ObjectMismatch in place of the first chunk that is not what was saved.
        """
        stream = self._storage_of(expected.access).read(expected.file_id, size=expected.size_bytes)
        return CheckedChunks(
            stream,
            size=expected.size_bytes,
            sha256=expected.sha256,
            chunk_hashes=chunk_hashes,
            threads=self._threads,
        ).read()
