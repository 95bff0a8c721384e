"""The parts that both directions share: what a command prints, and what a transfer tells."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from app.errors import CheckFailed, CommandFailed, CommandKilled, GatewayError
from app.executor.port import Execution, Exit
from app.model.logs import Redactor, StderrLog, StdoutTail
from app.storage.port import Upload

READ_BYTES = 1024 * 1024
CHECK = "check"


@dataclass(slots=True, kw_only=True)
class Counters:
    """Bytes so far; written by the transfer, read at any time by whoever shows progress."""

    bytes_read: int = 0
    bytes_delivered: int = 0
    upload: Upload | None = None

    @property
    def bytes_stored(self) -> int:
        """Parts are confirmed in the background, also while the command writes nothing."""
        return 0 if self.upload is None else self.upload.bytes_stored


class Output:
    """What a command printed, as far as it is kept, and how it ended."""

    def __init__(self, redactors: tuple[Redactor, Redactor]) -> None:
        self.stderr = StderrLog(redactors[0])
        self.stdout = StdoutTail(redactors[1])
        self.exit: Exit | None = None
        self._redactor = redactors[1]

    def begin_another(self) -> None:
        """Another command follows in the same log; how it ends and prints decides from now on."""
        self.stdout = StdoutTail(self._redactor)
        self.stderr.is_empty = True
        self.exit = None

    @property
    def exit_code(self) -> int | None:
        return self.exit.code if self.exit else None


class Traced(Protocol):
    """Where a transfer tells what must be known of it should this process die."""

    async def traced(self, trace: Mapping[str, str | int]) -> None:
        """Keep what finds the command's processes again. Awaited before a byte is moved."""
        ...


async def pump_stderr(execution: Execution, output: Output) -> None:
    """Read stderr to its end, so that a command never waits for its log."""
    while data := await execution.read_stderr(READ_BYTES):
        output.stderr.feed(data)


async def pump_stdout_tail(execution: Execution, output: Output) -> None:
    """Read a stdout that only its end is kept of."""
    while data := await execution.read_stdout(READ_BYTES):
        output.stdout.feed(data)


def check_exit(exit_status: Exit, *, what: str, detail: str = "") -> None:
    """Raise CommandKilled or CommandFailed where a command did not end with 0.

    Of a check it is CheckFailed, however it ended.
    """
    if exit_status.signal is not None:
        message = f"The {what} command was ended by signal {exit_status.signal}{detail}."
        raise CheckFailed(message) if what == CHECK else CommandKilled(message)
    if exit_status.code != 0:
        failure = CheckFailed if what == CHECK else CommandFailed
        raise failure(f"The {what} command ended with exit code {exit_status.code}{detail}.")


def first_cause(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error that made a TaskGroup end: an expected one where there is one."""
    flat: list[BaseException] = []
    todo: list[BaseException] = [group]
    while todo:
        error = todo.pop(0)
        if isinstance(error, BaseExceptionGroup):
            todo.extend(error.exceptions)
        else:
            flat.append(error)
    return next((e for e in flat if isinstance(e, GatewayError)), flat[0])
