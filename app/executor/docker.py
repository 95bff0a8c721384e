"""The `docker` executor: commands in a container, by exec through its engine's API."""

import asyncio
import contextlib
from collections.abc import Mapping
from enum import Enum, auto
from pathlib import Path
from typing import Any, Final

from app.errors import ExecutorUnavailable
from app.executor.completion import complete
from app.executor.container_execution import ContainerExecution, NoAnswer
from app.executor.engine import STDOUT, Engine, EngineRefused, read_frames
from app.executor.guard import GUARD_MARK
from app.executor.marks import make_mark
from app.executor.port import Command

PATIENCE = 10.0
"""Seconds that the guard, and each further try, has to kill what is left."""
START_TIMEOUT = 30.0
_HERE = Path(__file__).parent
_GUARD: Final = (_HERE / "container_guard.sh").read_text(encoding="ascii")
_HUNT: Final = (_HERE / "container_hunt.sh").read_text(encoding="ascii")
_KILLER: Final = 'for HUNT_WHO in commands all; do eval "$1" || exit 1; done; echo clear $is_blind'
_NO_DETACH: Final = ",".join(["ctrl-_", "ctrl-]"] * 8)
"""Podman obeys these keys in any input; so many in a row are in none by chance."""
_HUNT_ROUNDS: Final = 100
_LOOKS: Final = 5
_LOOK_PAUSE: Final = 0.2
_WHO: Final[tuple[Mapping[str, Any], ...]] = (
    {"User": "0:0", "Privileged": True},
    {"User": "0:0"},
)
"""As whom to kill: as one who sees and reaches everybody there, where that is allowed.

Root without privileges does not see what belongs to others. As whom the commands run comes last.
"""


class _Hunt(Enum):
    CLEAR = auto()
    """Nothing is left."""
    BLIND = auto()
    """Nothing is left of what could be seen, and not all could."""
    FAILED = auto()


class DockerExecutor:
    """Keeps `port.Executor` for one container.

    `container` is a name or an id; `user` and `folder`: as whom and where its commands run, None:
    as the image says.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        container: str,
        user: str | None = None,
        folder: str | None = None,
        patience: float = PATIENCE,
    ) -> None:
        self._engine = engine
        self._container = container
        self._user = user
        self._folder = folder
        self._patience = patience

    async def start(self, command: Command, *, input_size: int | None) -> ContainerExecution:
        return await complete(
            self._start(command, input_size=input_size), undo=ContainerExecution.aclose
        )

    async def kill_leftovers(self, trace: Mapping[str, str | int], run_mark: str) -> None:
        await complete(self._hunt(run_mark, trace))

    async def _start(self, command: Command, *, input_size: int | None) -> ContainerExecution:
        container = await self._find_running()
        try:
            return await self._try(container, command, input_size=input_size)
        except NoAnswer:
            # Seen of Docker, very rarely: an exec that never runs. What had run is dead by now.
            return await self._try(container, command, input_size=input_size)

    async def _try(
        self, container: str, command: Command, *, input_size: int | None
    ) -> ContainerExecution:
        mark = make_mark()
        exec_id = await self._engine.create_exec(container, self._spec(command))
        wire, begun = await self._engine.start_exec(exec_id)

        async def hunt(trace: Mapping[str, str | int]) -> None:
            await self._hunt(command.run_mark, trace)

        execution = ContainerExecution(
            wire,
            begun,
            mark=mark,
            trace={"container": container},
            input_size=input_size,
            hunt=hunt,
            patience=self._patience,
        )
        try:
            await execution.begin(within=START_TIMEOUT)
        except BaseException:
            await execution.aclose()
            raise
        return execution

    async def _find_running(self) -> str:
        """The container's id. Raises ExecutorUnavailable where no command can run in it."""
        found = await self._engine.inspect(self._container)
        if found is None:
            raise ExecutorUnavailable(f"The engine has no container {self._container}.")
        state = found["State"]
        if state.get("Paused"):
            raise ExecutorUnavailable(f"The container {self._container} is paused.")
        if not state.get("Running") or state.get("Restarting"):
            raise ExecutorUnavailable(
                f"The container {self._container} is not running: it is"
                f" {state.get('Status', 'stopped')}."
            )
        return str(found["Id"])

    def _spec(self, command: Command) -> dict[str, Any]:
        for name, value in command.variables.items():
            if not name or "=" in name or "\0" in name or "\0" in value:
                raise ExecutorUnavailable(f"The variable {name!r} cannot be passed to a command.")
        if "\0" in command.shell:
            raise ExecutorUnavailable("The command holds a NUL character.")
        pairs = [f"{name}={value}" for name, value in command.variables.items()]
        spec: dict[str, Any] = {
            "AttachStdin": True,
            "AttachStdout": True,
            "AttachStderr": True,
            "Tty": False,
            "DetachKeys": _NO_DETACH,
            "Env": [*pairs, f"{GUARD_MARK}={_close_mark(command.run_mark)}"],
            "Cmd": ["sh", "-c", _GUARD, "guard", command.shell, _HUNT],
        }
        if self._user:
            spec["User"] = self._user
        if self._folder:
            spec["WorkingDir"] = self._folder
        return spec

    async def _hunt(self, run_mark: str, trace: Mapping[str, str | int]) -> None:
        """Kill what is left of a run, its guard last. Raises ExecutorUnavailable."""
        container = str(trace.get("container", self._container))
        failure: ExecutorUnavailable | None = None
        own = {"User": self._user} if self._user else {}
        for who in (*_WHO, own):
            try:
                found = await self._hunt_as(who, container, run_mark, trace)
                # Nobody sees better than all did: what is left then had hidden from its own user.
                if found is _Hunt.CLEAR or (found is _Hunt.BLIND and who is own):
                    return
            except EngineRefused as error:
                # Podman may say for a moment that a container runs in which nothing can run.
                for _ in range(_LOOKS):
                    if await self._is_over(container):
                        return
                    await asyncio.sleep(_LOOK_PAUSE)
                failure = error
            except ExecutorUnavailable as error:
                failure = error
        raise failure or ExecutorUnavailable(
            "What the run left in the container could not be killed."
        )

    async def _hunt_as(
        self,
        who: Mapping[str, Any],
        container: str,
        run_mark: str,
        trace: Mapping[str, str | int],
    ) -> _Hunt:
        told = {
            "HUNT_RUN": _close_mark(run_mark),
            "HUNT_ROUNDS": _HUNT_ROUNDS,
            "HUNT_SINCE": trace.get("since", 0),
            "HUNT_INPUT": trace.get("input", "none"),
            "HUNT_OUTPUT": trace.get("output", "none"),
            "HUNT_ERRORS": trace.get("errors", "none"),
        }
        exec_id = await self._engine.create_exec(
            container,
            {
                "AttachStdout": True,
                "AttachStderr": True,
                "Env": [f"{name}={value}" for name, value in told.items()],
                "Cmd": ["sh", "-c", _KILLER, "hunt", _HUNT],
                **who,
            },
        )
        said = b""
        with contextlib.suppress(TimeoutError, OSError):
            async with asyncio.timeout(self._patience):
                wire, begun = await self._engine.start_exec(exec_id)
                try:
                    async for kind, data in read_frames(wire, begun):
                        said += data if kind == STDOUT else b""
                finally:
                    wire.close()
        if said == b"clear\n" or await self._is_over(container):
            return _Hunt.CLEAR
        return _Hunt.BLIND if said == b"clear yes\n" else _Hunt.FAILED

    async def _is_over(self, container: str) -> bool:
        """Whether the container has ended, and with it all that ran there."""
        found = await self._engine.inspect(container)
        return found is None or not found["State"].get("Running")


def _close_mark(run_mark: str) -> str:
    """So that no mark is the beginning of another one."""
    return f"{run_mark}."
