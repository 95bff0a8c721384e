"""What the rows of a run say, read past the services."""

from datetime import timedelta
from uuid import UUID

from app.service.runs import (
    claim_run,
)
from app.service.sweeps import next_run
from tests.builders import (
    PLACES,
    TTL,
)

NO_TIME = timedelta(0)
RECLAIMS = """
select kind, name, file_id from reclaims where backup_id = $1 and settled_at is null
order by kind, name
"""


async def reclaims_of(owner, backup_id):
    async with owner.connection() as connection:
        return [tuple(row) for row in await connection.fetch(RECLAIMS, backup_id)]


async def waiting_runs(database, places, limit):
    """The runs that workers at these places would take now, in their order."""
    found = []
    after = UUID(int=0)
    while len(found) < limit:
        run = await next_run(database, places, after=after, full=[], taken=found)
        if run is None:
            break
        found.append(run.id)
    return found


async def row_of(owner, run_id):
    async with owner.connection() as connection:
        return dict(await connection.fetchrow("select * from runs where id = $1", run_id))


async def lease_of(owner, instance_id):
    query = "select * from leases where instance_id = $1"
    async with owner.connection() as connection:
        return dict(await connection.fetchrow(query, instance_id))


async def let_lease_pass(owner, run_id):
    """As if its owner had been silent for longer than a lease lasts."""
    past = "update leases set lease_until = now() - interval '1 second' where run_id = $1"
    async with owner.connection() as connection:
        assert await connection.execute(past, run_id) == "UPDATE 1"


async def claim(
    worker, run_id, *, owner="another worker", places=PLACES, per_hub=None, serves=None
):
    return await claim_run(
        worker, run_id, owner=owner, places=places, ttl=TTL, runs_per_hub=per_hub, serves=serves
    )
