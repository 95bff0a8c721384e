"""Threads for b2sdk: bounded, and never left behind by the task that waits for them."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from threading import Event
from typing import Any, TypeVar

T = TypeVar("T")


class StorageThreads:
    """A bounded number of threads, for the storage of all integrations or for one upload.

    Work gets an event that is set once it should stop.
    """

    def __init__(self, limit: int) -> None:
        self._executor = ThreadPoolExecutor(limit, thread_name_prefix="storage")
        self._jobs: set[Future[Any]] = set()

    def submit(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """Start work; cancelling what this gives does not reach work that runs already."""
        job = self._executor.submit(work)
        self._jobs.add(job)
        job.add_done_callback(self._jobs.discard)
        future = asyncio.wrap_future(job)
        # An abandoned question must not be reported as an exception that nobody looked at.
        future.add_done_callback(lambda done: done.cancelled() or done.exception())
        return future

    async def ask(self, work: Callable[[Event], T]) -> T:
        """Do work that only asks or may be asked for again: a cancelled task leaves it behind."""
        stop = Event()
        future = self.submit(lambda: work(stop))
        try:
            return await future
        except asyncio.CancelledError:
            stop.set()
            raise

    async def run(self, work: Callable[[Event], T], *, bound: float) -> T:
        """Do work that leaves traces: a cancelled task waits `bound` seconds for it to stop."""
        stop = Event()
        future = self.submit(lambda: work(stop))
        try:
            # Unlike `await future`, this leaves the work alone when the task is cancelled.
            await asyncio.wait([future])
        except asyncio.CancelledError:
            stop.set()
            await _outlast(future, bound)
            future.cancel()
            raise
        return future.result()

    async def complete(self, work: Callable[[Event], T], *, bound: float) -> T | None:
        """Do work to its end although the task is cancelled; None once `bound` seconds are over."""
        stop = Event()
        future = self.submit(lambda: work(stop))
        cancelled = await _outlast(future, bound)
        stop.set()
        done = not future.cancel()
        if cancelled:
            raise asyncio.CancelledError
        return future.result() if done else None

    def settle(self, seconds: float) -> None:
        """Wait, in a thread of another owner, until nothing runs here, at most that long."""
        wait(list(self._jobs), timeout=seconds)

    def close(self) -> None:
        """Take no more work. What runs comes to its end; what waits is dropped."""
        self._executor.shutdown(wait=False, cancel_futures=True)


async def _outlast(future: asyncio.Future[T], bound: float) -> bool:
    """Wait for the end, at most `bound` seconds; True where the task was cancelled meanwhile."""
    loop = asyncio.get_running_loop()
    end = loop.time() + bound
    cancelled = False
    while not future.done() and (left := end - loop.time()) > 0:
        try:
            await asyncio.wait([future], timeout=left)
        except asyncio.CancelledError:
            cancelled = True
    return cancelled
