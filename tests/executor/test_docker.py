"""The docker executor on real engines: what it is refused, and that nobody commits half a stream.

Everything here runs on Docker; `make chaos` does it on Podman and with other shells as well.
"""

import asyncio
import hashlib
import json
import os
import signal
import sys
import time
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from app.errors import ExecutorUnavailable, ExitUnknown
from app.executor import container_execution, docker
from app.executor.docker import DockerExecutor
from app.executor.port import Command, Exit
from tests.engines import RealEngine

pytestmark = pytest.mark.timeout(60)  # engines take seconds where others use the machine

REPOSITORY = Path(__file__).parents[2]
engines = pytest.mark.parametrize(
    "kind", ["docker", pytest.param("podman", marks=pytest.mark.matrix)]
)
COMMIT = "cat > {at}/got; echo COMMITTED > {at}/done"
SHAPES = {
    "plain": COMMIT,
    "setsid": f"setsid -w sh -c '{COMMIT}'",
    "at the end of a pipeline, under setsid": f"cat | setsid -w sh -c '{COMMIT}'",
    "without the mark": f"env -i /usr/bin/setsid -w /bin/sh -c '{COMMIT}'",
    "in the background": f"exec 3<&0; setsid sh -c '{COMMIT}' <&3 & exec 3<&-; wait; sleep 1000",
    "su": f'su -s /bin/sh nobody -c "{COMMIT}"',
    "su -": f'su - -s /bin/sh nobody -c "{COMMIT}"',
}
BUSYBOX_SHAPES = {
    "plain": COMMIT,
    "setsid": f"exec 3<&0; setsid sh -c '{COMMIT}' <&3 & exec 3<&-; wait; sleep 1000",
    "su": f'su -s /bin/sh nobody -c "{COMMIT}"',
    "su -": f'cat | su -s /bin/sh - nobody -c "{COMMIT}"',
}


@asynccontextmanager
async def doomed_worker(engine, container, mark, shell, *, folder="/"):
    """A worker that has fed half of the input; gives its process and the command's trace."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.fakes.doomed_container_worker"),
        *(engine.address, container, folder, mark, shell),
        cwd=REPOSITORY,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        yield process, json.loads(await process.stdout.readline())
    finally:
        if process.returncode is None:
            os.kill(process.pid, signal.SIGKILL)
        await process.communicate()


class Box:
    """A container of this test's own, where a folder of the test is /data."""

    def __init__(self, engine, folder, **settings):
        self.engine = engine
        self.folder = folder
        self.id = engine.run(folder=folder, **settings)

    def executor(self, **settings):
        return DockerExecutor(self.engine.connect(), container=self.id, **settings)

    def left(self):
        return [line for line in self.engine.processes(self.id) if line != "sleep infinity"]

    def place(self, name):
        folder = self.folder / name
        folder.mkdir()
        folder.chmod(0o777)
        return folder


@pytest.fixture
def make_box(real_engine, tmp_path):
    boxes = []
    tmp_path.chmod(0o755)

    def make(kind, **settings):
        folder = tmp_path / f"box-{len(boxes)}"
        folder.mkdir()
        box = Box(real_engine(kind), folder, **settings)
        boxes.append(box)
        return box

    yield make
    for box in boxes:
        box.engine.remove(box.id)


async def feed_half(box, name, shell):
    """Let a worker die in mid-stream, and say whether the command had read something by then."""
    folder, mark = box.place(name), f"run-{uuid4()}-1"
    command = shell.format(at=f"/data/{name}")
    async with doomed_worker(box.engine, box.id, mark, command) as (worker, _):
        async with asyncio.timeout(20):
            while not ((folder / "got").exists() and (folder / "got").stat().st_size):
                await asyncio.sleep(0.01)
        os.kill(worker.pid, signal.SIGKILL)
        await worker.wait()


async def kill_workers(box, shapes, until, *, times=1):
    async with asyncio.TaskGroup() as group:
        for number, shell in enumerate(shapes.values()):
            for turn in range(times):
                group.create_task(feed_half(box, f"{number}-{turn}", shell))
    await until(lambda: not box.left(), seconds=30)
    assert list(box.folder.glob("*/done")) == []


@pytest.mark.timeout(90)  # as many workers as there are shapes, at once
async def test_a_killed_worker_never_ends_the_input_and_leaves_nothing(make_box, until):
    await kill_workers(make_box("docker"), SHAPES, until)


@pytest.mark.matrix
@pytest.mark.timeout(300)  # eight workers for each shape
@pytest.mark.parametrize("kind", ["docker", "podman"])
async def test_no_killed_worker_ends_an_input_on_any_engine(make_box, until, kind):
    for name, shell in SHAPES.items():
        await kill_workers(make_box(kind), {name: shell}, until, times=8)


@pytest.mark.matrix
@pytest.mark.parametrize("kind", ["docker", "podman"])
@pytest.mark.timeout(120)  # as many workers as there are shapes, at once
async def test_no_killed_worker_ends_an_input_under_busybox(make_box, until, kind):
    await kill_workers(make_box(kind, image="busybox"), BUSYBOX_SHAPES, until)


@engines
@pytest.mark.parametrize("shape", ["at the end of a pipeline, under setsid", "su -"])
async def test_whoever_takes_over_from_a_stopped_worker_kills_its_command(make_box, kind, shape):
    box = make_box(kind)
    folder, mark = box.place("0"), f"run-{uuid4()}-1"
    command = SHAPES[shape].format(at="/data/0")
    async with doomed_worker(box.engine, box.id, mark, command) as (worker, trace):
        os.kill(worker.pid, signal.SIGSTOP)
        await box.executor().kill_leftovers(trace, mark)
        assert box.left() == []
        os.kill(worker.pid, signal.SIGCONT)
    assert not (folder / "done").exists()


async def test_whoever_takes_over_without_a_trace_goes_by_the_mark_and_by_no_other(make_box):
    box = make_box("docker")
    folder, mark = box.place("0"), f"run-{uuid4()}-1"
    command = COMMIT.format(at="/data/0")
    async with doomed_worker(box.engine, box.id, mark, command) as (worker, _):
        os.kill(worker.pid, signal.SIGSTOP)
        await box.executor().kill_leftovers({}, mark[:-1])
        assert box.left() != []
        await box.executor().kill_leftovers({}, mark)
        assert box.left() == []
    assert not (folder / "done").exists()


async def test_a_dump_of_another_user_is_killed_by_one_who_may(make_box):
    """The guard of a user cannot reach what su made another's; the engine's root can."""
    box = make_box("docker")
    shell = "setsid env -i su -s /bin/sh nobody -c 'sleep 1000' & echo started; wait"
    execution = await box.executor().start(
        Command(shell=shell, variables={}, run_mark="run-su-1"), input_size=None
    )
    assert await execution.read_stdout(100) == b"started\n"
    await execution.aclose()
    assert box.left() == []


async def start(box, shell="true", *, input_size=None, **settings):
    command = Command(shell=shell, variables={}, run_mark=f"run-{uuid4()}-1")
    return await box.executor(**settings).start(command, input_size=input_size)


@engines
async def test_an_image_without_a_shell_is_refused_with_that_reason(make_box, kind):
    box = make_box(kind, image="bare")
    with pytest.raises(
        ExecutorUnavailable, match=r"(?i)No command can be run.*\"?sh\"?.*not found"
    ):
        await start(box)


async def test_an_image_without_a_needed_program_is_refused_with_its_name(make_box):
    box = make_box("docker", Env=["PATH=/data/bin"], Cmd=["/usr/bin/sleep", "infinity"])
    programs = box.place("bin")
    for name in ("sh", "cat", "ls", "readlink", "sleep", "wc"):
        (programs / name).symlink_to(f"/usr/bin/{name}")
    with pytest.raises(ExecutorUnavailable, match="has no `head`"):
        await start(box)
    (programs / "head").symlink_to("/usr/bin/head")
    await (await start(box)).aclose()


@engines
async def test_what_is_not_running_is_refused_with_its_state(make_box, kind):
    box = make_box(kind)
    box.engine.say(box.id, "pause")
    with pytest.raises(ExecutorUnavailable, match="is paused"):
        await start(box)
    box.engine.say(box.id, "unpause")
    box.engine.say(box.id, "kill")
    with pytest.raises(ExecutorUnavailable, match="is not running: it is exited"):
        await start(box)
    with pytest.raises(ExecutorUnavailable, match="no container nobody"):
        await DockerExecutor(box.engine.connect(), container="nobody").start(
            Command(shell="true", variables={}, run_mark="run-1"), input_size=None
        )


@engines
async def test_a_user_and_a_folder_are_those_of_the_command(make_box, kind):
    box = make_box(kind)
    execution = await start(box, "id -u; pwd", user="nobody", folder="/data")
    seen = await read_all(execution)
    await execution.aclose()
    assert seen == b"65534\n/data\n"
    with pytest.raises(ExecutorUnavailable, match="stranger"):
        await start(box, user="stranger")


@engines
async def test_no_value_of_a_variable_is_in_a_command_line(make_box, kind):
    box = make_box(kind)
    command = Command(
        shell='cat /proc/[0-9]*/cmdline 2>/dev/null; printf "%s" "$SECRET" >&2',
        variables={"SECRET": "sesame"},
        run_mark="run-argv-1",
    )
    execution = await box.executor().start(command, input_size=None)
    seen = b""
    while more := await execution.read_stdout(1 << 20):
        seen += more
    assert b"sesame" not in seen
    assert b"SECRET" in seen
    await execution.aclose()
    assert await execution.read_stderr(100) == b"sesame"


async def read_all(execution):
    seen = b""
    while more := await execution.read_stdout(1 << 20):
        seen += more
    return seen


@engines
@pytest.mark.parametrize("action", ["kill", "remove", "restart"])
async def test_an_output_that_is_cut_by_the_end_of_its_container_is_no_success(
    make_box, kind, action
):
    box = make_box(kind)
    execution = await start(box, "head -c 100000 /dev/zero; sleep 1000")
    assert await execution.read_stdout(1)
    if action == "remove":
        box.engine.remove(box.id)
    else:
        box.engine.say(box.id, action + ("?t=0" if action == "restart" else ""))
    with pytest.raises(ExitUnknown):
        await read_all(execution)
    with pytest.raises(ExitUnknown):
        await execution.wait()
    await execution.aclose()
    if action == "remove":
        box.id = box.engine.run(folder=box.folder)


@engines
async def test_an_output_that_is_written_after_the_exit_is_not_lost(make_box, kind):
    """Docker ends an exec's streams 2 s after its first process, whoever still writes."""
    box = make_box(kind)
    execution = await start(box, "(sleep 3; echo late) & echo early")
    assert await execution.wait() == Exit(code=0)
    assert await read_all(execution) == b"early\nlate\n"
    await execution.aclose()


@engines
async def test_a_reader_that_rests_loses_nothing_and_holds_the_command_back(make_box, kind):
    box = make_box(kind)
    shell = "head -c 30000000 /dev/zero | tee /data/copy; echo end >&2"
    execution = await start(box, shell)
    digest, size = hashlib.sha256(), 0
    await asyncio.sleep(3)  # longer than an engine keeps what is left of an ended exec
    written = (box.folder / "copy").stat().st_size
    assert written < 10_000_000
    while data := await execution.read_stdout(1 << 20):
        digest.update(data)
        size += len(data)
    assert (size, digest.digest()) == (30_000_000, hashlib.sha256(bytes(30_000_000)).digest())
    assert await execution.wait() == Exit(code=0)
    await execution.aclose()


async def test_an_engine_that_is_not_there_is_told(tmp_path):
    engine = RealEngine(kind="docker", socket=tmp_path / "none")
    with pytest.raises(ExecutorUnavailable, match="cannot be reached"):
        await DockerExecutor(engine.connect(), container="any").start(
            Command(shell="true", variables={}, run_mark="run-1"), input_size=None
        )


async def test_an_exec_that_never_runs_is_killed_and_tried_once_more(make_box, monkeypatch):
    box = make_box("docker")
    stuck = "[ -e /data/tried ] || { touch /data/tried; sleep 1000; }; "
    monkeypatch.setattr(docker, "_GUARD", stuck + docker._GUARD)
    monkeypatch.setattr(docker, "START_TIMEOUT", 3)
    execution = await start(box, "echo once")
    assert await read_all(execution) == b"once\n"
    await execution.aclose()
    assert box.left() == []
    monkeypatch.setattr(docker, "_GUARD", "sleep 1000")
    with pytest.raises(ExecutorUnavailable, match=r"does not answer \(no guard within 3 s\)"):
        await start(box, "echo never")
    assert box.left() == []


@engines
async def test_what_runs_as_somebody_else_than_root_is_killed_too(make_box, kind, until):
    """Root without privileges does not see whose processes these are."""
    box = make_box(kind, User="65534")
    execution = await DockerExecutor(box.engine.connect(), container=box.id).start(
        Command(shell="echo no >&2; exit 3", variables={}, run_mark=f"run-{uuid4()}-1"),
        input_size=4_000_000,
    )
    while await execution.write_stdin(b"x" * 65536):
        pass
    assert await execution.end_stdin() > 0
    assert await execution.wait() == Exit(code=3)
    await execution.aclose()
    assert box.left() == []
    assert await execution.read_stderr(100) == b"no\n"
    shapes = {name: SHAPES[name] for name in ("plain", "setsid", "without the mark")}
    await kill_workers(box, shapes, until)


@engines
async def test_a_command_that_ends_with_its_input_has_read_all_of_it(make_box, kind):
    """It exits at its last byte, without waiting for an end; all of it is heard at once."""
    box = make_box(kind)
    executor = box.executor()
    for number in range(20):
        execution = await executor.start(
            Command(shell="head -c 300000 >/dev/null", variables={}, run_mark=f"run-{number}-1"),
            input_size=300_000,
        )
        assert await execution.write_stdin(b"x" * 262_144)
        assert await execution.write_stdin(b"x" * 37_856)
        # The loop is held up meanwhile, as on a crowded machine: both are seen in one turn.
        time.sleep(0.05)  # noqa: ASYNC251
        assert (await execution.end_stdin(), (await execution.wait()).code) == (0, 0)
        await execution.aclose()


async def test_what_was_sent_in_the_turn_in_which_it_was_refused_counts():
    refused, sent = asyncio.Event(), asyncio.get_running_loop().create_future()

    async def send():
        await sent

    doing = asyncio.create_task(container_execution._unless(refused, send()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    refused.set()
    sent.set_result(None)
    assert await doing
    refused.clear()
    doing = asyncio.create_task(container_execution._unless(refused, asyncio.sleep(60)))
    await asyncio.sleep(0)
    refused.set()
    assert not await doing
