"""Walks over a bucket and what becomes of orphans, while something is killed or cut off."""

import asyncio
import hashlib
from typing import Any, ClassVar
from uuid import UUID, uuid4

from app.model.steps import Step
from tests.drift_calls import (
    Bucket,
    a_manifest,
    drifts,
    events,
    our_name,
    plant,
    reconcile,
    scanned,
    statuses,
    uuid_of,
)
from tests.product import ERRORS
from tests.step_stories import KEEP, NOTHING_TO_REMOVE, SMALL, LoadStory


class AdoptStory(LoadStory):
    """An orphan without a manifest is read, and is a backup that can be restored."""

    steps = (Step.ADOPT_TAKEN, Step.ADOPT_MANIFEST_STORED, Step.ADOPT_RECORDED)
    DATA = b"what nobody knew of\n" * 1000

    async def prepare(self) -> None:
        self.load = await self.product.workload("db", backup=SMALL, restore=KEEP)
        async with Bucket(self.product) as bucket:
            await bucket.put(await our_name(self.product), self.DATA)
        await reconcile(self.product)
        [self.drift] = await drifts(self.product, "ORPHAN")

    async def ask(self) -> None:
        await self.product.mutate(
            "adoptOrphan",
            f"""mutation ($id: ID!, $container: ID!) {{ adoptOrphan(
              id: $id, containerId: $container, instanceHostname: "1.db") {{ {ERRORS} }} }}""",
            id=self.drift["id"],
            container=self.load.id,
        )

    async def agree(self) -> None:
        await self.until("select count(*) = 0 from drifts where resolved_at is null")
        data = await self.product.ask(
            "query ($id: ID!) { container(id: $id) { backups { nodes { id state sha256 } } } }",
            id=self.load.id,
        )
        [backup] = data["container"]["backups"]["nodes"]
        assert backup["state"] == "LIVE"
        assert backup["sha256"] == hashlib.sha256(self.DATA).hexdigest()
        # The object, and one manifest.
        await self.product.nothing_left(kept=1)
        back = await self.product.put_back(backup["id"], self.load.instance(2), accept=True)
        assert back["state"] == "SUCCEEDED"
        assert (self.load.folder(2) / "got").read_bytes() == self.DATA


class ReconcileStory(LoadStory):
    """A walk over the bucket finds a lost object and an unknown one, and tells of it once."""

    steps = (
        Step.RECONCILE_TAKEN,
        Step.RECONCILE_LISTING,
        Step.RECONCILE_WITNESSING,
        Step.RECONCILE_MARKING,
        Step.RECONCILE_RESOLVING,
        Step.RECONCILE_SHOWING,
    )
    FOUND: ClassVar[list[tuple[str, dict[str, int]]]] = [
        ("DRIFT_FOUND", {"missing": 1, "orphan": 1})
    ]

    async def prepare(self) -> None:
        await super().prepare()
        async with Bucket(self.product) as bucket:
            bucket.remove(self.backups[0]["target"]["path"])
            self.orphan = await our_name(self.product)
            await bucket.put(self.orphan)

    async def ask(self) -> None:
        await self.product.mutate(
            "reconcileStorage",
            f"""mutation ($id: ID!) {{
              reconcileStorage(integrationId: $id) {{ {ERRORS} }} }}""",
            id=self.product.integration,
        )

    async def agree(self) -> None:
        await self.until("select bool_and(phase is null) from scans where kind = 'RECONCILE'")
        assert await statuses(self.product) == {
            str(uuid_of(backup["id"])): status
            for backup, status in zip(self.backups, ("MISSING", "PRESENT"), strict=True)
        }
        shown = [(drift["kind"], drift["name"]) for drift in await drifts(self.product)]
        assert shown == [("MISSING", self.backups[0]["target"]["path"]), ("ORPHAN", self.orphan)]
        assert await events(self.product) == self.FOUND
        found = await scanned(self.product, "reconcile")
        assert (found["missing"], found["orphans"], found["records"]) == (1, 1, 2)


class OrphanStory(LoadStory):
    """An orphan that is to go: nothing but it does."""

    steps = (Step.RECLAIM_REMOVED,)

    async def prepare(self) -> None:
        await super().prepare()
        async with Bucket(self.product) as bucket:
            await bucket.put(await our_name(self.product))
        await reconcile(self.product)
        [self.drift] = await drifts(self.product)

    async def ask(self) -> None:
        await self.product.mutate(
            "deleteOrphan",
            f"mutation ($id: ID!) {{ deleteOrphan(id: $id) {{ {ERRORS} }} }}",
            id=self.drift["id"],
        )

    async def agree(self) -> None:
        await self.until(NOTHING_TO_REMOVE)
        await self.product.nothing_left(kept=2)
        assert await self.value("select count(*) from reclaims") == 1
        assert await drifts(self.product) == []
        await self.owns()


class SuspectStory(LoadStory):
    """So much is missing at once that the listing is not believed: nothing is changed."""

    steps = (Step.RECONCILE_DISCARDING,)
    EACH = 3

    async def prepare(self) -> None:
        product = self.product
        self.load = await product.workload("db", backup=SMALL, restore=KEEP, instances=4)

        async def save(number: int) -> list[dict[str, Any]]:
            return [await product.back_up(self.load, number) for _ in range(self.EACH)]

        async with product.working(), asyncio.TaskGroup() as tasks:
            saves = [tasks.create_task(save(number)) for number in range(1, 5)]
        self.backups = [backup for made in saves for backup in made.result()]
        async with Bucket(product) as bucket:
            for backup in self.backups:
                bucket.remove(backup["target"]["path"])

    async def ask(self) -> None:
        await self.product.mutate(
            "reconcileStorage",
            f"""mutation ($id: ID!) {{
              reconcileStorage(integrationId: $id) {{ {ERRORS} }} }}""",
            id=self.product.integration,
        )

    async def agree(self) -> None:
        await self.until("select bool_and(phase is null) from scans where kind = 'RECONCILE'")
        assert await statuses(self.product) == {
            str(uuid_of(backup["id"])): "UNCHECKED" for backup in self.backups
        }
        assert await drifts(self.product) == []
        number = len(self.backups)
        assert await events(self.product) == [
            ("SUSPECT_LISTING", {"absent": number, "records": number})
        ]


class RecoverStory(LoadStory):
    """The backup of a lost hub is found by its manifest, once."""

    steps = (Step.RECOVER_TAKEN, Step.RECOVER_LOOKING, Step.RECOVER_READING)
    former: UUID

    async def prepare(self) -> None:
        self.load = await self.product.workload("db", backup="echo data", restore=KEEP)
        async with self.product.working():
            self.backups = [await self.product.back_up(self.load)]
        self.former = uuid4()
        async with Bucket(self.product) as bucket:
            await plant(bucket, await a_manifest(self.product), hub=self.former)

    async def ask(self) -> None:
        await self.product.mutate(
            "recoverBackups",
            f"""mutation ($id: ID!) {{ recoverBackups(integrationId: $id) {{ {ERRORS} }} }}""",
            id=self.product.integration,
        )

    async def agree(self) -> None:
        await self.until(
            "select bool_and(phase is null and finished_at is not null) from scans"
            " where kind = 'RECOVER'"
        )
        data = await self.product.ask(
            "query ($id: ID!) { container(id: $id) { backups { nodes { id state trigger } } } }",
            id=self.load.id,
        )
        nodes = data["container"]["backups"]["nodes"]
        assert [node["state"] for node in nodes] == ["LIVE", "LIVE"]
        [found] = [node for node in nodes if node["id"] != self.backups[0]["id"]]
        back = await self.product.put_back(found["id"], self.load.instance(2))
        assert back["state"] == "SUCCEEDED"
        assert (self.load.folder(2) / "got").read_text() == "data\n"
