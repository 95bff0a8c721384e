"""Workers as processes of their own, which a test may kill, pause and wait for."""

import asyncio
import contextlib
import os
import signal
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Self

PATIENCE = 60.0


@dataclass(kw_only=True)
class WorkerProcess:
    """A `backup-gateway worker`."""

    process: asyncio.subprocess.Process
    log: Path

    @classmethod
    async def start(cls, environment: dict[str, str], *program: str) -> Self:
        descriptor, name = tempfile.mkstemp(prefix="worker-", suffix=".log")
        with os.fdopen(descriptor, "wb") as stream:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                *(program or ("app", "worker")),
                env=environment,
                stderr=stream,
            )
        return cls(process=process, log=Path(name))

    @property
    def pid(self) -> int:
        return self.process.pid

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def working(self, seconds: float = PATIENCE) -> None:
        """Wait until it claims runs."""
        async with asyncio.timeout(seconds):
            while "worker starts" not in self.log.read_text():
                await asyncio.sleep(0.05)

    async def paused(self, seconds: float = PATIENCE) -> None:
        """Wait until it was stopped by a signal."""
        async with asyncio.timeout(seconds):
            while "T" not in Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2][:3]:
                await asyncio.sleep(0.05)

    async def kill(self) -> None:
        """As the kernel does when memory is short: nothing is cleaned up."""
        self.signal(signal.SIGKILL)
        await self.process.wait()

    async def ended(self, seconds: float = PATIENCE) -> int:
        async with asyncio.timeout(seconds):
            return await self.process.wait()

    async def end(self) -> None:
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.signal(signal.SIGCONT)
            await self.kill()
        self.log.unlink(missing_ok=True)
