"""The guard: no command sees its input end because somebody died, and nothing outlives the run."""

import asyncio
import json
import os
import signal
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from app.errors import ExitUnknown
from app.executor.guard import read_process
from app.executor.leftovers import find_leftovers, parse_trace
from app.executor.port import Exit

REPOSITORY = Path(__file__).parents[2]
TIMES = 8
COMMIT = "cat > got; echo COMMITTED > done"
SHAPES = {
    "plain": COMMIT,
    "setsid": f"setsid -w sh -c '{COMMIT}'",
    "at the end of a pipeline, under setsid": f"cat | setsid -w sh -c '{COMMIT}'",
    "without the mark": f"env -i /usr/bin/setsid -w /bin/sh -c '{COMMIT}'",
    "in the background": f"exec 3<&0; setsid sh -c '{COMMIT}' <&3 & exec 3<&-; wait; sleep 1000",
}
AS_WORKER = {"su": f'su -s /bin/sh nobody -c "{COMMIT}"'}
shapes = pytest.mark.parametrize("shell", [pytest.param(v, id=k) for k, v in SHAPES.items()])
su_shapes = pytest.mark.parametrize("shell", [pytest.param(v, id=k) for k, v in AS_WORKER.items()])


@asynccontextmanager
async def doomed_worker(place, mark, shell, *, uid):
    """A worker that has fed half of the input; gives its process and the command's trace."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.fakes.doomed_worker"),
        *(str(place.folder.parent), place.folder.name, str(uid), mark, shell),
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


async def kill_a_worker(place, shell, *, uid, until, find_inhabitants):
    """Kill a worker in mid-stream and see what its command did."""
    command = place.command(shell)
    got = place.folder / "got"
    async with doomed_worker(place, command.run_mark, shell, uid=uid) as (worker, stored):
        trace = parse_trace(stored)
        assert len(find_leftovers(trace, command.run_mark)) >= 2
        await until(lambda: got.exists() and got.stat().st_size > 0)
        os.kill(worker.pid, signal.SIGKILL)
        await worker.wait()
        await until(lambda: not find_leftovers(trace, command.run_mark))
        assert find_inhabitants(place.folder) == []
    assert not (place.folder / "done").exists()


def command_uid():
    return 61234 if os.getuid() == 0 else -1


@shapes
@pytest.mark.timeout(60)  # eight workers on a busy machine
async def test_a_killed_worker_never_ends_the_input_and_leaves_nothing(
    make_place, until, find_inhabitants, shell
):
    async with asyncio.TaskGroup() as group:
        for _ in range(TIMES):
            group.create_task(
                kill_a_worker(
                    make_place(),
                    shell,
                    uid=command_uid(),
                    until=until,
                    find_inhabitants=find_inhabitants,
                )
            )


@su_shapes
@pytest.mark.needs("root")
@pytest.mark.timeout(60)  # eight workers on a busy machine
async def test_a_killed_worker_never_ends_the_input_of_another_user(
    make_place, until, find_inhabitants, shell
):
    async with asyncio.TaskGroup() as group:
        for _ in range(TIMES):
            place = make_place(as_worker=True)
            place.folder.chmod(0o777)
            group.create_task(
                kill_a_worker(place, shell, uid=-1, until=until, find_inhabitants=find_inhabitants)
            )


@shapes
async def test_whoever_takes_over_from_a_stopped_worker_kills_its_command(
    place, find_inhabitants, shell
):
    command = place.command(shell)
    async with doomed_worker(place, command.run_mark, shell, uid=command_uid()) as (worker, stored):
        os.kill(worker.pid, signal.SIGSTOP)
        await place.executor.kill_leftovers(stored, command.run_mark)
        assert find_leftovers(parse_trace(stored), command.run_mark) == []
        assert find_inhabitants(place.folder) == []
        os.kill(worker.pid, signal.SIGCONT)
    assert not (place.folder / "done").exists()


@shapes
async def test_whoever_takes_over_kills_also_under_a_stopped_guard(place, find_inhabitants, shell):
    command = place.command(shell)
    async with doomed_worker(place, command.run_mark, shell, uid=command_uid()) as (worker, stored):
        os.kill(stored["guard"], signal.SIGSTOP)
        os.kill(worker.pid, signal.SIGKILL)
        await worker.wait()
        await place.executor.kill_leftovers(stored, command.run_mark)
        assert find_leftovers(parse_trace(stored), command.run_mark) == []
        assert find_inhabitants(place.folder) == []
    assert not (place.folder / "done").exists()


async def test_whoever_takes_over_without_a_trace_goes_by_the_mark(place, find_inhabitants):
    command = place.command(COMMIT)
    async with doomed_worker(place, command.run_mark, COMMIT, uid=command_uid()) as (
        worker,
        stored,
    ):
        os.kill(worker.pid, signal.SIGSTOP)
        await place.executor.kill_leftovers({}, command.run_mark)
        assert find_leftovers(parse_trace(stored), command.run_mark) == []
        assert find_inhabitants(place.folder) == []
    assert not (place.folder / "done").exists()


async def test_the_trace_of_another_boot_kills_nobody(place, make_place):
    other = make_place()
    async with other.running("echo started; sleep 1000") as execution:
        await execution.read_stdout(10)
        trace = {**execution.trace, "boot": "00000000-0000-0000-0000-000000000000"}
        await place.executor.kill_leftovers(trace, "run-of-that-boot")
        assert read_process(int(trace["command"])) is not None


async def test_a_later_owner_of_a_pid_in_a_trace_is_spared(place, make_place):
    other = make_place()
    async with other.running("echo started; sleep 1000") as execution:
        await execution.read_stdout(10)
        trace = dict(execution.trace)
        for name in ("guard_start", "command_start"):
            trace[name] -= 1
        for name in ("stdin_pipe", "stdout_pipe", "stderr_pipe"):
            trace[name] = 0
        await place.executor.kill_leftovers(trace, "run-of-the-former-owner")
        assert read_process(trace["command"]) is not None
        assert read_process(trace["guard"]) is not None


@shapes
async def test_a_killed_guard_never_ends_the_input(place, until, find_inhabitants, shell):
    async with place.running(shell, input_size=1_000_000) as execution:
        assert await execution.write_stdin(b"x" * 300_000)
        await until((place.folder / "got").exists)
        os.kill(execution.trace["guard"], signal.SIGKILL)
        with pytest.raises(ExitUnknown):
            await execution.wait()
        assert await execution.write_stdin(b"x" * 300_000) is False
        await execution.kill()
        assert find_inhabitants(place.folder) == []
    assert not (place.folder / "done").exists()


async def test_the_command_itself_dies_with_its_guard_also_where_no_worker_is_left(place, until):
    """Both killed, as where memory runs out: nobody holds the input, but the shell is gone."""
    command = place.command(COMMIT)
    got = place.folder / "got"
    worker_of = doomed_worker(place, command.run_mark, COMMIT, uid=command_uid())
    async with worker_of as (worker, stored):
        await until(lambda: got.exists() and got.stat().st_size > 0)
        os.kill(worker.pid, signal.SIGSTOP)
        os.kill(stored["guard"], signal.SIGKILL)
        os.kill(worker.pid, signal.SIGKILL)
        await worker.wait()
        await until(lambda: not find_leftovers(parse_trace(stored), command.run_mark))
    assert not (place.folder / "done").exists()


async def test_a_killed_guard_gives_no_end_mark(place):
    async with place.running("cat > got; sleep 1000", input_size=1_000_000) as execution:
        os.kill(execution.trace["guard"], signal.SIGKILL)
        with pytest.raises(ExitUnknown):
            await execution.wait()
        with pytest.raises(ExitUnknown):
            await execution.end_stdin()


async def test_a_stopped_guard_does_not_keep_its_command_alive(make_place):
    place = make_place(patience=0.1)
    async with place.running(COMMIT, input_size=1_000_000) as execution:
        assert await execution.write_stdin(b"x")
        os.kill(execution.trace["guard"], signal.SIGSTOP)
        await execution.kill()
        with pytest.raises(ExitUnknown):
            await execution.wait()
    assert not (place.folder / "done").exists()


@pytest.mark.parametrize("name", ["SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGUSR1", "SIGTSTP"])
async def test_the_guard_ignores_what_is_aimed_at_the_worker(place, name):
    async with place.running("cat; exit 3", input_size=1_000_000) as execution:
        os.kill(execution.trace["guard"], getattr(signal, name))
        assert await execution.write_stdin(b"data")
        assert await execution.end_stdin() == 0
        assert await execution.read_stdout(100) == b"data"
        assert await execution.wait() == Exit(code=3)


async def test_the_guard_is_in_no_group_or_session_of_the_worker_or_the_command(place):
    async with place.running("echo started; sleep 1000") as execution:
        await execution.read_stdout(100)
        pids = [os.getpid(), execution.trace["guard"], execution.trace["command"]]
        assert len({os.getsid(pid) for pid in pids}) == 3
        assert len({os.getpgid(pid) for pid in pids}) == 3


async def test_a_command_that_kills_its_group_does_not_hit_the_guard(carry_out):
    outcome = await carry_out("trap '' TERM; kill 0; exit 5")
    assert outcome.exit == Exit(code=5)


async def test_what_a_command_left_running_is_gone_after_the_close(place):
    stay = "sh -c 'echo $$; exec sleep 1000'"
    shell = f"setsid {stay} & setsid env -i {stay} & (setsid env -i {stay} &) ; wait"
    async with place.running(shell) as execution:
        lines = b""
        while lines.count(b"\n") < 3:
            lines += await execution.read_stdout(100)
        pids = [int(line) for line in lines.split()]
        assert all(read_process(pid) for pid in pids)
    assert [read_process(pid) for pid in pids] == [None] * 3


async def test_nobody_is_missed_who_forks_faster_than_the_scan(place):
    """Each link of the chain lives for the blink of an eye: parent links alone would lose it."""
    shell = 'echo started; hop() { (hop "$1"x &) ; sleep 0.001; exit; }; hop x'
    async with place.running(shell) as execution:
        assert await execution.read_stdout(100) == b"started\n"
        await execution.kill()
        assert find_leftovers(None, place.marks[0]) == []


OF_THE_C_LIBRARY = 0b11 << 31
"""Signals 32 and 33: no program may set them, so whoever started us decides."""


async def test_the_command_starts_with_the_signals_of_a_fresh_process(carry_out):
    outcome = await carry_out("grep -E 'Sig(Blk|Ign)' /proc/self/status")
    _, blocked, _, ignored = outcome.stdout.split()
    assert int(blocked, 16) == 0
    assert int(ignored, 16) & ~OF_THE_C_LIBRARY == 0


def list_files(pid):
    return sorted(link.name for link in Path(f"/proc/{pid}/fd").iterdir())


async def test_the_command_has_no_file_open_but_its_three_streams(place):
    async with place.running("echo started; sleep 1000", input_size=1_000_000) as execution:
        await execution.read_stdout(100)
        assert list_files(execution.trace["command"]) == ["0", "1", "2"]


async def test_the_guard_keeps_none_of_the_commands_streams_open(place):
    async with place.running("exec >&- 2>&- <&-; sleep 1000", input_size=1_000_000) as execution:
        assert await execution.read_stdout(100) == b""
        assert await execution.read_stderr(100) == b""
        assert await execution.write_stdin(b"x") is False
