"""Speed and CPU of a save and a restore through the whole path, beside `cat` and the b2 tool."""

import asyncio
import os
import resource
import time
from datetime import datetime
from statistics import median

from tests.benchmarks.processes import read_cpu
from tests.product import BUCKET

BLOCK = 16 * 1024 * 1024


class Rounds:
    """Seconds and CPU seconds by what was measured, from rounds that take turns."""

    def __init__(self, size):
        self.size = size
        self._taken = {}

    def add(self, name, seconds, cpu, server=0.0):
        self._taken.setdefault(name, []).append((seconds, cpu, server))

    def rows(self):
        for name, taken in self._taken.items():
            seconds, cpu, server = (median(column) for column in zip(*taken, strict=True))
            yield name, seconds, self.size / seconds / 1e6, cpu, server

    def seconds(self, name):
        return median(seconds for seconds, _, _ in self._taken[name])


async def _shell(rounds, name, command, folder, server_pid, **environment):
    """Run a command to its end; CPU is that of all its processes."""
    before, server = resource.getrusage(resource.RUSAGE_CHILDREN), read_cpu(server_pid)
    began = time.monotonic()
    process = await asyncio.create_subprocess_shell(
        command,
        cwd=folder,
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, printed = await process.communicate()
    seconds = time.monotonic() - began
    assert process.returncode == 0, printed.decode()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    rounds.add(name, seconds, cpu, read_cpu(server_pid) - server)


async def _run(rounds, name, product, worker, run):
    """Carry out a run; its seconds are those from its start to its end."""
    cpu, server = read_cpu(worker.pid), read_cpu(product.b2.pid)
    kind, found = await run
    assert found["state"] in {"LIVE", "SUCCEEDED"}, found
    times = await product.ask(
        f"query ($id: ID!) {{ {kind}(id: $id) {{ startedAt finishedAt }} }}", id=found["id"]
    )
    began, ended = (datetime.fromisoformat(times[kind][at]) for at in ("startedAt", "finishedAt"))
    rounds.add(
        name,
        (ended - began).total_seconds(),
        read_cpu(worker.pid) - cpu,
        read_cpu(product.b2.pid) - server,
    )
    return found["id"]


async def _save(product, load):
    return "backup", await product.back_up(load, seconds=900)


async def _restore(product, load, backup_id):
    return "restore", await product.put_back(backup_id, load.instance(2), seconds=900)


async def measure_transfer(product, quick, show, program, tmp_path):
    """Save and restore, `cat`, and the b2 tool, of the same file, in turns."""
    size, times = (256 * 1024**2, 1) if quick else (1024**3, 3)
    load = await product.workload("db", backup="cat data", restore="cat > restored")
    folder = load.folder(1)
    with (folder / "data").open("wb") as stream:
        for _ in range(size // BLOCK):
            stream.write(os.urandom(BLOCK))
    product.give(folder / "data")
    rounds, b2, server = Rounds(size), program("b2"), product.b2
    account = {
        "B2_ENVIRONMENT": server.url,
        "B2_APPLICATION_KEY_ID": server.key_id,
        "B2_APPLICATION_KEY": server.key,
        "B2_ACCOUNT_INFO": str(tmp_path / "account"),
    }
    tool = f"{b2} file upload --quiet {BUCKET} data tool/{{n}}"
    back = f"{b2} file download --quiet b2://{BUCKET}/tool/{{n}} {tmp_path}/downloaded"
    async with product.worker_process() as worker:
        for n in range(times):
            await _shell(rounds, "cat > /dev/null", "cat data > /dev/null", folder, server.pid)
            await _shell(rounds, "cat | sha256sum", "cat data | sha256sum", folder, server.pid)
            saved = await _run(rounds, "save", product, worker, _save(product, load))
            upload, download = tool.format(n=n), back.format(n=n)
            await _shell(rounds, "b2 upload", upload, folder, server.pid, **account)
            restoring = _restore(product, load, saved)
            await _run(rounds, "restore", product, worker, restoring)
            await _shell(rounds, "b2 download", download, folder, server.pid, **account)
    rows = [
        (name, f"{seconds:.2f}", f"{speed:.0f}", f"{cpu:.2f}", f"{server_cpu:.2f}")
        for name, seconds, speed, cpu, server_cpu in rounds.rows()
    ]
    title = f"{size / 1e6:.0f} MB, medians of {times} rounds (b2 includes the start of the tool)"
    show(title, ("", "s", "MB/s", "CPU s", "CPU s of the local B2"), rows)
    pairs = [
        (run, other)
        for run, others in (
            ("save", ("cat | sha256sum", "cat > /dev/null", "b2 upload")),
            ("restore", ("cat | sha256sum", "cat > /dev/null", "b2 download")),
        )
        for other in others
    ]
    ratios = [
        (f"{run} / {other}", f"{rounds.seconds(other) / rounds.seconds(run):.2f}")
        for run, other in pairs
    ]
    show("Speed as a ratio, within this run", ("", "ratio"), ratios)
