"""What a run left running: found by its trace and its mark, and killed without the guard's help."""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from app.executor.guard import (
    GUARD_MARK,
    RUN_MARK,
    Process,
    is_marked,
    kill_all,
    read_process,
    read_processes,
    with_descendants,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """How a run's processes are told from all others. Starts are in clock ticks since boot.

    The pipes are the kernel's numbers of the command's standard streams (0: none).
    """

    boot: str
    guard: int
    guard_start: int
    command: int
    command_start: int
    stdin_pipe: int
    stdout_pipe: int
    stderr_pipe: int

    def as_mapping(self) -> Mapping[str, str | int]:
        return asdict(self)


def read_boot() -> str:
    """The id of this boot of the machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def parse_trace(stored: Mapping[str, str | int]) -> Trace | None:
    """The trace of a run of this boot; None where it is of another one, or was never stored."""
    if not stored or stored["boot"] != read_boot():
        return None
    numbers = {name: int(value) for name, value in stored.items() if name != "boot"}
    return Trace(boot=str(stored["boot"]), **numbers)


def _read_ancestors() -> set[int]:
    """The running process and those that it descends from."""
    line: set[int] = set()
    process = read_process(os.getpid())
    while process is not None:
        line.add(process.pid)
        process = read_process(process.parent)
    return line


class _Hunt:
    """The search for one run's processes."""

    def __init__(self, trace: Trace | None, run_mark: str) -> None:
        self._trace = trace
        self._mark = run_mark
        self._spared = _read_ancestors()
        # Nothing of the run is older than its guard; the former owner, which has the other
        # ends of the pipes, is.
        self._since = trace.guard_start if trace else 0

    def find_all(self) -> list[Process]:
        processes = read_processes(self._since)
        roots = {pid for pid in processes if self._belongs(processes[pid])}
        found = with_descendants(processes, roots)
        return [processes[pid] for pid in found - self._spared]

    def find_commands(self) -> list[Process]:
        """All but the guard, whose death would let the command's input end."""
        return [process for process in self.find_all() if not self._is_guard(process)]

    def _is_guard(self, process: Process) -> bool:
        trace = self._trace
        if trace and (process.pid, process.start) == (trace.guard, trace.guard_start):
            return True
        return is_marked(process.pid, GUARD_MARK, self._mark)

    def _belongs(self, process: Process) -> bool:
        trace = self._trace
        if trace and (process.pid, process.start) == (trace.command, trace.command_start):
            return True
        return (
            self._is_guard(process)
            or is_marked(process.pid, RUN_MARK, self._mark)
            or (trace is not None and _uses_pipes(process.pid, trace))
        )


def _uses_pipes(pid: int, trace: Trace) -> bool:
    """Whether the process reads the run's input or writes its output: `env -i` keeps no mark."""
    wanted = {
        f"pipe:[{number}]": access
        for number, access in (
            (trace.stdin_pipe, os.O_RDONLY),
            (trace.stdout_pipe, os.O_WRONLY),
            (trace.stderr_pipe, os.O_WRONLY),
        )
        if number
    }
    try:
        for descriptor in os.listdir(f"/proc/{pid}/fd"):  # noqa: PTH208 - once a process
            access = wanted.get(os.readlink(f"/proc/{pid}/fd/{descriptor}"))  # noqa: PTH115
            if access is not None and _read_access(pid, descriptor) in {access, os.O_RDWR}:
                return True
    except OSError:
        return False
    return False


def _read_access(pid: int, descriptor: str) -> int:
    """How a process has a file open: O_RDONLY, O_WRONLY or O_RDWR."""
    lines = Path(f"/proc/{pid}/fdinfo/{descriptor}").read_text(encoding="ascii").splitlines()
    flags = next(line.split()[1] for line in lines if line.startswith("flags:"))
    return int(flags, 8) & os.O_ACCMODE


def find_leftovers(trace: Trace | None, run_mark: str) -> list[Process]:
    """The run's processes that live, the guard among them. Blocks."""
    return _Hunt(trace, run_mark).find_all()


def kill_leftovers(trace: Trace | None, run_mark: str) -> None:
    """Kill the run's processes, the guard last; blocks until nothing is left."""
    hunt = _Hunt(trace, run_mark)
    kill_all(hunt.find_commands, lambda: True)
    kill_all(hunt.find_all, lambda: True)
