"""A worker in a process of its own: it feeds a command a part of its input and is then killed.

Run as `python -m tests.fakes.doomed_worker ROOT FOLDER UID MARK COMMAND` (UID -1: as itself); it
prints the command's trace as one line once half of the input is in the command's hands.
"""

import asyncio
import json
import sys
from pathlib import Path
from uuid import UUID

from app.executor.port import Command
from app.executor.process import ProcessExecutor
from app.executor.roots import ProcessRoot

HALF = 300_000


async def work(root: str, folder: str, uid: str, mark: str, shell: str) -> None:
    owner = None if int(uid) < 0 else (int(uid), int(uid))
    place = ProcessRoot(hub_id=UUID(int=1), path=Path(root), owner=owner)
    executor = ProcessExecutor(place, folder=folder)
    execution = await executor.start(
        Command(shell=shell, variables={}, run_mark=mark), input_size=1_000_000
    )
    assert await execution.write_stdin(b"x" * HALF)
    sys.stdout.write(json.dumps(dict(execution.trace)) + "\n")
    sys.stdout.flush()
    await execution.write_stdin(b"x" * HALF)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(work(*sys.argv[1:]))
