"""The worker's ends of a command's pipes: non-blocking, and read or filled only when asked."""

import array
import asyncio
import errno
import fcntl
import os
import sys
import termios

LARGEST = 1 << 20
"""Bytes of one read or write, and the wanted capacity of a pipe."""


def widen(descriptor: int) -> None:
    """Give a pipe the capacity that saves most switches, as far as the system's limits allow it."""
    if sys.platform != "linux":
        return
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, LARGEST)
    except OSError as error:
        if error.errno not in {errno.EPERM, errno.EBUSY}:
            raise


class _End:
    """One end of a pipe, with at most one who waits for it."""

    def __init__(self, descriptor: int, *, reads: bool) -> None:
        os.set_blocking(descriptor, False)
        loop = asyncio.get_running_loop()
        self._descriptor = descriptor
        self._make_waiter = loop.create_future
        self._watch = loop.add_reader if reads else loop.add_writer
        self._unwatch = loop.remove_reader if reads else loop.remove_writer
        self._waiter: asyncio.Future[None] | None = None

    @property
    def closed(self) -> bool:
        return self._descriptor < 0

    def close(self) -> None:
        """Close this end; who waits for it is woken. Idempotent."""
        if self.closed:
            return
        self._unwatch(self._descriptor)
        os.close(self._descriptor)
        self._descriptor = -1
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _wait(self) -> None:
        """Wait until the end is ready, or somebody wakes us."""
        self._waiter = self._make_waiter()
        self._watch(self._descriptor, self._wake)
        try:
            await self._waiter
        finally:
            if not self.closed:
                self._unwatch(self._descriptor)
            self._waiter = None


class ReadEnd(_End):
    """The end that a command's output is read from."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor, reads=True)

    async def read(self, size: int) -> bytes:
        """The next bytes, at most `size`; empty at the end of the stream or once closed."""
        # Others have their turn also where the command is faster than we are.
        await asyncio.sleep(0)
        while not self.closed:
            try:
                return os.read(self._descriptor, min(size, LARGEST))
            except BlockingIOError:
                await self._wait()
        return b""


class WriteEnd(_End):
    """The end that a command's input is written into."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor, reads=False)
        self._refused = False
        self._untaken = 0

    def refuse(self) -> None:
        """Nobody reads any more: writing ends, also where it waits. What is left can be counted."""
        self._refused = True
        self._wake()

    async def write(self, data: bytes) -> bool:
        """Write all of it, waiting for room. False: nobody reads any more."""
        rest = memoryview(data)
        # Also where the wait for room is cancelled: nobody knows then where to go on.
        self._untaken += len(rest)
        await asyncio.sleep(0)
        while rest:
            if self._refused or self.closed:
                return False
            try:
                size = os.write(self._descriptor, rest[:LARGEST])
                rest = rest[size:]
                self._untaken -= size
            except BlockingIOError:
                await self._wait()
            except BrokenPipeError:
                self._refused = True
        return not (self._refused or self.closed)

    @property
    def untaken(self) -> int:
        """Bytes that were to be written and never came into the pipe."""
        return self._untaken

    def write_now(self, data: bytes) -> bool:
        """Write a few bytes without waiting. False: nobody reads any more."""
        try:
            return not self.closed and os.write(self._descriptor, data) == len(data)
        except BrokenPipeError:
            return False

    def count_unread(self) -> int:
        """Bytes in the pipe that nobody has read; 0 once closed."""
        if self.closed:
            return 0
        count = array.array("i", [0])
        fcntl.ioctl(self._descriptor, termios.FIONREAD, count)
        return count[0]
