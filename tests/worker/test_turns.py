"""Turns: whoever has queued a lot, and whatever takes long, no other hub is kept waiting."""

import asyncio
import json
from uuid import UUID

import pytest

from app.postgres.statements import load
from app.worker.turns import Turns
from tests.builders import PLACES, a_claim, a_queued_backup, a_stage, an_instance

MANY = 1_000
SLOTS = 3


async def a_hub_with(owner, gateway, worker, runs):
    """A hub with so many runs in the queue: one through the services, copies of it by SQL."""
    stage = await a_stage(owner, gateway, worker)
    first = await a_queued_backup(gateway, stage)
    async with owner.connection() as connection:
        columns = [
            row["column_name"]
            for row in await connection.fetch(
                "select column_name from information_schema.columns"
                " where table_name = 'runs' and column_name not in ('id', 'instance_id')"
            )
        ]
        names = ", ".join(columns)
        await connection.execute(
            f"insert into runs (id, {names}) select gen_random_uuid(), {names}"
            " from runs, generate_series(2, $2) where id = $1",
            first.id,
            runs,
        )
        await connection.execute("analyze runs")
    return stage.admin.hub_id


def hubs_of(turns, taken):
    return [turns._taken[run_id] for run_id in taken]


async def test_a_hub_with_one_run_is_served_beside_one_with_a_thousand(
    owner, gateway_database, worker_database
):
    much = await a_hub_with(owner, gateway_database, worker_database, MANY)
    little = await a_hub_with(owner, gateway_database, worker_database, 1)
    turns = Turns(worker_database, PLACES, SLOTS)
    taken = [await turns.take() for _ in range(SLOTS)]
    assert sorted(hubs_of(turns, taken)) == sorted([much, little, much])


async def test_the_next_run_is_found_without_reading_the_flood(
    owner, gateway_database, worker_database
):
    await a_hub_with(owner, gateway_database, worker_database, 20 * MANY)
    statement = load("workers_sweeps")["next_in_turn"]
    zero = UUID(int=0)
    async with worker_database.transaction(None) as connection:
        await connection.execute("set local plan_cache_mode = force_generic_plan")
        await connection.execute(f"prepare find as {statement}")
        [found] = json.loads(
            await connection.fetchval(
                "explain (analyze, buffers, format json)"
                f" execute find ('{PLACES[0]}', '{zero}', '{{}}', '{{}}')"
            )
        )
    assert "runs_in_turn" in json.dumps(found), json.dumps(found, indent=1)
    assert found["Plan"]["Actual Rows"] == 1
    assert found["Plan"]["Shared Hit Blocks"] + found["Plan"]["Shared Read Blocks"] < 50


async def test_the_last_slot_is_not_for_the_hub_that_has_all_others(
    owner, gateway_database, worker_database
):
    much = await a_hub_with(owner, gateway_database, worker_database, MANY)
    other = await a_stage(owner, gateway_database, worker_database)
    turns = Turns(worker_database, PLACES, SLOTS)
    taken = [await turns.take() for _ in range(SLOTS)]
    assert hubs_of(turns, taken[:2]) == [much, much]
    assert taken[2] is None
    late = await a_queued_backup(gateway_database, other)
    assert await turns.take() == late.id


async def test_where_there_is_one_hub_it_gets_every_slot(owner, gateway_database, worker_database):
    await a_hub_with(owner, gateway_database, worker_database, SLOTS + 1)
    turns = Turns(worker_database, PLACES, SLOTS)
    taken = [await turns.take() for _ in range(SLOTS)]
    assert None not in taken
    assert len(set(taken)) == SLOTS


async def test_the_oldest_of_a_hub_comes_first_and_each_once(
    owner, gateway_database, worker_database
):
    stage = await a_stage(owner, gateway_database, worker_database)
    queued = [(await a_queued_backup(gateway_database, stage)).id]
    for _ in range(3):
        more = await an_instance(gateway_database, stage.admin, stage.container)
        queued.append((await a_queued_backup(gateway_database, stage, instance=more)).id)
    turns = Turns(worker_database, PLACES, 10)
    assert [await turns.take() for _ in range(5)] == [*queued, None]
    turns.give_back(queued[1])
    assert await turns.take() == queued[1]
    turns.give_back(queued[0])
    await a_claim(worker_database, queued[0])
    assert await turns.take() is None


@pytest.mark.timeout(60)  # a worker that carries out several runs
async def test_a_worker_with_one_slot_serves_all(product):
    load = await product.workload("db", backup="echo x", instances=6)
    queued = [await product.start_backup(load, number) for number in range(1, 7)]
    async with product.working(runs=1):
        ended = await asyncio.gather(*(product.backup_ended(backup) for backup in queued))
    assert {backup["state"] for backup in ended} == {"LIVE"}
