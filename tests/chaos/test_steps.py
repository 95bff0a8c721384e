"""kill -9 at each named step of the work: a healthy worker makes all agree again, by itself."""

import asyncio
import signal
from collections.abc import Awaitable, Callable

import pytest

from app.model.steps import Step
from tests.product import Product, Workload
from tests.step_cases import AGAIN, COMMITTED, HEALED_SECONDS, KEEP, LARGE, SIZE

pytestmark = pytest.mark.timeout(120)  # a process starts, a lease runs out

Case = Callable[[Product, Workload, str], Awaitable[None]]


async def _dead(product, worker):
    assert await worker.ended() == -signal.SIGKILL
    await product.no_processes(seconds=15)


async def _is_free(product, load):
    """Another run of the instance begins and ends well."""
    again = await product.back_up(load, seconds=HEALED_SECONDS)
    assert again["state"] == "LIVE"
    return again


async def _save(product, load, step):
    async with product.stepping_worker(step, "kill") as worker:
        backup_id = await product.start_backup(load)
        await _dead(product, worker)
    async with product.working():
        backup = await product.backup_ended(backup_id, seconds=HEALED_SECONDS)
        assert backup["state"] == "LIVE"
        # What was recorded is not done again, everything else is.
        epoch = 1 if step == Step.BACKUP_RECORDED else 2
        assert backup["target"]["path"].endswith(f"-{epoch}")
        again = await _is_free(product, load)
        await product.nothing_left(kept=2, seconds=HEALED_SECONDS)
    paths = {backup["target"]["path"], again["target"]["path"]}
    assert set(product.objects()) == paths | {f"{path}.json" for path in paths}


async def _restore(product, load, step):
    async with product.working():
        backup = await product.back_up(load)
    async with product.stepping_worker(step, "kill") as worker:
        restore_id = await product.start_restore(backup["id"], load.instance(2))
        await _dead(product, worker)
    ends = load.folder(2) / "ends"
    # The command saw the end of its input only where the whole object had been delivered.
    committed = step in COMMITTED
    assert ends.exists() == committed
    async with product.working():
        restore = await product.restore_ended(restore_id, seconds=HEALED_SECONDS)
        if step in AGAIN or step == Step.RESTORE_RECORDED:
            assert (restore["state"], restore["error"]) == ("SUCCEEDED", None)
            assert ends.read_text() == "done\n"
            assert (load.folder(2) / "got").stat().st_size == SIZE
        else:
            assert (restore["state"], restore["error"]["code"]) == ("FAILED", "INTERRUPTED")
            assert ends.exists() == committed
        again = await product.back_up(load, 2, seconds=HEALED_SECONDS)
        assert again["state"] == "LIVE"
        await product.nothing_left(kept=2, seconds=HEALED_SECONDS)


async def _reclaim(product, load, step):
    async with product.working():
        backup = await product.back_up(load)
        kept = await product.back_up(load)
    async with product.stepping_worker(step, "kill") as worker:
        await product.delete(backup["id"])
        await _dead(product, worker)
    async with product.working():
        gone = await product.backup_ended(backup["id"], seconds=HEALED_SECONDS, states={"DELETED"})
        assert gone["state"] == "DELETED"
        await product.nothing_left(kept=1, seconds=HEALED_SECONDS)
        assert (await product.backup(kept["id"]))["state"] == "LIVE"


CASES: dict[Step, Case] = {
    step: case
    for prefix, case in {"BACKUP": _save, "RESTORE": _restore, "RECLAIM": _reclaim}.items()
    for step in Step
    if step.startswith(f"{prefix}_")
}


def test_every_step_has_a_case():
    assert set(CASES) == set(Step)


@pytest.mark.parametrize("step", CASES)
async def test_a_worker_that_is_killed_at_a_step_leaves_nothing_that_does_not_heal(product, step):
    load = await product.workload("db", backup=LARGE, restore=KEEP)
    async with asyncio.timeout(100):
        await CASES[step](product, load, step)
    assert product.processes() == []
