"""Point 8: retention never takes the last good backup of an instance."""

import asyncio
from datetime import timedelta

import pytest

from app.model.ids import decode_id
from tests.product import ERRORS, Workload

pytestmark = pytest.mark.timeout(60)  # several backups, one after the other, on a busy machine

DAY = timedelta(days=1)
AGE = "update backups set created_at = created_at - $2::interval where id = $1"
AGE_RUN = """
update runs
set started_at = started_at - $2::interval, finished_at = finished_at - $2::interval
where id = $1
"""
AGE_DOUBTS = "update instance_doubts set since = since - $1::interval"
DUE = "update backup_policies set retention_at = now()"
LOOKED = "select min(retention_at) > now() + interval '1 minute' from backup_policies"


async def a_workload(product, **retention) -> Workload:
    load = await product.workload("db", backup="cat data", restore="sh restore")
    policy = {
        "integrationId": product.integration,
        "backup": {"command": "cat data"},
        "restore": {"command": "sh restore"},
        "retention": retention,
    }
    await product.mutate(
        "configureBackups",
        f"""mutation ($id: ID!, $policy: BackupPolicyInput) {{
          configureBackups(containerId: $id, policy: $policy) {{ {ERRORS} }} }}""",
        id=load.id,
        policy=policy,
    )
    for number in (1, 2):
        write(product, load, number, "restore", "cat > data")
    return load


def write(product, load, number, name, text):
    path = load.folder(number) / name
    path.unlink(missing_ok=True)
    path.write_text(text)
    product.give(path)


async def a_backup_of(product, load, days, *, number=1, text=None):
    """The id of a LIVE backup; as if it and all before had been made so many days earlier."""
    write(product, load, number, "data", text or f"of {days} days")
    made = await product.back_up(load, number)
    assert made["state"] == "LIVE"
    _, id = decode_id(made["id"])
    async with product.owner.connection() as connection:
        await connection.execute(AGE, id, days * DAY)
        await connection.execute(AGE_RUN, id, days * DAY)
    return made["id"]


async def look(product):
    """Let the worker carry out every rule, as the days go by, and wait until it has."""
    async with product.owner.connection() as connection:
        await connection.execute(DUE)
        async with asyncio.timeout(30):
            while not await connection.fetchval(LOOKED):
                await asyncio.sleep(0.05)


async def states(product, ids):
    return [(await product.backup(id))["state"] for id in ids]


async def reasons(product, ids):
    found = []
    for id in ids:
        data = await product.ask(
            "query ($id: ID!) { backup(id: $id) { retention { code } } }", id=id
        )
        found.append(data["backup"]["retention"]["code"])
    return found


async def test_the_last_one_of_each_instance_outlives_every_age(product):
    async with product.working():
        load = await a_workload(product, maxAge="P1D", keepLast=1)
        first = [await a_backup_of(product, load, days) for days in (900, 800, 700)]
        second = [await a_backup_of(product, load, days, number=2) for days in (600, 500)]
        await product.mutate(
            "deleteInstance",
            f"mutation ($id: ID!) {{ deleteInstance(id: $id) {{ {ERRORS} }} }}",
            id=load.instance(2),
        )
        await look(product)
        await product.nothing_left(kept=2)
        for gone in (*first[:2], second[0]):
            await product.backup_ended(gone, states={"DELETED"})
        assert await states(product, (first[2], second[1])) == ["LIVE", "LIVE"]
        assert await reasons(product, (first[2], second[1])) == ["LAST_GOOD", "LAST_GOOD"]
        # What is left is whole.
        assert (await product.put_back(second[1], load.instance(1)))["state"] == "SUCCEEDED"
        assert (load.folder(1) / "data").read_text() == "of 500 days"


async def test_a_newer_one_that_is_lost_does_not_stand_for_it(product):
    async with product.working():
        load = await a_workload(product, maxAge="P30D", keepLast=1)
        ids = [await a_backup_of(product, load, days) for days in (60, 50, 40, 3)]
        product.b2.faults.remove((await product.backup(ids[3]))["target"]["fileId"])
        data = await product.ask(
            "query ($id: ID!) { backup(id: $id) { storage(live: true) { status } } }", id=ids[3]
        )
        assert data["backup"]["storage"]["status"] == "MISSING"
        await look(product)
        for gone in ids[:2]:
            await product.backup_ended(gone, states={"DELETED"})
        assert await states(product, ids[2:]) == ["LIVE", "LIVE"]
        assert await reasons(product, ids[2:]) == ["LAST_GOOD", "WITHIN_MAX_AGE"]


async def test_what_was_saved_after_a_failed_restore_does_not_stand_for_it(product):
    async with product.working():
        load = await a_workload(product, maxAge="P365D", keepLast=1)
        good = await a_backup_of(product, load, 9)
        write(product, load, 1, "restore", "head -c 3 > data; cat > /dev/null; exit 7")
        assert (await product.put_back(good, load.instance(1)))["state"] == "FAILED"
        async with product.owner.connection() as connection:
            await connection.execute(AGE_DOUBTS, 8 * DAY)
        broken = await a_backup_of(product, load, 7, text="of ")
        await look(product)
        assert await states(product, (good, broken)) == ["LIVE", "LIVE"]
        assert await reasons(product, (good, broken)) == ["FILLS_SLOT", "WITHIN_MAX_AGE"]
        # Once a restore has made it well, what is saved then takes over.
        write(product, load, 1, "restore", "cat > data")
        assert (await product.put_back(good, load.instance(1)))["state"] == "SUCCEEDED"
        after = await a_backup_of(product, load, 0, text="whole again")
        await look(product)
        await product.backup_ended(good, states={"DELETED"})
        assert await states(product, (broken, after)) == ["LIVE", "LIVE"]
        assert await reasons(product, (broken, after)) == ["WITHIN_MAX_AGE", "FILLS_SLOT"]


async def test_two_workers_at_once_leave_it(product):
    async with product.working(), product.working():
        load = await a_workload(product, maxAge="P1D")
        ids = [await a_backup_of(product, load, days) for days in (5, 4, 3)]
        await asyncio.gather(*(look(product) for _ in range(4)))
        await product.nothing_left(kept=1)
        for gone in ids[:2]:
            await product.backup_ended(gone, states={"DELETED"})
        assert await states(product, ids[2:]) == ["LIVE"]
