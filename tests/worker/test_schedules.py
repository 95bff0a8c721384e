"""Schedules through the whole product: a policy with a cron expression makes backups by itself."""

import asyncio

from tests.product import PATIENCE, Product, Workload

MAKE_DUE = "update schedules set next_at = now() - interval '3 days'"
LIST = """
query ($id: ID!) { container(id: $id) {
  nextBackupAt overdueSince backupPolicy { nextRuns(first: 2) } lastBackup { id }
  backups(orderBy: OLDEST_FIRST) {
    nodes { id state trigger instanceHostname requestedBy { kind name } error { code } } } } }
"""


async def a_scheduled(product: Product, identifier: str, backup: str, *, cron: str) -> Workload:
    load = await product.workload(identifier, backup=backup, restore="cat > data", instances=1)
    await product.configure(load, backup=backup, restore="cat > data", cron=cron)
    return load


async def make_due(product: Product) -> None:
    async with product.owner.connection() as connection:
        await connection.execute(MAKE_DUE)


async def look(product: Product, load: Workload):
    return (await product.ask(LIST, id=load.id))["container"]


async def ended(product: Product, load: Workload, count: int):
    """The container once so many of its backups have ended."""
    async with asyncio.timeout(PATIENCE):
        while True:
            found = await look(product, load)
            states = [node["state"] for node in found["backups"]["nodes"]]
            if len(states) == count and not {"QUEUED", "SAVING"} & set(states):
                return found
            await asyncio.sleep(0.05)


async def test_a_policy_with_a_cron_expression_makes_a_backup_by_itself(product: Product) -> None:
    load = await a_scheduled(
        product, "ledger", "echo 30 bytes of something; echo x", cron="@hourly"
    )
    before = await look(product, load)
    assert before["backupPolicy"]["nextRuns"][0] == before["nextBackupAt"]
    assert before["backups"]["nodes"] == []
    # Nothing ran for days: then it is overdue, whoever says so, and is caught up once.
    await make_due(product)
    assert (await look(product, load))["overdueSince"] is not None
    async with product.working():
        backups = (await ended(product, load, 1))["backups"]
        # Longer than the worker takes to look again.
        await asyncio.sleep(2.5)
        # Read anew: the fields of one answer are not of one moment.
        after = await look(product, load)
        assert after["backups"] == backups
    [made] = after["backups"]["nodes"]
    assert made == {
        "id": after["lastBackup"]["id"],
        "state": "LIVE",
        "trigger": "SCHEDULE",
        "instanceHostname": "1.ledger",
        "requestedBy": {"kind": "SCHEDULE", "name": "@hourly UTC"},
        "error": None,
    }
    assert after["overdueSince"] is None
    assert after["nextBackupAt"] >= before["nextBackupAt"]
    await product.nothing_left(kept=1)


async def test_a_killed_worker_leaves_no_time_out_and_makes_none_twice(product: Product) -> None:
    load = await a_scheduled(product, "ledger", "echo x; sleep 1; echo y", cron="@hourly")
    await make_due(product)
    async with product.worker_process() as worker:
        await worker.working()
        async with asyncio.timeout(PATIENCE):
            while not (await look(product, load))["backups"]["nodes"]:
                await asyncio.sleep(0.02)
        await worker.kill()
    async with product.working():
        after = await ended(product, load, 1)
    assert [node["state"] for node in after["backups"]["nodes"]] == ["LIVE"]
    await product.nothing_left(kept=1)
