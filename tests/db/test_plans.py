"""Plans of hot reads: a page deep in a long list costs what the first one costs."""

import json
from uuid import UUID, uuid4

import pytest

from app.postgres.statements import load
from tests.builders import a_container, a_hub, a_stage, an_admin

ROWS = 12_000
FEW_BLOCKS = 150
FIRST = ("0001-01-02", str(UUID(int=0)))
LAST = ("9999-12-30", str(UUID(int=2**128 - 1)))
STATES = "{QUEUED,SAVING,LIVE,DELETING,FAILED,CANCELED,SKIPPED}"

FILL_RUNS = """
insert into runs (
    id, hub_id, kind, container_id, instance_id, place, command, timeout, start_by, finished_at,
    requested_by_kind, requested_by_name
)
select ('00000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid, $1, 'BACKUP',
    ($2::uuid[])[1 + n % 3], $3, 'x', 'x', '1 h', now(), now(), 'API_KEY', 'x'
from generate_series(1, $4::integer) as n
"""
FILL_BACKUPS = """
insert into backups (
    id, hub_id, container_id, instance_hostname, integration_id, state, trigger, created_at,
    backup_command, min_bytes
)
select runs.id, runs.hub_id, runs.container_id, 'x', $1, 'LIVE', 'MANUAL',
    timestamptz '2026-01-01' + row_number() over (order by runs.id) * interval '1 second', 'x', 1
from runs
"""
FILL_RESTORES = """
insert into restores (
    id, hub_id, container_id, instance_id, backup_id, state, trigger, phase, bytes_total, created_at
)
select
    id, hub_id, container_id, $1, ($2::uuid[])[1 + get_byte(uuid_send(id), 15) % 4], 'SUCCEEDED',
    'MANUAL', 'CHECKING', 1, created_at
from backups
"""

CONTAINERS = 200
SPREAD = f"""
with made as (
    insert into containers (hub_id, identifier, name, stateful)
    select $1, 's' || n, 'x', true from generate_series(1, {CONTAINERS}) as n
    returning id
),

placed as (
    select id, row_number() over (order by id) % {CONTAINERS} as place from made
),

numbered as (
    select id, row_number() over (order by id) % {CONTAINERS} as place from backups
)

update backups set container_id = placed.id
from numbered inner join placed on placed.place = numbered.place
where backups.id = numbered.id
"""
VERIFY_ALL = """
insert into verifications (id, hub_id, container_id, backup_id, level, state, bytes_total)
select gen_random_uuid(), $1, container_id, id, 'STORED', 'PASSED', 1
from backups cross join generate_series(1, 3) where hub_id = $1
"""
FILL_POLICIES = """
with made as (
    insert into containers (hub_id, identifier, name, stateful)
    select $1, 'c' || n, 'x', true from generate_series(1, $3::integer) as n
    returning id
)
insert into backup_policies (
    container_id, hub_id, integration_id, backup_command, backup_timeout, min_bytes,
    restore_timeout, retention_at
)
select
    made.id, $1, backup_policies.integration_id, 'x', '1 h', 1, '1 h',
    now() + (row_number() over () - 20) * interval '1 minute'
from made, backup_policies where backup_policies.container_id = $2
"""


@pytest.fixture
async def stage(owner, gateway_database, worker_database):
    """A hub with long lists: three containers, and four backups with all the restores."""
    stage = await a_stage(owner, gateway_database, worker_database)
    hub_id = stage.admin.hub_id
    found = [stage.container, *[await a_container(gateway_database, stage.admin) for _ in "ab"]]
    async with owner.connection() as connection:
        ids = [container.id for container in found]
        await connection.execute(FILL_RUNS, hub_id, ids, stage.instance.id, ROWS)
        await connection.execute(FILL_BACKUPS, stage.integration.id)
        rows = await connection.fetch("select id from backups order by id limit 4")
        await connection.execute(FILL_RESTORES, stage.instance.id, [row["id"] for row in rows])
        await connection.execute("analyze")
    # Rows of another hub around them.
    await a_stage(owner, gateway_database, worker_database, admin=an_admin(await a_hub(owner)))
    return stage


async def explain(database, hub_id, statement, *arguments):
    """The plan that serves any arguments, and the blocks that it read for these."""
    name = f"s_{uuid4().hex}"
    values = ", ".join("null" if value is None else f"'{value}'" for value in arguments)
    async with database.transaction(hub_id) as connection:
        await connection.execute("set local plan_cache_mode = force_generic_plan")
        await connection.execute(f"prepare {name} as {statement}")
        explain = f"explain (analyze, buffers, format json) execute {name} ({values})"
        [found] = json.loads(await connection.fetchval(explain))
        await connection.execute(f"deallocate {name}")
    return found["Plan"]


def nodes(plan):
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


def check(plan, index):
    kinds = {node["Node Type"] for node in nodes(plan)}
    assert "Seq Scan" not in kinds
    assert index in {node.get("Index Name") for node in nodes(plan)}
    blocks = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
    assert blocks < FEW_BLOCKS
    assert plan["Actual Rows"] == 26


DEEP_DOWN = ("2026-01-01 00:10:00", str(UUID(int=0)))
DEEP_UP = ("2026-01-01 03:00:00", str(UUID(int=0)))


@pytest.mark.parametrize(
    ("name", "lower", "upper"),
    [
        ("newest_ids", FIRST, LAST),
        ("newest_ids", FIRST, DEEP_DOWN),
        ("oldest_ids", FIRST, LAST),
        ("oldest_ids", DEEP_UP, LAST),
    ],
)
async def test_a_deep_page_of_a_hubs_backups_costs_as_much_as_the_first(
    gateway_database, stage, name, lower, upper
):
    hub_id = stage.admin.hub_id
    sql = load("backups")
    asked = (hub_id, *lower, *upper, STATES, None, None, 26)
    check(await explain(gateway_database, hub_id, sql[name], *asked), "backups_hub")
    nested = sql[f"{name}_by_container"]
    asked = (*asked, f"{{{stage.container.id}}}")
    check(await explain(gateway_database, hub_id, nested, *asked), "backups_container")


@pytest.mark.parametrize(
    ("name", "bounds"),
    [
        ("newest_ids", (*FIRST, *DEEP_DOWN)),
        ("oldest_ids", (*DEEP_UP, *LAST)),
    ],
)
async def test_a_deep_page_of_restores_costs_as_much_as_the_first(
    owner, gateway_database, stage, name, bounds
):
    hub_id = stage.admin.hub_id
    async with owner.connection() as connection:
        backup_id = await connection.fetchval("select backup_id from restores limit 1")
    sql = load("restores")
    asked = (hub_id, *bounds, "{SUCCEEDED}", None, 26)
    check(await explain(gateway_database, hub_id, sql[name], *asked), "restores_hub")
    for parent, parent_id in (("container", stage.container.id), ("backup", backup_id)):
        plan = await explain(
            gateway_database,
            hub_id,
            sql[f"{name}_by_{parent}"],
            *asked,
            f"{{{parent_id}}}",
        )
        check(plan, f"restores_{parent}")


async def test_the_last_live_backup_is_found_without_reading_the_others(gateway_database, stage):
    hub_id = stage.admin.hub_id
    statement = load("backups")["last_live_ids"]
    plan = await explain(gateway_database, hub_id, statement, hub_id, f"{{{stage.container.id}}}")
    assert "Seq Scan" not in {node["Node Type"] for node in nodes(plan)}
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < FEW_BLOCKS


async def test_the_rows_of_a_page_are_found_by_their_ids(owner, gateway_database, stage):
    hub_id = stage.admin.hub_id
    async with owner.connection() as connection:
        rows = await connection.fetch("select id from backups limit 26")
    ids = "{" + ",".join(str(row["id"]) for row in rows) + "}"
    for noun in ("backups", "restores"):
        plan = await explain(gateway_database, hub_id, load(noun)["by_ids"], hub_id, ids)
        scanned = {node["Relation Name"] for node in nodes(plan) if node["Node Type"] == "Seq Scan"}
        assert scanned <= {"integrations"}


async def test_what_a_hub_stores_is_summed_without_reading_its_records(
    owner, gateway_database, stage
):
    async with owner.connection() as connection:
        # As long as records are: commands, hashes, notes.
        await connection.execute("update backups set note = repeat('x', 500)")
        await connection.execute("vacuum (full, freeze) backups")
        await connection.execute("vacuum (analyze) backups")
    hub_id = stage.admin.hub_id
    plan = await explain(gateway_database, hub_id, load("backups")["stored_bytes_of_hub"], hub_id)
    [scan] = [node for node in nodes(plan) if "Index Name" in node]
    assert (scan["Node Type"], scan["Index Name"]) == ("Index Only Scan", "backups_stored")
    assert scan["Actual Rows"] == ROWS
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < FEW_BLOCKS


async def test_what_retention_reads_of_a_container_is_found_by_an_index(
    owner, gateway_database, stage
):
    """As much as the container has, and nothing of the others."""
    hub_id = stage.admin.hub_id
    async with owner.connection() as connection:
        await connection.execute(SPREAD, hub_id)
        await connection.execute(VERIFY_ALL, hub_id)
        await connection.execute("analyze")
        id, count = await connection.fetchrow(
            "select container_id, count(*) from backups group by 1 order by 2 limit 1"
        )
    statement = load("retention")["candidates"]
    plan = await explain(gateway_database, hub_id, statement, hub_id, f"{{{id}}}", "{CHECK_FAILED}")
    scanned = {node["Relation Name"] for node in nodes(plan) if node["Node Type"] == "Seq Scan"}
    assert scanned <= {"instance_doubts"}
    assert plan["Actual Rows"] == count == ROWS // CONTAINERS
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 20 * count


async def test_due_rules_are_found_without_reading_the_others(owner, worker_database, stage):
    hub_id = stage.admin.hub_id
    async with owner.connection() as connection:
        await connection.execute(FILL_POLICIES, hub_id, stage.container.id, ROWS)
        await connection.execute("analyze")
    statement = load("workers_retention")["take_due"]
    plan = await explain(worker_database, None, statement, 10, "1 hour")
    assert "Seq Scan" not in {node["Node Type"] for node in nodes(plan)}
    found = {node.get("Index Name") for node in nodes(plan)}
    assert "backup_policies_retention" in found
    assert plan["Actual Rows"] == 10


FILL_SCHEDULES = """
with made as (
    insert into containers (hub_id, identifier, name, stateful)
    select $1, 'late-' || n, 'x', true from generate_series(1, $3::integer) as n
    returning id, hub_id
), policies as (
    insert into backup_policies (
        container_id, hub_id, integration_id, backup_command, backup_timeout, min_bytes,
        restore_timeout, cron
    )
    select id, hub_id, $2, 'x', '1 h', 1, '1 h', '@daily' from made
), placed as (
    insert into instances (hub_id, container_id, hostname, state, executor, host, folder)
    select hub_id, id, '1.x', 'RUNNING', 'process', 'here', 'x' from made
)
insert into schedules (container_id, hub_id, due_at, next_at, expected_by)
select id, hub_id, now(), now() + row_number() over () * interval '1 second' - interval '1 hour',
    now() + row_number() over () * interval '1 second' - interval '1 hour'
from made
"""


@pytest.mark.parametrize(
    ("name", "index"), [("due", "schedules_due"), ("overdue", "schedules_expected")]
)
async def test_a_tick_reads_only_what_is_due(owner, worker_database, stage, name, index):
    async with owner.connection() as connection:
        fill = (stage.admin.hub_id, stage.integration.id, ROWS)
        await connection.execute(FILL_SCHEDULES, *fill)
        await connection.execute("analyze")
        ids = await connection.fetch("select id from containers order by id limit 26")
    sql = load("workers_schedules")
    plan = await explain(worker_database, None, sql[name], 26)
    assert index in {node.get("Index Name") for node in nodes(plan)}
    # The integrations are few: here there are two.
    scanned = {node["Relation Name"] for node in nodes(plan) if node["Node Type"] == "Seq Scan"}
    assert scanned <= {"integrations"}
    assert plan["Actual Rows"] == 26
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 10 * FEW_BLOCKS
    found = "{" + ",".join(str(row["id"]) for row in ids) + "}"
    plan = await explain(worker_database, None, sql["instances"], found)
    assert "Seq Scan" not in {node["Node Type"] for node in nodes(plan)}


async def test_the_sizes_before_a_backup_are_read_from_an_index(owner, gateway_database, stage):
    """Of an instance that was not saved for long, beside others that are saved all the time."""
    hub_id = stage.admin.hub_id
    async with owner.connection() as connection:
        await connection.execute(
            "update backups set instance_hostname = 'x' || get_byte(uuid_send(id), 15)"
        )
        await connection.execute("vacuum analyze backups")
    asked = (hub_id, stage.container.id, "x7", UUID(int=0), 5)
    plan = await explain(gateway_database, hub_id, load("runs")["former_sizes"], *asked)
    assert "backups_saved" in {node.get("Index Name") for node in nodes(plan)}
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < FEW_BLOCKS
