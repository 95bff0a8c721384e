"""Logs: what is kept of what a run printed, the log rule, and the removal of secrets."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from app.model.runs import LogStream

HEAD_BYTES = 64 * 1024
TAIL_BYTES = 192 * 1024
STDOUT_TAIL_BYTES = 1024
ENTRY_BYTES = 16 * 1024
SHORTEST_SECRET = 6
REPLACEMENT = b"[secret]"


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPiece:
    """Some bytes of a log. `sequence` is the offset of its first byte in the whole stream."""

    sequence: int
    stream: LogStream
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class LogChange:
    """What happened to a log since it was last asked for.

    Pieces from HEAD_BYTES up to `drop_before` are not kept any more.
    """

    pieces: Sequence[LogPiece]
    drop_before: int | None
    total_bytes: int
    truncated: bool


class Redactor:
    """Replaces known secrets in a stream, also where one straddles two reads.

    Secrets of fewer than 6 bytes are left: they would match by accident.
    """

    def __init__(self, secrets: Iterable[bytes]) -> None:
        known = sorted({s for s in secrets if len(s) >= SHORTEST_SECRET}, key=len, reverse=True)
        self._secrets = known
        self._longest = len(known[0]) if known else 0
        self._pattern = re.compile(b"|".join(map(re.escape, known))) if known else None
        self._held = b""

    @property
    def longest(self) -> int:
        """The length of the longest secret, in bytes."""
        return self._longest

    def feed(self, data: bytes) -> bytes:
        """What can be shown of everything fed so far and not yet returned."""
        if self._pattern is None:
            return data
        rest, shown = self._held + data, b""
        while True:
            hold = self._hold(rest)
            match = self._pattern.search(rest)
            if match is None or match.start() >= hold:
                self._held = rest[hold:]
                return shown + rest[:hold]
            shown += rest[: match.start()] + REPLACEMENT
            rest = rest[match.end() :]

    def end(self) -> bytes:
        """What was held back because a secret could have begun in it."""
        rest, self._held = self._held, b""
        return rest if self._pattern is None else self._pattern.sub(REPLACEMENT, rest)

    def _hold(self, text: bytes) -> int:
        """Where the first suffix begins that could grow into a secret."""
        for start in range(max(0, len(text) - self._longest + 1), len(text)):
            suffix = text[start:]
            if any(len(s) > len(suffix) and s.startswith(suffix) for s in self._secrets):
                return start
        return len(text)


class _Stretch:
    """Bytes of a log in a row that nobody has taken yet."""

    def __init__(self, offset: int) -> None:
        self.offset = offset
        self.pending = bytearray()

    def take(self, *, last: bool) -> list[LogPiece]:
        pieces = []
        while size := self._cut(last=last):
            piece = bytes(self.pending[:size])
            pieces.append(LogPiece(sequence=self.offset, stream=LogStream.STDERR, data=piece))
            self.drop(size)
        return pieces

    def drop(self, size: int) -> None:
        del self.pending[:size]
        self.offset += size

    def _cut(self, *, last: bool) -> int:
        """How long the next piece is: to a line's end, else to a character's; 0: wait for more."""
        if len(self.pending) <= ENTRY_BYTES and last:
            return len(self.pending)
        window = bytes(self.pending[:ENTRY_BYTES])
        if line_end := window.rfind(b"\n") + 1:
            return line_end
        if len(window) < ENTRY_BYTES:
            return 0
        return len(window) - _open_sequence(window)


def _open_sequence(text: bytes) -> int:
    """How many bytes at the end begin a UTF-8 sequence that is not complete yet."""
    for back in range(1, min(4, len(text) + 1)):
        byte = text[-back]
        if byte >= 0xC0:  # noqa: PLR2004 - a leading byte (RFC 3629)
            needed = 2 + (byte >= 0xE0) + (byte >= 0xF0)  # noqa: PLR2004
            return back if back < needed else 0
        if byte < 0x80:  # noqa: PLR2004
            return 0
    return 0


class StderrLog:
    """The stderr of a run: the first 64 KiB and the last 192 KiB stay, the rest is counted.

    Pieces are cut at line ends where there are any, so what stays of the end is at most one
    piece (16 KiB) more than 192 KiB.
    """

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._head = _Stretch(0)
        self._tail = _Stretch(HEAD_BYTES)
        self.is_empty = True
        """No byte was printed."""

    def feed(self, data: bytes) -> None:
        self.is_empty = self.is_empty and not data
        self._add(self._redactor.feed(data))

    def end(self) -> None:
        """No more will come: what was held back as a possible secret is shown."""
        self._add(self._redactor.end())

    @property
    def total_bytes(self) -> int:
        if self._head_room:
            return HEAD_BYTES - self._head_room
        return self._tail.offset + len(self._tail.pending)

    def take(self, *, last: bool = False) -> LogChange:
        """What is new since the last call. `last`: an unfinished line or character is given too."""
        pieces = self._head.take(last=last or not self._head_room)
        pieces += self._tail.take(last=last)
        # A piece that begins one piece's length before the tail may reach into it.
        kept_from = self.total_bytes - TAIL_BYTES - ENTRY_BYTES
        truncated = kept_from > HEAD_BYTES
        return LogChange(
            pieces=pieces,
            drop_before=kept_from if truncated else None,
            total_bytes=self.total_bytes,
            truncated=truncated,
        )

    @property
    def _head_room(self) -> int:
        return HEAD_BYTES - self._head.offset - len(self._head.pending)

    def _add(self, data: bytes) -> None:
        room = self._head_room
        self._head.pending += data[:room]
        self._tail.pending += data[room:]
        # What nobody asked for in time and would not be kept anyway is let go.
        if (surplus := len(self._tail.pending) - TAIL_BYTES) > TAIL_BYTES:
            self._tail.drop(surplus)


class StdoutTail:
    """The last 1024 bytes of stdout: the log of a command that failed without a word."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._last = b""

    def feed(self, data: bytes) -> None:
        # A secret that begins before the tail must be whole to be found.
        keep = STDOUT_TAIL_BYTES + self._redactor.longest
        self._last = data[-keep:] if len(data) >= keep else (self._last + data)[-keep:]

    def take(self) -> LogChange:
        shown = (self._redactor.feed(self._last) + self._redactor.end())[-STDOUT_TAIL_BYTES:]
        piece = LogPiece(sequence=0, stream=LogStream.STDOUT_TAIL, data=shown)
        return LogChange(
            pieces=[piece] if shown else [],
            drop_before=None,
            total_bytes=len(shown),
            truncated=False,
        )


def shows_stdout(*, failed: bool, stderr_is_empty: bool) -> bool:
    """The log rule: the end of stdout stands in for an empty stderr where the command failed.

    Failed is an exit code that is not 0, a signal, or a timeout.
    """
    return failed and stderr_is_empty


def as_text(data: bytes) -> str:
    """A log's bytes as clients see them: U+FFFD for what is not UTF-8, and for NUL."""
    return data.decode("utf-8", errors="replace").replace("\0", "\ufffd")
