"""Pytest plugin: containers of a real engine in which recipes are tried."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.engines import RealEngine
from tests.programs import need_program

PG = "/usr/lib/postgresql/15/bin"
PATH = f"/data/broken:{PG}:/usr/local/bin:/usr/bin:/usr/sbin:/bin"
NOBODY = "65534"


@dataclass(kw_only=True)
class Boxes:
    """Containers of an engine, each with a folder that it sees as /data."""

    engine: RealEngine
    root: Path
    started: list[str] = field(default_factory=list)

    def start(self, name: str, command: str = "exec sleep infinity", **variables: str) -> str:
        folder = self.folder(name)
        folder.mkdir(exist_ok=True)
        folder.chmod(0o777)
        container = self.engine.run(
            folder=folder,
            User=NOBODY,
            Cmd=["sh", "-c", command],
            Env=[f"PATH={PATH}", *(f"{name}={value}" for name, value in variables.items())],
        )
        self.started.append(container)
        return container

    def folder(self, name: str) -> Path:
        return self.root / name

    def break_program(self, name: str, program: str) -> None:
        """Have the program killed after the first half of what it writes."""
        real = shutil.which(program, path=PATH)
        assert real is not None
        folder = self.folder(name) / "broken"
        folder.mkdir()
        script = folder / program
        script.write_text(
            f'#!/bin/sh\n{real} "$@" >/data/whole || exit 99\n'
            "head -c $(($(wc -c </data/whole) / 2)) /data/whole\nkill -9 $$\n"
        )
        script.chmod(0o755)

    def mend(self, name: str) -> None:
        shutil.rmtree(self.folder(name) / "broken")


@pytest.fixture
def recipe_boxes(
    real_engine: Callable[[str], RealEngine], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Boxes]]:
    made: list[Boxes] = []

    def make(kind: str, *programs: str) -> Boxes:
        for program in programs:
            need_program(program)
        # Short: a Unix socket's path has room for 107 bytes.
        made.append(Boxes(engine=real_engine(kind), root=tmp_path_factory.mktemp("r")))
        made[0].root.chmod(0o755)
        return made[0]

    yield make
    for one in made:
        for container in one.started:
            one.engine.remove(container)
