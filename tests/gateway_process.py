"""A gateway as a process of its own, which a test may kill, stop and measure."""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from app.service.secrets import make_key
from app.wiring.parts import bind
from tests.conftest import GATEWAY_ROLE, WORKER_ROLE


@dataclass(kw_only=True)
class Gateway:
    """A `backup-gateway serve`."""

    process: asyncio.subprocess.Process
    place: str
    log: Path

    @property
    def url(self) -> str:
        return f"http://{self.place}/graphql"


RunGateway = Callable[..., contextlib.AbstractAsyncContextManager[Gateway]]


@pytest.fixture
def run_gateway(dsn: str, tmp_path: Path) -> RunGateway:
    """Start a gateway, with more settings; the next one has the same address."""
    with bind("127.0.0.1", 0) as listening:
        port: int = listening.getsockname()[1]
    environment = {
        "PATH": os.environ["PATH"],
        "PORT": str(port),
        "DATABASE_URL": dsn,
        "BACKUP_GATEWAY_SECRET_KEY": make_key(),
        "BACKUP_GATEWAY_GATEWAY_ROLE": GATEWAY_ROLE,
        "BACKUP_GATEWAY_WORKER_ROLE": WORKER_ROLE,
    }
    log = tmp_path / "log"

    @contextlib.asynccontextmanager
    async def run(**more: str) -> AsyncIterator[Gateway]:
        with log.open("ab") as stream:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "app", "serve", env=environment | more, stderr=stream
            )
        gateway = Gateway(process=process, place=f"127.0.0.1:{port}", log=log)
        try:
            await wait_until_ready(gateway)
            yield gateway
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    return run


async def wait_until_ready(gateway: Gateway) -> None:
    async with httpx.AsyncClient(trust_env=False, verify=False) as client:
        while True:
            assert gateway.process.returncode is None, gateway.log.read_text()
            with contextlib.suppress(httpx.TransportError):
                if (await client.get(f"http://{gateway.place}/readyz")).status_code == 200:
                    return
            await asyncio.sleep(0.05)
