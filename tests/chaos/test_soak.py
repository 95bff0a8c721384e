"""A seeded soak: many runs under random faults, after which everything agrees by itself."""

import asyncio
import contextlib
import os
import random
import signal
import time
from typing import Any

import pytest

from tests.product import PATIENCE, Product, Refused, Workload
from tests.worker_processes import WorkerProcess

RUNS = int(os.environ.get("SOAK_RUNS", "40"))
SEED = int(os.environ.get("SOAK_SEED", "0")) or time.time_ns() % 1_000_000
WORKERS = 2
HEALED_SECONDS = 30
# Slow enough that faults hit runs in their middle.
SAVE = "for n in 1 2 3 4 5 6; do head -c 1500000 /dev/zero; sleep 0.1; done"
KEEP = "head -c 1000000 > got; sleep 0.5; cat >> got; echo done >> ends"
SIZE = 9_000_000

pytestmark = [
    pytest.mark.matrix,
    pytest.mark.timeout(120 + 20 * RUNS),  # as many runs as are asked for
]


class Faults:
    """Does one bad thing after the other, until it is told to end."""

    def __init__(self, product: Product, chance: random.Random) -> None:
        self._product = product
        self._chance = chance
        self.workers: list[WorkerProcess] = []
        self.done: list[str] = []

    async def start_worker(self) -> None:
        self.workers.append(await WorkerProcess.start(self._product._environment()))

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await asyncio.sleep(self._chance.uniform(0.5, 2.5))
            fault = self._chance.choice(["kill", "kill", "pause", "term", "b2", "b2 fails"])
            self.done.append(fault)
            worker = self._chance.choice(self.workers)
            match fault:
                case "kill":
                    self.workers.remove(worker)
                    await worker.kill()
                    await self.start_worker()
                case "term":
                    self.workers.remove(worker)
                    worker.signal(signal.SIGTERM)
                    await asyncio.sleep(0.2)
                    await worker.end()
                    await self.start_worker()
                case "pause":
                    worker.signal(signal.SIGSTOP)
                    # Shorter and longer than a lease.
                    await asyncio.sleep(self._chance.choice([1.0, 6.0]))
                    worker.signal(signal.SIGCONT)
                case "b2":
                    self._product.b2.faults.go_down()
                    await asyncio.sleep(self._chance.uniform(0.1, 2.0))
                    self._product.b2.faults.come_back()
                case _:
                    self._product.b2.faults.fail_next("*", times=3)

    async def end(self) -> None:
        for worker in self.workers:
            await worker.end()


async def _one(
    product: Product, load: Workload, number: int, chance: random.Random, live: list[str]
) -> tuple[str, str] | None:
    """Ask for something in an instance; gives the kind of record and its id."""
    try:
        if live and chance.random() < 0.4:
            restored = chance.choice(live)
            return "restore", await product.start_restore(restored, load.instance(number))
        return "backup", await product.start_backup(load, number)
    except Refused as refused:
        # The one before has not let go of the instance yet, or its place waits for a worker.
        if refused.code in {"INSTANCE_BUSY", "INSTANCE_NOT_RUNNING"}:
            return None
        raise


async def _ended(product: Product, kind: str, identifier: str) -> dict[str, Any]:
    """The record once its run has ended; where it does not, what is known of the open runs."""
    ended = product.backup_ended if kind == "backup" else product.restore_ended
    try:
        return await ended(identifier, seconds=2 * PATIENCE)
    except TimeoutError:
        async with product.owner.connection() as connection:
            for row in await connection.fetch(
                """
                select runs.*, leases.lease_until, leases.owner as holder, leases.leftover,
                    instances.state, now()
                from runs
                inner join leases on leases.instance_id = runs.instance_id
                inner join instances on instances.id = runs.instance_id
                where runs.finished_at is null
                """
            ):
                print(dict(row))  # noqa: T201 - what a person needs to find the cause
        raise


async def _user(
    product: Product, load: Workload, number: int, seed: str, asked: asyncio.Queue[int]
) -> dict[str, int]:
    """One instance's user, who asks for the next run when the last one has ended."""
    chance = random.Random(seed)
    live: list[str] = []
    told: dict[str, int] = {}
    while not asked.empty():
        # Taken before anything is awaited: another user may take the last one meanwhile.
        turn = asked.get_nowait()
        made = await _one(product, load, number, chance, live)
        if made is None:
            asked.put_nowait(turn)
            await asyncio.sleep(0.2)
            continue
        kind, identifier = made
        if kind == "backup" and chance.random() < 0.15:
            await asyncio.sleep(chance.random())
            # It may have ended by then.
            with contextlib.suppress(Refused):
                await product.cancel_backup(identifier)
        record = await _ended(product, kind, identifier)
        outcome = f"{kind} {record['state']} {(record['error'] or {}).get('code', '')}".strip()
        told[outcome] = told.get(outcome, 0) + 1
        if outcome == "backup LIVE":
            assert record["sizeBytes"] == SIZE
            live.append(identifier)
        if outcome == "restore SUCCEEDED":
            assert (load.folder(number) / "got").stat().st_size == SIZE
        if len(live) > 2 and chance.random() < 0.3:
            [result] = await product.delete(live[0])
            if result["accepted"]:
                del live[0]
    return told


async def test_after_many_runs_under_random_faults_all_agree(product):
    """Prints its seed: the same one makes the same faults, if not at the same moments."""
    print("seed", SEED, "runs", RUNS)  # noqa: T201 - what a person needs to do it again
    load = await product.workload("db", backup=SAVE, restore=KEEP, instances=3)
    asked: asyncio.Queue[int] = asyncio.Queue()
    for number in range(RUNS):
        asked.put_nowait(number)
    faults = Faults(product, random.Random(SEED))
    for _ in range(WORKERS):
        await faults.start_worker()
    stop = asyncio.Event()
    try:
        async with asyncio.TaskGroup() as tasks:
            breaking = tasks.create_task(faults.run(stop))
            users = [
                tasks.create_task(_user(product, load, number, f"{SEED} {number}", asked))
                for number in (1, 2, 3)
            ]
            await asyncio.wait(users)
            stop.set()
            await breaking
    finally:
        await faults.end()
    product.b2.faults.reset()
    for user in users:
        print(user.result())  # noqa: T201 - as above
    print(len(faults.done), "faults")  # noqa: T201 - as above
    async with product.working():
        await _agree(product, load)
    assert product.processes() == []


async def _agree(product: Product, load: Workload) -> None:
    """Within the promised time no run is open, and bucket and records say the same."""
    async with asyncio.timeout(HEALED_SECONDS):
        while True:
            states = await product.ask(
                """query ($id: ID!) { container(id: $id) {
                  backups(first: 100, filter: {states: [LIVE, DELETING, QUEUED, SAVING]}) {
                    nodes { state target { path } } } } }""",
                id=load.id,
            )
            nodes = states["container"]["backups"]["nodes"]
            paths = {node["target"]["path"] for node in nodes}
            if (
                {node["state"] for node in nodes} <= {"LIVE"}
                and set(product.objects()) == paths | {f"{path}.json" for path in paths}
                and not product.b2.unfinished(product.bucket_id)
            ):
                break
            await asyncio.sleep(0.2)
    for number in (1, 2, 3):
        again = await product.back_up(load, number, seconds=HEALED_SECONDS)
        assert again["state"] == "LIVE"
