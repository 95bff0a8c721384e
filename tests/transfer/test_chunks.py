"""The hashes of chunks: what is taken while saving is exactly what lets bytes through later."""

import asyncio
import hashlib
import random
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.errors import ObjectMismatch
from app.model.objects import CHUNK_BYTES, HASH_BYTES
from app.transfer.chunks import CheckedChunks, ChunkHasher

SIZES = st.sampled_from(
    [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES, 2 * CHUNK_BYTES + 12_345]
)
CUTS = st.lists(st.integers(0, 2 * CHUNK_BYTES + 12_345), max_size=6)
FEW = settings(
    max_examples=12,
    deadline=None,
    # The fixture is only a pool of threads.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@cache
def _bytes(size: int) -> bytes:
    """Bytes in which no chunk is like another."""
    return random.Random(size).randbytes(size)


def _pieces(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    at = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    return [data[start:end] for start, end in pairwise(at)]


def _hash(pieces: Sequence[bytes]) -> tuple[int, bytes, bytes]:
    hasher = ChunkHasher()
    for piece in pieces:
        hasher.update(piece)
    return hasher.size, *hasher.digests()


async def _stream(pieces: Sequence[bytes]) -> AsyncGenerator[bytes, None]:
    for piece in pieces:
        yield piece


def _read(
    pieces: Sequence[bytes],
    threads: ThreadPoolExecutor,
    *,
    size: int,
    sha256: bytes,
    chunk_hashes: bytes,
) -> tuple[bytes, ObjectMismatch | None]:
    """What came through, and the error that ended it."""

    async def read() -> tuple[bytes, ObjectMismatch | None]:
        through = bytearray()
        chunks = CheckedChunks(
            _stream(pieces), size=size, sha256=sha256, chunk_hashes=chunk_hashes, threads=threads
        )
        try:
            async for chunk in chunks.read():
                through += chunk
        except ObjectMismatch as error:
            return bytes(through), error
        return bytes(through), None

    return asyncio.run(read())


@FEW
@given(size=SIZES, cuts=CUTS)
def test_hashes_do_not_depend_on_how_the_stream_is_cut(size, cuts):
    data = _bytes(size)
    chunks = [data[at : at + CHUNK_BYTES] for at in range(0, size, CHUNK_BYTES)]
    assert _hash(_pieces(data, cuts)) == (
        size,
        hashlib.sha256(data).digest(),
        b"".join(hashlib.sha256(chunk).digest() for chunk in chunks),
    )


@FEW
@given(size=SIZES, cuts=CUTS)
def test_what_was_saved_comes_through_however_it_is_cut(threads, size, cuts):
    data = _bytes(size)
    taken, sha256, chunk_hashes = _hash([data])
    through, error = _read(
        _pieces(data, cuts), threads, size=taken, sha256=sha256, chunk_hashes=chunk_hashes
    )
    assert error is None
    assert through == data


@FEW
@given(size=SIZES.filter(bool), where=st.floats(0, 1, exclude_max=True), cuts=CUTS)
def test_nothing_of_a_chunk_with_a_changed_byte_comes_through(threads, size, where, cuts):
    data = _bytes(size)
    taken, sha256, chunk_hashes = _hash([data])
    at = int(where * size)
    damaged = bytearray(data)
    damaged[at] ^= 1
    through, error = _read(
        _pieces(bytes(damaged), cuts), threads, size=taken, sha256=sha256, chunk_hashes=chunk_hashes
    )
    start = at // CHUNK_BYTES * CHUNK_BYTES
    end = min(start + CHUNK_BYTES, size)
    assert through == data[:start]
    assert error is not None
    assert error.message == (
        f"Bytes {start} to {end - 1} of the object are not the ones that were saved"
        " (SHA-256 differs)."
    )


@FEW
@given(size=SIZES.filter(bool), missing=st.integers(1, CHUNK_BYTES + 5), cuts=CUTS)
def test_a_stream_that_ends_early_never_ends_well(threads, size, missing, cuts):
    data = _bytes(size)
    taken, sha256, chunk_hashes = _hash([data])
    short = data[: max(0, size - missing)]
    through, error = _read(
        _pieces(short, cuts), threads, size=taken, sha256=sha256, chunk_hashes=chunk_hashes
    )
    assert error is not None
    assert data.startswith(through)
    assert len(through) % CHUNK_BYTES == 0


@FEW
@given(size=SIZES, more=st.integers(1, CHUNK_BYTES + 5), cuts=CUTS)
def test_a_stream_that_goes_on_never_ends_well(threads, size, more, cuts):
    data = _bytes(size)
    taken, sha256, chunk_hashes = _hash([data])
    longer = data + bytes(more)
    through, error = _read(
        _pieces(longer, cuts), threads, size=taken, sha256=sha256, chunk_hashes=chunk_hashes
    )
    assert error is not None
    assert data.startswith(through)


def test_chunks_that_fit_are_not_enough_where_the_whole_differs(threads):
    data = _bytes(CHUNK_BYTES + 1)
    taken, _, chunk_hashes = _hash([data])
    through, error = _read(
        [data], threads, size=taken, sha256=bytes(HASH_BYTES), chunk_hashes=chunk_hashes
    )
    assert through == data
    assert error is not None
    assert "as a whole" in error.message


def test_a_record_with_too_few_hashes_lets_nothing_more_through(threads):
    data = _bytes(2 * CHUNK_BYTES)
    taken, sha256, chunk_hashes = _hash([data])
    through, error = _read(
        [data], threads, size=taken, sha256=sha256, chunk_hashes=chunk_hashes[:HASH_BYTES]
    )
    assert through == data[:CHUNK_BYTES]
    assert error is not None


def test_chunks_in_another_order_do_not_come_through(threads):
    data = _bytes(2 * CHUNK_BYTES)
    taken, sha256, chunk_hashes = _hash([data])
    swapped = data[CHUNK_BYTES:] + data[:CHUNK_BYTES]
    through, error = _read([swapped], threads, size=taken, sha256=sha256, chunk_hashes=chunk_hashes)
    assert through == b""
    assert error is not None


async def test_the_stream_is_closed_where_a_chunk_is_refused(threads):
    closed = asyncio.Event()

    async def stream() -> AsyncGenerator[bytes, None]:
        try:
            while True:
                yield bytes(CHUNK_BYTES)
        finally:
            closed.set()

    chunks = CheckedChunks(
        stream(), size=1, sha256=bytes(HASH_BYTES), chunk_hashes=bytes(HASH_BYTES), threads=threads
    )
    with pytest.raises(ObjectMismatch):
        async for _ in chunks.read():
            pass
    assert closed.is_set()
