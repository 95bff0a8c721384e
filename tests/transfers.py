"""The transfer layer by itself: real commands under their guard, a real local B2, no database."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from app.executor.port import Command, Executor
from app.executor.process import ProcessExecutor
from app.executor.roots import ProcessRoot
from app.model.backups import StoredBackup
from app.model.logs import Redactor, StderrLog
from app.model.objects import PartPlan
from app.model.restores import RestorePhase
from app.storage.port import Storage
from app.transfer.pipe import Counters, Output
from app.transfer.restore import Restore
from app.transfer.save import Save
from tests.fakes.b2_places import SHORT, Place, open_place

UID = 61_235
"""Nobody's: a numeric uid needs no account."""
PART = 1_000_000
PLAN = PartPlan(first=PART, largest=256 * PART, in_flight_bytes=3 * PART)
NAME = "team/object-1"


class Watch:
    """Writes down what a transfer tells, in its order."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.trace: Mapping[str, str | int] = {}

    async def traced(self, trace: Mapping[str, str | int]) -> None:
        self.trace = trace
        self.told.append("traced")

    async def upload_started(self, file_id: str) -> None:
        self.told.append(f"upload {file_id}")

    async def object_stored(self) -> None:
        self.told.append("stored")

    async def touched(self) -> None:
        self.told.append("touched")

    async def phase(self, phase: RestorePhase) -> None:
        self.told.append(phase)


@dataclass(kw_only=True)
class Told:
    """What can be seen of a transfer from outside."""

    output: Output = field(default_factory=lambda: Output((Redactor([]), Redactor([]))))
    counters: Counters = field(default_factory=Counters)
    watch: Watch = field(default_factory=Watch)

    def kill_guard(self) -> None:
        os.kill(int(self.watch.trace["guard"]), signal.SIGKILL)


@dataclass(kw_only=True)
class Bench:
    """An instance's folder, a bucket, and transfers between them."""

    executor: Executor
    storage: Storage
    place: Place
    folder: Path
    threads: ThreadPoolExecutor

    async def save(
        self, shell: str, told: Told | None = None, *, min_bytes: int = 1, close_seconds: float = 10
    ) -> StoredBackup:
        told = told or Told()
        save = Save(
            command=_command(shell),
            object_name=NAME,
            info={"backup": "1"},
            min_bytes=min_bytes,
            make_manifest=lambda stored, hashes: f"{stored.file_id} {hashes.size}".encode(),
            output=told.output,
            counters=told.counters,
            watch=told.watch,
            close_seconds=close_seconds,
        )
        return await save.carry_out(self.executor, self.storage, self.threads)

    async def restore(
        self, backup: StoredBackup, shell: str, told: Told | None = None, **changes: Any
    ) -> int:
        told = told or Told()
        known = {
            "file_id": backup.file_id,
            "size": backup.size_bytes,
            "sha256": backup.sha256,
            "chunk_hashes": backup.chunk_hashes,
        }
        restore = Restore(
            command=_command(shell),
            output=told.output,
            counters=told.counters,
            watch=told.watch,
            **{**known, **changes},
        )
        return await restore.carry_out(self.executor, self.storage, self.threads)

    def put(self, name: str, data: bytes) -> None:
        """Give the commands a file to read."""
        (self.folder / name).write_bytes(data)

    def got(self, name: str) -> bytes | None:
        """What a command wrote."""
        path = self.folder / name
        return path.read_bytes() if path.exists() else None

    def objects(self) -> list[str]:
        return sorted(name for name, _ in self.place.names())

    def inhabitants(self) -> list[str]:
        """The processes that run in the folder."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if (entry / "cwd").readlink() == self.folder:
                    found.append((entry / "cmdline").read_bytes().decode())
            except OSError:
                continue
        return found


def _command(shell: str) -> Command:
    return Command(shell=shell, variables={}, run_mark=f"{uuid4()}-1")


def log_of(told: Told) -> bytes:
    """Everything that is kept of stderr."""
    log: StderrLog = told.output.stderr
    log.end()
    return b"".join(piece.data for piece in log.take(last=True).pieces)


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


@pytest.fixture
async def bench(tmp_path: Path, threads: ThreadPoolExecutor) -> AsyncIterator[Bench]:
    folder = tmp_path / "hub" / "1.db"
    folder.mkdir(parents=True)
    owner = None
    if os.geteuid() == 0:
        owner = (UID, UID)
        os.chown(folder.parent, *owner)
        os.chown(folder, *owner)
    root = ProcessRoot(hub_id=uuid4(), path=folder.parent, owner=owner)
    async with open_place(tmp_path / "b2", plan=PLAN, patience=SHORT) as place:
        bench = Bench(
            executor=ProcessExecutor(root, folder="1.db"),
            storage=place.storage,
            place=place,
            folder=folder,
            threads=threads,
        )
        yield bench
        place.b2.faults.reset()
    assert bench.inhabitants() == []


async def until(condition: Any, *, seconds: float = 15.0) -> None:
    """Wait until something is so; the time only ends a test that has failed."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)
