"""What a process of the tests does to itself the first time it is at a named step.

`kill` (SIGKILL), `stop` (SIGSTOP; it goes on after SIGCONT), or the path of a file: it then makes
`PATH.there`, and waits until there is `PATH` before it goes on.
"""

import asyncio
import os
import signal
from pathlib import Path

from app.model.steps import PassStep, Step

LOOK_SECONDS = 0.02


def make_step(where: Step, what: str) -> PassStep:
    """What is awaited at each step; it does something at `where` only, and once."""
    seen = False

    async def step(here: Step) -> None:
        nonlocal seen
        if here is not where or seen:
            return
        seen = True
        if what in {"kill", "stop"}:
            os.kill(os.getpid(), signal.SIGKILL if what == "kill" else signal.SIGSTOP)
            return
        Path(f"{what}.there").touch()
        while not Path(what).exists():
            await asyncio.sleep(LOOK_SECONDS)

    return step
