"""A new user: real `backup-gateway` processes in a home of their own, as `make up` starts them."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.programs import need_program

ROOT = Path(__file__).parents[2]
PATIENCE = 90.0
GREETED = "Ctrl-C stops everything."


def wait_until(is_so: Callable[[], object], *, seconds: float = PATIENCE) -> None:
    """Raises AssertionError where it is not so in time: a bound for hangs, never a verdict."""
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, f"not within {seconds:g} s"
        time.sleep(0.02)


@dataclass
class Up:
    """A running `backup-gateway up`, in a process group of its own like one on a terminal."""

    process: subprocess.Popen[bytes]
    out: Path
    log: Path

    @property
    def told(self) -> str:
        return self.out.read_text()

    @property
    def logged(self) -> str:
        return self.log.read_text()

    @property
    def url(self) -> str:
        return re.findall(r"^GraphQL:  (\S+)$", self.told, re.MULTILINE)[0]

    @property
    def token(self) -> str:
        return re.findall(r"^API key:  (\S+)$", self.told, re.MULTILINE)[0]

    @property
    def curl(self) -> str:
        """The command to paste, as it was printed."""
        return self.told.partition("Ask something:\n")[2].partition("\n\n")[0]

    def greeted(self) -> "Up":
        """Wait for the greeting."""
        wait_until(lambda: GREETED in self.told or self.process.poll() is not None)
        assert GREETED in self.told, self.told + self.logged
        return self

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        answer = httpx.post(
            self.url,
            json={"query": query, "variables": variables},
            headers={"Authorization": f"Bearer {self.token}"},
            timeout=60,
            trust_env=False,
            verify=False,
        ).json()
        assert "errors" not in answer, answer
        data: dict[str, Any] = answer["data"]
        return data

    def backups(self, identifier: str) -> list[dict[str, Any]]:
        """Of a container: asked without a program that starts, so that it can be asked often."""
        found = self.ask(
            """query ($identifier: String!) { containers(filter: {identifier: $identifier}) {
              nodes { backups { nodes { id state } } } } }""",
            identifier=identifier,
        )
        nodes: list[dict[str, Any]] = found["containers"]["nodes"][0]["backups"]["nodes"]
        return nodes

    def press_ctrl_c(self) -> None:
        """As a terminal does: to the whole process group."""
        os.killpg(self.process.pid, signal.SIGINT)

    def ended(self) -> int:
        return self.process.wait(PATIENCE)


@dataclass
class NewUser:
    """A data folder and who uses it."""

    top: Path
    uid: int | None = None
    """None: whoever runs the tests."""
    python: str = sys.executable
    sources: str = f"{ROOT}:{sysconfig.get_path('purelib')}"
    """Where the program and its libraries are, as PYTHONPATH has it."""
    started: list[Up] = field(default_factory=list)

    @property
    def home(self) -> Path:
        return self.top / "data"

    def environment(self, **more: str) -> dict[str, str]:
        """Nothing of ours but what a login has."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.top),
            "LANG": "C.UTF-8",
            "PYTHONPATH": self.sources,
            "BACKUP_GATEWAY_HOME": str(self.home),
            "PORT": "0",
        } | more

    def start(self, *arguments: str, **environment: str) -> Up:
        """`backup-gateway up`."""
        name = f"up-{len(self.started)}"
        out, log = self.top / f"{name}.out", self.top / f"{name}.log"
        with out.open("wb") as stdout, log.open("wb") as stderr:
            process = subprocess.Popen(
                (self.python, "-m", "app", "up", *arguments),
                env=self.environment(**environment),
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
                **self._account(),
            )
        up = Up(process, out, log)
        self.started.append(up)
        return up

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Any command of `backup-gateway`, to its end."""
        return subprocess.run(
            (self.python, "-m", "app", *arguments),
            env=self.environment(**environment),
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
            **self._account(),
        )

    def done(self, *arguments: str) -> str:
        """What a command printed that must succeed."""
        result = self.run(*arguments)
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    def json(self, *arguments: str) -> Any:
        return json.loads(self.done(*arguments, "--json"))

    def processes(self) -> list[str]:
        """The command lines of all that runs from, or in, the data folder."""
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            with contextlib.suppress(OSError):
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                if str(self.home) in line or (entry / "cwd").readlink().is_relative_to(self.home):
                    found.append(line)
        return found

    def end(self) -> None:
        """Leave nothing, whatever the test did."""
        for up in self.started:
            if up.process.poll() is None:
                up.process.kill()
                up.process.wait()
        wait_until(lambda: not self.processes())
        shutil.rmtree(self.top)

    def _account(self) -> dict[str, Any]:
        if self.uid is None:
            return {}
        return {"user": self.uid, "group": self.uid, "extra_groups": []}


def make_user(uid: int | None = None) -> NewUser:
    """Not below pytest's folder: it is closed to the account that PostgreSQL runs as."""
    top = Path(tempfile.mkdtemp(prefix="user-"))
    top.chmod(0o711)
    if uid is None:
        return NewUser(top)
    os.chown(top, uid, uid)
    return NewUser(top, uid, python=find_open_python(uid), sources=find_open_sources(top, uid))


def find_open_sources(top: Path, uid: int) -> str:
    """The checkout and its libraries, or the same files below `top` where they are closed."""
    places = [ROOT, Path(sysconfig.get_path("purelib"))]
    done = subprocess.run(("ls", *map(str, places)), user=uid, capture_output=True, check=False)
    if done.returncode == 0:
        return ":".join(map(str, places))
    opened = top / "sources"
    for package in ("app", "db"):
        _link_tree(ROOT / package, opened / package)
    _link_tree(places[1], opened / "libraries")
    return f"{opened}:{opened / 'libraries'}"


def _link_tree(source: Path, target: Path) -> None:
    try:
        shutil.copytree(source, target, copy_function=os.link)
    except (OSError, shutil.Error):  # another file system
        shutil.copytree(source, target, dirs_exist_ok=True)


def find_open_python(uid: int) -> str:
    """A Python of this version that the account can run; it may not reach one in root's home."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    for python in (sys.executable, f"/usr/bin/python{version}", "/usr/bin/python3"):
        asked = ("-c", f"import sys; sys.exit(not sys.version.startswith('{version}.'))")
        with contextlib.suppress(OSError):
            done = subprocess.run((python, *asked), user=uid, group=uid, check=False)
            if done.returncode == 0:
                return python
    return str(need_program(f"python{version}-for-everybody"))
