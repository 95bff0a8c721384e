"""The work behind the named steps that are not of one run: asked for, and seen to agree again."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, ClassVar

from app.model.steps import Step
from tests.drift_calls import (
    uuid_of,
)
from tests.product import ERRORS, OWNER, Product, Workload

SMALL = "echo some data"
KEEP = "cat > got"
AGE = "update backups set created_at = created_at - $2::interval where id = $1"
AGE_RUN = """
update runs
set started_at = started_at - $2::interval, finished_at = finished_at - $2::interval
where id = $1
"""
NOTHING_OPEN = "select count(*) = 0 from runs where finished_at is null"
NOTHING_TO_REMOVE = "select count(*) = 0 from reclaims where confirmed_at is null"
OWNS = """
select turn_of is null and stopped_at is null and claimed_in is null from integration_owners
"""


class Story(ABC):
    """One piece of work that passes steps, in the order in which they stand here."""

    steps: ClassVar[tuple[Step, ...]]

    def __init__(self, product: Product, *, surely: bool = False) -> None:
        """`surely`: the work is taken up again before a lease has passed."""
        self.product = product
        self.surely = surely

    @abstractmethod
    async def prepare(self) -> None:
        """Make what the work is about, with workers of its own."""

    async def begin(self) -> None:  # noqa: B027 - most need none
        """Do what needs the worker that will be at a step, before the work is asked for."""

    @abstractmethod
    async def ask(self) -> None:
        """Ask for the work; twice is as good as once."""

    @abstractmethod
    async def agree(self) -> None:
        """Wait until records, bucket and processes agree, and see that nothing was done twice."""

    async def is_free(self) -> None:  # noqa: B027 - as above
        """Another run in each instance ends well; the bucket is still this database's."""

    async def value(self, query: str, *arguments: object) -> Any:
        async with self.product.owner.connection() as connection:
            return await connection.fetchval(query, *arguments)

    async def until(self, query: str, *arguments: object) -> None:
        while await self.value(query, *arguments) is not True:
            await asyncio.sleep(0.05)

    async def owns(self) -> None:
        """The bucket holds one owner object, the one that the record knows."""
        await self.until(OWNS)
        generation = await self.value("select generation from integration_owners")
        found = [
            version["fileInfo"]["generation"]
            for version in self.product.b2.versions(self.product.bucket_id)
            if version["fileName"] == OWNER
        ]
        assert found == [str(generation)]


class LoadStory(Story):
    """One about a workload whose instances live on."""

    load: Workload
    backups: Sequence[dict[str, Any]]

    async def prepare(self) -> None:
        self.load = await self.product.workload("db", backup=SMALL, restore=KEEP)
        async with self.product.working():
            self.backups = [await self.product.back_up(self.load) for _ in range(2)]

    async def is_free(self) -> None:
        for number in (1, 2):
            again = await self.product.back_up(self.load, number)
            assert again["state"] == "LIVE"
        assert await self.value(NOTHING_OPEN)
        assert (
            await self.value("select count(*) from integration_owners where stopped_at > now()")
            == 0
        )


class OwnerStory(LoadStory):
    """Whose the bucket is, asked and written before a batch that deletes."""

    steps = (
        Step.OWNER_TURN_BEGUN,
        Step.OWNER_MARK_ISSUED,
        Step.OWNER_WRITTEN,
        Step.OWNER_CONFIRMED,
    )

    async def ask(self) -> None:
        """As if the hour had passed after which it is read anyway."""
        async with self.product.owner.connection() as connection:
            await connection.execute("update integration_owners set check_at = now()")

    async def agree(self) -> None:
        if (await self.product.backup(self.backups[0]["id"]))["state"] == "LIVE":
            await self.product.delete(self.backups[0]["id"])
        await self.product.backup_ended(self.backups[0]["id"], states={"DELETED"})
        await self.product.nothing_left(kept=1)
        await self.until(NOTHING_TO_REMOVE)
        await self.owns()
        assert await self.value("select count(*) from events where kind = 'NOT_THE_OWNER'") == 0


class ScheduleStory(Story):
    """Two instances were due for days: one is caught up once, one has a run that is still going."""

    steps = (Step.SCHEDULE_MAKING, Step.SCHEDULE_MADE, Step.SCHEDULE_TOLD)
    SLOW = "echo some data; sleep 2"
    LIST = """query ($id: ID!) { container(id: $id) { nextBackupAt
      backups(orderBy: OLDEST_FIRST) {
        nodes { id state trigger instanceHostname error { code } } } } }"""

    async def prepare(self) -> None:
        self.load = await self.product.workload("db", backup=self.SLOW, restore=KEEP)
        await self.product.configure(self.load, backup=self.SLOW, restore=KEEP, cron="@monthly")
        await self.product.start_backup(self.load, 2)
        async with self.product.owner.connection() as connection:
            await connection.execute("update schedules set next_at = now() - interval '3 days'")

    async def ask(self) -> None:
        """It was: by the time that has come."""

    async def agree(self) -> None:
        while True:
            data = await self.product.ask(self.LIST, id=self.load.id)
            nodes = data["container"]["backups"]["nodes"]
            if len(nodes) == 3 and not {"QUEUED", "SAVING"} & {node["state"] for node in nodes}:
                break
            await asyncio.sleep(0.05)
        await self.until("select min(next_at) > now() from schedules")
        made = {
            node["instanceHostname"]: node["state"]
            for node in nodes
            if node["trigger"] == "SCHEDULE"
        }
        skipped = made["2.db"] == "SKIPPED"
        assert made == {"1.db": "LIVE", "2.db": "SKIPPED" if skipped else "LIVE"}
        assert skipped or not self.surely
        late = await self.value("select count(*) from events where kind = 'BACKUP_OVERDUE'")
        # Where a backup came before anybody told, nothing is overdue any more.
        assert late == 1 or (late == 0 and not self.surely)
        told = await self.value("select count(*) from events where kind = 'BACKUP_SKIPPED'")
        assert told == skipped
        await self.product.nothing_left(kept=2 if skipped else 3)
        await self.product.no_processes()

    async def is_free(self) -> None:
        for number in (1, 2):
            assert (await self.product.back_up(self.load, number))["state"] == "LIVE"
        assert await self.value(NOTHING_OPEN)
        # It was due once.
        assert await self.value("select count(*) from backups where trigger = 'SCHEDULE'") == 2


class RetentionStory(LoadStory):
    """Of two backups that are too old the last good one stays."""

    steps = (Step.RETENTION_TAKEN, Step.RETENTION_MARKED)

    async def prepare(self) -> None:
        await super().prepare()
        policy = {
            "integrationId": self.product.integration,
            "backup": {"command": SMALL},
            "restore": {"command": KEEP},
            "retention": {"maxAge": "P30D"},
        }
        await self.product.mutate(
            "configureBackups",
            f"""mutation ($id: ID!, $policy: BackupPolicyInput) {{
              configureBackups(containerId: $id, policy: $policy) {{ {ERRORS} }} }}""",
            id=self.load.id,
            policy=policy,
        )
        async with self.product.owner.connection() as connection:
            for backup, days in zip(self.backups, (60, 40), strict=True):
                for aged in (AGE, AGE_RUN):
                    await connection.execute(aged, uuid_of(backup["id"]), timedelta(days=days))

    async def ask(self) -> None:
        async with self.product.owner.connection() as connection:
            await connection.execute("update backup_policies set retention_at = now()")

    async def agree(self) -> None:
        old, last = self.backups
        await self.product.backup_ended(old["id"], states={"DELETED"})
        await self.product.nothing_left(kept=1)
        await self.until(NOTHING_TO_REMOVE)
        assert (await self.product.backup(last["id"]))["state"] == "LIVE"
        assert await self.value("select count(*) from reclaims") == 2
        await self.until("select retention_at > now() + interval '1 minute' from backup_policies")
