"""The embedded B2: a child process of `up`, started again on the same port when it dies."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from os import getpid
from pathlib import Path

import structlog

from app.errors import StartError

READY_SECONDS = 30
STOP_SECONDS = 10
PAUSE_SECONDS = 0.5

log = structlog.get_logger()


class EmbeddedB2:
    """Speaks B2's native API on loopback over the files of a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = 0
        self._process: asyncio.subprocess.Process | None = None
        self.url = ""

    async def start(self) -> None:
        """Start the process and wait until it answers. Raises StartError."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "app.storage.local_server", str(self._folder)),
            *("--port", str(self._port), "--parent", str(getpid())),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            # Ctrl-C is ours to handle: runs that are ending still need it.
            start_new_session=True,
        )
        self._process = process
        assert process.stdout is not None
        try:
            async with asyncio.timeout(READY_SECONDS):
                line = await process.stdout.readline()
            told = json.loads(line)
        except (TimeoutError, ValueError) as error:
            await self.stop()
            raise StartError(f"The embedded B2 could not start in {self._folder}.") from error
        self.url, self._port = told["url"], told["port"]

    async def watch(self) -> None:
        """Start it again whenever it ends, and go on trying, until cancelled."""
        while True:
            assert self._process is not None
            code = await self._process.wait()
            log.warning("the embedded B2 ended and is started again", exit_code=code)
            await asyncio.sleep(PAUSE_SECONDS)
            try:
                await self.start()
            except StartError as error:
                log.warning("the embedded B2 could not be started", error=error.message)

    async def stop(self) -> None:
        """End the process; what it has stored stays."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


@asynccontextmanager
async def run_embedded_b2(folder: Path) -> AsyncIterator[EmbeddedB2]:
    """The embedded B2 while the block lasts. Raises StartError."""
    b2 = EmbeddedB2(folder)
    try:
        await b2.start()
        yield b2
    finally:
        await b2.stop()
