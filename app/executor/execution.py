"""A command that runs under its guard, as the worker sees it."""

import asyncio
import contextlib
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, replace

from app.errors import CommandKilled, ExecutorUnavailable, ExitUnknown
from app.executor.completion import complete, happens
from app.executor.guard import END, KILL
from app.executor.leftovers import Trace, kill_leftovers
from app.executor.pipes import ReadEnd, WriteEnd
from app.executor.port import Exit

_FIRST_PAUSE = 0.001
_LAST_PAUSE = 0.02
_START_TIMEOUT = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Spawned:
    """A guard that waits for its order, and the worker's ends of its pipes."""

    guard: subprocess.Popen[bytes]
    handle: int
    """A pidfd of the guard."""
    control: int
    report: int
    stdin: int | None
    stdout: int
    stderr: int
    trace: Trace


class ProcessExecution:
    """Keeps `port.Execution`. Belongs to the event loop that it was made in."""

    def __init__(self, spawned: Spawned, *, run_mark: str, patience: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._guard = spawned.guard
        self._trace = spawned.trace
        self._run_mark = run_mark
        self._patience = patience
        self._control = WriteEnd(spawned.control)
        self._stdin = None if spawned.stdin is None else WriteEnd(spawned.stdin)
        self._stdout = ReadEnd(spawned.stdout)
        self._stderr = ReadEnd(spawned.stderr)
        self._refused = "The command's guard could not start."
        self._exit: Exit | None = None
        self._is_clear = False
        self._killing = False
        self._rescue: asyncio.Future[None] | None = None
        self._started = asyncio.Event()
        self._exited = asyncio.Event()
        self._over = asyncio.Event()
        self._silent = asyncio.Event()
        self._reaped = asyncio.Event()
        self._report = spawned.report
        self._heard = b""
        os.set_blocking(self._report, False)
        self._loop.add_reader(self._report, self._hear)
        self._handle = spawned.handle
        self._loop.add_reader(self._handle, self._reap)

    @property
    def trace(self) -> Mapping[str, str | int]:
        return self._trace.as_mapping()

    async def begin(self, order: bytes) -> None:
        """Give the guard its order. Raises ExecutorUnavailable where the command did not start."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_START_TIMEOUT):
                if await self._control.write(order):
                    await self._started.wait()
        if not self._trace.command:
            raise ExecutorUnavailable(self._refused)

    async def read_stdout(self, size: int) -> bytes:
        return await self._stdout.read(size)

    async def read_stderr(self, size: int) -> bytes:
        return await self._stderr.read(size)

    async def write_stdin(self, data: bytes) -> bool:
        return self._stdin is not None and await self._stdin.write(data)

    async def end_stdin(self) -> int:
        """Raises CommandKilled after `kill`, ExitUnknown where the guard died: no end mark then."""
        if self._stdin is None or self._stdin.closed:
            return 0
        pause = _FIRST_PAUSE
        while self._is_being_read() and not await happens(self._exited, within=pause):
            pause = min(2 * pause, _LAST_PAUSE)
        if self._killing:
            await self._exited.wait()
        # Once more: what was read just before the exit was read.
        unread = self._stdin.count_unread() + self._stdin.untaken
        if unread:
            return unread
        if self._killing:
            raise CommandKilled
        if self._silent.is_set() or not self._tell_guard(END):
            raise ExitUnknown
        self._stdin.close()
        return 0

    def _is_being_read(self) -> bool:
        """Whether the command may still take what is in the pipe, and that is all that it lacks."""
        assert self._stdin is not None
        return self._stdin.untaken == 0 and self._stdin.count_unread() > 0

    async def wait(self) -> Exit:
        await self._exited.wait()
        if self._exit is None:
            raise ExitUnknown
        return self._exit

    async def kill(self) -> None:
        self._begin_kill()
        await complete(self._finish_kill())

    async def aclose(self) -> None:
        self._begin_kill()
        await complete(self._release())

    def _begin_kill(self) -> None:
        if not self._killing:
            self._killing = True
            self._refuse_input()
            self._tell_guard(KILL)

    async def _finish_kill(self) -> None:
        if not self._is_clear and not await happens(self._over, within=self._patience):
            self._start_rescue()
        if self._rescue is not None:
            await self._rescue
        await self._reaped.wait()
        await self._silent.wait()

    async def _release(self) -> None:
        """Only now that nobody is left who could see it, the input may end."""
        await self._finish_kill()
        for end in (self._stdin, self._stdout, self._stderr, self._control):
            if end is not None:
                end.close()

    def _tell_guard(self, message: bytes) -> bool:
        """Say one of the guard's bytes. False: there is no guard any more."""
        return self._control.write_now(message)

    def _refuse_input(self) -> None:
        if self._stdin is not None:
            self._stdin.refuse()

    def _hear(self) -> None:
        """Take what the guard reports; an end of file without `clear` means that it died."""
        data = os.read(self._report, 4096)
        *lines, self._heard = (self._heard + data).split(b"\n")
        for line in lines:
            self._take(line.decode(errors="replace"))
        if data:
            return
        self._loop.remove_reader(self._report)
        os.close(self._report)
        if not self._is_clear:
            self._start_rescue()
        self._mark_exited()
        self._started.set()
        self._over.set()
        self._silent.set()

    def _take(self, line: str) -> None:
        word, _, rest = line.partition(" ")
        if word == "command":
            pid, start = rest.split()
            self._trace = replace(self._trace, command=int(pid), command_start=int(start))
            self._started.set()
        elif word == "refused":
            self._refused = f"The command could not be started: {rest}."
            self._started.set()
        elif word == "exit":
            self._exit = read_status(int(rest))
            self._mark_exited()
        elif word == "clear":
            self._is_clear = True
            self._over.set()

    def _mark_exited(self) -> None:
        self._exited.set()
        self._refuse_input()

    def _start_rescue(self) -> None:
        """Kill without the guard; meanwhile we still hold the input open. `kill` waits for it."""
        if self._rescue is None:
            self._rescue = self._loop.run_in_executor(
                None, kill_leftovers, self._trace, self._run_mark
            )

    def _reap(self) -> None:
        self._loop.remove_reader(self._handle)
        os.close(self._handle)
        self._guard.wait()
        self._reaped.set()


def read_status(status: int) -> Exit:
    """What a wait status says, in the shell's numbers."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return Exit(code=128 + number, signal=number)
    return Exit(code=os.WEXITSTATUS(status))
