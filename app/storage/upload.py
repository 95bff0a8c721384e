"""Uploads: a stream of unknown length becomes parts, or one plain file where it is short."""

import asyncio
import mmap
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from threading import Event

from app.errors import StorageError
from app.model.objects import PartPlan
from app.storage.failures import Stopped
from app.storage.large_file import LargeFile, Target, check_size
from app.storage.port import StoredObject
from app.storage.session import Session
from app.storage.threads import StorageThreads


@dataclass(frozen=True, slots=True)
class _Part:
    number: int
    buffer: mmap.mmap
    filled: int


class B2Upload:
    """An upload under way; `write`, `finish` and `cancel` are called one after the other.

    Its threads are its own, so that an upload that waits for B2 keeps nobody else waiting. Its
    buffers are anonymous maps, at most one more than there are parts in flight: their memory goes
    back to the system at once and cannot be fragmented.
    """

    def __init__(
        self,
        session: Session,
        target: Target,
        *,
        plan: PartPlan,
        on_file_id: Callable[[str], Awaitable[None]],
    ) -> None:
        self._file = LargeFile(session, target)
        self._bound = target.cancel_within
        self._plan = plan
        self._on_file_id = on_file_id
        self._threads = StorageThreads(plan.in_flight(1))
        self._stop = Event()
        self._sending: dict[asyncio.Future[str], _Part] = {}
        self._sha1s: dict[int, str] = {}
        self._buffer: mmap.mmap | None = None
        self._spare: mmap.mmap | None = None
        self._number = 1
        self._filled = 0
        self._written = 0
        self._stored = 0
        # False while a call is under way, and for ever after one that did not come to its end: a
        # stream with a hole is never finished.
        self._sound = True
        self._failure: BaseException | None = None

    @property
    def bytes_stored(self) -> int:
        """Bytes that B2 has confirmed so far (whole parts)."""
        return self._stored

    async def write(self, data: bytes) -> None:
        """Take the next bytes; waits while enough parts are in flight. Raises StorageError."""
        self._enter()
        view = memoryview(data)
        while view:
            if self._buffer is not None and self._filled == len(self._buffer):
                await self._send()
            if self._buffer is None:
                self._buffer = self._take_buffer()
            block = view[: len(self._buffer) - self._filled]
            self._buffer[self._filled : self._filled + len(block)] = block
            self._filled += len(block)
            self._written += len(block)
            view = view[len(block) :]
        self._sound = True

    async def finish(self) -> StoredObject:
        """Store the rest and give what B2 confirmed. Raises StorageError."""
        self._enter()
        if self._number == 1:
            stored = await self._threads.run(self._store_whole, bound=self._bound)
        else:
            await self._send()
            await self._wait_for_parts(fewer_than=1)
            sha1s = [self._sha1s[number] for number in range(1, self._number)]
            stored = await self._threads.run(
                lambda stop: self._file.finish(sha1s, stop), bound=self._bound
            )
        check_size(stored, self._written)
        self._stored = stored.size
        self._close()
        return stored

    async def cancel(self) -> None:
        """Remove everything that was sent, also what was finished; never raises StorageError.

        Comes to its end although the task is cancelled, within the time that was given for it.
        """
        self._stop.set()
        self._sound = False
        # The upload's own threads may all wait for B2.
        threads = StorageThreads(1)
        try:
            await threads.complete(self._remove, bound=self._bound)
        except (StorageError, Stopped):
            # Its name stands in a record of ours: a reclaim removes it once B2 answers again.
            return
        finally:
            threads.close()
            self._close()

    def _enter(self) -> None:
        if self._failure is not None:
            raise self._failure
        if not self._sound:
            raise StorageError("The upload was interrupted.")
        self._sound = False

    async def _send(self) -> None:
        """Send the buffer as the next part; the file is started before the first one."""
        if self._file.file_id is None:
            file_id = await self._threads.run(self._file.start, bound=self._bound)
            await self._on_file_id(file_id)
        await self._wait_for_parts(fewer_than=self._plan.in_flight(self._number))
        assert self._buffer is not None
        part = _Part(self._number, self._buffer, self._filled)
        self._buffer, self._filled, self._number = None, 0, self._number + 1
        future = self._threads.submit(lambda: self._send_part(part))
        self._sending[future] = part
        future.add_done_callback(self._settle)

    def _send_part(self, part: _Part) -> str:
        with memoryview(part.buffer) as whole, whole[: part.filled] as data:
            return self._file.send(part.number, data, self._stop)

    def _store_whole(self, stop: Event) -> StoredObject:
        with memoryview(self._buffer or b"") as whole, whole[: self._filled] as data:
            return self._file.store_whole(data, stop)

    def _remove(self, stop: Event) -> None:
        self._threads.settle(self._bound / 3)
        self._file.remove(stop)

    async def _wait_for_parts(self, *, fewer_than: int) -> None:
        while len(self._sending) >= fewer_than and self._failure is None:
            await asyncio.wait(self._sending, return_when=asyncio.FIRST_COMPLETED)
            for future in [future for future in self._sending if future.done()]:
                self._settle(future)
        if self._failure is not None:
            raise self._failure

    def _settle(self, future: asyncio.Future[str]) -> None:
        """Take note of a part's end, once."""
        part = self._sending.pop(future, None)
        if part is None:
            return
        failure = StorageError("The upload was interrupted.")
        error = failure if future.cancelled() else future.exception()
        if error is None:
            self._sha1s[part.number] = future.result()
            self._stored += part.filled
        elif self._failure is None:
            # Raised by the call that waits, or the next one; the other parts are in vain now.
            self._failure = failure if isinstance(error, Stopped) else error
            self._stop.set()
        self._give_back(part.buffer)

    def _take_buffer(self) -> mmap.mmap:
        if self._number > self._plan.parts:
            raise StorageError(f"An object holds at most {self._plan.capacity:,} bytes.")
        size = self._plan.size(self._number)
        spare, self._spare = self._spare, None
        if spare is not None and len(spare) == size:
            return spare
        if spare is not None:
            _free(spare)
        return mmap.mmap(-1, size)

    def _give_back(self, buffer: mmap.mmap) -> None:
        """Keep one buffer for the next part; the memory of others goes back at once."""
        if self._spare is None and not self._stop.is_set():
            self._spare = buffer
        else:
            _free(buffer)

    def _close(self) -> None:
        self._threads.close()
        self._stop.set()
        for buffer in (self._buffer, self._spare):
            if buffer is not None:
                _free(buffer)
        self._buffer = self._spare = None


def _free(buffer: mmap.mmap) -> None:
    """Give the memory back; a thread that was too slow to stop keeps it until it ends."""
    with suppress(BufferError):
        buffer.close()
