"""Point 4: once a byte reached its command a restore is never repeated; a save may be run again."""

import asyncio
import signal

import pytest

SIZE = 20_000_000
SOURCE = f"head -c {SIZE} /dev/zero"
COUNTING = "echo >> starts; head -c 100000 > got; sleep 600; cat >> got; echo > done"


async def _until(condition):
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.02)


def _starts(load, number=2):
    path = load.folder(number) / "starts"
    return len(path.read_text()) if path.exists() else 0


async def _restoring(product, load):
    """A restore, in whose command a byte has arrived."""
    backup = await product.back_up(load)
    restore_id = await product.start_restore(backup["id"], load.instance(2))
    got = load.folder(2) / "got"
    await _until(lambda: got.exists() and got.stat().st_size > 0)
    return restore_id


@pytest.mark.timeout(120)  # processes start, leases run out
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
async def test_a_restore_that_was_broken_off_is_not_done_again_by_any_worker(product, how):
    load = await product.workload("db", backup=SOURCE, restore=COUNTING)
    async with product.worker_process(BACKUP_GATEWAY_DRAIN="1s") as worker:
        restore_id = await _restoring(product, load)
        worker.signal(how)
        await worker.ended()
    async with product.working(), product.working():
        restore = await product.restore_ended(restore_id)
        assert (restore["state"], restore["error"]["code"]) == ("FAILED", "INTERRUPTED")
        assert "the instance holds part of a restore" in restore["error"]["message"]
        # Several sweeps of both workers, each of which would find it.
        await asyncio.sleep(1)
        assert await product.restore(restore_id) == restore
    assert _starts(load) == 1
    assert not (load.folder(2) / "done").exists()


@pytest.mark.timeout(120)  # processes start, leases run out
async def test_a_restore_that_delivered_nothing_yet_is_done_by_another_worker(product):
    """Its command was not even started: nothing can have been done twice."""
    load = await product.workload(
        "db", backup=SOURCE, restore="echo >> starts; cat > got; echo > done"
    )
    async with product.working():
        backup = await product.back_up(load)
    faults = product.b2.faults
    before = faults.count("b2_download_file_by_id")
    faults.hold("b2_download_file_by_id")
    async with product.worker_process() as worker:
        restore_id = await product.start_restore(backup["id"], load.instance(2))
        await _until(lambda: faults.count("b2_download_file_by_id") > before)
        await worker.kill()
    faults.release()
    async with product.working():
        restore = await product.restore_ended(restore_id)
    assert restore["state"] == "SUCCEEDED"
    assert _starts(load) == 1
    assert (load.folder(2) / "got").stat().st_size == SIZE


@pytest.mark.timeout(120)  # a restore is broken off
async def test_what_failed_in_the_middle_is_not_tried_again(product):
    load = await product.workload("db", backup=SOURCE, restore="echo >> starts; cat > got; exit 1")
    async with product.working():
        backup = await product.back_up(load)
        restore = await product.put_back(backup["id"], load.instance(2))
        assert (restore["state"], restore["error"]["code"]) == ("FAILED", "COMMAND_FAILED")
        await asyncio.sleep(1)
    assert _starts(load) == 1


@pytest.mark.timeout(180)  # three workers die, each lease has to run out
async def test_a_save_whose_workers_all_die_is_given_up_after_three_attempts(product):
    load = await product.workload(
        "db", backup="echo >> starts; head -c 100000 /dev/zero; sleep 600", instances=1
    )
    backup_id = await product.start_backup(load)
    for attempt in range(1, 4):
        async with product.worker_process() as worker:
            await _until_started(load, attempt)
            await worker.kill()
        await product.no_processes(seconds=15)
    async with product.working():
        backup = await product.backup_ended(backup_id)
        assert (backup["state"], backup["error"]["code"]) == ("FAILED", "ATTEMPTS_USED_UP")
        await product.nothing_left()
    assert _starts(load, 1) == 3


async def _until_started(load, times):
    async with asyncio.timeout(60):
        while _starts(load, 1) < times:
            await asyncio.sleep(0.02)
