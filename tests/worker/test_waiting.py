"""Runs that no worker can serve say so from the start, and by their deadline."""

import asyncio

import pytest

from app.model.containers import InstanceState
from app.service import engines as engines_service
from app.service.runs import ServedElsewhere
from app.worker.turns import Turns
from tests.builders import PLACES, a_queued_backup, a_stage
from tests.run_rows import claim, waiting_runs

REASON = "query ($id: ID!) { backup(id: $id) { state waitingReason error { code message } } }"


async def read(product, id):
    return (await product.ask(REASON, id=id))["backup"]


async def test_a_run_whose_host_has_no_worker_says_so_from_the_start_and_at_its_end(product):
    load = await product.workload("db", backup="echo data")
    async with product.owner.connection() as connection:
        await connection.execute("update instances set host = 'far'")
    id = await product.start_backup(load, 1)
    told = "on the host far has been seen yet: start one there, with BACKUP_GATEWAY_HOST_NAME=far."
    before = await read(product, id)
    assert before["state"] == "QUEUED"
    assert told in before["waitingReason"]
    # A worker elsewhere changes nothing; one there is all that is needed.
    other = await product.start_backup(load, 2)
    async with product.owner.connection() as connection:
        await connection.execute("update runs set start_by = now() where finished_at is null")
    async with product.working():
        ended = await product.backup_ended(id, states={"FAILED"})
        await product.backup_ended(other, states={"FAILED"})
    assert ended["error"]["code"] == "NOT_STARTED"
    assert told in ended["error"]["message"]
    again = await product.start_backup(load, 1)
    async with product.working(host_name="far"):
        assert (await product.backup_ended(again, states={"LIVE"}))["state"] == "LIVE"
    third = await product.start_backup(load, 1)
    assert (await read(product, third))["waitingReason"] is None


async def on_an_engine(owner, stage, *, state, checked="now()"):
    """The stage's instance becomes a container of an engine that is bound to no host."""
    async with owner.connection() as connection:
        engine = await connection.fetchval(
            f"""insert into engines (hub_id, name, address, state, checked_at)
            values ($1, 'far', 'https://far.example:2376', $2, {checked}) returning id""",
            stage.admin.hub_id,
            state,
        )
        await connection.execute(
            "update instances set engine_id = $1, engine_container = 'c', host = null", engine
        )
    return engine


async def test_a_run_is_left_to_the_worker_that_may_reach_its_engine(
    owner, gateway_database, worker_database
):
    stage = await a_stage(owner, gateway_database, worker_database)
    await on_an_engine(owner, stage, state="LIVE")
    run = await a_queued_backup(gateway_database, stage)
    asked = []

    def serves(hub_id, address):
        asked.append((hub_id, address))
        return False

    with pytest.raises(ServedElsewhere):
        await claim(worker_database, run.id, serves=serves)
    assert asked == [(stage.admin.hub_id, "https://far.example:2376")]
    turns = Turns(worker_database, PLACES, 2)
    assert await turns.take() == run.id
    turns.pass_over(run.id)
    turns.give_back(run.id)
    assert await turns.take() is None
    # Nobody else is kept from it.
    assert await waiting_runs(worker_database, PLACES, 5) == [run.id]
    claimed = await claim(worker_database, run.id, serves=lambda *_: True)
    assert claimed is not None
    assert claimed.instance.state is InstanceState.RUNNING


async def test_an_engine_is_left_to_others_only_while_one_of_them_reaches_it(
    owner, gateway_database, worker_database
):
    stage = await a_stage(owner, gateway_database, worker_database)
    await on_an_engine(owner, stage, state="LIVE")
    [due] = await engines_service.take_due(worker_database, 5, PLACES)
    assert await engines_service.leave(worker_database, due)
    async with owner.connection() as connection:
        await connection.execute(
            "update engines set check_at = now(), checked_at = now() - interval '2 minutes'"
        )
    [due] = await engines_service.take_due(worker_database, 5, PLACES)
    assert not await engines_service.leave(worker_database, due)


async def test_a_worker_is_seen(product):
    async with product.working(), product.owner.connection() as connection:

        async def is_seen():
            return await connection.fetchval(
                "select count(*) = 1 from workers where seen_at > now() - interval '5 seconds'"
            )

        async with asyncio.timeout(20):
            while not await is_seen():
                await asyncio.sleep(0.05)
