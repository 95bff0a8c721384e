"""The local B2's bytes on disk: blobs written once, hashed on the way, read in ranges."""

import hashlib
import os
import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

BLOCK = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """One file on disk that is complete: its name, its bytes and their SHA-1."""

    name: str
    size: int
    sha1: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A range of a blob."""

    blob: str
    start: int
    length: int


class BlobWriter:
    """A blob that is being written. It belongs to nobody until an index row names it."""

    def __init__(self, path: Path, *, durable: bool) -> None:
        self._path = path
        self._durable = durable
        self._sha1 = hashlib.sha1(usedforsecurity=False)
        self._size = 0
        # A cancelled request discards while a thread may still be writing: without the lock it
        # would write into whatever file got the descriptor next.
        self._lock = threading.Lock()
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)

    def write(self, blocks: Sequence[bytes | memoryview]) -> None:
        """Hash and append the blocks; raises OSError."""
        with self._lock:
            for block in blocks:
                self._sha1.update(block)
                rest = memoryview(block)
                while rest and self._descriptor >= 0:
                    rest = rest[os.write(self._descriptor, rest) :]
                self._size += len(block)

    def commit(self) -> Blob:
        """Make the bytes durable and return what they are; raises OSError."""
        with self._lock:
            try:
                if self._durable:
                    os.fsync(self._descriptor)
            finally:
                self._close()
        if self._durable:
            _sync_folder(self._path.parent)
        return Blob(name=self._path.name, size=self._size, sha1=self._sha1.hexdigest())

    def discard(self) -> None:
        """Remove what was written; also after `commit`."""
        with self._lock:
            self._close()
        self._path.unlink(missing_ok=True)

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class BlobReader:
    """Reads pieces of blobs one after the other, a block at a time."""

    def __init__(self, blobs: "Blobs", pieces: Sequence[Piece]) -> None:
        self._blobs = blobs
        self._pieces = list(reversed(pieces))
        self._lock = threading.Lock()
        self._descriptor = -1
        self._offset = 0
        self._left = 0
        self._closed = False

    def read(self) -> bytes:
        """The next block; empty at the end, or where a blob is gone or shorter than told."""
        with self._lock:
            if self._left == 0 and not self._open_next():
                return b""
            block = os.pread(self._descriptor, min(BLOCK, self._left), self._offset)
            self._offset += len(block)
            self._left -= len(block)
            return block

    def _open_next(self) -> bool:
        while self._pieces and not self._closed:
            piece = self._pieces.pop()
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1
            if piece.length:
                try:
                    self._descriptor = os.open(self._blobs.path(piece.blob), os.O_RDONLY)
                except FileNotFoundError:
                    self._pieces.clear()
                    return False
                self._offset, self._left = piece.start, piece.length
                return True
        return False

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._left = 0
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1


class Blobs:
    """The folder of blobs, in 256 sub-folders by the first two digits of their names."""

    def __init__(self, folder: Path, *, durable: bool) -> None:
        self._folder = folder
        self._durable = durable

    def prepare(self) -> None:
        self._folder.mkdir(mode=0o700, exist_ok=True)
        if self._durable:
            _sync_folder(self._folder.parent)

    def path(self, name: str) -> Path:
        return self._folder / name[:2] / name

    def write(self) -> BlobWriter:
        path = self.path(secrets.token_hex(16))
        if not path.parent.is_dir():
            path.parent.mkdir(mode=0o700, exist_ok=True)
            if self._durable:
                _sync_folder(self._folder)
        return BlobWriter(path, durable=self._durable)

    def read(self, pieces: Sequence[Piece]) -> BlobReader:
        return BlobReader(self, pieces)

    def remove(self, names: Iterator[str] | Sequence[str]) -> None:
        for name in names:
            self.path(name).unlink(missing_ok=True)

    def sweep(self, named: Callable[[str], set[str]]) -> int:
        """Remove the blobs that no index row names (`named` tells a shard's) and say how many."""
        removed = 0
        for shard in sorted(self._folder.iterdir()):
            found = {path.name for path in shard.iterdir()}
            orphans = found - named(shard.name)
            self.remove(sorted(orphans))
            removed += len(orphans)
        return removed


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
