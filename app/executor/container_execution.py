"""A command that runs under its guard in a container, as the worker sees it."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Mapping

from app.errors import CommandKilled, ExecutorUnavailable, ExitUnknown
from app.executor.completion import complete, happens
from app.executor.engine import STDOUT, read_frames
from app.executor.marks import Ending, Reports
from app.executor.port import Exit
from app.executor.wires import Wire

BUFFER_BYTES = 1024 * 1024
_PROGRAMS = "its guard needs sh, cat, head, ls, readlink, sleep and wc"
_LAST_SIGNAL = 64
_FIRST_SIGNALLED = 129
_KILLED = Exit(code=137, signal=9)
_MOST_OF_A_REASON = 300
_END_WITHIN = 10.0
_TURNS = 2


class Outlet:
    """Bytes of one stream between the connection and whoever reads: bounded."""

    def __init__(self) -> None:
        self._chunks: deque[bytes] = deque()
        self._size = 0
        self._ended = False
        self._lossy = False
        self._changed = asyncio.Event()

    async def put(self, data: bytes) -> None:
        """Waits while too much is unread."""
        if not data:
            return
        while self._size >= BUFFER_BYTES and not self._lossy:
            await self._wait()
        if self._size < BUFFER_BYTES:
            self._chunks.append(data)
            self._size += len(data)
            self._changed.set()

    async def get(self, size: int) -> bytes:
        """The next bytes; empty at the end."""
        while not self._chunks and not self._ended:
            await self._wait()
        taken, room = [], size
        while self._chunks and room:
            chunk = self._chunks.popleft()
            if len(chunk) > room:
                self._chunks.appendleft(chunk[room:])
                chunk = chunk[:room]
            taken.append(chunk)
            room -= len(chunk)
        self._size -= size - room
        self._changed.set()
        return taken[0] if len(taken) == 1 else b"".join(taken)

    def end(self) -> None:
        self._ended = True
        self._changed.set()

    def be_lossy(self) -> None:
        """Nobody may wait here any more: what does not fit is dropped."""
        self._lossy = True
        self._changed.set()

    async def _wait(self) -> None:
        self._changed.clear()
        await self._changed.wait()


class NoAnswer(ExecutorUnavailable):
    """The engine took the exec, and neither runs it nor ends it."""


class ContainerExecution:
    """Keeps `port.Execution`. Belongs to the event loop that it was made in."""

    def __init__(
        self,
        wire: Wire,
        begun: bytes,
        *,
        mark: str,
        trace: Mapping[str, str | int],
        input_size: int | None,
        hunt: Callable[[Mapping[str, str | int]], Awaitable[None]],
        patience: float,
    ) -> None:
        """`hunt` kills what the trace tells of, in the container; `patience`: the guard's time."""
        self._wire = wire
        self._mark = mark
        self._trace = dict(trace)
        self._size = input_size
        self._hunt = hunt
        self._patience = patience
        self._stdout = Outlet()
        self._stderr = Outlet()
        self._ending = Ending(mark)
        self._refusal: str | None = None
        self._exit: Exit | None = None
        self._unread: int | None = None
        self._sent = 0
        self._is_marked = False
        self._killing = False
        self._is_clear = False
        self._is_all_seen = False
        self._lock = asyncio.Lock()
        self._guarded = asyncio.Event()
        self._started = asyncio.Event()
        self._taken = asyncio.Event()
        self._exited = asyncio.Event()
        self._counted = asyncio.Event()
        self._refused = asyncio.Event()
        self._cleared = asyncio.Event()
        self._over = asyncio.Event()
        # Owned by this execution: `aclose` ends it.
        self._pump = asyncio.get_running_loop().create_task(self._take_all(begun))

    @property
    def trace(self) -> Mapping[str, str | int]:
        return dict(self._trace)

    async def begin(self, *, within: float) -> None:
        """Give the guard its order. Raises ExecutorUnavailable where the command did not start."""
        size = "-" if self._size is None else str(self._size)
        with contextlib.suppress(OSError):
            await self._wire.send(f"{self._mark} {size}\n".encode())
        began = await happens(self._started, within=within)
        if self._refusal is not None:
            raise ExecutorUnavailable(
                f"The container's image has no `{self._refusal}`: {_PROGRAMS}."
            )
        if began and "output" in self._trace:
            return
        if not self._over.is_set():
            raise NoAnswer(
                "No command can be run in the container: it does not answer"
                f" ({'no command' if self._guarded.is_set() else 'no guard'} within {within:g} s)."
            )
        said = await self._read_reason()
        raise ExecutorUnavailable(f"No command can be run in the container: {said}.")

    async def _read_reason(self) -> str:
        """What the engine said in place of the guard; Docker does so on stdout."""
        said = await self._stdout.get(BUFFER_BYTES) + await self._stderr.get(BUFFER_BYTES)
        text = " ".join(said.decode(errors="replace").split())[:_MOST_OF_A_REASON]
        return text.rstrip(".") or "the connection ended"

    async def read_stdout(self, size: int) -> bytes:
        data = await self._stdout.get(size)
        if not data and not self._ending.is_whole and not self._killing:
            raise ExitUnknown("The connection to the container ended before the output did.")
        return data

    async def read_stderr(self, size: int) -> bytes:
        return await self._stderr.get(size)

    async def write_stdin(self, data: bytes) -> bool:
        if self._size is None or self._refused.is_set():
            return False
        assert self._sent + len(data) <= self._size
        try:
            is_sent = await _unless(self._refused, self._wire.send(data))
        except asyncio.CancelledError:
            # Nobody knows how much of it was handed over: nothing may follow.
            self._refused.set()
            raise
        if not is_sent:
            self._refused.set()
            return False
        # Also where the command exited meanwhile: it may have read all of it.
        self._sent += len(data)
        return True

    async def end_stdin(self) -> int:
        """Raises CommandKilled after `kill`, ExitUnknown where nobody tells what became of it.

        What a command leaves in its pipe is counted once it has exited, so this waits for that.
        """
        if self._size is None:
            return 0
        if self._sent < self._size:
            return self._size - self._sent
        # All was sent, and the guard goes on taking it when the command has exited.
        await _first(self._taken, self._over)
        if not self._taken.is_set():
            return self._tell_unread(1)
        if not self._is_marked and not self._killing:
            self._is_marked = True
            with contextlib.suppress(OSError):
                await self._wire.send(f"{self._mark}\n".encode())
        await _first(self._counted, self._over)
        return self._tell_unread(self._unread)

    def _tell_unread(self, unread: int | None) -> int:
        """None: nobody counted."""
        if self._killing and not (self._exited.is_set() and unread is not None):
            raise CommandKilled
        if unread is None or not self._exited.is_set():
            raise ExitUnknown
        return unread

    async def wait(self) -> Exit:
        await _first(self._exited, self._over)
        if self._exit is None and self._killing:
            # By us, and it could not tell.
            await self._kill()
            return _KILLED
        if self._exit is None:
            raise ExitUnknown
        return self._exit

    async def kill(self) -> None:
        self._begin_kill()
        await complete(self._kill())

    async def aclose(self) -> None:
        self._begin_kill()
        await complete(self._release())

    def _begin_kill(self) -> None:
        self._killing = True
        self._refused.set()
        self._stdout.be_lossy()
        self._stderr.be_lossy()

    async def _kill(self) -> None:
        """Raises ExecutorUnavailable where it cannot be seen to."""
        async with self._lock:
            if self._is_clear:
                return
            # The command is told of right before it starts.
            is_begun = "output" in self._trace or not self._over.is_set()
            if is_begun and not await self._ask_guard():
                await self._hunt(self._trace)
            self._is_clear = True
            # With its guard the stream ends.
            await happens(self._over, within=_END_WITHIN)

    async def _ask_guard(self) -> bool:
        """Let the guard kill, where it listens. False: somebody else has to see to it."""
        is_listening = self._size is None or self._is_marked
        if not is_listening or not self._started.is_set() or self._over.is_set():
            return False
        with contextlib.suppress(OSError):
            await self._wire.send(b"kill\n")
            await happens(self._cleared, within=self._patience)
        return self._is_all_seen

    async def _release(self) -> None:
        try:
            await self._kill()
        finally:
            self._pump.cancel()
            await asyncio.wait({self._pump})
            self._wire.close()

    async def _take_all(self, begun: bytes) -> None:
        reports = Reports(self._mark)
        try:
            async for kind, data in read_frames(self._wire, begun):
                if kind == STDOUT:
                    await self._stdout.put(self._ending.feed(data))
                    if self._ending.is_whole:
                        self._stdout.end()
                else:
                    text, said = reports.feed(data)
                    for line in said:
                        self._take(line)
                    await self._stderr.put(text)
            await self._stderr.put(reports.end())
            await self._stdout.put(self._ending.end())
        except OSError:
            return
        finally:
            self._stdout.end()
            self._stderr.end()
            self._refused.set()
            self._over.set()
            self._cleared.set()
            self._started.set()

    def _take(self, line: str) -> None:
        word, _, rest = line.partition(" ")
        if word == "guard":
            names = ("input", "errors", "since")
            self._trace.update(zip(names, rest.split(), strict=True))
            self._guarded.set()
        elif word == "command":
            self._trace["output"] = rest
        elif word == "refused":
            self._refusal = rest
            self._started.set()
        elif word == "taken":
            self._taken.set()
        elif word == "exit":
            self._exit = read_status(int(rest))
            self._refused.set()
            self._exited.set()
        elif word == "unread":
            self._unread = int(rest)
            self._counted.set()
        elif word == "clear":
            self._is_all_seen = not rest
            self._cleared.set()
        if self._guarded.is_set() and "output" in self._trace:
            self._started.set()


def read_status(status: int) -> Exit:
    """A shell tells an exit with 128 + n and a signal n alike; it is taken for the signal."""
    if _FIRST_SIGNALLED <= status <= _FIRST_SIGNALLED - 1 + _LAST_SIGNAL:
        return Exit(code=status, signal=status - (_FIRST_SIGNALLED - 1))
    return Exit(code=status)


async def _first(*events: asyncio.Event) -> None:
    """Wait for whichever happens first."""
    if any(event.is_set() for event in events):
        return
    async with asyncio.TaskGroup() as tasks:
        waiting = {tasks.create_task(event.wait()) for event in events}
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()


async def _unless(event: asyncio.Event, work: Awaitable[None]) -> bool:
    """Do the work, breaking it off where the event happens. Returns whether all of it was done."""
    async with asyncio.TaskGroup() as tasks:
        working = tasks.create_task(_is_done(work))
        watching = tasks.create_task(event.wait())
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        # Both may have happened at once: what was done by then is told a turn of the loop later.
        for _ in range(_TURNS):
            await asyncio.sleep(0)
        watching.cancel()
        working.cancel()
    return not working.cancelled() and working.result()


async def _is_done(work: Awaitable[None]) -> bool:
    try:
        await work
    except OSError:
        return False
    return True
