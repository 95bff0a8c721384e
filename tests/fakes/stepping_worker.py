"""A worker in a process of its own that does something to itself the first time it is at a step.

Run as `python -m tests.fakes.stepping_worker STEP WHAT` with a worker's environment. WHAT is
`kill` (SIGKILL), `stop` (SIGSTOP; who goes on after SIGCONT), or the path of a file: it then makes
`PATH.there`, and waits until there is `PATH` before it goes on.
"""

import asyncio
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

from app.model.steps import Step
from app.settings import Settings, read_settings
from app.wiring.operator import need_database_url
from app.wiring.parts import make_sealer, make_worker_parts
from app.wiring.programs import configure_logs, stopping_on_signals
from app.worker.loop import Worker

SWEEP_SECONDS = 0.2
LOOK_SECONDS = 0.02


async def work(settings: Settings, where: Step, what: str) -> None:
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

    dsn, sealer = need_database_url(settings), make_sealer(settings, None)
    async with make_worker_parts(
        settings, dsn, sealer=sealer, embedded_realm=None, demo=None
    ) as parts:
        worker = Worker(replace(parts, step=step, times=replace(parts.times, sweep=SWEEP_SECONDS)))
        with stopping_on_signals(worker.stop):
            async with asyncio.TaskGroup() as tasks:
                listener = tasks.create_task(parts.listener.run())
                await worker.run()
                listener.cancel()


if __name__ == "__main__":
    chosen = read_settings()
    configure_logs(chosen)
    asyncio.run(work(chosen, Step(sys.argv[1]), sys.argv[2]))
