"""The other faults at each named step of runs: a worker paused, or cut off."""

import asyncio
import signal
from pathlib import Path

import pytest

from app.model.steps import Step
from tests.postgres_cut import way_to
from tests.product import Product, Workload
from tests.step_cases import (
    ABSENT_SECONDS,
    AGAIN,
    AWAKE_SECONDS,
    COMMITTED,
    HEALED_SECONDS,
    KEEP,
    LARGE,
    READS,
    RUN_STEPS,
    SIZE,
    wait_for_file,
)

pytestmark = [
    pytest.mark.matrix,
    pytest.mark.timeout(180),  # processes start, leases run out
]


async def _ask_for(product: Product, load: Workload, step: Step) -> tuple[str, str]:
    """Have a worker do what the step belongs to; gives the kind of record, and its id."""
    if step.startswith("BACKUP_"):
        return "backup", await product.start_backup(load)
    if step.startswith("VERIFICATION_"):
        await product.configure(load, backup=LARGE, restore=KEEP, verification=READS)
    async with product.working():
        backup = await product.back_up(load)
    if step.startswith("VERIFICATION_"):
        return "verification", await product.start_verification(backup["id"], "READABLE")
    if step.startswith("RESTORE_"):
        return "restore", await product.start_restore(backup["id"], load.instance(2))
    await product.delete(backup["id"])
    return "reclaim", backup["id"]


async def _ended(product: Product, kind: str, identifier: str) -> dict[str, object]:
    if kind == "verification":
        return await product.verification_ended(identifier, seconds=HEALED_SECONDS)
    if kind == "restore":
        return await product.restore_ended(identifier, seconds=HEALED_SECONDS)
    states = {"DELETED"} if kind == "reclaim" else {"LIVE", "FAILED", "CANCELED"}
    return await product.backup_ended(identifier, seconds=HEALED_SECONDS, states=states)


def _look(
    load: Workload,
    step: Step,
    record: dict[str, object],
    *,
    taken_over: bool,
    may_go_on: bool = False,
) -> int:
    """See that a record is what the step makes of it; gives how many backups it leaves.

    `may_go_on`: until its lease is over the worker may bring a restore to its end.
    """
    ends = load.folder(2) / "ends"
    if step.startswith("BACKUP_"):
        assert record["state"] == "LIVE"
        return 1
    if step.startswith("RECLAIM_"):
        return 0
    if step.startswith("VERIFICATION_"):
        assert record["state"] == "PASSED"
        return 1
    if not taken_over or step in AGAIN or step == Step.RESTORE_RECORDED:
        assert (record["state"], record["error"]) == ("SUCCEEDED", None)
        assert ends.read_text() == "done\n"
        assert (load.folder(2) / "got").stat().st_size == SIZE
    else:
        assert (record["state"], record["error"]["code"]) == ("FAILED", "INTERRUPTED")  # type: ignore[index]
        if may_go_on and ends.exists():
            assert (load.folder(2) / "got").stat().st_size == SIZE
        else:
            assert ends.exists() == (step in COMMITTED)
    return 1


async def _is_healed(product: Product, load: Workload, kept: int) -> None:
    again = await product.back_up(load, 1, seconds=HEALED_SECONDS)
    assert again["state"] == "LIVE"
    again = await product.back_up(load, 2, seconds=HEALED_SECONDS)
    assert again["state"] == "LIVE"
    await product.nothing_left(kept=kept + 2, seconds=HEALED_SECONDS)


@pytest.mark.parametrize("step", RUN_STEPS)
async def test_a_worker_that_is_paused_past_its_lease_writes_nothing_more(product, step):
    load = await product.workload("db", backup=LARGE, restore=KEEP)
    async with product.stepping_worker(step, "stop") as worker:
        kind, identifier = await _ask_for(product, load, step)
        await worker.paused()
        async with product.working():
            record = await _ended(product, kind, identifier)
            kept = _look(load, step, record, taken_over=True)
            worker.signal(signal.SIGCONT)
            await asyncio.sleep(AWAKE_SECONDS)
            assert worker.process.returncode is None
            assert await _ended(product, kind, identifier) == record
            await _is_healed(product, load, kept)
    await product.no_processes(seconds=15)


@pytest.mark.parametrize("step", RUN_STEPS)
async def test_b2_may_be_away_for_a_while_at_any_step(product, step, tmp_path):
    load = await product.workload("db", backup=LARGE, restore=KEEP)
    go = tmp_path / "go"
    async with product.stepping_worker(step, str(go)):
        kind, identifier = await _ask_for(product, load, step)
        await wait_for_file(Path(f"{go}.there"))
        product.b2.faults.go_down()
        go.touch()
        await asyncio.sleep(ABSENT_SECONDS)
        product.b2.faults.come_back()
        record = await _ended(product, kind, identifier)
        kept = _look(load, step, record, taken_over=False)
        await _is_healed(product, load, kept)
    await product.no_processes(seconds=15)


@pytest.mark.parametrize("step", RUN_STEPS)
async def test_a_worker_that_is_cut_off_from_postgresql_past_its_lease_is_replaced(
    product, step, tmp_path
):
    load = await product.workload("db", backup=LARGE, restore=KEEP)
    go = tmp_path / "go"
    async with (
        way_to(product.owner.dsn) as way,
        product.stepping_worker(step, str(go), DATABASE_URL=way.url) as worker,
    ):
        kind, identifier = await _ask_for(product, load, step)
        await wait_for_file(Path(f"{go}.there"))
        go.touch()
        way.cut()
        async with product.working():
            record = await _ended(product, kind, identifier)
            kept = _look(load, step, record, taken_over=True, may_go_on=True)
            await _is_healed(product, load, kept)
        assert worker.process.returncode is None
    await product.no_processes(seconds=15)
