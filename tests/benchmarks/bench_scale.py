"""Scale: a tick, lists, a retention plan and a reconcile, by how much there is around them.

`-k scale` takes half an hour and 15 GB of disk. After each the tables that were read whole are
named: there must be none.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from statistics import median, quantiles
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from app.model.ids import decode_id
from app.model.retention import Retention, RetentionRule, plan
from app.postgres.pool import Database
from app.queries.retention import candidates
from app.service.schedules import BATCH, tick
from app.settings import Settings
from tests.benchmarks.processes import read_cpu, read_peak
from tests.conftest import WORKER_ROLE
from tests.fakes.local_b2_server import LocalB2Server
from tests.product import ERRORS, PREFIX

DUE = 100_000
OTHERS = (0, 100_000, 500_000)
RECORDS = (50_000, 500_000, 5_000_000)
OBJECTS = (250_000, 500_000, 1_000_000)
KEPT = (10, 100, 1_000)
CHUNK = 250_000
SEEN_AFTER_SECONDS = 11
"""A backend tells the statistics what it has read within 10 s at the latest."""
BIG = (
    "backups",
    "runs",
    "containers",
    "instances",
    "backup_policies",
    "schedules",
    "drifts",
    "leases",
)

FAST = "set session_replication_role = replica; set statement_timeout = 0"
FILL_POLICIES = """
with made as (
    insert into containers (hub_id, identifier, name, stateful)
    select $1, $4 || n, 'x', true from generate_series(1, $3::integer) as n
    returning id, hub_id
), policies as (
    insert into backup_policies (
        container_id, hub_id, integration_id, backup_command, backup_timeout, min_bytes,
        restore_timeout, cron
    )
    select id, hub_id, $2, 'pg_dump -Fc shop', '1 h', 1, '1 h', '0 3 * * *' from made
), placed as (
    insert into instances (hub_id, container_id, hostname, state, executor, host, folder)
    select hub_id, id, '1.x', 'RUNNING', 'process', 'elsewhere', 'x' from made
)
insert into schedules (container_id, hub_id, due_at, next_at)
select id, hub_id, $5::timestamptz + place.later, $5::timestamptz + place.later
from made cross join lateral (select random() * interval '1 hour' as later) as place
"""
FILL_RECORDS = """
with numbered as (
    select gen_random_uuid() as id, n, case when n % 10 = 0 then $2::uuid else
        ($3::uuid[])[1 + n % cardinality($3::uuid[])] end as container_id
    from generate_series($5::integer, $6::integer) as n
), made as (
    insert into runs (
        id, hub_id, kind, container_id, instance_id, place, command, timeout, start_by, created_at,
        started_at, finished_at, exit_code, requested_by_kind, requested_by_name
    )
    select id, $1, 'BACKUP', container_id, gen_random_uuid(), 'host:elsewhere', 'pg_dump -Fc shop',
        '1 h', now(), $7::timestamptz + n * interval '10 s', $7::timestamptz + n * interval '10 s',
        $7::timestamptz + n * interval '10 s', 0, 'SCHEDULE', '0 3 * * * UTC'
    from numbered
)
insert into backups (
    id, hub_id, container_id, instance_hostname, integration_id, state, trigger, created_at,
    backup_command, min_bytes, object_name, file_id, manifest_file_id, size_bytes, sha256,
    chunk_hashes
)
select id, $1, container_id, '1.x', $4, 'LIVE', 'SCHEDULE',
    $7::timestamptz + n * interval '10 s', 'pg_dump -Fc shop', 1,
    'kept/' || $1 || '/' || container_id || '/' || id || '-0a1b2c3d-1', 'f' || id, 'm' || id, 1000,
    decode(repeat('00', 32), 'hex'), decode(repeat('00', 32), 'hex')
from numbered
"""
FILL_OBJECTS = """
with made as (
    insert into runs (
        id, hub_id, kind, container_id, instance_id, place, command, timeout, start_by,
        finished_at, requested_by_kind, requested_by_name
    )
    select gen_random_uuid(), $1, 'BACKUP', $2, gen_random_uuid(), 'x', 'x', '1 h', now(), now(),
        'SCHEDULE', 'x'
    from generate_series(1, $4::integer)
    returning id
), numbered as (
    select id, row_number() over () - 1 as n from made
)
insert into backups (
    id, hub_id, container_id, instance_hostname, integration_id, state, trigger, backup_command,
    min_bytes, object_name, file_id, size_bytes
)
select id, $1, $2, '1.x', $3, 'LIVE', 'SCHEDULE', 'x', 1, $5 || lpad(n::text, 10, '0'),
    $6 || lpad(to_hex($7::bigint + n), 16, '0') || $8, 1
from numbered
"""
HUB_PAGE = """query ($after: String) { hub { backups(first: 100, after: $after) {
  nodes { id state createdAt sizeBytes instanceHostname trigger } pageInfo { endCursor } } } }"""
CONTAINER_PAGE = """query ($id: ID!, $after: String) { container(id: $id) {
  backups(first: 100, after: $after) { nodes {
    id state createdAt startedAt finishedAt sizeBytes exitCode instanceHostname trigger
    error { code } } pageInfo { endCursor } } } }"""
PREVIEW = """query ($id: ID!, $policy: BackupPolicyInput) { container(id: $id) {
  retentionPreview(policy: $policy, first: 25) { totalCount nodes { keep reason } } } }"""
RETENTION = {"keepLast": 10, "keepHourly": 48, "keepDaily": 60, "keepWeekly": 20, "keepYearly": 9}
RULE = RetentionRule(
    retention=Retention(keep_last=10, keep_hourly=48, keep_daily=60, keep_weekly=20, keep_yearly=9),
    zone=ZoneInfo("Europe/Berlin"),
)
READ_WHOLE = """
select relname || ' (' || seq_scan || ' times)'
from pg_stat_user_tables
where seq_tup_read > 10000 and relname = any($1)
order by relname
"""


@pytest.fixture
def b2(tmp_path):
    """With the switch that fills it."""
    with LocalB2Server(
        tmp_path / "b2", part_size=100_000_000, minimum_part_size=5_000_000, child=True
    ) as server:
        yield server


def _uuid(identifier) -> UUID:
    decoded = decode_id(identifier)
    assert decoded is not None
    return decoded[1]


def _ms(seconds):
    times = [1000 * one for one in seconds]
    return (
        f"{median(times):.0f}",
        f"{quantiles(times, n=20)[-1] if len(times) > 1 else times[0]:.0f}",
    )


async def _settle(owner):
    """Nothing that was loaded is still to be tidied up, and nobody counts how that was read."""
    async with owner.connection() as connection:
        await connection.execute("set statement_timeout = 0")
        await connection.execute("vacuum (analyze)", timeout=1800)
        await connection.execute("checkpoint", timeout=600)
    await asyncio.sleep(SEEN_AFTER_SECONDS)
    async with owner.connection() as connection:
        await connection.execute("select pg_stat_reset()")


async def _read_whole(owner):
    await asyncio.sleep(SEEN_AFTER_SECONDS)
    async with owner.connection() as connection:
        rows = await connection.fetch(READ_WHOLE, list(BIG))
    return ", ".join(row[0] for row in rows) or "none"


async def _repeat(times: int, ask: Callable[[], Awaitable[object]]) -> list[float]:
    taken = []
    for _ in range(times):
        began = time.monotonic()
        await ask()
        taken.append(time.monotonic() - began)
    return taken


async def measure_scale_of_a_tick(product, quick, show):
    """Batches of due policies, of 100,000 within an hour, beside others that are not due."""
    small = 10 if quick else 1
    batches = 10 if quick else 40
    ids = (product.hub_id, _uuid(product.integration))
    table, there = [], 0

    async def fill(count, name, since):
        async with product.owner.connection() as connection:
            await connection.execute(FAST)
            for start in range(0, count, CHUNK):
                rows = min(CHUNK, count - start)
                fill = (*ids, rows, f"{name}-{start}-", since)
                await connection.execute(FILL_POLICIES, *fill, timeout=1800)
            await connection.execute("reset session_replication_role")

    async with product.owner.connection() as connection:
        now = await connection.fetchval("select now()")
        later = await connection.fetchval("select now() + interval '1 day'")
        hour_ago = await connection.fetchval("select now() - interval '1 hour'")
    assert hour_ago < now
    await fill(DUE // small, "due", hour_ago)
    settings = Settings()
    async with Database.open(product.owner.dsn, role=WORKER_ROLE) as database:
        for others in OTHERS:
            await fill(others // small - there, f"others-{others}", later)
            there = others // small
            await _settle(product.owner)

            async def one():
                made = await tick(database, start_within=settings.start_within)
                assert made == BATCH

            taken = await _repeat(batches, one)
            whole = await _read_whole(product.owner)
            table.append((f"{there:,}", *_ms(taken), f"{median(taken) * DUE / BATCH:.0f}", whole))
    columns = ("other policies", "ms p50", "ms p95", f"s for {DUE:,}", "tables read whole")
    show(f"A tick: {BATCH} due backups in one transaction, of {DUE // small:,}", columns, table)


async def _first_and_next(product, document, path, times, **variables):
    """Milliseconds of the first page and of the one after it."""

    async def page(after):
        found = await product.ask(document, after=after, **variables)
        for word in path:
            found = found[word]
        assert len(found["nodes"]) == 100
        return found["pageInfo"]["endCursor"]

    cursor = await page(None)
    first = await _repeat(times, lambda: page(None))
    following = await _repeat(times, lambda: page(cursor))
    return [_ms(taken)[0] for taken in (first, following)]


async def _plan_one(product, id, count):
    async with product.owner.connection() as connection:
        found = await candidates(connection, product.hub_id, [id])
    assert len(plan(found.by_container[id], RULE, found.now)) == count


async def _preview_one(product, id, count, policy):
    data = await product.ask(PREVIEW, id=id, policy=policy)
    assert data["container"]["retentionPreview"]["totalCount"] == count


async def measure_scale_of_lists_and_retention(product, quick, show):
    """Pages of 100, and the retention plans of containers, among 5 million backup records."""
    small = 10 if quick else 1
    times = 3 if quick else 20
    load = await product.workload("db", backup="true")
    kept = {}
    for size in KEPT:
        kept[size] = await product.workload(f"of-{size}", backup="true", instances=1)
    policy = {"integrationId": product.integration, "backup": {"command": "true"}}
    policy["retention"] = RETENTION
    pages, plans, filled = [], [], 0
    async with product.owner.connection() as connection:
        others = await connection.fetchval(
            """
            with made as (
                insert into containers (hub_id, identifier, name, stateful)
                select $1, 'other-' || n, 'x', true from generate_series(1, 997) as n
                returning id
            ) select array_agg(id) from made
            """,
            product.hub_id,
        )
        since = await connection.fetchval("select now() - interval '2 years'")

    async def fill(start, end, db, rest):
        async with product.owner.connection() as connection:
            await connection.execute(FAST)
            for first in range(start, end, CHUNK):
                last = min(first + CHUNK, end) - 1
                ids = (product.hub_id, db, rest, _uuid(product.integration))
                await connection.execute(FILL_RECORDS, *ids, first, last, since, timeout=1800)
            await connection.execute("reset session_replication_role")

    for size, one in kept.items():
        await fill(0, size, _uuid(one.id), [_uuid(one.id)])
    for size in RECORDS:
        rows = size // small
        await fill(filled, rows, _uuid(load.id), others)
        filled = rows
        await _settle(product.owner)
        hub = await _first_and_next(product, HUB_PAGE, ("hub", "backups"), times)
        place = ("container", "backups")
        container = await _first_and_next(product, CONTAINER_PAGE, place, times, id=load.id)
        read_by_pages = await _read_whole(product.owner)
        pages.append((f"{rows:,}", *hub, *container, read_by_pages))
        for count, one in kept.items():
            read = _repeat(times, partial(_plan_one, product, _uuid(one.id), count))
            ask = _repeat(times, partial(_preview_one, product, one.id, count, policy))
            plans.append((f"{rows:,}", f"{count:,}", _ms(await read)[0], _ms(await ask)[0]))
        plans[-1] = (*plans[-1], await _read_whole(product.owner))
    columns = ("records", "hub: first", "next", "container: first", "next", "tables read whole")
    show("A page of 100 backups, ms p50", columns, pages)
    columns = ("records", "of the container", "read and plan", "preview", "tables read whole")
    show("The retention plan of a container, ms p50", columns, plans)


async def measure_scale_of_a_reconcile(product, quick, show):
    """CPU and peak memory of a worker that compares so many objects with as many records."""
    small = 100 if quick else 1
    load = await product.workload("db", backup="true", instances=1)
    ids = (product.hub_id, _uuid(load.id), _uuid(product.integration))
    table, there = [], 0
    for objects in OBJECTS:
        count = objects // small - there
        prefix = f"{PREFIX}/{objects:08d}-"
        product.b2.faults.fill(product.bucket_id, prefix, count=count)
        [first] = product.b2.call(
            "b2_list_file_versions", bucketId=product.bucket_id, prefix=prefix, maxFileCount=1
        )["files"]
        head, moment = first["fileId"][: -len("_u") - 14], first["fileId"][-len("_u") - 14 :]
        async with product.owner.connection() as connection:
            await connection.execute(FAST)
            fill = (*ids, count, prefix, head[:-16], int(head[-16:], 16), moment)
            await connection.execute(FILL_OBJECTS, *fill, timeout=1800)
            await connection.execute("reset session_replication_role")
        there += count
        await _settle(product.owner)
        async with product.worker_process() as worker:
            cpu, began = read_cpu(worker.pid), time.monotonic()
            await product.mutate(
                "reconcileStorage",
                f"""mutation ($id: ID!) {{
                  reconcileStorage(integrationId: $id) {{ {ERRORS} }} }}""",
                id=product.integration,
            )
            counts = await _reconciled(product, there)
            seconds, cpu = time.monotonic() - began, read_cpu(worker.pid) - cpu
            assert counts["found"] == 0, counts
            peak = read_peak(worker.pid)
        whole = await _read_whole(product.owner)
        table.append((f"{there:,}", f"{seconds:.0f}", f"{cpu:.1f}", f"{peak:.0f}", whole))
    columns = ("objects", "s", "CPU s of the worker", "MB at its peak", "tables read whole")
    show("A reconcile of a bucket with its records", columns, table)


async def _reconciled(product, objects):
    """What the walk counted, once it came to its end with so many records."""
    while True:
        async with product.owner.connection() as connection:
            row = await connection.fetchrow(
                "select phase, last_counts, error_code from scans where kind = 'RECONCILE'"
            )
        assert row["error_code"] is None, row
        counts = row["last_counts"]
        if row["phase"] is None and counts is not None and counts["records"] == objects:
            return counts
        await asyncio.sleep(0.5)
