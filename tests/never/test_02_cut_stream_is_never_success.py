"""Point 2: a cut stream is never a success, and never an end for a command."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

SIZE = 40_000_000
SOURCE = f"head -c {SIZE} /dev/zero"
COMMITTING = {
    "plain": "cat > got; echo COMMITTED > done",
    "setsid": "setsid -w sh -c 'cat > got; echo COMMITTED > done'",
    "pipeline": "cat | setsid -w sh -c 'cat > got; echo COMMITTED > done'",
}
SLOW_SAVE = "head -c 20000000 /dev/zero; touch half; sleep 600; head -c 20000000 /dev/zero"
RATE = 8_000_000
"""Bytes a second from B2: slow enough to be cut in the middle."""


def _guards(product):
    """The guards of this product's commands."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if (entry / "cwd").readlink().is_relative_to(product.root):
                status = (entry / "status").read_text()
                parent = int(status.partition("PPid:")[2].split()[0])
                if b"guard.py" in Path(f"/proc/{parent}/cmdline").read_bytes():
                    found.add(parent)
        except OSError:
            continue
    return found


def _kill_guards(product):
    guards = _guards(product)
    assert guards
    for pid in guards:
        os.kill(pid, signal.SIGKILL)


async def _until(condition):
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.02)


def _started(load, number=2):
    """A byte has reached the command that commits."""
    got = load.folder(number) / "got"
    return lambda: got.exists() and got.stat().st_size > 0


async def _restoring(product, load):
    """A restore, in the middle of its stream, of a backup that is whole."""
    backup = await product.back_up(load)
    assert backup["state"] == "LIVE"
    product.b2.faults.slow_down(RATE)
    restore_id = await product.start_restore(backup["id"], load.instance(2))
    await _until(_started(load))
    return restore_id


async def _cancel(product, restore_id):
    await product.cancel_restore(restore_id)
    return ("CANCELED", None)


async def _kill_the_guard(product, restore_id):
    del restore_id
    _kill_guards(product)
    return ("FAILED", "EXIT_UNKNOWN")


async def _lose_the_object(product, restore_id):
    """B2 drops the connection and then does not know the object any more."""
    del restore_id
    for version in product.b2.versions(product.bucket_id):
        product.b2.faults.remove(version["fileId"])
    product.b2.faults.go_down()
    await asyncio.sleep(0.2)
    product.b2.faults.come_back()
    return ("FAILED", "OBJECT_MISSING")


CUTS = {
    "the user cancels": _cancel,
    "the guard is killed": _kill_the_guard,
    "the object is lost": _lose_the_object,
}


@pytest.mark.timeout(120)  # a slow stream
@pytest.mark.parametrize("how", COMMITTING)
@pytest.mark.parametrize("cut", CUTS)
async def test_a_restore_that_is_cut_never_commits_and_never_succeeds(product, cut, how):
    load = await product.workload("db", backup=SOURCE, restore=COMMITTING[how])
    async with product.working():
        restore_id = await _restoring(product, load)
        expected = await CUTS[cut](product, restore_id)
        restore = await product.restore_ended(restore_id)
        assert (restore["state"], restore["error"] and restore["error"]["code"]) == expected
        assert product.processes() == []
    assert (load.folder(2) / "got").stat().st_size < SIZE
    assert not (load.folder(2) / "done").exists()


@pytest.mark.timeout(120)  # a slow stream
async def test_a_restore_that_runs_out_of_time_never_commits(product):
    load = await product.workload("db", backup=SOURCE, restore=COMMITTING["pipeline"])
    async with product.working():
        backup = await product.back_up(load)
        await product.configure(load, backup=SOURCE, restore=COMMITTING["pipeline"], timeout="PT2S")
        product.b2.faults.slow_down(RATE)
        restore = await product.put_back(backup["id"], load.instance(2))
        assert (restore["state"], restore["error"]["code"]) == ("FAILED", "TIMED_OUT")
        assert product.processes() == []
    assert not (load.folder(2) / "done").exists()


@pytest.mark.timeout(120)  # processes start
async def test_a_restore_whose_worker_is_killed_never_commits(product):
    """In the middle of its stream, with the input open: what a plain pipe would end like an end."""
    load = await product.workload("db", backup=SOURCE, restore=COMMITTING["pipeline"])
    async with product.worker_process() as worker:
        restore_id = await _restoring(product, load)
        await worker.kill()
    await product.no_processes(seconds=15)
    assert not (load.folder(2) / "done").exists()
    async with product.working():
        restore = await product.restore_ended(restore_id)
    assert (restore["state"], restore["error"]["code"]) == ("FAILED", "INTERRUPTED")
    assert not (load.folder(2) / "done").exists()


@pytest.mark.timeout(120)  # a long command
@pytest.mark.parametrize("cut", ["the user cancels", "the guard is killed", "time runs out"])
async def test_a_save_that_is_cut_is_never_a_backup(product, cut):
    load = await product.workload("db", backup=SLOW_SAVE, instances=1)
    expected = {
        "the user cancels": ("CANCELED", None),
        "the guard is killed": ("FAILED", "EXIT_UNKNOWN"),
        "time runs out": ("FAILED", "TIMED_OUT"),
    }[cut]
    if cut == "time runs out":
        await product.configure(load, backup=SLOW_SAVE, restore=None, timeout="PT3S")
    async with product.working():
        backup_id = await product.start_backup(load)
        await _until((load.folder(1) / "half").exists)
        if cut == "the user cancels":
            await product.cancel_backup(backup_id)
        elif cut == "the guard is killed":
            _kill_guards(product)
        backup = await product.backup_ended(backup_id)
        assert (backup["state"], backup["error"] and backup["error"]["code"]) == expected
        assert backup["sha256"] is None
        assert product.processes() == []
        await product.nothing_left()
