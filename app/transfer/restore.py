"""Restore: an object's checked bytes into a command's stdin, and a check of what came of it."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from concurrent.futures import Executor as Threads
from dataclasses import dataclass
from typing import Protocol

from app.errors import InputNotRead
from app.executor.port import Command, Execution, Executor
from app.model.restores import RestorePhase
from app.storage.port import Storage
from app.transfer.chunks import CheckedChunks
from app.transfer.pipe import (
    CHECK,
    Counters,
    Output,
    Traced,
    check_exit,
    first_cause,
    pump_stderr,
    pump_stdout_tail,
)

WRITE_BYTES = 256 * 1024
CHUNKS_AHEAD = 2
"""Checked chunks that wait for the command while the next ones are read."""


class RestoreWatch(Traced, Protocol):
    """Where a restore tells what must be known of it should this process die."""

    async def touched(self) -> None:
        """Keep that bytes reach the command from now on. Awaited before the first one."""
        ...

    async def phase(self, phase: RestorePhase) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Restore:
    """One restore to carry out."""

    command: Command
    check: Command | None = None
    """Runs once the first command has taken everything and succeeded; its stdin is empty."""
    what: str = "restore"
    """What the first command is called; `CHECK`: it only reads."""
    file_id: str
    size: int
    sha256: bytes
    chunk_hashes: bytes
    output: Output
    counters: Counters
    watch: RestoreWatch

    async def carry_out(self, executor: Executor, storage: Storage, threads: Threads) -> int:
        """Run the command and feed it the object, then the check; returns the exit code, 0.

        Raises RunError and StorageError; then the command never saw a normal end of its input, or
        had exited, and nothing is left running. So it is on cancellation, too.
        """
        stream = storage.read(self.file_id, size=self.size)
        chunks = CheckedChunks(
            stream,
            size=self.size,
            sha256=self.sha256,
            chunk_hashes=self.chunk_hashes,
            threads=threads,
        )
        queue: asyncio.Queue[bytes | None] = asyncio.Queue(CHUNKS_AHEAD)
        try:
            async with asyncio.TaskGroup() as tasks:
                reader = tasks.create_task(_read_ahead(chunks.read(), queue))
                # The command is not even started for an object that cannot be read.
                first = await queue.get()
                await self._run(executor, first, queue)
                await reader
        except BaseExceptionGroup as group:
            raise first_cause(group) from None
        if self.check is not None:
            await self._check(executor, self.check)
        return 0

    async def _check(self, executor: Executor, command: Command) -> None:
        """Let the check decide. Raises CheckFailed, CommandKilled."""
        await self.watch.phase(RestorePhase.CHECKING)
        self.output.begin_another()
        execution = await executor.start(command, input_size=None)
        try:
            await self.watch.traced(execution.trace)
            try:
                async with asyncio.TaskGroup() as tasks:
                    stderr = tasks.create_task(pump_stderr(execution, self.output))
                    stdout = tasks.create_task(pump_stdout_tail(execution, self.output))
                    self.output.exit = await execution.wait()
                    # What the command left behind must not hold the log open.
                    await execution.kill()
                    await stderr
                    await stdout
            except BaseExceptionGroup as group:
                raise first_cause(group) from None
        finally:
            await execution.aclose()
        check_exit(self.output.exit, what=CHECK)

    async def _run(
        self, executor: Executor, first: bytes | None, queue: asyncio.Queue[bytes | None]
    ) -> None:
        execution = await executor.start(self.command, input_size=self.size)
        try:
            await self.watch.traced(execution.trace)
            try:
                async with asyncio.TaskGroup() as tasks:
                    stderr = tasks.create_task(pump_stderr(execution, self.output))
                    stdout = tasks.create_task(pump_stdout_tail(execution, self.output))
                    unread = await self._feed(execution, first, queue)
                    # What the command left behind must not hold the log open.
                    await execution.kill()
                    # A failure is told only once all that the command said about it was read.
                    await stderr
                    await stdout
                    self._refuse_unread(unread)
            except BaseException:
                # Dead before its input is let go: it must not take a cut stream for a whole one.
                await execution.kill()
                raise
        finally:
            await execution.aclose()

    async def _feed(
        self, execution: Execution, first: bytes | None, queue: asyncio.Queue[bytes | None]
    ) -> int:
        """Deliver until all was read or the command exits; returns the bytes left unread."""
        await self.watch.phase(RestorePhase.TRANSFERRING)
        async with asyncio.TaskGroup() as tasks:
            deliver = tasks.create_task(self._deliver(execution, first, queue))
            exited = tasks.create_task(execution.wait())
            await asyncio.wait({deliver, exited}, return_when=asyncio.FIRST_COMPLETED)
            if not deliver.done():
                self.output.exit = await exited
                # The end of input waits for the command to read; no one reads any more.
                unread = self.size - self.counters.bytes_delivered
                if unread:
                    deliver.cancel()
                    return unread
            unread = await deliver
            self.output.exit = await exited
        return unread

    def _refuse_unread(self, unread: int) -> None:
        """Raise where the command failed or did not take everything."""
        assert self.output.exit is not None
        total = f" with {unread} of {self.size} bytes unread" if unread else ""
        check_exit(self.output.exit, what=self.what, detail=total)
        if unread:
            raise InputNotRead(
                f"The {self.what} command exited before it had read the whole backup: {unread} of"
                f" {self.size} bytes were left."
            )

    async def _deliver(
        self, execution: Execution, first: bytes | None, queue: asyncio.Queue[bytes | None]
    ) -> int:
        """Write everything and give the end mark; returns the bytes that were left unread."""
        await self.watch.touched()
        chunk = first
        while chunk is not None:
            view = memoryview(chunk)
            for start in range(0, len(view), WRITE_BYTES):
                piece = view[start : start + WRITE_BYTES]
                if not await execution.write_stdin(bytes(piece)):
                    return self.size - self.counters.bytes_delivered
                self.counters.bytes_delivered += len(piece)
            chunk = await queue.get()
        await self.watch.phase(RestorePhase.WAITING_FOR_COMMAND)
        return await execution.end_stdin()


async def _read_ahead(
    chunks: AsyncGenerator[bytes, None], queue: asyncio.Queue[bytes | None]
) -> None:
    async with contextlib.aclosing(chunks):
        async for chunk in chunks:
            await queue.put(chunk)
    await queue.put(None)
