"""Pytest plugin: real container engines, Docker and Podman, one of each for a run of the tests.

They are private to the run, started by the first test that asks (tests/container_engine.sh, as
root), shared by all processes of the run, and gone at its end.
"""

import fcntl
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.executor.engine import Engine
from app.model.engines import EngineAccess, parse_address
from tests.programs import need_program

SCRIPT = Path(__file__).with_name("container_engine.sh")
PROGRAMS = {"docker": "dockerd", "podman": "podman"}
BASE = "/tmp/bge-"
"""Short: a socket's path has room for 107 bytes."""


@dataclass(frozen=True, kw_only=True)
class RealEngine:
    """An engine that runs, and what tests do there behind the gateway's back."""

    kind: str
    socket: Path

    @property
    def address(self) -> str:
        return f"unix://{self.socket}"

    def connect(self) -> Engine:
        return Engine(EngineAccess(address=parse_address(self.address)))

    def ask(self, method: str, path: str, body: object = None) -> Any:
        transport = httpx.HTTPTransport(uds=str(self.socket))
        with httpx.Client(transport=transport, base_url="http://engine/v1.41", timeout=60) as http:
            answer = http.request(method, path, json=body)
        assert answer.status_code < 400, answer.text
        return answer.json() if answer.content.strip() else None

    def run(self, image: str = "host", *, name: str | None = None, **settings: Any) -> str:
        """Start a container; gives its id. `folder`: what it sees as /data."""
        binds = [f"{folder}:/data" for folder in (settings.pop("folder", None),) if folder]
        if image == "host":
            binds.append("/usr:/usr:ro")
        host = {"NetworkMode": "none", "Binds": binds, **settings.pop("host", {})}
        body = {"Image": f"localhost/{image}:latest", "HostConfig": host, **settings}
        query = f"?name={name}" if name else ""
        container = self.ask("POST", f"/containers/create{query}", body)["Id"]
        self.ask("POST", f"/containers/{container}/start")
        return str(container)

    def remove(self, container: str) -> None:
        self.ask("DELETE", f"/containers/{container}?force=1&v=1")

    def processes(self, container: str) -> list[str]:
        """The command lines of all that lives in a container, but for its first process."""
        found = self.ask("GET", f"/containers/{container}/top?ps_args=-eo+pid,stat,args")
        rows = [row if len(row) > 1 else row[0].split(None, 2) for row in found["Processes"]]
        return sorted(args for _, state, args in rows if state[0] != "Z")

    def restart(self) -> None:
        """The engine itself; only one that no other test uses."""
        _run_script("restart", self.kind, self.socket.parent)

    def say(self, container: str, action: str) -> None:
        """`stop`, `pause`, `unpause`, `start`, `kill`, `restart`."""
        self.ask("POST", f"/containers/{container}/{action}")


def _find_run() -> int:
    """The pid of the process that began the run of the tests."""
    return os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()


@contextmanager
def _lock(run: int) -> Iterator[None]:
    with Path(f"{BASE}{run}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _call(action: str, kind: str, run: int) -> None:
    _run_script(action, kind, Path(f"{BASE}{run}/{kind}"))


def _run_script(action: str, kind: str, folder: Path) -> None:
    done = subprocess.run(
        [str(SCRIPT), action, kind, str(folder)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="session")
def real_engine() -> Callable[[str], RealEngine]:
    """An engine of a kind; leaves the test out where there is none, and never in CI."""
    found: dict[str, RealEngine] = {}

    def find(kind: str) -> RealEngine:
        if kind not in found:
            need_program("root")
            for name in (PROGRAMS[kind], "busybox", "curl"):
                need_program(name)
            run = _find_run()
            with _lock(run):
                _call("up", kind, run)
            found[kind] = RealEngine(kind=kind, socket=Path(f"{BASE}{run}/{kind}/socket"))
        return found[kind]

    return find


@pytest.fixture
def own_engine(real_engine: Callable[[str], RealEngine]) -> Iterator[RealEngine]:
    """A Docker engine of one test only."""
    real_engine("docker")
    folder = Path(f"{BASE}{_find_run()}/{os.getpid() % 10_000}")
    _run_script("up", "docker", folder)
    yield RealEngine(kind="docker", socket=folder / "socket")
    _run_script("down", "docker", folder)


def pytest_sessionfinish() -> None:
    if "PYTEST_XDIST_WORKER" in os.environ:
        return
    for folder in Path("/tmp").glob("bge-*"):
        if not folder.is_dir() or not folder.name[4:].isdecimal():
            continue
        run = int(folder.name[4:])
        # Also those of runs that were killed.
        if run == os.getpid() or not Path(f"/proc/{run}").exists():
            for one in folder.iterdir():
                _run_script("down", one.name if one.name in PROGRAMS else "docker", one)
            shutil.rmtree(folder, ignore_errors=True)
            Path(f"{BASE}{run}.lock").unlink(missing_ok=True)
