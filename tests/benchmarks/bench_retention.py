"""How long the retention plan of one container takes, by how many backups it has."""

import time
from statistics import median
from uuid import UUID
from zoneinfo import ZoneInfo

from app.model.ids import decode_id
from app.model.retention import Retention, RetentionRule, plan
from app.queries.retention import candidates

SIZES = (1_250, 2_500, 5_000, 10_000)
RETENTION = {"keepLast": 10, "keepHourly": 48, "keepDaily": 60, "keepWeekly": 20, "keepYearly": 9}
PREVIEW = """query ($id: ID!, $policy: BackupPolicyInput) { container(id: $id) {
  retentionPreview(policy: $policy, first: 25) { totalCount nodes { keep reason } } } }"""
FILL = """
with made as (
    insert into runs (
        id, hub_id, kind, container_id, instance_id, place, command, timeout, start_by, started_at,
        finished_at, requested_by_kind, requested_by_name
    )
    select gen_random_uuid(), $1, 'BACKUP', $2, $3, 'x', 'x', '1 h', now(), now(), now(),
        'SCHEDULE', 'x'
    from generate_series(1, $5::integer)
    returning id
)
insert into backups (
    id, hub_id, container_id, instance_hostname, integration_id, state, trigger, created_at,
    backup_command, min_bytes
)
select id, $1, $2, row_number() over () % 3 || '.db', $4, 'LIVE', 'SCHEDULE',
    now() - row_number() over () * interval '37 minutes', 'x', 1
from made
"""


def _uuid(identifier) -> UUID:
    decoded = decode_id(identifier)
    assert decoded is not None
    return decoded[1]


async def measure_the_plan_of_a_container(product, quick, show):
    """What it takes to read all of it, to plan it, and to answer a page of the preview."""
    load = await product.workload("db", backup="true")
    ids = [_uuid(id) for id in (load.id, load.instance(1), product.integration)]
    policy = {"integrationId": product.integration, "backup": {"command": "true"}}
    policy["retention"] = RETENTION
    retention = Retention(
        keep_last=10, keep_hourly=48, keep_daily=60, keep_weekly=20, keep_yearly=9
    )
    table, filled = [], 0
    for size in SIZES:
        taken = {"read": [], "plan": [], "preview": []}
        async with product.owner.connection() as connection:
            await connection.execute(FILL, product.hub_id, *ids, size - filled)
            await connection.execute("analyze")
            filled = size
            for _ in range(2 if quick else 7):
                began = time.monotonic()
                found = await candidates(connection, product.hub_id, ids[:1])
                read = time.monotonic()
                rule = RetentionRule(retention=retention, zone=ZoneInfo("Europe/Berlin"))
                verdicts = plan(found.by_container[ids[0]], rule, found.now)
                planned = time.monotonic()
                assert len(verdicts) == size
                data = await product.ask(PREVIEW, id=load.id, policy=policy)
                assert data["container"]["retentionPreview"]["totalCount"] == size
                asked = time.monotonic()
                taken["read"].append(read - began)
                taken["plan"].append(planned - read)
                taken["preview"].append(asked - planned)
        table.append((f"{size:,}", *(f"{median(times) * 1000:.0f}" for times in taken.values())))
    show("The retention plan of one container, ms", ("backups", "read", "plan", "preview"), table)
