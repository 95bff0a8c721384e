"""Plans of a walk over a bucket: a step costs the same wherever it is in a long list."""

import pytest

from app.postgres.statements import load
from tests.builders import a_container, a_hub, a_stage, an_admin
from tests.db.test_plans import FEW_BLOCKS, FILL_RUNS, FIRST, LAST, explain, nodes

ROWS = 12_000
FILL_BACKUPS = """
insert into backups (
    id, hub_id, container_id, instance_hostname, integration_id, state, trigger, backup_command,
    min_bytes, object_name, file_id, manifest_file_id, size_bytes
)
select
    id, hub_id, container_id, 'x', $1, 'LIVE', 'MANUAL', 'x', 1, 'kept/' || id, 'f' || id,
    'm' || id, 1
from runs
"""
FILL_DRIFTS = """
insert into drifts (
    hub_id, integration_id, kind, detail, name, file_id, found_in, witnessed_in, applied_in,
    shown_at, backup_id
)
select hub_id, integration_id, 'MISSING', 'OBJECT', object_name, file_id, 1, 1, 1, now(), id
from backups
"""
FILL_RECLAIMS = """
insert into reclaims (hub_id, integration_id, kind, name, file_id)
select hub_id, integration_id, 'OBJECT', object_name, file_id from backups
"""
MIDDLE = "kept/00000000-0000-4000-8000-000000006000"


@pytest.fixture
async def stage(owner, gateway_database, worker_database):
    """One integration with long lists of everything, among others."""
    stage = await a_stage(owner, gateway_database, worker_database)
    hub_id, container = stage.admin.hub_id, stage.container
    found = [container, *[await a_container(gateway_database, stage.admin) for _ in "ab"]]
    async with owner.connection() as connection:
        ids = [one.id for one in found]
        await connection.execute(FILL_RUNS, hub_id, ids, stage.instance.id, ROWS)
        for fill in (FILL_BACKUPS,):
            await connection.execute(fill, stage.integration.id)
        for fill in (FILL_DRIFTS, FILL_RECLAIMS):
            await connection.execute(fill)
        await connection.execute("analyze")
    await a_stage(owner, gateway_database, worker_database, admin=an_admin(await a_hub(owner)))
    return stage


async def check(database, statement, index, *arguments, hub_id=None):
    plan = await explain(database, hub_id, statement, *arguments)
    kinds = {node["Node Type"] for node in nodes(plan)}
    assert "Seq Scan" not in kinds, plan
    assert index in {node.get("Index Name") for node in nodes(plan)}, plan
    blocks = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
    assert blocks < 4 * FEW_BLOCKS, blocks


async def test_a_step_in_the_middle_reads_its_page_alone(worker_database, stage):
    id = str(stage.integration.id)
    workers = load("workers_drifts")
    end = MIDDLE[:-4] + "6025"
    await check(worker_database, workers["records_between"], "backups_objects", id, MIDDLE, end, 26)
    await check(worker_database, workers["records_named"], "backups_objects", id, f"{{{MIDDLE}}}")
    await check(worker_database, workers["pending"], "reclaims_name", id, f"{{{MIDDLE}}}")
    file_id = "f" + MIDDLE.removeprefix("kept/")
    seen = ("{MISSING}", f"{{{file_id}}}")
    await check(worker_database, workers["see_again"], "drifts_open", id, 1, *seen)
    began = "2026-01-01"
    await check(
        worker_database, workers["mark_present"], "backups_objects", id, MIDDLE, 1, began, 26
    )


async def test_a_page_of_drift_costs_as_much_as_the_first(gateway_database, stage):
    asked = (str(stage.admin.hub_id), *FIRST, *LAST, None, None, 26)
    for name in ("page_down", "page_up"):
        statement = load("drifts")[name]
        await check(gateway_database, statement, "drifts_shown", *asked, hub_id=stage.admin.hub_id)
