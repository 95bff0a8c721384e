"""Point 13: constant memory, a slow consumer slows the producer, no temporary file."""

import asyncio
import stat
from pathlib import Path

import pytest

SIZE = 300_000_000
MOST_BYTES = 300_000_000
"""What a worker with one run may take, whatever the size."""
PAGE_BYTES = 64 * 1024
GROWTH_BYTES = 150_000_000
"""What a run may add to a worker that is up: half of the object's size."""


def _resident(pid, name="VmRSS"):
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition(f"{name}:")[2].split()[0]) * 1024


def _files(pid):
    """The regular files that the process has open for writing, with their sizes."""
    found = {}
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            status = link.stat()
            if stat.S_ISREG(status.st_mode):
                info = Path(f"/proc/{pid}/fdinfo/{link.name}").read_text()
                flags = int(info.partition("flags:")[2].split()[0], 8)
                if flags & 0o3:
                    found[str(link.readlink())] = status.st_size
        except FileNotFoundError:
            continue
    return found


async def _watch(worker, ended, files):
    while not ended.is_set():
        for name, size in _files(worker.pid).items():
            files[name] = max(size, files.get(name, 0))
        await asyncio.sleep(0.02)


@pytest.mark.timeout(180)  # 300 MB, twice
async def test_a_worker_takes_no_more_memory_for_a_large_object_and_no_file(product):
    load = await product.workload(
        "db",
        backup=f"head -c {SIZE} /dev/zero",
        # Slow at first: what was read ahead has to wait somewhere.
        restore="head -c 1000000 > /dev/null; sleep 3; cat > /dev/null",
    )
    files: dict[str, int] = {}
    ended = asyncio.Event()
    async with product.worker_process() as worker, asyncio.TaskGroup() as tasks:
        small = await product.workload("small", backup="printf data", instances=1)
        assert (await product.back_up(small))["state"] == "LIVE"
        before = _resident(worker.pid)
        tasks.create_task(_watch(worker, ended, files))
        backup = await product.back_up(load, seconds=120)
        assert (backup["state"], backup["sizeBytes"]) == ("LIVE", SIZE)
        restore = await product.put_back(backup["id"], load.instance(2), seconds=120)
        assert restore["state"] == "SUCCEEDED"
        ended.set()
        peak = _resident(worker.pid, "VmHWM")
    assert peak < MOST_BYTES
    assert peak - before < GROWTH_BYTES
    # Its stderr is the test's own file; a page is what libffi maps for callbacks.
    large = {name: size for name, size in files.items() if size > PAGE_BYTES}
    assert large.keys() <= {str(worker.log)}


@pytest.mark.timeout(60)  # a command that waits
async def test_a_consumer_that_stands_still_stops_the_producer(product):
    load = await product.workload(
        "db",
        backup=f"head -c {SIZE} /dev/zero",
        restore="head -c 1000 > part; touch waits; until [ -e go ]; do sleep 0.05; done; cat > end",
        instances=1,
    )
    async with product.working():
        product.b2.faults.hold("b2_upload_part")
        backup_id = await product.start_backup(load)
        read = -1
        async with asyncio.timeout(40):
            # Until it stands still: B2 takes nothing, so nothing more is read.
            while (now := (await product.backup(backup_id))["progress"]["bytesRead"]) != read or (
                not now
            ):
                read = now
                await asyncio.sleep(1)
        assert 0 < read < 150_000_000
        await product.cancel_backup(backup_id)
        await asyncio.sleep(0.1)
        product.b2.faults.release()
        assert (await product.backup_ended(backup_id))["state"] == "CANCELED"
        await product.nothing_left()
