"""A gateway in a process of its own that does something to itself the first time it is at a step.

Run as `python -m tests.fakes.stepping_gateway STEP WHAT ADDRESS` with a gateway's environment; WHAT
is one of tests/fakes/steps.py. Where it answers stands in the file ADDRESS then.
"""

import asyncio
import sys
from dataclasses import replace
from pathlib import Path

from app.model.steps import PassStep, Step
from app.settings import Settings, read_settings
from app.wiring.gateway import make_api_parts, make_app
from app.wiring.operator import need_database_url
from app.wiring.parts import bind, make_sealer
from app.wiring.programs import configure_logs, make_server
from tests.fakes.steps import make_step


async def serve(settings: Settings, step: PassStep, address: Path) -> None:
    dsn, sealer = need_database_url(settings), make_sealer(settings, None)
    async with make_api_parts(settings, dsn, sealer=sealer, embedded_realm=None) as parts:
        with bind("127.0.0.1", 0) as listening:
            server = make_server(make_app(settings, replace(parts, step=step)))
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(parts.listen.run())
                tasks.create_task(server.serve(sockets=[listening]))
                await server.answers.wait()
                unnamed = address.with_suffix(".new")
                unnamed.write_text(f"http://127.0.0.1:{listening.getsockname()[1]}")
                unnamed.rename(address)


if __name__ == "__main__":
    chosen = read_settings()
    configure_logs(chosen)
    asyncio.run(serve(chosen, make_step(Step(sys.argv[1]), sys.argv[2]), Path(sys.argv[3])))
