"""The process executor: as whom, where and with what a command runs, and what it is refused."""

import array
import asyncio
import fcntl
import os
import termios
from dataclasses import replace
from pathlib import Path

import pytest

from app.errors import ExecutorNotAllowed, ExecutorUnavailable
from app.executor.guard import RUN_MARK
from app.executor.port import Command, Exit
from app.executor.process import PATH, ProcessExecutor

COMMAND = Command(shell="true", variables={}, run_mark="run-refused-1")


@pytest.mark.needs("root")
async def test_a_roots_worker_runs_commands_as_the_owner_of_the_folder_and_nothing_else(carry_out):
    outcome = await carry_out("id -u; id -g; id -G; grep -E 'Cap(Prm|Eff|Amb)' /proc/self/status")
    assert outcome.stdout.split()[:3] == [b"61234"] * 3
    assert outcome.stdout.split()[4::2] == [b"0" * 16] * 3


@pytest.mark.needs("root")
async def test_a_command_of_another_uid_gains_no_privileges(carry_out):
    outcome = await carry_out("grep NoNewPrivs /proc/self/status")
    assert outcome.stdout.split() == [b"NoNewPrivs:", b"1"]


async def test_a_command_gains_no_privileges_unless_its_guard_is_root(make_place):
    place = make_place(as_worker=True)
    async with place.running("id -u; grep NoNewPrivs /proc/self/status") as execution:
        assert await execution.wait() == Exit(code=0)
        words = (await execution.read_stdout(1000)).split()
    assert words == [str(os.getuid()).encode(), b"NoNewPrivs:", b"0" if os.getuid() == 0 else b"1"]


async def test_the_environment_is_clean(place, carry_out):
    outcome = await carry_out("exec env -0", PGPASSWORD="secret")
    assert dict(line.split(b"=", 1) for line in outcome.stdout.split(b"\0") if line) == {
        RUN_MARK.encode(): place.marks[0].encode(),
        b"PATH": PATH.encode(),
        b"HOME": str(place.folder).encode(),
        b"LANG": b"C.UTF-8",
        b"PWD": str(place.folder).encode(),
        b"PGPASSWORD": b"secret",
    }


async def test_a_variable_may_replace_the_path_but_not_the_mark(place, carry_out):
    variables = {"PATH": "/usr/bin:/bin", RUN_MARK: "another"}
    outcome = await carry_out(f"echo $PATH ${RUN_MARK}", **variables)
    assert outcome.stdout.decode().split() == ["/usr/bin:/bin", place.marks[0]]


async def test_a_command_runs_in_its_folder_with_plain_modes_and_without_core_dumps(
    place, carry_out
):
    outcome = await carry_out("touch here; umask; ulimit -c; ulimit -Hc")
    assert outcome.stdout.split() == [b"0022", b"0", b"0"]
    assert (place.folder / "here").exists()


async def test_a_command_can_open_its_own_streams_by_name(carry_out):
    outcome = await carry_out("cat /dev/stdin > /dev/stdout; echo log > /dev/stderr", b"data")
    assert (outcome.exit, outcome.stdout, outcome.stderr) == (Exit(code=0), b"data", b"log\n")


async def test_a_variables_value_is_on_no_command_line_and_in_no_guards_environment(place):
    async with place.running(
        "echo started; read line", input_size=1_000_000, KEY="sesame"
    ) as running:
        await running.read_stdout(100)
        guard, command = (Path(f"/proc/{running.trace[name]}") for name in ("guard", "command"))
        for file in (guard / "cmdline", guard / "environ", command / "cmdline"):
            assert b"sesame" not in file.read_bytes()
        assert b"KEY=sesame" in (command / "environ").read_bytes()


async def test_the_worker_reads_only_when_asked(place, until):
    async with place.running("head -c 20000000 /dev/zero; echo done > done") as execution:
        assert len(await execution.read_stdout(1000)) == 1000
        await until(lambda: is_full(execution))
        assert not (place.folder / "done").exists()
        total = 1000
        while data := await execution.read_stdout(1 << 20):
            assert len(data) <= 1 << 20
            total += len(data)
        assert total == 20_000_000


async def test_no_child_of_the_worker_is_left_unreaped(place):
    async with place.running("exit 0") as execution:
        guard = execution.trace["guard"]
    with pytest.raises(ProcessLookupError):
        os.kill(guard, 0)


async def test_the_trace_names_the_guard_and_the_command(place):
    async with place.running("echo $$ $PPID; sleep 1000") as execution:
        command, guard = (await execution.read_stdout(100)).split()
        assert execution.trace["command"] == int(command)
        assert execution.trace["guard"] == int(guard)


async def test_an_order_larger_than_a_pipe_arrives(carry_out):
    variables = {f"V{number}": "x" * 100_000 for number in range(5)}
    outcome = await carry_out("printf %s $V4 | wc -c", **variables)
    assert outcome.stdout.strip() == b"100000"


async def test_a_command_that_is_too_long_is_refused_in_words(place):
    with pytest.raises(ExecutorUnavailable, match="could not be started: Argument list too long"):
        await place.executor.start(place.command("#" * 200_000), input_size=1_000_000)


@pytest.mark.parametrize(
    ("shell", "variables"),
    [("true\0", {}), ("true", {"": "x"}), ("true", {"A=B": "x"}), ("true", {"A": "x\0"})],
)
async def test_what_cannot_be_passed_to_a_command_is_refused(place, shell, variables):
    with pytest.raises(ExecutorUnavailable):
        await place.executor.start(
            replace(COMMAND, shell=shell, variables=variables), input_size=None
        )


async def test_a_folder_that_is_missing_is_unavailable(root):
    with pytest.raises(ExecutorUnavailable, match="'a/b' does not exist"):
        await ProcessExecutor(root, folder="a/b").start(COMMAND, input_size=None)


@pytest.mark.parametrize("folder", ["..", "a/../..", "/etc", "a/..", "a\0b"])
async def test_a_folder_that_could_lead_out_is_not_allowed(root, folder):
    with pytest.raises(ExecutorNotAllowed, match="must be a path below"):
        await ProcessExecutor(root, folder=folder).start(COMMAND, input_size=None)


@pytest.mark.parametrize("folder", ["link", "link/inner"])
async def test_a_symbolic_link_is_not_followed(root, tmp_path, folder):
    (tmp_path / "other" / "inner").mkdir(parents=True)
    (root.path / "link").symlink_to(tmp_path / "other")
    with pytest.raises(ExecutorNotAllowed, match="symbolic link") as failure:
        await ProcessExecutor(root, folder=folder).start(COMMAND, input_size=None)
    assert str(tmp_path) not in str(failure.value)


async def test_a_file_is_no_folder(root):
    (root.path / "file").touch()
    with pytest.raises(ExecutorUnavailable, match="cannot be opened: Not a directory"):
        await ProcessExecutor(root, folder="file").start(COMMAND, input_size=None)


async def test_a_root_that_is_gone_is_unavailable(root):
    root.path.rmdir()
    with pytest.raises(ExecutorUnavailable, match="hub's folder cannot be opened"):
        await ProcessExecutor(root, folder=".").start(COMMAND, input_size=None)


@pytest.mark.needs("root")
async def test_a_root_that_changed_its_owner_is_unavailable(root):
    os.chown(root.path, 0, 0)
    with pytest.raises(ExecutorUnavailable, match="another owner"):
        await ProcessExecutor(root, folder=".").start(COMMAND, input_size=None)


@pytest.mark.needs("root")
async def test_a_folder_that_its_owner_may_not_enter_is_refused_in_words(root):
    (root.path / "closed").mkdir(mode=0o700)
    with pytest.raises(ExecutorUnavailable, match="could not be started: Permission denied"):
        await ProcessExecutor(root, folder="closed").start(COMMAND, input_size=1_000_000)


async def test_the_root_itself_can_be_the_folder(root):
    execution = await ProcessExecutor(root, folder=".").start(COMMAND, input_size=None)
    assert await execution.wait() == Exit(code=0)
    await execution.aclose()


def is_full(execution):
    count = array.array("i", [0])
    fcntl.ioctl(execution._stdout._descriptor, termios.FIONREAD, count)
    return count[0] >= 1 << 16


async def test_a_fast_command_does_not_keep_the_loop_from_others(place, until):
    """Reads that never have to wait would let nobody else run."""
    turns = 0

    async def count():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with place.running("head -c 1000000 /dev/zero") as execution:
        await until(lambda: is_full(execution))
        counting = asyncio.create_task(count())
        for _ in range(10):
            assert len(await execution.read_stdout(1000)) == 1000
        counting.cancel()
    assert turns >= 9


@pytest.mark.needs("root")
async def test_a_command_has_no_other_group_of_the_worker(carry_out):
    mine = os.getgroups()
    os.setgroups([61235])
    try:
        outcome = await carry_out("id -G")
    finally:
        os.setgroups(mine)
    assert outcome.stdout.split() == [b"61234"]
