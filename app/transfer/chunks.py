"""Chunk hashes: taken while a backup is saved, checked before a byte of it is restored."""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncGenerator
from concurrent.futures import Executor

from app.errors import ObjectMismatch
from app.model.objects import CHUNK_BYTES, HASH_BYTES


class ChunkHasher:
    """SHA-256 of a stream and of each 4 MiB of it. `update` is for a thread: it takes its time."""

    def __init__(self) -> None:
        self._whole = hashlib.sha256()
        self._chunk = hashlib.sha256()
        self._chunk_size = 0
        self._digests: list[bytes] = []
        self.size = 0

    def update(self, data: bytes) -> None:
        self._whole.update(data)
        self.size += len(data)
        view = memoryview(data)
        while view:
            piece = view[: CHUNK_BYTES - self._chunk_size]
            self._chunk.update(piece)
            self._chunk_size += len(piece)
            view = view[len(piece) :]
            if self._chunk_size == CHUNK_BYTES:
                self._close_chunk()

    def digests(self) -> tuple[bytes, bytes]:
        """The SHA-256 of the whole, and those of the chunks, joined. Ends the hashing."""
        if self._chunk_size:
            self._close_chunk()
        return self._whole.digest(), b"".join(self._digests)

    def _close_chunk(self) -> None:
        self._digests.append(self._chunk.digest())
        self._chunk = hashlib.sha256()
        self._chunk_size = 0


class CheckedChunks:
    """An object's bytes in chunks that each equal what was saved.

    Raises ObjectMismatch in place of the first chunk that does not, and at the end where the
    whole does not.
    """

    def __init__(
        self,
        stream: AsyncGenerator[bytes, None],
        *,
        size: int,
        sha256: bytes,
        chunk_hashes: bytes,
        threads: Executor,
    ) -> None:
        self._stream = stream
        self._size = size
        self._sha256 = sha256
        self._chunk_hashes = chunk_hashes
        self._threads = threads
        self._whole = hashlib.sha256()
        self._checked = 0

    async def read(self) -> AsyncGenerator[bytes, None]:
        """The chunks in their order."""
        pending: list[memoryview] = []
        lacking = CHUNK_BYTES
        async with contextlib.aclosing(self._stream):
            async for data in self._stream:
                view = memoryview(data)
                while len(view) >= lacking:
                    chunk = b"".join((*pending, view[:lacking]))
                    pending, view, lacking = [], view[lacking:], CHUNK_BYTES
                    yield await self._check(chunk)
                pending.append(view)
                lacking -= len(view)
        if lacking < CHUNK_BYTES:
            yield await self._check(b"".join(pending))
        if self._checked != self._size or self._whole.digest() != self._sha256:
            raise ObjectMismatch(
                f"The object's {self._checked} bytes as a whole are not the {self._size} bytes"
                " that were saved."
            )

    async def _check(self, chunk: bytes) -> bytes:
        loop = asyncio.get_running_loop()
        digest = await loop.run_in_executor(self._threads, self._hash, chunk)
        start = self._checked
        at = start // CHUNK_BYTES * HASH_BYTES
        self._checked += len(chunk)
        if digest != self._chunk_hashes[at : at + HASH_BYTES] or self._checked > self._size:
            raise ObjectMismatch(
                f"Bytes {start} to {self._checked - 1} of the object are not the ones that were"
                " saved (SHA-256 differs)."
            )
        return chunk

    def _hash(self, chunk: bytes) -> bytes:
        self._whole.update(chunk)
        return hashlib.sha256(chunk).digest()
