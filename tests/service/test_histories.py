"""Histories: whatever requests, workers, crashes and sweeps do in any order, promises hold."""

import asyncio
import random
from datetime import timedelta

import pytest

from app.errors import CommandFailed, Fenced, UserError
from app.model.orders import RestoreOrder, SaveOrder
from app.service.backups import cancel_backup, create_backup, delete_backups
from app.service.containers import delete_container
from app.service.endings import fail_run, finish_backup, finish_restore, requeue_run
from app.service.reclaims import settle, take_due
from app.service.restores import cancel_restore, restore_backup
from app.service.runs import claim_run, mark_touched, record_upload, start_run
from app.service.sweeps import (
    cancel_waiting,
    end_owner_lost,
    finish_container_deletions,
    free_instance,
    left_behind,
)
from tests.builders import PLACES, SEALER, START_WITHIN, TTL, a_stage, an_instance, stored_bytes

NO_TIME = timedelta(0)
STEPS = 60
AT_ONCE = 3

NAMES = """
select given.name from unnest($1::text[]) as given (name)
where not exists (select from backups where object_name = given.name)
and not exists (select from reclaims where reclaims.name = given.name and kind = 'NAME')
"""
PROMISES = {
    "LIVE has all its proofs": """
        select id from backups where state in ('LIVE', 'DELETING')
        and num_nulls(object_name, file_id, manifest_file_id, size_bytes, sha256, chunk_hashes) > 0
    """,
    "an open run is that of an open record, and the other way round": """
        select runs.id from runs
        left join backups on backups.id = runs.id left join restores on restores.id = runs.id
        where (runs.finished_at is null)
            <> (coalesce(backups.state, restores.state) in ('QUEUED', 'SAVING', 'RUNNING'))
    """,
    "an instance is in one run at a time": """
        select instance_id from runs where finished_at is null group by 1 having count(*) > 1
    """,
    "a lease is that of an open run in its epoch": """
        select leases.run_id from leases left join runs on runs.id = leases.run_id
        where leases.run_id is not null and (
            runs.id is null or runs.finished_at is not null or runs.epoch <> leases.epoch
            or runs.instance_id <> leases.instance_id
        )
    """,
    "a record is never gone while its object is still there": """
        select backups.id from backups where state = 'DELETED' and file_id is not null
        and (
            select count(*) from reclaims where backup_id = backups.id and kind = 'OBJECT'
            and confirmed_at is not null
        ) <> 2
    """,
    "what goes has promises to remove its object and manifest": """
        select backups.id from backups where state = 'DELETING' and (
            select count(*) from reclaims where backup_id = backups.id and kind = 'OBJECT'
            and file_id in (backups.file_id, backups.manifest_file_id)
        ) <> 2
    """,
    "nothing automatic ever removes a live object": """
        select backups.id from backups join reclaims on reclaims.backup_id = backups.id
        where state = 'LIVE'
        and (reclaims.kind = 'OBJECT' or reclaims.name in (object_name, object_name || '.json'))
    """,
    "what is not a backup owns no name": """
        select id from backups where state in ('QUEUED', 'FAILED', 'CANCELED')
        and num_nonnulls(object_name, upload_id) > 0
    """,
    "at most three tries": "select id from runs where attempt > 3",
    "what ended says when, and a failure why": """
        select runs.id from runs
        left join backups on backups.id = runs.id left join restores on restores.id = runs.id
        where coalesce(backups.state, restores.state) <> 'DELETED'
        and (coalesce(backups.state, restores.state) = 'FAILED') <> (runs.error_code is not null)
    """,
    "a deleted container keeps nothing": """
        select containers.id from containers join backups on backups.container_id = containers.id
        where containers.state = 'DELETED'
        and backups.state in ('QUEUED', 'SAVING', 'LIVE', 'DELETING')
    """,
}


class World:
    """Two containers, some workers that may die, and everybody who acts on them."""

    def __init__(self, seed, owner, gateway, worker, stages):
        self.chance = random.Random(seed)
        self.owner, self.gateway, self.worker, self.stages = owner, gateway, worker, stages
        self.instances = []
        self.orders = []
        self.names = []
        self.done = set()

    async def ids(self, table):
        async with self.owner.connection() as connection:
            rows = await connection.fetch(
                f"select id from {table} order by created_at desc limit 12"
            )
        return [row["id"] for row in rows]

    async def any_of(self, table):
        ids = await self.ids(table)
        return self.chance.choice(ids) if ids else None

    async def back_up(self):
        stage, instance = self.chance.choice(self.instances)
        await create_backup(
            self.gateway,
            stage.admin,
            container_id=stage.container.id,
            instance_id=instance.id,
            start_within=START_WITHIN,
        )

    async def restore(self):
        stage, instance = self.chance.choice(self.instances)
        if (backup_id := await self.any_of("backups")) is not None:
            await restore_backup(
                self.gateway,
                stage.admin,
                backup_id=backup_id,
                instance_id=instance.id,
                allow_other_container=True,
                start_within=START_WITHIN,
            )

    async def cancel(self):
        admin = self.stages[0].admin
        if (id := await self.any_of("backups")) is not None:
            await cancel_backup(self.gateway, admin, id=id)

    async def cancel_a_restore(self):
        admin = self.stages[0].admin
        if (id := await self.any_of("restores")) is not None:
            await cancel_restore(self.gateway, admin, id=id)

    async def delete(self):
        ids = [(str(id), id) for id in (await self.ids("backups"))[:4]]
        self.chance.shuffle(ids)
        await delete_backups(self.gateway, self.stages[0].admin, ids=ids)

    async def delete_a_container(self):
        if self.chance.random() < 0.1:
            container = self.stages[1].container
            await delete_container(
                self.gateway,
                self.stages[0].admin,
                id=container.id,
                confirm=container.identifier,
                grace=NO_TIME,
            )

    async def carry_out(self):
        if (id := await self.any_of("runs where finished_at is null")) is None:
            return
        owner = f"worker {self.chance.random()}"
        claimed = await claim_run(self.worker, id, owner=owner, places=PLACES, ttl=TTL)
        if claimed is None or self.chance.random() < 0.2:
            return
        order = await start_run(self.worker, claimed, sealer=SEALER)
        if order is None:
            return
        assert not order.run.touched
        self.orders.append(order)
        if isinstance(order, SaveOrder):
            assert order.object_name not in self.names
            self.names.append(order.object_name)

    async def tell(self):
        if self.orders:
            order = self.chance.choice(self.orders)
            if isinstance(order, RestoreOrder):
                await mark_touched(self.worker, order.run.id, order.run.epoch)
            else:
                await record_upload(self.worker, order.run.id, order.run.epoch, "upload")

    async def end(self):
        if not self.orders:
            return
        order = self.chance.choice(self.orders)
        id, epoch, way = order.run.id, order.run.epoch, self.chance.random()
        if way < 0.2:
            free = way < 0.1
            await fail_run(
                self.worker, id, epoch, error=CommandFailed(), exit_code=1, instance_free=free
            )
        elif way < 0.35:
            await requeue_run(self.worker, id, epoch)
        elif isinstance(order, SaveOrder):
            await finish_backup(self.worker, order, stored_bytes())
        else:
            await finish_restore(self.worker, order, 0)

    async def die(self):
        async with self.owner.connection() as connection:
            await connection.execute(
                "update leases set lease_until = now() - interval '1 s' where instance_id = $1",
                self.chance.choice(self.instances)[1].id,
            )

    async def sweep(self):
        await cancel_waiting(self.worker)
        await end_owner_lost(self.worker, NO_TIME)
        await finish_container_deletions(self.worker)

    async def clean_up(self):
        for left in await left_behind(self.worker, PLACES, 10):
            await free_instance(self.worker, left)

    async def reclaim(self):
        for due in await take_due(self.worker, SEALER, 3):
            again = timedelta(hours=25) if due.kind == "NAME" else None
            await settle(self.worker, due.id, again_at=again)

    async def act(self, deed):
        try:
            await deed(self)
            self.done.add(deed.__name__)
        except (UserError, Fenced):
            return

    async def check(self):
        async with self.owner.connection() as connection:
            for promise, broken in PROMISES.items():
                assert await connection.fetch(broken) == [], promise
            assert await connection.fetch(NAMES, self.names) == [], "nothing is left behind"


DEEDS = [
    *[World.back_up, World.carry_out, World.end] * 4,
    *[World.restore, World.tell, World.reclaim, World.clean_up, World.die] * 2,
    World.cancel,
    World.cancel_a_restore,
    World.delete,
    World.delete_a_container,
    World.sweep,
]


@pytest.mark.timeout(60)  # some hundred transactions, each seed
@pytest.mark.parametrize("seed", range(6))
async def test_the_promises_hold_after_every_step(owner, gateway_database, worker_database, seed):
    first = await a_stage(owner, gateway_database, worker_database)
    second = await a_stage(
        owner,
        gateway_database,
        worker_database,
        admin=first.admin,
        integration=first.integration,
    )
    world = World(seed, owner, gateway_database, worker_database, [first, second])
    for stage in (first, second):
        other = await an_instance(gateway_database, stage.admin, stage.container)
        world.instances += [(stage, stage.instance), (stage, other)]
    for _ in range(STEPS):
        deeds = world.chance.choices(DEEDS, k=AT_ONCE)
        async with asyncio.TaskGroup() as actors:
            for deed in deeds:
                actors.create_task(world.act(deed))
        await world.check()
    # A walk that never got anywhere would prove nothing.
    assert {"back_up", "carry_out", "end", "reclaim", "delete"} <= world.done
    assert world.names
