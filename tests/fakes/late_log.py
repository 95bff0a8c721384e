"""An executor whose logs are read late and in small pieces, as by a worker that is very busy."""

import asyncio
from collections.abc import Mapping
from typing import Any

from app.executor.port import Command, Execution, Executor

TURNS = 50
PIECE = 1_000


class LateLogExecutor:
    """Runs commands by another executor; not a byte of stderr is read before the exit."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def start(self, command: Command, *, input_size: int | None) -> Execution:
        execution = await self._executor.start(command, input_size=input_size)
        late: Any = _LateLogExecution(execution)
        return late  # type: ignore[no-any-return]

    async def kill_leftovers(self, trace: Mapping[str, str | int], run_mark: str) -> None:
        await self._executor.kill_leftovers(trace, run_mark)


class _LateLogExecution:
    def __init__(self, execution: Execution) -> None:
        self._execution = execution

    def __getattr__(self, name: str) -> Any:
        return getattr(self._execution, name)

    async def read_stderr(self, size: int) -> bytes:
        await self._execution.wait()
        for _ in range(TURNS):
            await asyncio.sleep(0)
        return await self._execution.read_stderr(min(size, PIECE))
