"""The other faults at each named step of the work around runs, in workers and in gateways."""

import asyncio
import signal
from datetime import timedelta

import httpx
import pytest

from tests.all_stories import CASCADES, MARKINGS, STORIES
from tests.postgres_cut import way_to
from tests.step_cases import ABSENT_SECONDS, AWAKE_SECONDS, HEALED_SECONDS, wait_for_file

pytestmark = [
    pytest.mark.matrix,
    pytest.mark.timeout(180),  # processes start, leases run out
]

WORK = [(story, step) for story in STORIES for step in story.steps]
REQUESTS = [(story, step) for story in CASCADES for step in MARKINGS]


@pytest.fixture
def product_settings():
    return {"delete_grace": timedelta(seconds=1)}


async def _agree(story):
    async with asyncio.timeout(HEALED_SECONDS):
        await story.agree()


@pytest.mark.parametrize(("kind", "step"), WORK)
async def test_a_worker_that_is_paused_past_its_lease_writes_nothing_more(product, kind, step):
    story = kind(product)
    await story.prepare()
    async with product.stepping_worker(step, "stop") as worker:
        await story.begin()
        await story.ask()
        await worker.paused()
        async with product.working():
            await _agree(story)
            worker.signal(signal.SIGCONT)
            await asyncio.sleep(AWAKE_SECONDS)
            assert worker.process.returncode is None
            await _agree(story)
            await story.is_free()
    await product.no_processes(seconds=15)


@pytest.mark.parametrize(("kind", "step"), WORK)
async def test_b2_may_be_away_for_a_while_at_any_step(product, kind, step, tmp_path):
    story = kind(product)
    await story.prepare()
    go = tmp_path / "go"
    async with product.stepping_worker(step, str(go)):
        await story.begin()
        await story.ask()
        await wait_for_file(tmp_path / "go.there")
        product.b2.faults.go_down()
        go.touch()
        await asyncio.sleep(ABSENT_SECONDS)
        product.b2.faults.come_back()
        await _agree(story)
        await story.is_free()
    await product.no_processes(seconds=15)


@pytest.mark.parametrize(("kind", "step"), WORK)
async def test_a_worker_that_is_cut_off_from_postgresql_past_its_lease_is_replaced(
    product, kind, step, tmp_path
):
    story = kind(product)
    await story.prepare()
    go = tmp_path / "go"
    async with (
        way_to(product.owner.dsn) as way,
        product.stepping_worker(step, str(go), DATABASE_URL=way.url) as worker,
    ):
        await story.begin()
        await story.ask()
        await wait_for_file(tmp_path / "go.there")
        way.cut()
        go.touch()
        async with product.working():
            await _agree(story)
            await story.is_free()
        assert worker.process.returncode is None
    await product.no_processes(seconds=15)


@pytest.mark.parametrize(("kind", "step"), REQUESTS)
async def test_a_gateway_that_is_paused_while_it_marks_holds_nobody_up(product, kind, step):
    """Its locks are gone before a lease is; what it asks for when it wakes up is too late."""
    story = kind(product)
    await story.prepare()
    async with (
        product.stepping_gateway(step, "stop") as (gateway, at),
        asyncio.TaskGroup() as tasks,
    ):
        asked = tasks.create_task(_ask_in_vain(story, at))
        await gateway.paused()
        async with product.working():
            async with asyncio.timeout(HEALED_SECONDS):
                await story.ask()
                await story.agree()
            gateway.signal(signal.SIGCONT)
            await asyncio.sleep(AWAKE_SECONDS)
            assert gateway.process.returncode is None
            await _agree(story)
            await story.is_free()
        asked.cancel()
    await product.no_processes(seconds=15)


@pytest.mark.parametrize(("kind", "step"), REQUESTS)
async def test_a_gateway_that_is_cut_off_from_postgresql_while_it_marks_is_asked_again(
    product, kind, step, tmp_path
):
    story = kind(product)
    await story.prepare()
    go = tmp_path / "go"
    async with (
        way_to(product.owner.dsn) as way,
        product.stepping_gateway(step, str(go), DATABASE_URL=way.url) as (gateway, at),
        asyncio.TaskGroup() as tasks,
    ):
        asked = tasks.create_task(_ask_in_vain(story, at))
        await wait_for_file(tmp_path / "go.there")
        way.cut()
        go.touch()
        async with product.working():
            await story.ask()
            await _agree(story)
            await story.is_free()
        assert gateway.process.returncode is None
        asked.cancel()
    await product.no_processes(seconds=15)


async def _ask_in_vain(story, at):
    """Whatever the answer is, if there is one."""
    try:
        await story.ask(at=at)
    except (httpx.HTTPError, AssertionError):
        return
