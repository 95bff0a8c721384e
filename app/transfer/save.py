"""Save: a backup command's stdout into an object, with the proofs that LIVE needs."""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import Executor as Threads
from dataclasses import dataclass
from typing import Protocol

from app.errors import ObjectMismatch, OutputNotClosed, OutputTooSmall
from app.executor.port import Command, Execution, Executor
from app.model.backups import StoredBackup
from app.model.objects import MANIFEST_CONTENT_TYPE, manifest_name
from app.storage.port import Storage, StoredObject, Upload
from app.transfer.chunks import ChunkHasher
from app.transfer.pipe import (
    READ_BYTES,
    Counters,
    Output,
    Traced,
    check_exit,
    first_cause,
    pump_stderr,
)

TICK_SECONDS = 0.1
LEFT_IN_PIPES_BYTES = 4 * 1024 * 1024
"""More than the pipes behind a command that exited can still hold."""


class SaveWatch(Traced, Protocol):
    """Where a save tells what must be known of it should this process die."""

    async def upload_started(self, file_id: str) -> None:
        """Keep the id of the unfinished upload. Awaited before a part is sent."""
        ...

    async def object_stored(self) -> None:
        """Hear that the object is whole in the bucket. Awaited before its manifest is sent."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Hashes:
    """What was taken of the stream while it went by."""

    size: int
    sha256: bytes
    chunk_hashes: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Save:
    """One save to carry out; `make_manifest` is called once the object is stored."""

    command: Command
    object_name: str
    info: Mapping[str, str]
    min_bytes: int
    make_manifest: Callable[[StoredObject, Hashes], bytes]
    output: Output
    counters: Counters
    watch: SaveWatch
    close_seconds: float = 10.0
    """How long the output may stay open after the exit."""

    async def carry_out(
        self, executor: Executor, storage: Storage, threads: Threads
    ) -> StoredBackup:
        """Run the command and store its output.

        Raises RunError and StorageError; then nothing of the save is left running, and what was
        sent is cancelled as far as B2 can be reached. So it is on cancellation, too.
        """
        execution = await executor.start(self.command, input_size=None)
        try:
            await self.watch.traced(execution.trace)
            return await self._save(execution, storage, threads)
        finally:
            await execution.aclose()

    async def _save(self, execution: Execution, storage: Storage, threads: Threads) -> StoredBackup:
        upload = await storage.start_upload(
            self.object_name, info=self.info, on_file_id=self.watch.upload_started
        )
        self.counters.upload = upload
        try:
            hasher = ChunkHasher()
            await self._stream(execution, upload, hasher, threads)
            stored = await upload.finish()
        except BaseException:
            await execution.kill()
            await upload.cancel()
            raise
        try:
            return await self._prove(storage, stored, hasher)
        except BaseException:
            # Finished, but no backup: its name is reclaimed by whoever records the failure.
            await execution.kill()
            raise

    async def _prove(
        self, storage: Storage, stored: StoredObject, hasher: ChunkHasher
    ) -> StoredBackup:
        sha256, chunk_hashes = hasher.digests()
        if stored.size != hasher.size:
            raise ObjectMismatch(
                f"B2 confirmed {stored.size} bytes, the command wrote {hasher.size}."
            )
        await self.watch.object_stored()
        hashes = Hashes(size=hasher.size, sha256=sha256, chunk_hashes=chunk_hashes)
        manifest = await storage.put(
            manifest_name(self.object_name),
            self.make_manifest(stored, hashes),
            info=self.info,
            content_type=MANIFEST_CONTENT_TYPE,
        )
        assert self.output.exit is not None
        return StoredBackup(
            file_id=stored.file_id,
            manifest_file_id=manifest.file_id,
            size_bytes=stored.size,
            sha256=sha256,
            chunk_hashes=chunk_hashes,
            exit_code=self.output.exit.code,
        )

    async def _stream(
        self, execution: Execution, upload: Upload, hasher: ChunkHasher, threads: Threads
    ) -> None:
        """Everything up to a clean end: stdout read to its end, exit 0, enough bytes."""
        try:
            async with asyncio.TaskGroup() as tasks:
                stderr = tasks.create_task(pump_stderr(execution, self.output))
                pump = _StdoutPump(execution, upload, hasher, threads, self)
                stdout = tasks.create_task(pump.run())
                self.output.exit = await execution.wait()
                ended = await self._wait_for_end(pump, stdout)
                # What the command left behind must not hold the log open.
                await execution.kill()
                # A failure is told only once all that the command said about it was read.
                await stderr
                self._check_end(ended=ended)
        except BaseExceptionGroup as group:
            raise first_cause(group) from None
        if hasher.size < self.min_bytes:
            raise OutputTooSmall(
                f"The backup command wrote {hasher.size} bytes, the policy demands at least"
                f" {self.min_bytes}."
            )

    async def _wait_for_end(self, pump: "_StdoutPump", stdout: asyncio.Task[None]) -> bool:
        """Let the output end after the exit. A slow B2 may take its time, an open pipe may not."""
        at_exit, waited = self.counters.bytes_read, 0.0
        while not stdout.done():
            await asyncio.wait({stdout}, timeout=TICK_SECONDS)
            waited += TICK_SECONDS if pump.waits_for_command else 0.0
            grown = self.counters.bytes_read - at_exit
            if waited >= self.close_seconds or grown > LEFT_IN_PIPES_BYTES:
                return False
        return True

    def _check_end(self, *, ended: bool) -> None:
        """Raise where the command failed, or its output did not end with it."""
        assert self.output.exit is not None
        check_exit(self.output.exit, what="backup")
        if not ended:
            raise OutputNotClosed(
                "The backup command exited, but something it started kept its output open"
                f" for {self.close_seconds:g} s."
            )


class _StdoutPump:
    """Moves stdout into the upload; hashing goes on in a thread while the bytes are sent."""

    def __init__(
        self,
        execution: Execution,
        upload: Upload,
        hasher: ChunkHasher,
        threads: Threads,
        save: Save,
    ) -> None:
        self._execution = execution
        self._upload = upload
        self._hasher = hasher
        self._threads = threads
        self._save = save
        self.waits_for_command = True

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        counters, output = self._save.counters, self._save.output
        while data := await self._execution.read_stdout(READ_BYTES):
            self.waits_for_command = False
            counters.bytes_read += len(data)
            output.stdout.feed(data)
            hashed = loop.run_in_executor(self._threads, self._hasher.update, data)
            try:
                await self._upload.write(data)
            finally:
                # The hasher is never fed by two threads at a time.
                await asyncio.shield(hashed)
            self.waits_for_command = True
