"""kill -9 at each named step of the work: a healthy worker makes all agree again, by itself."""

import ast
import asyncio
import signal
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from app.model.runs import RunKind
from app.model.scans import ScanKind, ScanPhase
from app.model.steps import Step
from tests.all_stories import CASCADES, MARKINGS, STORIES
from tests.product import Product, Workload
from tests.step_cases import AGAIN, COMMITTED, HEALED_SECONDS, KEEP, LARGE, READS, RUN_STEPS, SIZE
from tests.step_stories import OwnerStory

pytestmark = pytest.mark.timeout(120)  # a process starts, a lease runs out


@pytest.fixture
def product_settings():
    return {"delete_grace": timedelta(seconds=1)}


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


async def _verify(product, load, step):
    await product.configure(load, backup=LARGE, restore=KEEP, verification=READS)
    async with product.working():
        backup = await product.back_up(load)
    async with product.stepping_worker(step, "kill") as worker:
        verification_id = await product.start_verification(backup["id"], "READABLE")
        await _dead(product, worker)
    async with product.working():
        ended = await product.verification_ended(verification_id, seconds=HEALED_SECONDS)
        assert (ended["state"], ended["error"]) == ("PASSED", None)
        await _is_free(product, load)
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
    for prefix, case in {
        "BACKUP": _save,
        "RESTORE": _restore,
        "RECLAIM": _reclaim,
        "VERIFICATION": _verify,
    }.items()
    for step in RUN_STEPS
    if step.startswith(f"{prefix}_")
}


def test_every_step_has_a_case():
    told = {step for story in STORIES for step in story.steps} | set(MARKINGS)
    assert set(CASES) | told == set(Step)


def test_every_step_is_passed_and_nothing_else_is():
    """By name, or as a moment of a kind of run or scan."""
    named: set[str] = set()
    for path in Path("app").rglob("*.py"):
        if path.name != "steps.py":
            for node in ast.walk(ast.parse(path.read_text())):
                named |= _names_of(node)
    assert named == {step.name for step in Step}


def _names_of(node: ast.AST) -> set[str]:
    match node:
        case ast.Attribute(value=ast.Name(id="Step"), attr=name):
            return {name}
        case ast.Call(func=ast.Name(id="step_of"), args=[_, ast.Constant(value=str(moment))]):
            # A kind of run that nothing carries out yet has none.
            ours = [kind for kind in RunKind if f"{kind}_CLAIMED" in Step.__members__]
            return {f"{kind}_{moment}" for kind in (ScanKind if moment == "TAKEN" else ours)}
        case ast.Call(func=ast.Name(id="step_of")):
            phases = {ScanKind.RECOVER: (ScanPhase.LOOKING, ScanPhase.READING)}
            rest = tuple(set(ScanPhase) - set(phases[ScanKind.RECOVER]))
            return {f"{kind}_{phase}" for kind in ScanKind for phase in phases.get(kind, rest)}
    return set()


@pytest.mark.parametrize("step", CASES)
async def test_a_worker_that_is_killed_at_a_step_leaves_nothing_that_does_not_heal(product, step):
    load = await product.workload("db", backup=LARGE, restore=KEEP)
    async with asyncio.timeout(100):
        await CASES[step](product, load, step)
    assert product.processes() == []


@pytest.mark.parametrize("kind", STORIES)
async def test_workers_that_are_killed_at_each_step_in_turn_leave_nothing_that_does_not_heal(
    product, kind
):
    """Each one comes to its step within the promised time, over what the one before it left."""
    story = kind(product, surely=True)
    await story.prepare()
    for step in story.steps:
        async with product.stepping_worker(step, "kill") as worker:
            if step is story.steps[0]:
                await story.begin()
                await story.ask()
            elif isinstance(story, OwnerStory):
                await story.ask()
            assert await worker.ended(HEALED_SECONDS) == -signal.SIGKILL
    await _agree(product, story)


@pytest.mark.parametrize("kind", CASCADES)
async def test_a_gateway_that_is_killed_while_it_marks_is_asked_again(product, kind):
    """Before the commit it marks nothing; after it the same request is not done again."""
    story = kind(product)
    await story.prepare()
    for step in MARKINGS:
        async with product.stepping_gateway(step, "kill") as (gateway, at):
            with pytest.raises(httpx.HTTPError):
                await story.ask(at=at)
            assert await gateway.ended() == -signal.SIGKILL
        marked = await story.value("select count(*) from backups where state = 'DELETING'")
        assert marked == (step is Step.CASCADE_MARKED)
    await story.ask()
    await _agree(product, story)


async def _agree(product, story):
    async with product.working():
        async with asyncio.timeout(HEALED_SECONDS):
            await story.agree()
        await story.is_free()
    assert product.processes() == []
