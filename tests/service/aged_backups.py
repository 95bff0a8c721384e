"""Backups of many days, and the rule that is carried out on them."""

from datetime import timedelta

from app.model.retention import Retention
from app.service.retention import carry_out, plans
from tests.builders import a_policy

DAY = timedelta(days=1)
AGE = """
update backups set created_at = created_at - $2::interval where id = $1
"""
AGE_RUN = """
update runs
set
    created_at = created_at - $2::interval,
    started_at = started_at - $2::interval,
    finished_at = finished_at - $2::interval
where id = $1
"""


async def age(owner, found, days):
    """As if all of it had happened so many days earlier."""
    async with owner.connection() as connection:
        await connection.execute(AGE, found.id, days * DAY)
        await connection.execute(AGE_RUN, found.id, days * DAY)


async def execute(owner, statement, *arguments):
    async with owner.connection() as connection:
        return await connection.fetchval(statement, *arguments)


async def keep(gateway, stage, **retention):
    await a_policy(
        gateway,
        stage.admin,
        stage.container,
        stage.integration,
        retention=Retention(**retention),
    )


async def run_it(worker, stage):
    hub_id, id = stage.admin.hub_id, stage.container.id
    return await carry_out(worker, hub_id, id, is_ours=lambda _: True)


async def codes_of(gateway, stage, backups):
    hub_id = stage.admin.hub_id
    async with gateway.connection(hub_id) as connection:
        found = await plans(connection, hub_id, [stage.container.id])
    codes = {
        backup.id: verdict.code.value for backup, verdict in found[stage.container.id].values()
    }
    return [codes[one.id] for one in backups]
