"""A restore by itself: only bytes that were saved reach a command, and no cut ends like an end."""

import asyncio
import random

import pytest

from app.errors import (
    CommandFailed,
    CommandKilled,
    ExitUnknown,
    InputNotRead,
    ObjectMismatch,
    ObjectMissing,
    StorageUnavailable,
)
from app.model.objects import CHUNK_BYTES, HASH_BYTES
from tests.fakes.late_log import LateLogExecutor
from tests.transfers import Told, log_of, until

SIZE = 3 * CHUNK_BYTES + 1_000
DATA = random.Random(2).randbytes(SIZE)
COMMITTING = {
    "plain": "cat > got; echo COMMITTED > done",
    "setsid": "setsid -w sh -c 'cat > got; echo COMMITTED > done'",
    "pipeline": "cat | setsid -w sh -c 'cat > got; echo COMMITTED > done'",
}
PLAIN = COMMITTING["plain"]
STUCK = "head -c 100000 > part; sleep 600; " + PLAIN


@pytest.fixture
async def backup(bench):
    bench.put("data", DATA)
    return await bench.save("cat data")


def _untouched(bench):
    return bench.got("got") is None and bench.got("done") is None


@pytest.mark.parametrize("how", COMMITTING)
async def test_the_command_gets_exactly_what_was_saved_and_then_the_end(bench, backup, how):
    told = Told()
    assert await bench.restore(backup, COMMITTING[how] + "; echo said >&2", told) == 0
    assert bench.got("got") == DATA
    assert bench.got("done") == b"COMMITTED\n"
    assert told.counters.bytes_delivered == SIZE
    assert told.watch.told == ["traced", "TRANSFERRING", "touched", "WAITING_FOR_COMMAND"]
    assert log_of(told) == b"said\n"


async def test_an_empty_object_is_restored_as_an_end_at_once(bench):
    backup = await bench.save("true", min_bytes=0)
    assert await bench.restore(backup, PLAIN) == 0
    assert (bench.got("got"), bench.got("done")) == (b"", b"COMMITTED\n")


@pytest.mark.parametrize(
    ("at", "through"),
    [
        (0, 0),
        (CHUNK_BYTES - 1, 0),
        (CHUNK_BYTES, CHUNK_BYTES),
        (2 * CHUNK_BYTES + 5, 2 * CHUNK_BYTES),
        (SIZE - 1, 3 * CHUNK_BYTES),
    ],
)
async def test_nothing_of_a_changed_chunk_reaches_the_command_and_it_never_commits(
    bench, backup, at, through
):
    bench.place.b2.faults.damage(backup.file_id, at=at)
    with pytest.raises(ObjectMismatch, match=f"Bytes {through} to "):
        await bench.restore(backup, PLAIN)
    got = bench.got("got") or b""
    assert DATA[:through].startswith(got)
    assert bench.got("done") is None


async def test_the_command_is_not_even_started_for_a_first_chunk_that_is_wrong(bench, backup):
    bench.place.b2.faults.damage(backup.file_id, at=17)
    told = Told()
    with pytest.raises(ObjectMismatch):
        await bench.restore(backup, "echo > started; " + PLAIN, told)
    assert bench.got("started") is None
    assert told.watch.told == []


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES, SIZE - 1, SIZE + 1, 2 * SIZE])
async def test_an_object_of_another_size_gives_the_command_nothing(bench, backup, size):
    bench.place.b2.faults.replace_bytes(backup.file_id, (DATA * 2)[:size])
    with pytest.raises(ObjectMismatch, match=f"not the one of {SIZE} bytes"):
        await bench.restore(backup, PLAIN)
    assert _untouched(bench)


async def test_an_object_that_is_gone_gives_the_command_nothing(bench, backup):
    bench.place.b2.faults.remove(backup.file_id)
    with pytest.raises(ObjectMissing):
        await bench.restore(backup, PLAIN)
    assert _untouched(bench)


async def test_a_whole_that_differs_is_no_end_though_each_chunk_was_right(bench, backup):
    with pytest.raises(ObjectMismatch, match="as a whole"):
        await bench.restore(backup, PLAIN, sha256=bytes(HASH_BYTES))
    assert bench.got("done") is None


async def test_a_cut_download_goes_on_at_the_byte(bench, backup):
    bench.place.b2.faults.cut_download(1_234_567, times=3)
    assert await bench.restore(backup, PLAIN) == 0
    assert bench.got("got") == DATA
    assert bench.place.count("b2_download_file_by_id") >= 4


@pytest.mark.parametrize("how", COMMITTING)
async def test_a_download_that_ends_for_good_is_no_end_for_the_command(bench, backup, how):
    faults = bench.place.b2.faults
    faults.cut_download(2 * CHUNK_BYTES)
    faults.fail_next("b2_download_file_by_id", skip=1, times=1000)
    with pytest.raises(StorageUnavailable):
        await bench.restore(backup, COMMITTING[how])
    assert DATA[: 2 * CHUNK_BYTES].startswith(bench.got("got") or b"")
    assert bench.got("done") is None


UNREAD = {
    "reads nothing": ("true", InputNotRead, 0),
    "closes its input": ("exec <&-; sleep 0.1", InputNotRead, 0),
    "reads a part": ("head -c 1000 > got", InputNotRead, 0),
    "reads all but the end": (f"head -c {SIZE - 1} > got", InputNotRead, 0),
    "fails at once": ("exit 7", CommandFailed, 7),
    "fails after reading it all": ("cat > got; exit 7", CommandFailed, 7),
    "dies in the middle": ("head -c 1000 > got; kill -9 $$", CommandKilled, 137),
    "dies after reading it all": ("cat > got; kill -9 $$", CommandKilled, 137),
}


@pytest.mark.parametrize("how", UNREAD)
async def test_a_command_that_did_not_take_it_all_or_failed_is_no_success(bench, backup, how):
    shell, error, code = UNREAD[how]
    told = Told()
    with pytest.raises(error):
        await bench.restore(backup, shell, told)
    assert told.output.exit_code == code


async def test_a_small_object_that_was_left_in_the_pipe_is_no_success(bench):
    backup = await bench.save("printf 1234567890")
    with pytest.raises(InputNotRead, match="10 of 10 bytes were left"):
        await bench.restore(backup, "sleep 0.2")
    with pytest.raises(InputNotRead, match="3 of 10 bytes were left"):
        await bench.restore(backup, "dd bs=1 count=7 of=got 2> /dev/null")


async def test_what_the_command_left_running_is_gone_and_it_still_succeeded(bench, backup):
    assert await bench.restore(backup, PLAIN + "; setsid sleep 600 & sleep 0.05") == 0
    assert bench.inhabitants() == []


async def test_a_cancel_while_the_object_is_awaited_starts_nothing(bench, backup):
    faults, told = bench.place.b2.faults, Told()
    faults.hold("b2_download_file_by_id")
    before = faults.count("b2_download_file_by_id")
    async with asyncio.TaskGroup() as tasks:
        restore = tasks.create_task(bench.restore(backup, PLAIN, told))
        await until(lambda: faults.count("b2_download_file_by_id") > before)
        restore.cancel()
        await asyncio.wait({restore})
        faults.release()
    assert restore.cancelled()
    assert told.watch.told == []
    assert _untouched(bench)


@pytest.mark.parametrize("how", COMMITTING)
async def test_a_cancel_in_the_middle_is_no_end_for_the_command(bench, backup, how):
    told = Told()
    shell = "head -c 100000 > part; read go < fifo; " + COMMITTING[how]
    async with asyncio.TaskGroup() as tasks:
        restore = tasks.create_task(bench.restore(backup, "mkfifo fifo; " + shell, told))
        await until(lambda: told.counters.bytes_delivered > 0)
        restore.cancel()
        await asyncio.wait({restore})
    assert restore.cancelled()
    assert _untouched(bench)


async def test_a_cancel_while_the_command_reads_is_no_end_for_it(bench, backup):
    told = Told()
    faults = bench.place.b2.faults
    faults.slow_down(1_000_000)
    async with asyncio.TaskGroup() as tasks:
        restore = tasks.create_task(bench.restore(backup, PLAIN, told))
        await until(lambda: bench.got("got"))
        restore.cancel()
        await asyncio.wait({restore})
    assert restore.cancelled()
    assert bench.got("done") is None


async def test_a_cancel_after_the_last_byte_was_read_ends_the_command_before_it_commits(
    bench, backup
):
    told = Told()
    shell = "cat > got; mkfifo fifo; read go < fifo; echo COMMITTED > done"
    async with asyncio.TaskGroup() as tasks:
        restore = tasks.create_task(bench.restore(backup, shell, told))
        await until((bench.folder / "fifo").exists)
        restore.cancel()
        await asyncio.wait({restore})
    assert restore.cancelled()
    assert bench.got("got") == DATA
    assert bench.got("done") is None


@pytest.mark.parametrize("when", ["in the middle", "after the last byte"])
async def test_a_guard_that_dies_is_no_end_for_the_command_and_no_success(bench, backup, when):
    told = Told()
    shell = STUCK if when == "in the middle" else "cat > got; sleep 600; echo COMMITTED > done"
    enough = 1 if when == "in the middle" else SIZE
    async with asyncio.TaskGroup() as tasks:
        restore = tasks.create_task(_unknown(bench.restore(backup, shell, told)))
        await until(lambda: told.counters.bytes_delivered >= enough)
        if when == "after the last byte":
            await until(lambda: bench.got("got") == DATA)
        told.kill_guard()
    assert isinstance(restore.result(), ExitUnknown)
    assert bench.got("done") is None


async def test_a_slow_command_slows_the_download_and_nothing_piles_up(bench):
    backup = await bench.save("head -c 40000000 /dev/zero")
    told = Told()
    shell = "head -c 100000 > part; mkfifo fifo; read go < fifo; cat > /dev/null"
    async with asyncio.TaskGroup() as tasks:
        restore = tasks.create_task(bench.restore(backup, shell, told))
        await until((bench.folder / "fifo").exists)
        await asyncio.sleep(0.5)  # would be enough for all of it
        # A pipe's capacity and what the command took; the rest stays in B2.
        assert told.counters.bytes_delivered <= 3_000_000
        (bench.folder / "fifo").write_text("go\n")
        assert await restore == 0
    assert told.counters.bytes_delivered == 40_000_000


async def test_the_log_is_whole_however_late_it_is_read(bench, backup):
    bench.executor = LateLogExecutor(bench.executor)
    told = Told()
    with pytest.raises(CommandFailed):
        await bench.restore(backup, "cat > /dev/null; seq 1 5000 >&2; exit 1", told)
    assert log_of(told) == "".join(f"{n}\n" for n in range(1, 5001)).encode()


async def test_the_end_of_stdout_is_kept_for_a_log_that_is_empty(bench, backup):
    told = Told()
    with pytest.raises(CommandFailed):
        await bench.restore(backup, "cat > /dev/null; seq 1 5000; exit 1", told)
    (piece,) = told.output.stdout.take().pieces
    assert piece.data == "".join(f"{n}\n" for n in range(1, 5001)).encode()[-1024:]


async def _unknown(work):
    try:
        await work
    except ExitUnknown as error:
        return error
    return None
