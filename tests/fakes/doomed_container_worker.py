"""A worker in a process of its own that feeds a command in a container half of its input.

Run as `python -m tests.fakes.doomed_container_worker ADDRESS CONTAINER FOLDER MARK COMMAND`; it
prints the command's trace as one line, then sends the half, and waits to be killed.
"""

import asyncio
import json
import sys

from app.executor.docker import DockerExecutor
from app.executor.engine import Engine
from app.executor.port import Command
from app.model.engines import EngineAccess, parse_address

HALF = 300_000


async def work(address: str, container: str, folder: str, mark: str, shell: str) -> None:
    engine = Engine(EngineAccess(address=parse_address(address)))
    executor = DockerExecutor(engine, container=container, folder=folder)
    execution = await executor.start(
        Command(shell=shell, variables={}, run_mark=mark), input_size=2 * HALF
    )
    sys.stdout.write(json.dumps(dict(execution.trace)) + "\n")
    sys.stdout.flush()
    assert await execution.write_stdin(b"x" * HALF)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(work(*sys.argv[1:]))
