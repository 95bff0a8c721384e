"""What a container's guard tells in the streams of its command, told from what that prints."""

import secrets


def make_mark() -> str:
    """Nobody else knows it, so no output holds it by chance."""
    return secrets.token_hex(16)


def count_begun(data: bytes, mark: bytes) -> int:
    """How many last bytes of the data may be the beginning of the mark, or are all of it."""
    longest = min(len(mark), len(data))
    return next((n for n in range(longest, 0, -1) if mark.startswith(data[-n:])), 0)


class Reports:
    """Takes the guard's lines out of stderr, wherever they were cut."""

    def __init__(self, mark: str) -> None:
        self._mark = mark.encode()
        self._held = b""

    def feed(self, data: bytes) -> tuple[bytes, list[str]]:
        """What the command printed, and what the guard said."""
        data = self._held + data
        text: list[bytes] = []
        said: list[str] = []
        while (start := data.find(self._mark)) >= 0:
            end = data.find(b"\n", start)
            if end < 0:
                break
            text.append(data[:start])
            said.append(data[start + len(self._mark) : end].decode(errors="replace").strip())
            data = data[end + 1 :]
        cut = start if start >= 0 else len(data) - count_begun(data, self._mark)
        self._held = data[cut:]
        return b"".join([*text, data[:cut]]), said

    def end(self) -> bytes:
        """The stream is over: what was held is the command's."""
        held, self._held = self._held, b""
        return held


class Ending:
    """Tells whether stdout is whole: then the mark is its end."""

    def __init__(self, mark: str) -> None:
        self._mark = mark.encode()
        self._held = b""

    @property
    def is_whole(self) -> bool:
        return self._held == self._mark

    def feed(self, data: bytes) -> bytes:
        """What is known to be output."""
        data = self._held + data
        cut = len(data) - count_begun(data, self._mark)
        self._held = data[cut:]
        return data[:cut]

    def end(self) -> bytes:
        """The stream is over: what was held is output, unless it is the mark."""
        return b"" if self.is_whole else self._held
