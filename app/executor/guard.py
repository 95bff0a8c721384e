"""The guard: the parent of a command; it keeps its input open and kills its whole process tree.

Run as `python -I -S guard.py CONTROL REPORT INPUT FOLDER` (file descriptors; -1: none), so it
imports only the standard library, and little of that: each run waits for its start. The executor
imports the functions that find and kill processes from here.

CONTROL: the worker writes what to run (`encode_order`), then single bytes: `END` lets the command
see the end of input, `KILL` kills everything. Its end of file means that the worker is gone.
REPORT: lines to the worker: `command PID START`, `refused TEXT`, `exit STATUS`, `clear`.
"""

import ctypes
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping

END = b"E"
KILL = b"K"
RUN_MARK = "BACKUP_GATEWAY_RUN"
"""The variable in the environment of a command and of all that it starts."""
GUARD_MARK = "BACKUP_GATEWAY_GUARD_OF"
"""The variable in the environment of the guard itself: it is killed last."""

_SHELL = b"/bin/sh"
_LENGTH_DIGITS = 10
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_UMASK = 0o022  # what tar and dumps expect; 077 would change the modes of what a restore writes
_FIRST_PAUSE = 0.001
_LAST_PAUSE = 0.05
_QUIET_SCANS = 2  # /proc is no snapshot: a process can be born behind the scan


class Process:
    """A live process. `start` (ticks since boot) tells it from a later owner of the pid."""

    __slots__ = ("parent", "pid", "start")

    def __init__(self, pid: int, start: int, parent: int) -> None:
        self.pid = pid
        self.start = start
        self.parent = parent


def read_process(pid: int) -> Process | None:
    """The process, or None where it is gone or only waits to be reaped."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - pathlib is slow to import
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    # A dead main thread shows as Z while the other threads run on.
    if fields[0] in b"ZX" and int(fields[17]) <= 1:
        return None
    return Process(pid, int(fields[19]), int(fields[1]))


def read_processes(since: int) -> dict[int, Process]:
    """All live processes that started at `since` (ticks) or later."""
    found = (read_process(int(name)) for name in os.listdir("/proc") if name.isdigit())  # noqa: PTH208
    return {process.pid: process for process in found if process and process.start >= since}


def is_marked(pid: int, name: str, mark: str) -> bool:
    """Whether the process was started with the mark; False where its environment cannot be read."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:  # noqa: PTH123
            environment = file.read()
    except OSError:
        return False
    return f"{name}={mark}".encode() in environment.split(b"\0")


def with_descendants(processes: Mapping[int, Process], roots: Iterable[int]) -> set[int]:
    """The roots that live, and all that descends from any root by parent links."""
    children: dict[int, list[int]] = {}
    for process in processes.values():
        children.setdefault(process.parent, []).append(process.pid)
    seen: set[int] = set()
    todo = list(roots)
    while todo:
        pid = todo.pop()
        if pid not in seen:
            seen.add(pid)
            todo.extend(children.get(pid, ()))
    return seen & processes.keys()


def send(process: Process, number: int) -> None:
    """Signal exactly this process, not a later owner of its pid."""
    try:
        handle = os.pidfd_open(process.pid)
    except OSError:
        return
    try:
        now = read_process(process.pid)
        if now and now.start == process.start:
            signal.pidfd_send_signal(handle, number)
    except (ProcessLookupError, PermissionError):
        pass
    finally:
        os.close(handle)


def stop_all(find: Callable[[], list[Process]]) -> list[Process]:
    """Stop all until none is new: nobody forks on, or acts on an ending input, while others die."""
    seen: dict[int, Process] = {}
    while new := [process for process in find() if process.pid not in seen]:
        for process in new:
            seen[process.pid] = process
            send(process, signal.SIGSTOP)
    return list(seen.values())


def kill_all(
    find: Callable[[], list[Process]], none_left: Callable[[], bool], *, quiet: int = _QUIET_SCANS
) -> None:
    """Stop and kill what `find` finds, again until it finds nothing and `none_left` agrees."""
    pause = _FIRST_PAUSE
    rest = quiet
    while rest:
        found = stop_all(find)
        for process in found:
            send(process, signal.SIGKILL)
        if none_left() and not found:
            rest -= 1
            continue
        rest = quiet
        time.sleep(pause)
        pause = min(2 * pause, _LAST_PAUSE)


def encode_order(
    *, shell: str, variables: Mapping[str, str], owner: tuple[int, int] | None
) -> bytes:
    """What the guard is told to run. `owner`: uid and gid to run as; None: as who the guard is."""
    uid, gid = owner or (-1, -1)
    pairs = (f"{name}={value}" for name, value in variables.items())
    body = "\0".join((shell, str(uid), str(gid), *pairs)).encode(errors="surrogateescape")
    return f"{len(body):0{_LENGTH_DIGITS}d}".encode() + body


class Order:
    """The decoded form of `encode_order`."""

    def __init__(self, body: bytes) -> None:
        self.shell, uid, gid, *pairs = body.split(b"\0")
        self.uid = int(uid)
        self.gid = int(gid)
        self.environment = dict(pair.split(b"=", 1) for pair in pairs)


def _read_exactly(source: int, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = os.read(source, size - len(data))
        if not more:
            raise EOFError
        data += more
    return data


def _set_process_option(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _restore_signals() -> None:
    """An ignored or blocked signal would stay so in the command (Python ignores SIGPIPE)."""
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _become_command(order: Order, folder: int, guard: int) -> None:
    """Turn this (forked) process into the command."""
    os.setsid()
    _restore_signals()
    os.umask(_UMASK)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if order.uid >= 0 or os.getuid() != 0:
        # What sudo or su made root's could not be found, stopped or killed by a guard of another
        # uid, nor be kept in its hub. A guard that is root itself kills these too.
        _set_process_option(_PR_SET_NO_NEW_PRIVS, 1)
    if order.uid >= 0:
        os.setgroups([])
        os.setresgid(order.gid, order.gid, order.gid)
        os.setresuid(order.uid, order.uid, order.uid)
    # After the change of uid, which clears it. The guard may be gone already.
    _set_process_option(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != guard:
        os._exit(127)
    os.fchdir(folder)
    os.execve(_SHELL, [b"sh", b"-c", order.shell], order.environment)  # noqa: S606 - the product's purpose


class Guard:
    """One command and everything that descends from it."""

    def __init__(self, *, control: int, report: int, held: int, folder: int) -> None:
        self._control = control
        self._report = report
        self._held = held
        self._folder = folder
        self._mark = ""
        self._command = 0
        myself = read_process(os.getpid())
        assert myself is not None
        self._myself = myself
        self._wake, wake = os.pipe()
        os.set_blocking(self._wake, False)
        os.set_blocking(wake, False)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)

    def tell(self, line: str) -> None:
        """Report a line; nobody may be there to read it."""
        try:
            os.write(self._report, f"{line}\n".encode())
        except OSError:
            return

    def start(self) -> bool:
        """Start what the worker orders. False: it could not be started, or nobody asks any more."""
        try:
            size = int(_read_exactly(self._control, _LENGTH_DIGITS))
            order = Order(_read_exactly(self._control, size))
        except EOFError:
            return False
        self._mark = order.environment.get(RUN_MARK.encode(), b"").decode()
        failed, fail = os.pipe()
        guard = os.getpid()
        self._command = os.fork()
        if self._command == 0:
            try:
                _become_command(order, self._folder, guard)
            except (OSError, ValueError, OverflowError) as error:
                os.write(fail, (getattr(error, "strerror", None) or str(error)).encode())
            finally:
                os._exit(127)
        os.close(fail)
        os.close(self._folder)
        self._let_go_of_standard_streams()
        reason = os.read(failed, 4096).decode(errors="replace")
        os.close(failed)
        command = read_process(self._command)
        if reason:
            self.tell(f"refused {reason}")
            return False
        self.tell(f"command {self._command} {command.start if command else 0}")
        return True

    def _let_go_of_standard_streams(self) -> None:
        """Or the output would never end, and the input would seem to have a reader for ever."""
        null = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(null, stream)
        os.close(null)

    def reap(self) -> bool:
        """Take the exit status of whoever ended. True: no child is left.

        As the subreaper we become the parent of every orphan: no children means no descendants.
        """
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return True
            if pid == 0:
                return False
            if pid == self._command:
                self.tell(f"exit {status}")

    def find(self) -> list[Process]:
        """Every live process of this run but the guard."""
        processes = read_processes(self._myself.start)
        marked = (pid for pid in processes if self._mark and is_marked(pid, RUN_MARK, self._mark))
        found = with_descendants(processes, {self._myself.pid, *marked})
        return [processes[pid] for pid in found - {self._myself.pid}]

    def kill(self) -> None:
        """Kill everything, the input still open; returns when nothing is left."""
        kill_all(self.find, self.reap)

    def serve(self) -> None:
        """Do what the worker says until everything is to be killed, or the worker is gone."""
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        while True:
            ready = {source for source, _event in poll.poll()}
            if self._wake in ready:
                os.read(self._wake, 4096)
                self.reap()
            if self._control in ready:
                said = os.read(self._control, 16)
                if END in said and self._held >= 0:
                    os.close(self._held)
                    self._held = -1
                if not said or KILL in said:
                    return


def _ignore_signals() -> None:
    """What is aimed at the worker's terminal must not take the guard from its command."""
    for name in ("HUP", "INT", "QUIT", "TERM", "USR1", "USR2", "ALRM", "TSTP", "TTIN", "TTOU"):
        signal.signal(getattr(signal, f"SIG{name}"), signal.SIG_IGN)


def main() -> None:
    _ignore_signals()
    control, report, held, folder = (int(argument) for argument in sys.argv[1:5])
    for descriptor in (control, report, held, folder):
        if descriptor >= 0:
            os.set_inheritable(descriptor, False)  # noqa: FBT003 - not into the command
    _set_process_option(_PR_SET_CHILD_SUBREAPER, 1)
    guard = Guard(control=control, report=report, held=held, folder=folder)
    try:
        if guard.start():
            guard.serve()
    finally:
        # Also after a defect of the guard: its own end would let the input end.
        guard.kill()
    guard.tell("clear")


if __name__ == "__main__":
    main()
