"""A folder where commands may run, and the proof that each test left nothing running or open."""

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest

from app.executor.docker import DockerExecutor
from app.executor.leftovers import find_leftovers
from app.executor.port import Command, Execution, Executor, Exit
from app.executor.process import ProcessExecutor
from app.executor.roots import ProcessRoot
from tests.engines import RealEngine

UID = 61234
"""Nobody's: a numeric uid needs no account."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """An executor, the folder where its commands run, and the commands given to it."""

    executor: Executor
    folder: Path
    marks: list[str]

    def command(self, shell: str, **variables: str) -> Command:
        mark = f"run-{uuid4()}-1"
        self.marks.append(mark)
        return Command(shell=shell, variables=variables, run_mark=mark)

    @asynccontextmanager
    async def running(
        self, shell: str, *, input_size: int | None = None, **variables: str
    ) -> AsyncIterator[Execution]:
        execution = await self.executor.start(
            self.command(shell, **variables), input_size=input_size
        )
        try:
            yield execution
        finally:
            await execution.aclose()


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a command did, seen from outside."""

    exit: Exit
    stdout: bytes
    stderr: bytes
    taken: bool = True
    unread: int = 0


async def read_all(read: Callable[[int], Awaitable[bytes]]) -> bytes:
    data = bytearray()
    while more := await read(1 << 20):
        data += more
    return bytes(data)


async def feed(execution: Execution, data: bytes) -> tuple[bool, int]:
    taken = await execution.write_stdin(data)
    return taken, await execution.end_stdin()


@pytest.fixture
def carry_out(place: Place) -> Callable[..., Awaitable[Outcome]]:
    """Run a command to its end, feeding it and reading both of its outputs at the same time."""

    async def carry(shell: str, data: bytes | None = None, **variables: str) -> Outcome:
        size = None if data is None else len(data)
        async with place.running(shell, input_size=size, **variables) as execution:
            async with asyncio.TaskGroup() as group:
                stdout = group.create_task(read_all(execution.read_stdout))
                stderr = group.create_task(read_all(execution.read_stderr))
                fed = None if data is None else group.create_task(feed(execution, data))
                # As transfers do it: what was left behind must not hold the log open.
                await execution.wait()
                await asyncio.wait({stdout} if fed is None else {stdout, fed})
                await execution.kill()
            taken, unread = (True, 0) if fed is None else fed.result()
            return Outcome(
                exit=await execution.wait(),
                stdout=stdout.result(),
                stderr=stderr.result(),
                taken=taken,
                unread=unread,
            )

    return carry


def find_inhabitants(folder: Path) -> list[int]:
    """Who runs in a folder or below it, told by another sign than those that the executor uses."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            place = (process / "cwd").readlink()
        except OSError:
            continue
        if place.is_relative_to(folder):
            found.append(int(process.name))
    return found


@pytest.fixture(name="find_inhabitants")
def give_find_inhabitants() -> Callable[[Path], list[int]]:
    return find_inhabitants


@pytest.fixture
def root(tmp_path: Path) -> ProcessRoot:
    """A hub's folder: with a uid of its own where the tests run as root."""
    path = tmp_path / "hub"
    path.mkdir()
    owner = None
    if os.getuid() == 0:
        owner = (UID, UID)
        os.chown(path, *owner)
    return ProcessRoot(hub_id=uuid4(), path=path, owner=owner)


@pytest.fixture
def make_place(root: ProcessRoot) -> Iterator[Callable[..., Place]]:
    """Make a place below the root; `as_worker`: its commands run as who the tests run as."""
    marks: list[str] = []
    numbers = itertools.count(1)

    def make(*, as_worker: bool = False, patience: float = 10.0) -> Place:
        name = f"instance-{next(numbers)}"
        folder = root.path / name
        folder.mkdir()
        if root.owner is not None and not as_worker:
            os.chown(folder, *root.owner)
        own = ProcessRoot(
            hub_id=root.hub_id, path=root.path, owner=None if as_worker else root.owner
        )
        executor = ProcessExecutor(own, folder=name, patience=patience)
        return Place(executor=executor, folder=folder, marks=marks)

    yield make
    left = {mark: [process.pid for process in find_leftovers(None, mark)] for mark in marks}
    assert {mark: pids for mark, pids in left.items() if pids} == {}
    assert find_inhabitants(root.path) == []


@pytest.fixture(scope="session")
def find_container(
    real_engine: Callable[[str], RealEngine], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], tuple[RealEngine, str, Path]]]:
    """A container for all tests of this process, and the folder that it sees as /data."""
    found: dict[str, tuple[RealEngine, str, Path]] = {}

    def find(kind: str) -> tuple[RealEngine, str, Path]:
        if kind not in found:
            engine = real_engine(kind)
            folder = tmp_path_factory.mktemp(kind)
            found[kind] = (engine, engine.run(folder=folder), folder)
        return found[kind]

    yield find
    for engine, container, _ in found.values():
        engine.remove(container)


@pytest.fixture
def make_container_place(
    find_container: Callable[[str], tuple[RealEngine, str, Path]],
) -> Iterator[Callable[[str], Place]]:
    """Make a place in the container of an engine; nothing of it may be left there."""
    numbers = itertools.count(1)
    used: list[tuple[RealEngine, str]] = []

    def make(kind: str) -> Place:
        engine, container, base = find_container(kind)
        folder = base / f"instance-{uuid4().hex[:8]}-{next(numbers)}"
        folder.mkdir()
        used.append((engine, container))
        executor = DockerExecutor(
            engine.connect(), container=container, folder=f"/data/{folder.name}"
        )
        return Place(executor=executor, folder=folder, marks=[])

    yield make
    for engine, container in used:
        assert engine.processes(container) == ["sleep infinity"]


@pytest.fixture
def place(make_place: Callable[..., Place]) -> Place:
    return make_place()


def read_open_files() -> dict[str, str]:
    """The open files of this process."""
    found = {}
    for link in Path("/proc/self/fd").iterdir():
        try:
            found[link.name] = str(link.readlink())
        except FileNotFoundError:
            continue
    return found


@pytest.fixture(autouse=True)
async def nothing_stays_open() -> AsyncIterator[None]:
    """Whatever a test does: no descriptor and no child of it stays."""
    before = read_open_files()
    yield
    # What others had left open may be collected meanwhile: only what came counts.
    assert dict(read_open_files().items() - before.items()) == {}


async def until(condition: Callable[[], object], *, seconds: float = 15.0) -> None:
    """Wait until something is so; the time only ends a test that has failed."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.fixture(name="until")
def give_until() -> Callable[..., Awaitable[None]]:
    return until
