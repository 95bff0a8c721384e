"""Whatever cannot reach B2 has its integration checked: a bucket that is down is told of."""

import asyncio
from dataclasses import replace

import pytest

from app.errors import StorageUnavailable
from app.model.ids import decode_id_of
from app.worker import ownership, reclaim, reconcile, retention
from app.worker.run import carry_out
from app.worker.running import Roster
from tests.copies import parts_of
from tests.product import ERRORS
from tests.service.aged_backups import AGE, AGE_RUN, DAY

# Several workers are started and stopped, on a machine that may be busy.
pytestmark = pytest.mark.timeout(90)

SOON = "select check_at <= now() from integrations"
TOLD = "select array_agg(kind order by number) from events where kind like 'INTEGRATION%'"
ERROR = "select error_code from integrations"
DUE = {
    reclaim: """
        insert into reclaims (hub_id, integration_id, kind, name)
        select hub_id, id, 'NAME', 'kept/x' from integrations""",
    ownership: "update integration_owners set check_at = now()",
    reconcile: "update scans set due_at = now()",
    retention: "update backup_policies set retention_at = now()",
}


def refuse(_access):
    raise StorageUnavailable("B2 is not here.")


async def execute(product, statement, *arguments):
    async with product.owner.connection() as connection:
        return await connection.fetchval(statement, *arguments)


@pytest.fixture
async def expired(product):
    """Something for retention to remove."""
    load = await product.workload("db", backup="echo data", instances=1)
    policy = {
        "integrationId": product.integration,
        "backup": {"command": "echo data"},
        "retention": {"maxAge": "P30D"},
    }
    await product.mutate(
        "configureBackups",
        f"""mutation ($id: ID!, $policy: BackupPolicyInput) {{
          configureBackups(containerId: $id, policy: $policy) {{ {ERRORS} }} }}""",
        id=load.id,
        policy=policy,
    )
    async with product.working():
        await product.back_up(load)
        for statement in (AGE, AGE_RUN):
            await execute(
                product, statement, await execute(product, "select id from runs"), 40 * DAY
            )
        await product.back_up(load)


@pytest.mark.usefixtures("expired")
async def test_a_duty_that_cannot_reach_b2_has_it_checked(product):
    async with parts_of(product) as parts:
        for duty, due in DUE.items():
            await execute(product, "update integrations set check_at = now() + interval '1 day'")
            await execute(product, due)
            assert await duty.carry_out_due(replace(parts, storage_of=refuse)) == 1
            assert await execute(product, SOON), duty


async def test_a_run_that_cannot_reach_b2_has_it_checked_and_long_silence_is_told(product):
    load = await product.workload("db", backup="echo data", instances=1)
    id = decode_id_of("Backup", await product.start_backup(load))
    async with parts_of(product) as parts:
        assert await carry_out(replace(parts, storage_of=refuse), Roster(), id)
    assert await execute(product, "select error_code from runs") == "STORAGE_UNAVAILABLE"
    assert await execute(product, SOON)
    async with product.working(parts={"storage_of": refuse}):
        async with asyncio.timeout(60):
            while await execute(product, ERROR) != "STORAGE_UNAVAILABLE":
                await asyncio.sleep(0.05)
            past = "update integrations set unreachable_since = now() - interval '11 minutes'"
            await execute(product, past)
            await execute(product, "update integrations set check_at = now()")
            while not await execute(product, "select unreachable_told from integrations"):
                await asyncio.sleep(0.05)
    await execute(product, "update integrations set check_at = now()")
    async with product.working(), asyncio.timeout(60):
        while await execute(product, ERROR) is not None:
            await asyncio.sleep(0.05)
    told = await execute(product, TOLD)
    assert told == ["INTEGRATION_FAILED", "INTEGRATION_RECOVERED"]
