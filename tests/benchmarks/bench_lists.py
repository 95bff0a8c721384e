"""How long a page of 100 backups takes, by how deep it lies in a list of 100,000."""

import time
from statistics import median, quantiles
from uuid import UUID

from app.model.ids import decode_id

ROWS = 100_000
PAGE = """query ($id: ID!, $before: DateTime) { container(id: $id) {
  backups(first: 100, filter: { createdBefore: $before }) { nodes {
    id state createdAt startedAt finishedAt sizeBytes exitCode instanceHostname trigger
    error { code } } pageInfo { hasNextPage endCursor } } } }"""
FILL = """
with made as (
    insert into runs (
        id, hub_id, kind, container_id, instance_id, place, command, timeout, start_by,
        finished_at, requested_by_kind, requested_by_name
    )
    select gen_random_uuid(), $1, 'BACKUP', $2, $3, 'x', 'x', '1 h', now(), now(), 'API_KEY', 'x'
    from generate_series(1, $5::integer)
    returning id
)
insert into backups (
    id, hub_id, container_id, instance_hostname, integration_id, state, trigger, created_at,
    backup_command, min_bytes
)
select id, $1, $2, 'x', $4, 'FAILED', 'MANUAL',
    timestamptz '2026-01-01' + row_number() over () * interval '1 second', 'x', 1
from made
"""


def _uuid(identifier) -> UUID:
    decoded = decode_id(identifier)
    assert decoded is not None
    return decoded[1]


async def measure_lists(product, quick, show):
    """The first page, and pages in the middle and near the end."""
    load = await product.workload("db", backup="true")
    rows = ROWS // 10 if quick else ROWS
    ids = (load.id, load.instance(1), product.integration)
    async with product.owner.connection() as connection:
        await connection.execute(FILL, product.hub_id, *map(_uuid, ids), rows)
        await connection.execute("analyze")
        deep = {
            "first page": None,
            "in the middle": rows // 2,
            "near the end": rows - 200,
        }
        moments = {}
        for name, skip in deep.items():
            found = await connection.fetchval(
                "select created_at from backups order by created_at desc offset $1 limit 1",
                skip or 0,
            )
            moments[name] = None if skip is None else found.isoformat()
    taken = {name: [] for name in moments}
    for _ in range(3 if quick else 30):
        for name, before in moments.items():
            began = time.monotonic()
            data = await product.ask(PAGE, id=load.id, before=before)
            taken[name].append((time.monotonic() - began) * 1000)
            assert len(data["container"]["backups"]["nodes"]) == 100
    first = median(taken["first page"])
    table = [
        (name, f"{median(ms):.1f}", f"{quantiles(ms, n=20)[-1]:.1f}", f"{median(ms) / first:.2f}")
        for name, ms in taken.items()
    ]
    show(f"A page of 100 of {rows:,} backups", ("", "ms p50", "ms p95", "to the first"), table)
