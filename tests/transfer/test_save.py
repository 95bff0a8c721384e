"""A save by itself: every way to end but the good one leaves neither an object nor a process."""

import asyncio
import hashlib
import random
from dataclasses import replace

import pytest

from app.errors import (
    CommandFailed,
    CommandKilled,
    ExitUnknown,
    ObjectMismatch,
    OutputNotClosed,
    OutputTooSmall,
    StorageUnavailable,
)
from app.model.objects import CHUNK_BYTES
from app.transfer.pipe import READ_BYTES
from tests.fakes.late_log import LateLogExecutor
from tests.fakes.lying_storage import LyingStorage
from tests.transfers import NAME, PART, PLAN, Told, log_of, until

SLOW = "i=0; while [ $i -lt 600 ]; do head -c 500000 /dev/zero; sleep 0.05; i=$((i+1)); done"


async def test_the_object_is_the_output_and_the_hashes_are_its(bench):
    data = random.Random(1).randbytes(2 * CHUNK_BYTES + 777)
    bench.put("data", data)
    told = Told()
    backup = await bench.save("cat data; echo said >&2", told)
    assert bench.place.b2.read(backup.file_id) == data
    assert backup.size_bytes == len(data)
    assert backup.sha256 == hashlib.sha256(data).digest()
    assert backup.chunk_hashes == b"".join(
        hashlib.sha256(data[at : at + CHUNK_BYTES]).digest()
        for at in range(0, len(data), CHUNK_BYTES)
    )
    assert backup.exit_code == 0
    assert bench.objects() == [NAME, NAME + ".json"]
    manifest = bench.place.b2.read(backup.manifest_file_id)
    assert manifest == f"{backup.file_id} {len(data)}".encode()
    assert told.counters.bytes_read == told.counters.bytes_stored == len(data)
    # What finds the processes, then the upload's id, each before anything is moved.
    assert told.watch.told == ["traced", f"upload {backup.file_id}", "stored"]
    assert log_of(told) == b"said\n"


async def test_an_output_of_exactly_the_floor_is_enough_and_a_byte_less_is_not(bench):
    assert (await bench.save("printf 12345", min_bytes=5)).size_bytes == 5
    with pytest.raises(OutputTooSmall, match="wrote 4 bytes, the policy demands at least 5"):
        await bench.save("printf 1234", min_bytes=5)
    assert bench.objects() == [NAME, NAME + ".json"]


FAILING = {
    "a failure after everything": ("head -c 2500000 /dev/zero; exit 1", CommandFailed),
    "a signal": ("head -c 2500000 /dev/zero; kill -TERM $$", CommandKilled),
    "nothing": ("true", OutputTooSmall),
    "a failure after closing the output": ("printf x; exec >&-; sleep 0.1; exit 2", CommandFailed),
}


@pytest.mark.parametrize("how", FAILING)
async def test_what_was_sent_of_a_failed_command_is_removed(bench, how):
    shell, error = FAILING[how]
    told = Told()
    with pytest.raises(error):
        await bench.save(shell, told)
    assert bench.objects() == []
    assert told.output.exit is not None


@pytest.mark.parametrize("off_by", [-1, 1])
async def test_a_confirmation_of_other_bytes_is_no_success(bench, off_by):
    bench.storage = LyingStorage(bench.storage, off_by=off_by)
    with pytest.raises(ObjectMismatch, match=f"confirmed {2_500_000 + off_by} bytes"):
        await bench.save("head -c 2500000 /dev/zero")
    # Without a manifest; whoever records the failure removes the object by its name.
    assert bench.objects() == [NAME]


async def test_without_its_manifest_it_is_no_success(bench):
    bench.place.b2.faults.fail_next("b2_upload_file", times=1000)
    with pytest.raises(StorageUnavailable):
        await bench.save("head -c 2500000 /dev/zero")
    assert bench.objects() == [NAME]


async def test_parts_that_cannot_be_stored_end_the_command(bench):
    bench.place.b2.faults.fail_next("b2_upload_part", times=1000)
    with pytest.raises(StorageUnavailable):
        await bench.save("cat /dev/zero")
    assert bench.objects() == []


async def test_a_slow_storage_slows_the_command_and_nothing_piles_up(bench):
    told = Told()
    bench.place.b2.faults.hold("b2_upload_part")
    most = PLAN.in_flight_bytes + 2 * PART + READ_BYTES
    async with asyncio.TaskGroup() as tasks:
        save = tasks.create_task(bench.save("head -c 30000000 /dev/zero", told))
        await until(lambda: told.counters.bytes_read >= PLAN.in_flight_bytes)
        await asyncio.sleep(0.5)  # would be enough for all of it
        assert told.counters.bytes_read <= most
        bench.place.b2.faults.release()
        assert (await save).size_bytes == 30_000_000


CANCELLED_DURING = {
    "before a byte": (None, "sleep 600"),
    "the first part": ("b2_upload_part", SLOW),
    "the start": ("b2_start_large_file", SLOW),
    "the finish": ("b2_finish_large_file", "head -c 2500000 /dev/zero"),
    "the manifest": ("b2_upload_file", "head -c 2500000 /dev/zero"),
}


@pytest.mark.parametrize("moment", CANCELLED_DURING)
async def test_a_cancel_at_any_moment_leaves_nothing_running_and_nothing_unfinished(bench, moment):
    operation, shell = CANCELLED_DURING[moment]
    faults, told = bench.place.b2.faults, Told()
    if operation:
        faults.hold(operation)
    async with asyncio.TaskGroup() as tasks:
        save = tasks.create_task(bench.save(shell, told))
        await until(lambda: faults.count(operation) if operation else told.watch.told == ["traced"])
        save.cancel()
        await asyncio.sleep(0.05)
        faults.release()
        await asyncio.wait({save})
    assert save.cancelled()
    assert bench.inhabitants() == []
    if moment == "the manifest":
        # Finished, and perhaps described; whoever records the end removes both by their names.
        assert set(bench.objects()) <= {NAME, NAME + ".json"}
    else:
        assert bench.objects() == []
    assert bench.place.b2.unfinished(bench.place.bucket_id) == []


async def test_a_status_that_never_arrived_is_no_success(bench):
    told = Told()
    async with asyncio.TaskGroup() as tasks:
        # All the bytes are out, and the command would have ended well.
        save = tasks.create_task(_failing(bench.save("printf data; exec >&-; sleep 600", told)))
        await until(lambda: told.counters.bytes_read == 4)
        told.kill_guard()
    assert isinstance(save.result(), ExitUnknown)
    assert bench.objects() == []


async def test_an_output_that_somebody_keeps_open_is_no_clean_end(bench):
    told = Told()
    with pytest.raises(OutputNotClosed, match=r"kept its output open for 0\.3 s"):
        await bench.save("printf data; echo said >&2; sleep 600 &", told, close_seconds=0.3)
    assert bench.objects() == []
    assert told.output.exit_code == 0
    assert log_of(told) == b"said\n"


async def test_an_output_that_somebody_writes_on_after_the_exit_is_no_clean_end(bench):
    with pytest.raises(OutputNotClosed):
        await bench.save("cat /dev/zero &", close_seconds=600)
    assert bench.objects() == []


async def test_a_failure_counts_more_than_an_output_that_stays_open(bench):
    with pytest.raises(CommandFailed, match="exit code 4"):
        await bench.save("printf data; sleep 600 & exit 4", close_seconds=0.3)


async def test_a_slow_storage_is_no_output_that_stays_open(bench):
    told = Told()
    bench.place.b2.faults.hold("b2_upload_part")
    async with asyncio.TaskGroup() as tasks:
        save = tasks.create_task(bench.save("head -c 4500000 /dev/zero", told, close_seconds=0.2))
        await until(lambda: told.output.exit is not None)
        await asyncio.sleep(0.6)
        bench.place.b2.faults.release()
        assert (await save).size_bytes == 4_500_000


async def test_the_log_is_whole_however_late_it_is_read(bench):
    bench.executor = LateLogExecutor(bench.executor)
    told = Told()
    with pytest.raises(CommandFailed):
        await bench.save("printf data; exec >&-; seq 1 5000 >&2; exit 1", told)
    assert log_of(told) == "".join(f"{n}\n" for n in range(1, 5001)).encode()


async def test_the_log_of_an_output_that_stays_open_is_whole_too(bench):
    bench.executor = LateLogExecutor(bench.executor)
    told = Told()
    with pytest.raises(OutputNotClosed):
        await bench.save("seq 1 5000 >&2; sleep 600 &", told, close_seconds=0.2)
    assert log_of(told) == "".join(f"{n}\n" for n in range(1, 5001)).encode()


async def test_the_end_of_stdout_is_kept_for_a_log_that_is_empty(bench):
    told = Told()
    with pytest.raises(CommandFailed):
        await bench.save("head -c 3000000 /dev/zero; printf 'the end'; exit 1", told)
    (piece,) = told.output.stdout.take().pieces
    assert piece.data == bytes(1017) + b"the end"
    assert told.output.stderr.is_empty


async def test_the_command_is_not_started_twice_and_starts_before_b2_hears_of_it(bench):
    told = Told()
    await bench.save("echo once >> starts; head -c 2500000 /dev/zero", told)
    assert bench.got("starts") == b"once\n"
    assert told.watch.told[0] == "traced"


async def test_a_backup_can_be_saved_again_under_its_name_after_a_failure(bench):
    with pytest.raises(CommandFailed):
        await bench.save("head -c 2500000 /dev/zero; exit 1")
    backup = await bench.save("printf whole")
    assert replace(backup, manifest_file_id="").size_bytes == 5
    assert bench.objects() == [NAME, NAME + ".json"]


async def _failing(work):
    try:
        await work
    except ExitUnknown as error:
        return error
    return None
