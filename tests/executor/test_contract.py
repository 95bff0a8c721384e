"""What every executor keeps, whatever the command does: one suite, run against each of them."""

import asyncio
import hashlib
import os
import signal

import pytest

from app.errors import CommandKilled, ExitUnknown
from app.executor.port import Exit
from app.executor.process import ProcessExecutor

MEGABYTE = 1 << 20


# An exec takes an engine 0.1 s, and seconds on a machine that others use.
SLOW = pytest.mark.timeout(60)
ENGINES = [
    pytest.param("docker", marks=SLOW),
    pytest.param("podman", marks=[SLOW, pytest.mark.matrix]),
]


@pytest.fixture(params=["process", *ENGINES])
def place(request, make_place, make_container_place):
    """Each executor joins here; `podman` is the `docker` executor on the other engine."""
    if request.param == "process":
        return make_place()
    return make_container_place(request.param)


async def test_the_output_the_log_and_the_exit_status_arrive_whole(carry_out):
    outcome = await carry_out("printf data; printf log >&2; exit 7")
    assert (outcome.exit, outcome.stdout, outcome.stderr) == (Exit(code=7), b"data", b"log")


async def test_a_command_without_input_reads_an_empty_one(carry_out):
    outcome = await carry_out("cat; echo read")
    assert (outcome.exit, outcome.stdout) == (Exit(code=0), b"read\n")


async def test_every_byte_of_the_input_reaches_the_command_in_order(carry_out):
    data = os.urandom(5 * MEGABYTE + 1)
    outcome = await carry_out("sha256sum", data)
    assert (outcome.exit, outcome.taken, outcome.unread) == (Exit(code=0), True, 0)
    assert outcome.stdout.split()[0].decode() == hashlib.sha256(data).hexdigest()


async def test_an_empty_input_ends_like_any_other(carry_out):
    outcome = await carry_out("wc -c", b"")
    assert (outcome.exit, outcome.stdout.strip(), outcome.unread) == (Exit(code=0), b"0", 0)


async def test_nuls_and_broken_utf_8_pass_through_unchanged(carry_out):
    data = bytes(range(256)) * 3
    outcome = await carry_out("tee /dev/stderr", data)
    assert (outcome.stdout, outcome.stderr) == (data, data)


async def test_variables_reach_the_command_as_they_are(carry_out):
    value = "a b'c\"$(exit 3)`exit 4`\n\u00e4=="
    outcome = await carry_out('printf %s "$PASSWORD"', PASSWORD=value)
    assert outcome.stdout.decode() == value


async def test_a_command_that_fails_after_writing_everything_tells_its_status(carry_out):
    outcome = await carry_out("head -c 3000000 /dev/zero; exit 1")
    assert (outcome.exit, len(outcome.stdout)) == (Exit(code=1), 3_000_000)


async def test_a_command_that_writes_nothing_has_an_empty_output(carry_out):
    outcome = await carry_out("exit 0")
    assert (outcome.exit, outcome.stdout, outcome.stderr) == (Exit(code=0), b"", b"")


async def test_a_command_that_is_killed_in_the_middle_shows_its_signal(carry_out):
    outcome = await carry_out("head -c 64000000 /dev/zero; kill -9 $$; echo never")
    assert outcome.exit == Exit(code=128 + signal.SIGKILL, signal=signal.SIGKILL)
    assert outcome.stdout.count(b"\0") == len(outcome.stdout) == 64_000_000


async def test_a_hundred_megabytes_of_log_do_not_stop_the_output(carry_out):
    outcome = await carry_out("head -c 100000000 /dev/zero >&2; echo data")
    assert (outcome.exit, outcome.stdout, len(outcome.stderr)) == (
        Exit(code=0),
        b"data\n",
        100_000_000,
    )


async def test_a_command_that_fails_after_reading_everything_tells_its_status(carry_out):
    outcome = await carry_out("cat > got; exit 1", b"x" * MEGABYTE)
    assert (outcome.exit, outcome.taken, outcome.unread) == (Exit(code=1), True, 0)


async def test_what_a_command_leaves_unread_is_counted(carry_out):
    outcome = await carry_out("head -c 10 > got; exit 0", b"x" * 40_000)
    assert outcome.exit == Exit(code=0)
    assert outcome.unread > 0


async def test_a_command_that_is_gone_takes_no_more_bytes(carry_out):
    outcome = await carry_out("exit 0", b"x" * (8 * MEGABYTE))
    assert (outcome.exit, outcome.taken) == (Exit(code=0), False)
    assert outcome.unread > 0


async def test_there_is_no_end_mark_after_a_write_that_was_cancelled(place, until):
    shell = "until [ -e go ]; do sleep 0.01; done; cat > got; echo COMMITTED > done"
    got = place.folder / "got"
    async with place.running(shell, input_size=8 * MEGABYTE) as execution:
        write = asyncio.create_task(execution.write_stdin(b"x" * (8 * MEGABYTE)))
        await asyncio.sleep(0.01)
        write.cancel()
        await asyncio.wait({write})
        assert await execution.end_stdin() > 0
        (place.folder / "go").touch()
        await until(lambda: got.exists() and got.stat().st_size > 0)
        assert await execution.end_stdin() > 0
        await execution.kill()
    assert not (place.folder / "done").exists()


async def test_a_command_that_reads_late_still_reads_everything(carry_out, place):
    outcome = await carry_out("sleep 0.2; cat > got; echo COMMITTED > done", b"x" * 50_000)
    assert (outcome.exit, outcome.unread) == (Exit(code=0), 0)
    assert (place.folder / "got").stat().st_size == 50_000
    assert (place.folder / "done").read_text() == "COMMITTED\n"


async def test_the_input_does_not_end_before_the_end_mark(place, until):
    async with place.running("cat > got; echo COMMITTED > done", input_size=300_000) as execution:
        assert await execution.write_stdin(b"x" * 300_000)
        got = place.folder / "got"
        await until(lambda: got.exists() and got.stat().st_size == 300_000)
        await execution.kill()
        assert await execution.wait() == Exit(code=137, signal=9)
    assert not (place.folder / "done").exists()


async def test_a_command_that_never_ends_is_killed(place):
    async with place.running("echo started; sleep 1000; echo never") as execution:
        assert await execution.read_stdout(100) == b"started\n"
        await execution.kill()
        assert await execution.wait() == Exit(code=137, signal=9)
        assert await execution.read_stdout(100) == b""


async def test_writing_into_a_command_that_never_reads_ends_with_the_kill(place):
    async with place.running("sleep 1000", input_size=16 * MEGABYTE + 6) as execution:
        async with asyncio.TaskGroup() as group:
            assert await execution.write_stdin(b"unread")
            taken = group.create_task(execution.write_stdin(b"x" * (16 * MEGABYTE)))
            await asyncio.sleep(0)
            await execution.kill()
        assert taken.result() is False
        assert await execution.end_stdin() >= len(b"unread")


async def count_unread(execution):
    """None: it was killed before it could be counted."""
    try:
        return await execution.end_stdin()
    except CommandKilled:
        return None


async def test_waiting_for_the_end_of_the_input_ends_with_the_kill(place):
    async with place.running("sleep 1000", input_size=6) as execution:
        assert await execution.write_stdin(b"unread")
        async with asyncio.TaskGroup() as group:
            unread = group.create_task(count_unread(execution))
            await asyncio.sleep(0.01)
            await execution.kill()
        # In a container nobody may be left to count.
        is_counted = isinstance(place.executor, ProcessExecutor)
        assert unread.result() == len(b"unread") if is_counted else unread.result() != 0


async def test_writing_ends_with_the_command_although_a_child_holds_its_input(place):
    shell = "exec 3<&0; sleep 1000 <&3 & exit 0"
    async with place.running(shell, input_size=8 * MEGABYTE) as execution:
        assert await execution.write_stdin(b"x" * (8 * MEGABYTE)) is False
        assert await execution.wait() == Exit(code=0)
        assert await execution.end_stdin() == 8 * MEGABYTE


async def test_there_is_no_end_mark_after_the_kill(place):
    async with place.running("sleep 1000", input_size=0) as execution:
        await execution.kill()
        with pytest.raises(CommandKilled):
            await execution.end_stdin()


@pytest.mark.parametrize(
    "shell",
    [
        "sleep 1000 & exit 0",
        "setsid sleep 1000 & exit 0",
        "(setsid sh -c 'sleep 1000 & sleep 1000' &) ; exit 0",
    ],
)
async def test_what_holds_the_output_open_lives_until_it_is_killed(place, shell):
    async with place.running(shell) as execution:
        assert await execution.wait() == Exit(code=0)
        async with asyncio.TaskGroup() as group:
            end = group.create_task(execution.read_stdout(100))
            await asyncio.sleep(0.05)
            assert not end.done()
            await execution.kill()
        assert end.result() == b""


@pytest.mark.parametrize(
    "shell",
    [
        "setsid -w sh -c 'cat > got; echo COMMITTED > done'",
        "cat | setsid -w sh -c 'cat > got; echo COMMITTED > done'",
        "env -i sh -c 'cat > got; echo COMMITTED > done'",
    ],
)
async def test_commands_that_leave_their_group_read_a_whole_input_to_its_end(
    carry_out, place, shell
):
    outcome = await carry_out(shell, b"x" * 500_000)
    assert (outcome.exit, outcome.unread) == (Exit(code=0), 0)
    assert (place.folder / "got").stat().st_size == 500_000
    assert (place.folder / "done").exists()


async def test_killing_twice_and_closing_twice_is_the_same_as_once(place):
    async with place.running("sleep 1000") as execution:
        await asyncio.gather(execution.kill(), execution.kill(), execution.aclose())
        await execution.kill()
        await execution.aclose()
        assert await execution.wait() == Exit(code=137, signal=9)
        assert await execution.read_stdout(10) == b""
        assert await execution.write_stdin(b"x") is False


async def test_commands_of_one_place_run_side_by_side(place):
    shells = [f"cat; exit {number}" for number in range(8)]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_echo(place, shell)) for shell in shells]
    assert [task.result() for task in tasks] == [
        (shell.encode(), n) for n, shell in enumerate(shells)
    ]


async def _echo(place, shell):
    async with place.running(shell, input_size=len(shell)) as execution:
        assert await execution.write_stdin(shell.encode())
        assert await execution.end_stdin() == 0
        return await execution.read_stdout(1000), (await execution.wait()).code


async def test_a_cancelled_start_leaves_nothing(place):
    is_quick = isinstance(place.executor, ProcessExecutor)
    for delay in range(0, 50, 5) if is_quick else (0, 30, 90):
        task = asyncio.create_task(
            place.executor.start(place.command("cat > got; echo COMMITTED > done"), input_size=1000)
        )
        await asyncio.sleep(delay / 1000)
        task.cancel()
        await asyncio.wait({task})
        if not task.cancelled():
            # It was faster than the cancel.
            await task.result().kill()
            await task.result().aclose()
    assert not (place.folder / "done").exists()


async def test_a_cancelled_kill_still_kills(place):
    async with place.running("sleep 1000") as execution:
        task = asyncio.create_task(execution.kill())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await execution.wait() == Exit(code=137, signal=9)


async def test_a_cancelled_read_loses_nothing(place):
    async with place.running("cat", input_size=4) as execution:
        read = asyncio.create_task(execution.read_stdout(100))
        await asyncio.sleep(0.01)
        read.cancel()
        with pytest.raises(asyncio.CancelledError):
            await read
        assert await execution.write_stdin(b"data")
        seen = b""
        while len(seen) < len(b"data"):
            seen += await execution.read_stdout(100)
        assert seen == b"data"


async def test_leftovers_are_killed_by_trace_and_mark(place):
    command = place.command("cat > got; echo COMMITTED > done")
    execution = await place.executor.start(command, input_size=2000)
    try:
        assert await execution.write_stdin(b"x" * 1000)
        await place.executor.kill_leftovers(dict(execution.trace), command.run_mark)
        assert await _wait_for_code(execution) in {137, None}
    finally:
        await execution.aclose()
    assert not (place.folder / "done").exists()


async def _wait_for_code(execution):
    """The exit code; None where the guard was killed before it could report it."""
    try:
        return (await execution.wait()).code
    except ExitUnknown:
        return None


async def test_there_may_be_no_leftovers(place):
    command = place.command("exit 0")
    execution = await place.executor.start(command, input_size=None)
    trace = dict(execution.trace)
    await execution.aclose()
    await place.executor.kill_leftovers(trace, command.run_mark)
    await place.executor.kill_leftovers({}, command.run_mark)
