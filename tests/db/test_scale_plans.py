"""No statement of a tick, a list, a retention plan or a walk reads the whole of a big table."""

import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from app.postgres.pool import Database
from app.postgres.statements import load
from tests.builders import Stage, a_container, a_stage
from tests.db.test_drift_plans import FILL_BACKUPS, FILL_DRIFTS, FILL_RECLAIMS
from tests.db.test_plans import FILL_RESTORES, FILL_RUNS, FILL_SCHEDULES, VERIFY_ALL, nodes

ROWS = 12_000
BIG = frozenset(
    {
        "backup_policies",
        "backups",
        "containers",
        "drifts",
        "instances",
        "leases",
        "reclaims",
        "restores",
        "runs",
        "schedules",
        "verifications",
    }
)
NOUNS = {
    "schedules": ("schedules", "workers_schedules"),
    "lists": ("backups", "restores", "verifications"),
    "retention": ("retention", "workers_retention", "policies"),
    "reconcile": ("workers_drifts", "workers_scans", "drifts"),
}
SPREAD = """
with others as (
    select array_agg(gen_random_uuid()) as hubs, array_agg(gen_random_uuid()) as integrations
    from generate_series(1, 50)
)
update backups
set hub_id = coalesce(hubs[get_byte(uuid_send(id), 15) % 51], $1),
    integration_id = coalesce(integrations[get_byte(uuid_send(id), 15) % 51], $2)
from others
"""
FILL_LEASES = "insert into leases (instance_id) select id from instances on conflict do nothing"


@pytest.fixture
async def full(owner: Database, gateway_database: Database, worker_database: Database) -> Stage:
    """A hub among fifty; all of these tables are long."""
    stage = await a_stage(owner, gateway_database, worker_database)
    hub_id, integration = stage.admin.hub_id, stage.integration.id
    found = [stage.container, *[await a_container(gateway_database, stage.admin) for _ in "ab"]]
    async with owner.connection() as connection:
        ids = [one.id for one in found]
        # Whether rows refer to others is no question here.
        await connection.execute("set session_replication_role = replica")
        await connection.execute(FILL_RUNS, hub_id, ids, stage.instance.id, ROWS)
        await connection.execute(FILL_BACKUPS, integration)
        await connection.execute(VERIFY_ALL, hub_id)
        await connection.execute(SPREAD, hub_id, integration)
        for fill in (FILL_DRIFTS, FILL_RECLAIMS):
            await connection.execute(fill)
        rows = await connection.fetch("select id from backups order by id limit 4")
        await connection.execute(FILL_RESTORES, stage.instance.id, [row["id"] for row in rows])
        await connection.execute(FILL_SCHEDULES, hub_id, integration, ROWS)
        await connection.execute(FILL_LEASES)
        await connection.execute("reset session_replication_role")
        await connection.execute("analyze")
    return stage


async def read_plan(connection: asyncpg.Connection, statement: str) -> dict[str, Any]:
    """The plan for any arguments; nothing is carried out."""
    name = f"s_{uuid4().hex}"
    await connection.execute(f"prepare {name} as {statement}")
    count = await connection.fetchval(
        "select cardinality(parameter_types) from pg_prepared_statements where name = $1", name
    )
    given = f" ({', '.join(['null'] * count)})" if count else ""
    [found] = json.loads(await connection.fetchval(f"explain (format json) execute {name}{given}"))
    await connection.execute(f"deallocate {name}")
    plan: dict[str, Any] = found["Plan"]
    return plan


def scanned(plan: dict[str, Any]) -> Iterator[str]:
    for node in nodes(plan):
        if node["Node Type"] == "Seq Scan":
            yield node["Relation Name"]


@pytest.mark.timeout(60)  # so many rows, on a busy machine
async def test_no_statement_scans_a_big_table(
    gateway_database: Database, worker_database: Database, full: Stage
) -> None:
    found = []
    for nouns in NOUNS.values():
        for noun in nouns:
            database, hub_id = (
                (worker_database, None)
                if noun.startswith("workers_")
                else (gateway_database, full.admin.hub_id)
            )
            for name, statement in load(noun).items():
                async with database.transaction(hub_id) as connection:
                    await connection.execute("set local plan_cache_mode = force_generic_plan")
                    plan = await read_plan(connection, statement)
                found += [(noun, name, table) for table in scanned(plan) if table in BIG]
    assert found == []
