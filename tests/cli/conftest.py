"""The command line as people use it, against a gateway on a real port."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from app.__main__ import main
from tests.fakes.gateway import TOKEN, Gateway, run_gateway

Run = Callable[..., Result]


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    with run_gateway() as gateway:
        yield gateway


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Tables show this machine's time; here that is UTC."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


@pytest.fixture
def run(gateway: Gateway, tmp_path: Path) -> Run:
    """Run `backup-gateway` with arguments; `environment` replaces where the gateway is."""

    def run(*arguments: str, **environment: str) -> Result:
        known = {"BACKUP_GATEWAY_URL": gateway.url, "BACKUP_GATEWAY_TOKEN": TOKEN}
        foreign = dict.fromkeys(name for name in os.environ if name.startswith("BACKUP_GATEWAY_"))
        home = {"BACKUP_GATEWAY_HOME": str(tmp_path)}
        return CliRunner().invoke(
            main, arguments, env={**foreign, **home, **(environment or known)}
        )

    return run
