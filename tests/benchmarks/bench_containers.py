"""Speed of a save and a restore through a container of Docker, beside `docker exec`, in turns."""

import os

from tests.benchmarks.bench_transfer import BLOCK, Rounds, _restore, _run, _save, _shell
from tests.programs import need_program
from tests.worker.test_engines import find_engine, make_engine, make_load


async def measure_containers(product, quick, show, real_engine, tmp_path):
    """The whole path to the local B2 and back, and the command-line client on the same engine."""
    size, times = (256 * 1024**2, 1) if quick else (1024**3, 3)
    engine, docker = real_engine("docker"), need_program("docker")
    folder = tmp_path / "data"
    folder.mkdir()
    with (folder / "data").open("wb") as stream:
        for _ in range(size // BLOCK):
            stream.write(os.urandom(BLOCK))
    containers = [engine.run(folder=folder) for _ in range(2)]
    rounds, client = Rounds(size), f"{docker} -H {engine.address}"
    shown = f"{client} exec {containers[0]} cat /data/data | sha256sum"
    taken = f"cat data | {client} exec -i {containers[1]} sha256sum"
    allowed = {"BACKUP_GATEWAY_ENGINES": f"{product.hub_id}={engine.address}"}
    try:
        async with product.worker_process(**allowed) as worker:
            id = await make_engine(product, engine.address)
            await find_engine(product, id, until={"LIVE"})
            load = await make_load(
                product, "db", id, containers, backup="cat data", restore="sha256sum >&2"
            )
            for _ in range(times):
                await _shell(rounds, "docker exec cat | sha256sum", shown, folder, product.b2.pid)
                saved = await _run(rounds, "save", product, worker, _save(product, load))
                await _shell(rounds, "cat | docker exec sha256sum", taken, folder, product.b2.pid)
                restoring = _restore(product, load, saved)
                await _run(rounds, "restore", product, worker, restoring)
    finally:
        for container in containers:
            engine.remove(container)
    rows = [
        (name, f"{seconds:.2f}", f"{speed:.0f}", f"{cpu:.2f}")
        for name, seconds, speed, cpu, _ in rounds.rows()
    ]
    show(f"{size / 1e6:.0f} MB, medians of {times} rounds", ("", "s", "MB/s", "CPU s"), rows)
    pairs = [
        ("save", "docker exec cat | sha256sum"),
        ("restore", "cat | docker exec sha256sum"),
    ]
    ratios = [
        (f"{run} / {other}", f"{rounds.seconds(other) / rounds.seconds(run):.2f}")
        for run, other in pairs
    ]
    show("Speed as a ratio, within this run", ("", "ratio"), ratios)
