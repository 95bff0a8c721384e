"""What a transfer needs from a place where commands run; each executor keeps it."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from app.model.containers import InstanceState
from app.model.discovery import EngineContainer


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One command to run: a string for `sh -c`."""

    shell: str
    variables: Mapping[str, str]
    run_mark: str
    """Unique to run and epoch; it is put into the environment so that leftovers can be found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """An exit status that really arrived: `code` 0..255, or 128 + `signal`."""

    code: int
    signal: int | None = None


class Execution(Protocol):
    """A command that runs."""

    @property
    def trace(self) -> Mapping[str, str | int]:
        """What `Executor.kill_leftovers` needs; stored with the run before any byte."""
        ...

    async def read_stdout(self, size: int) -> bytes:
        """The next bytes; empty at the end of the stream."""
        ...

    async def read_stderr(self, size: int) -> bytes:
        """The next bytes; empty at the end of the stream, which may come with `kill` only."""
        ...

    async def write_stdin(self, data: bytes) -> bool:
        """Hand over bytes, waiting for the command to take them. False: it reads no more."""
        ...

    async def end_stdin(self) -> int:
        """Let the command see the end of input, once it has read everything.

        Waits until nothing is left in the pipe or the command has exited, and returns how many
        bytes it left unread (0: the end mark was given). What a write that was refused or
        cancelled did not hand over counts as unread. Raises CommandKilled after `kill`,
        ExitUnknown where nobody is left who could give the mark.
        """
        ...

    async def wait(self) -> Exit:
        """The exit status. Raises ExitUnknown where none arrived (the guard died).

        The outputs must be read meanwhile: it may arrive behind them.
        """
        ...

    async def kill(self) -> None:
        """Kill the whole process tree, the input still open; returns when nothing is left.

        Idempotent; a cancel takes effect only after it.
        """
        ...

    async def aclose(self) -> None:
        """Kill what is left and release everything. Idempotent."""
        ...


class Executor(Protocol):
    """A place where commands run."""

    async def start(self, command: Command, *, input_size: int | None) -> Execution:
        """Start a command.

        `input_size`: how many bytes will be written; None: its stdin is /dev/null.

        Raises ExecutorUnavailable, ExecutorNotAllowed.
        """
        ...

    async def kill_leftovers(self, trace: Mapping[str, str | int], run_mark: str) -> None:
        """Kill what a former owner of the run left running; returns when nothing is left."""
        ...


class ContainerHost(Protocol):
    """An engine that has containers."""

    async def describe(self) -> str:
        """What it is and its version. Raises ExecutorUnavailable."""
        ...

    async def state_of(self, container: str) -> InstanceState:
        """RUNNING, PAUSED, STOPPED or GONE. Raises ExecutorUnavailable."""
        ...

    async def list_labelled(self, label: str) -> Sequence[EngineContainer]:
        """All containers with the label, those that do not run too. Raises ExecutorUnavailable."""
        ...

    def changes(self, label: str) -> AsyncGenerator[None]:
        """Comes once when it listens, and each time something changed with such containers.

        Ends when the engine ends it. Raises ExecutorUnavailable.
        """
        ...
