"""A worker in a process of its own that does something to itself the first time it is at a step.

Run as `python -m tests.fakes.stepping_worker STEP WHAT` with a worker's environment; WHAT is one of
tests/fakes/steps.py.
"""

import asyncio
import sys
from dataclasses import replace

from app.model.steps import PassStep, Step
from app.settings import Settings, read_settings
from app.wiring.operator import need_database_url
from app.wiring.parts import make_sealer, make_worker_parts
from app.wiring.programs import configure_logs, stopping_on_signals
from app.worker.loop import Worker
from tests.fakes.steps import make_step

SWEEP_SECONDS = 0.2


async def work(settings: Settings, step: PassStep) -> None:
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
    asyncio.run(work(chosen, make_step(Step(sys.argv[1]), sys.argv[2])))
