"""The `process` executor: commands in a folder of this host, each under a guard."""

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from app.errors import ExecutorUnavailable
from app.executor import guard
from app.executor.completion import complete
from app.executor.execution import ProcessExecution, Spawned
from app.executor.leftovers import Trace, kill_leftovers, parse_trace, read_boot
from app.executor.pipes import widen
from app.executor.port import Command
from app.executor.roots import ProcessRoot

PATIENCE = 10.0
"""Seconds that a guard has to kill its command; then the worker does it (the guard is stopped)."""
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class ProcessExecutor:
    """Keeps `port.Executor` for one folder of one hub. Linux only: the guard needs a subreaper."""

    def __init__(self, root: ProcessRoot, *, folder: str, patience: float = PATIENCE) -> None:
        self._root = root
        self._folder = folder
        self._patience = patience

    async def start(self, command: Command, *, input_size: int | None) -> ProcessExecution:
        if sys.platform != "linux":
            raise ExecutorUnavailable("The process executor works on Linux only.")
        return await complete(
            self._start(command, feeds_stdin=input_size is not None), undo=ProcessExecution.aclose
        )

    async def kill_leftovers(self, trace: Mapping[str, str | int], run_mark: str) -> None:
        if sys.platform != "linux":
            return  # nothing was ever started here
        await complete(asyncio.to_thread(kill_leftovers, parse_trace(trace), run_mark))

    async def _start(self, command: Command, *, feeds_stdin: bool) -> ProcessExecution:
        order = self._encode_order(command)
        spawned = await asyncio.to_thread(self._spawn, command.run_mark, feeds_stdin=feeds_stdin)
        execution = ProcessExecution(spawned, run_mark=command.run_mark, patience=self._patience)
        try:
            await execution.begin(order)
        except BaseException:
            await execution.aclose()
            raise
        return execution

    def _encode_order(self, command: Command) -> bytes:
        for name, value in command.variables.items():
            if not name or "=" in name or "\0" in name or "\0" in value:
                raise ExecutorUnavailable(f"The variable {name!r} cannot be passed to a command.")
        if "\0" in command.shell:
            raise ExecutorUnavailable("The command holds a NUL character.")
        home = self._root.path / self._folder
        variables = {
            guard.RUN_MARK: command.run_mark,
            "PATH": PATH,
            "HOME": str(home),
            "LANG": "C.UTF-8",
            **command.variables,
        }
        variables[guard.RUN_MARK] = command.run_mark
        return guard.encode_order(shell=command.shell, variables=variables, owner=self._root.owner)

    def _spawn(self, run_mark: str, *, feeds_stdin: bool) -> Spawned:
        """Start a guard. Blocks (a thread's). Raises ExecutorNotAllowed, ExecutorUnavailable."""
        with contextlib.ExitStack() as ours, contextlib.ExitStack() as theirs:
            folder = self._root.open_folder(self._folder)
            theirs.callback(os.close, folder)
            try:
                spawned = _spawn_guard(
                    folder, run_mark, ours, theirs, owner=self._root.owner, feeds_stdin=feeds_stdin
                )
            except OSError as error:
                raise ExecutorUnavailable(
                    f"The command's guard could not be started: {error.strerror}."
                ) from error
            ours.pop_all()
            return spawned


def _spawn_guard(
    folder: int,
    run_mark: str,
    ours: contextlib.ExitStack,
    theirs: contextlib.ExitStack,
    *,
    owner: tuple[int, int] | None,
    feeds_stdin: bool,
) -> Spawned:
    def make_pipe(*, toward_guard: bool) -> tuple[int, int]:
        """A pipe as (our end, the guard's end)."""
        read, write = os.pipe()
        our, their = (write, read) if toward_guard else (read, write)
        ours.callback(os.close, our)
        theirs.callback(os.close, their)
        return our, their

    control, guard_control = make_pipe(toward_guard=True)
    report, guard_report = make_pipe(toward_guard=False)
    stdout, guard_stdout = make_pipe(toward_guard=False)
    stderr, guard_stderr = make_pipe(toward_guard=False)
    widen(stdout)
    stdin, guard_stdin = make_pipe(toward_guard=True) if feeds_stdin else (None, None)
    if stdin is not None:
        widen(stdin)
    if owner is not None:
        # Or the command could not open its own /dev/stdin, /dev/stdout and /dev/stderr.
        for stream in (guard_stdin, guard_stdout, guard_stderr):
            if stream is not None:
                os.fchown(stream, *owner)
    held = -1 if stdin is None else stdin
    handed = [guard_control, guard_report, folder, *([] if stdin is None else [stdin])]
    process = subprocess.Popen(  # noqa: S603 - our own script; the order goes through a pipe
        [
            sys.executable,
            *("-I", "-S", str(Path(guard.__file__))),
            *(str(number) for number in (guard_control, guard_report, held, folder)),
        ],
        stdin=subprocess.DEVNULL if guard_stdin is None else guard_stdin,
        stdout=guard_stdout,
        stderr=guard_stderr,
        pass_fds=handed,
        cwd="/",
        env={guard.GUARD_MARK: run_mark},
        start_new_session=True,
    )
    try:
        handle = os.pidfd_open(process.pid)
    except OSError:
        process.kill()
        process.wait()
        raise
    started = guard.read_process(process.pid)
    return Spawned(
        guard=process,
        handle=handle,
        control=control,
        report=report,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        trace=Trace(
            boot=read_boot(),
            guard=process.pid,
            guard_start=started.start if started else 0,
            command=0,
            command_start=0,
            stdin_pipe=0 if stdin is None else os.fstat(stdin).st_ino,
            stdout_pipe=os.fstat(stdout).st_ino,
            stderr_pipe=os.fstat(stderr).st_ino,
        ),
    )
