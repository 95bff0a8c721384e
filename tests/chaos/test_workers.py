"""Workers that are killed, paused and told to stop in mid-run: the table of events."""

import asyncio
import signal
from pathlib import Path

import pytest

# A save that is in the middle for as long as the test wants; its first parts are stored.
HELD_SAVE = """head -c 40000000 /dev/zero
until [ -e go ]; do sleep 0.1; done
head -c 16000000 /dev/zero"""
COMMITTING = {
    "plain": "cat > got; echo COMMITTED > done",
    "setsid": "setsid -w sh -c 'cat > got; echo COMMITTED > done'",
    "pipeline": "cat | setsid -w sh -c 'cat > got; echo COMMITTED > done'",
}
SIZE = 40_000_000


async def _until(product, kind, identifier, condition):
    async with asyncio.timeout(60):
        while not condition(found := await getattr(product, kind)(identifier)):
            await asyncio.sleep(0.02)
    return found


async def _saving(product, load):
    """A save that has sent something: the first part of a large file is stored."""
    backup_id = await product.start_backup(load)
    await _until(product, "backup", backup_id, lambda b: b["progress"]["bytesStored"] > 0)
    assert product.b2.unfinished(product.bucket_id)
    return backup_id


async def _restoring(product, load):
    """A restore in whose command a part of the bytes has arrived."""
    async with product.working():
        backup = await product.back_up(load)
        assert backup["state"] == "LIVE"
    return backup["id"]


def _go(load):
    """Let the held save go on."""
    (load.folder(1) / "go").touch()


def _delivered(restore):
    return restore["progress"]["bytesDelivered"] > 0


@pytest.mark.matrix  # BACKUP_UPLOAD_STARTED and BACKUP_TRANSFERRED of test_steps.py say the same
@pytest.mark.timeout(120)  # waits for leases, and processes start
async def test_a_killed_workers_save_is_done_again_by_another(product):
    load = await product.workload("db", backup=HELD_SAVE, instances=1)
    async with product.worker_process() as first:
        backup_id = await _saving(product, load)
        await first.kill()
    await product.no_processes(seconds=5)
    _go(load)
    async with product.worker_process():
        backup = await product.backup_ended(backup_id)
    assert backup["state"] == "LIVE"
    assert backup["sizeBytes"] == 56_000_000
    assert backup["target"]["path"].endswith("-2")
    async with product.working():
        await product.nothing_left(kept=1)


@pytest.mark.timeout(120)  # waits for leases, and processes start
@pytest.mark.parametrize(
    "how",
    [
        # test_steps.py and never/test_02_... kill the worker of a plain restore.
        pytest.param("plain", marks=pytest.mark.matrix),
        # The pipeline holds such a command.
        pytest.param("setsid", marks=pytest.mark.matrix),
        "pipeline",
    ],
)
async def test_a_killed_workers_restore_never_commits_and_is_interrupted(product, how):
    source = f"head -c {SIZE} /dev/zero"
    command = f"head -c 2000000 > part; until [ -e go ]; do sleep 0.1; done; {COMMITTING[how]}"
    load = await product.workload("db", backup=source, restore=command)
    backup_id = await _restoring(product, load)
    async with product.worker_process() as first:
        restore_id = await product.start_restore(backup_id, load.instance(2))
        await _until(product, "restore", restore_id, _delivered)
        async with product.worker_process() as second:
            await second.working()
            await first.kill()
            restore = await product.restore_ended(restore_id, seconds=15)
            await product.no_processes(seconds=5)
    assert restore["state"] == "FAILED"
    assert restore["error"]["code"] == "INTERRUPTED"
    assert not (load.folder(2) / "done").exists()
    (load.folder(2) / "go").touch()
    async with product.working():
        # The instance is free again.
        again = await product.put_back(backup_id, load.instance(2))
        assert again["state"] == "SUCCEEDED"
    assert (load.folder(2) / "done").exists()


@pytest.mark.timeout(120)  # waits for leases, and processes start
async def test_a_paused_workers_save_goes_to_another_and_it_writes_nothing_more(product):
    load = await product.workload("db", backup=HELD_SAVE, instances=1)
    async with product.worker_process() as first, product.worker_process() as second:
        await first.working()
        await second.working()
        backup_id = await _saving(product, load)
        holder, other = (first, second) if _runs_commands(first) else (second, first)
        holder.signal(signal.SIGSTOP)
        _go(load)
        backup = await product.backup_ended(backup_id)
        assert backup["state"] == "LIVE"
        # Not the paused one's epoch; on a slow machine the other may have lost one as well.
        assert not backup["target"]["path"].endswith("-1")
        holder.signal(signal.SIGCONT)
        await asyncio.sleep(3)
        assert holder.process.returncode is None
        assert other.process.returncode is None
        assert await product.backup(backup_id) == backup
        await product.no_processes(seconds=5)
        await product.nothing_left(kept=1)


@pytest.mark.timeout(120)  # waits for leases, and processes start
async def test_a_paused_workers_restore_is_interrupted_and_its_command_dead(product):
    source = f"head -c {SIZE} /dev/zero"
    load = await product.workload(
        "db", backup=source, restore="head -c 2000000 > part; sleep 600; cat > got; echo > done"
    )
    backup_id = await _restoring(product, load)
    async with product.worker_process() as first:
        restore_id = await product.start_restore(backup_id, load.instance(2))
        await _until(product, "restore", restore_id, _delivered)
        first.signal(signal.SIGSTOP)
        async with product.worker_process():
            restore = await product.restore_ended(restore_id)
            assert restore["error"]["code"] == "INTERRUPTED"
            await product.no_processes(seconds=5)
            first.signal(signal.SIGCONT)
            await asyncio.sleep(3)
            assert await product.restore(restore_id) == restore
    assert not (load.folder(2) / "done").exists()


@pytest.mark.timeout(120)  # processes start
async def test_a_worker_that_is_told_to_stop_hands_its_save_to_another(product):
    load = await product.workload("db", backup=HELD_SAVE, instances=1)
    async with product.worker_process(BACKUP_GATEWAY_DRAIN="1s") as first:
        backup_id = await _saving(product, load)
        first.signal(signal.SIGTERM)
        assert await first.ended(20) == 0
    await product.no_processes(seconds=1)
    assert (await product.backup(backup_id))["state"] == "QUEUED"
    _go(load)
    async with product.worker_process():
        backup = await product.backup_ended(backup_id)
    assert backup["state"] == "LIVE"
    async with product.working():
        await product.nothing_left(kept=1)


@pytest.mark.timeout(120)  # processes start
async def test_a_worker_that_is_told_to_stop_lets_a_short_run_end(product):
    load = await product.workload("db", backup=HELD_SAVE, instances=1)
    async with product.worker_process(BACKUP_GATEWAY_DRAIN="30s") as first:
        backup_id = await _saving(product, load)
        first.signal(signal.SIGTERM)
        await asyncio.sleep(1)
        _go(load)
        assert await first.ended(25) == 0
    backup = await product.backup(backup_id)
    assert backup["state"] == "LIVE"
    assert backup["target"]["path"].endswith("-1")


@pytest.mark.timeout(120)  # processes start
async def test_a_worker_that_is_told_to_stop_ends_a_touched_restore_as_interrupted(product):
    source = f"head -c {SIZE} /dev/zero"
    load = await product.workload(
        "db", backup=source, restore="head -c 2000000 > part; sleep 600; cat > got; echo > done"
    )
    backup_id = await _restoring(product, load)
    async with product.worker_process(BACKUP_GATEWAY_DRAIN="1s") as first:
        restore_id = await product.start_restore(backup_id, load.instance(2))
        await _until(product, "restore", restore_id, _delivered)
        first.signal(signal.SIGTERM)
        assert await first.ended(25) == 0
    restore = await product.restore(restore_id)
    assert restore["state"] == "FAILED"
    assert restore["error"]["code"] == "INTERRUPTED"
    assert not product.processes()
    assert not (load.folder(2) / "done").exists()


@pytest.mark.timeout(60)  # a slow command
async def test_a_cancelled_save_stops_within_seconds_and_leaves_nothing(product):
    load = await product.workload("db", backup=HELD_SAVE, instances=1)
    async with product.working():
        backup_id = await _saving(product, load)
        await product.cancel_backup(backup_id)
        backup = await product.backup_ended(backup_id, seconds=4)
        assert backup["state"] == "CANCELED"
        assert not product.processes()
        await product.nothing_left()


@pytest.mark.timeout(60)  # a slow command
async def test_a_cancelled_restore_never_commits(product):
    source = f"head -c {SIZE} /dev/zero"
    load = await product.workload(
        "db", backup=source, restore="head -c 2000000 > part; sleep 600; cat > got; echo > done"
    )
    backup_id = await _restoring(product, load)
    async with product.working():
        restore_id = await product.start_restore(backup_id, load.instance(2))
        await _until(product, "restore", restore_id, _delivered)
        await product.cancel_restore(restore_id)
        restore = await product.restore_ended(restore_id, seconds=4)
    assert restore["state"] == "CANCELED"
    assert not product.processes()
    assert not (load.folder(2) / "done").exists()


def _runs_commands(worker):
    """Whether a guard is a child of one of this worker's threads."""
    threads = Path(f"/proc/{worker.pid}/task").iterdir()
    return any((thread / "children").read_text().split() for thread in threads)
