"""Verify: an object's bytes read again and compared with what was saved, without a command."""

import contextlib
from concurrent.futures import Executor as Threads
from dataclasses import dataclass

from app.errors import ObjectMismatch, ObjectMissing
from app.storage.port import Storage
from app.transfer.chunks import CheckedChunks
from app.transfer.pipe import Counters


@dataclass(frozen=True, slots=True, kw_only=True)
class Rereading:
    """One object to read again, chunk by chunk; nothing of it is kept."""

    name: str
    file_id: str
    size: int
    sha256: bytes
    chunk_hashes: bytes
    counters: Counters

    async def carry_out(self, storage: Storage, threads: Threads) -> None:
        """Raises StorageError: ObjectMissing, ObjectMismatch where it is not what was saved."""
        found = await storage.stat(self.file_id)
        if found is None:
            raise ObjectMissing
        if (found.name, found.size) != (self.name, self.size):
            raise ObjectMismatch(
                f"The object is called {found.name} and has {found.size} bytes; what was saved is"
                f" called {self.name} and has {self.size}."
            )
        chunks = CheckedChunks(
            storage.read(self.file_id, size=self.size),
            size=self.size,
            sha256=self.sha256,
            chunk_hashes=self.chunk_hashes,
            threads=threads,
        )
        async with contextlib.aclosing(chunks.read()) as checked:
            async for chunk in checked:
                self.counters.bytes_read += len(chunk)
