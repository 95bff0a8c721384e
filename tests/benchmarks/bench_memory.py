"""A worker's peak memory: by the size of a run, and by how many run at a time."""

import asyncio

from tests.benchmarks.processes import read_peak

GIB = 1024**3
ONE_RUN_MB = 300
FURTHER_RUN_MB = 120
FLAT = 1.15


async def _peaks(product, load, count):
    """The peak after saves that run at once, and after restores of them into the same places."""
    async with product.worker_process(BACKUP_GATEWAY_RUNS="4") as worker:
        numbers = range(1, count + 1)
        saved = await asyncio.gather(*(product.back_up(load, n, seconds=900) for n in numbers))
        assert {backup["state"] for backup in saved} == {"LIVE"}, saved
        after_save = read_peak(worker.pid)
        restored = await asyncio.gather(
            *(
                product.put_back(backup["id"], load.instance(n), seconds=900)
                for n, backup in zip(numbers, saved, strict=True)
            )
        )
        assert {restore["state"] for restore in restored} == {"SUCCEEDED"}, restored
        await product.delete(*(backup["id"] for backup in saved))
        await product.nothing_left(seconds=300)
        return after_save, read_peak(worker.pid)


async def measure_memory(product, quick, show):
    """One run of 1, 4 and 8 GiB, and four at a time of 1 GiB."""
    unit = GIB // 8 if quick else GIB
    rows, peaks = [], {}
    for name, factor, count in (("1", 1, 1), ("4", 4, 1), ("8", 8, 1), ("4 x 1", 1, 4)):
        load = await product.workload(
            f"of-{name.replace(' ', '')}",
            backup=f"yes | head -c {factor * unit}",
            restore="cat > /dev/null",
            instances=count,
        )
        save, both = await _peaks(product, load, count)
        peaks[name] = both
        bound = ONE_RUN_MB + (count - 1) * FURTHER_RUN_MB
        rows.append((name, f"{save:.0f}", f"{both:.0f}", bound))
    unit_name = f"{unit / GIB:g} GiB"
    columns = (f"runs, in units of {unit_name}", "MB after saves", "MB after restores", "bound")
    show("Peak resident memory of the worker", columns, rows)
    assert peaks["1"] < ONE_RUN_MB
    assert peaks["4 x 1"] < ONE_RUN_MB + 3 * FURTHER_RUN_MB
    assert peaks["8"] < FLAT * peaks["1"], "memory grows with the size"
