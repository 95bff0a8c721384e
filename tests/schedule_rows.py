"""What schedules say and made, read past the services; and time that has passed for them."""

from datetime import timedelta

from app.queries import schedules
from app.service.endings import finish_backup
from app.service.runs import start_run
from app.service.schedules import tick
from tests.builders import (
    SEALER,
    START_WITHIN,
    a_claim,
    stored_bytes,
)

DAILY = "0 3 * * *"
DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)
NO_JITTER = timedelta(0)


async def row_of(owner, container):
    query = "select * from schedules where container_id = $1"
    async with owner.connection() as connection:
        return await connection.fetchrow(query, container.id)


async def state_of(gateway, stage):
    hub_id = stage.admin.hub_id
    async with gateway.connection(hub_id) as connection:
        found = await schedules.by_containers(connection, hub_id, [stage.container.id])
    return found.get(stage.container.id)


async def make_due(owner, *, ago=MINUTE):
    """As if every schedule's time had come so long ago."""
    async with owner.connection() as connection:
        await connection.execute("update schedules set next_at = now() - $1::interval", ago)


async def pass_time(owner, passed):
    """As if so much time had passed since all that schedules and their backups say."""
    async with owner.connection() as connection:
        await connection.execute(
            """
            with older as (update backups set created_at = created_at - $1::interval)
            update schedules
            set last_at = last_at - $1::interval, unanswered_at = unanswered_at - $1::interval,
                expected_by = expected_by - $1::interval
            """,
            passed,
        )


async def backups_of(owner, stage):
    """All of a container by hostname, in the order in which they were made."""
    query = """
    select backups.id, backups.instance_hostname, backups.state, backups.trigger, runs.error_code,
        runs.requested_by_kind, runs.requested_by_name, runs.start_by, backups.created_at
    from backups inner join runs on runs.id = backups.id
    where backups.container_id = $1 order by backups.created_at, backups.instance_hostname
    """
    async with owner.connection() as connection:
        return await connection.fetch(query, stage.container.id)


async def states(owner, stage):
    return [(row["state"], row["error_code"]) for row in await backups_of(owner, stage)]


async def events_of(owner, stage):
    query = "select kind, message, data from events where hub_id = $1 order by created_at, id"
    async with owner.connection() as connection:
        return await connection.fetch(query, stage.admin.hub_id)


async def kinds(owner, stage):
    return [row["kind"] for row in await events_of(owner, stage)]


async def carry_out(worker, id):
    """A worker has claimed and begun the backup."""
    return await start_run(worker, await a_claim(worker, id), sealer=SEALER)


async def finish(worker, id, size=1000):
    await finish_backup(worker, await carry_out(worker, id), stored_bytes(size))


async def run(worker, **more):
    return await tick(worker, start_within=START_WITHIN, **more)
