"""Containers, integrations and hubs that go while something is killed, paused or cut off."""

import asyncio
from abc import abstractmethod
from uuid import uuid4

from app.model.steps import Step
from tests.drift_calls import (
    uuid_of,
)
from tests.product import ERRORS
from tests.step_stories import KEEP, NOTHING_OPEN, NOTHING_TO_REMOVE, SMALL, Story


class CascadeStory(Story):
    """One that a gateway begins, by a transaction that marks all that goes."""

    @abstractmethod
    async def ask(self, *, at: str = "") -> None:
        """`at`: the address of a gateway other than the product's."""


class ContainerStory(CascadeStory):
    """A container goes while a save runs in it; another one stays."""

    steps = (Step.CASCADE_CANCEL_HEARD, Step.CASCADE_CONTAINER_ENDED)
    going = ""
    """The save that runs, where `begin` had a worker for it."""
    SLOW = "echo data; if [ -e slow ]; then sleep 300; fi"
    DELETE = f"""mutation ($id: ID!, $key: String) {{
      deleteContainer(id: $id, confirm: "db", idempotencyKey: $key) {{
        container {{ state }} warnings {ERRORS} }} }}"""

    async def prepare(self) -> None:
        product = self.product
        self.load = await product.workload("db", backup=self.SLOW, restore=KEEP, instances=1)
        self.stays = await product.workload("stays", backup=SMALL, restore=KEEP, instances=1)
        async with product.working():
            self.made = await product.back_up(self.load)
            self.kept = await product.back_up(self.stays)
        (self.load.folder(1) / "slow").touch()
        self.key = str(uuid4())

    async def begin(self) -> None:
        self.going = await self.product.start_backup(self.load)
        async with asyncio.timeout(60):
            while not (await self.product.backup(self.going))["progress"]["bytesRead"]:
                await asyncio.sleep(0.05)

    async def ask(self, *, at: str = "") -> None:
        gone = await self.product.mutate(
            "deleteContainer", self.DELETE, id=self.load.id, key=self.key, at=at
        )
        assert gone["container"]["state"] in {"DELETING", "DELETED"}
        # Said again it is what it was the first time.
        assert len(gone["warnings"]) == (2 if self.going else 1)

    async def agree(self) -> None:
        product = self.product
        if self.going:
            await product.backup_ended(self.going, states={"CANCELED"})
        await product.backup_ended(self.made["id"], states={"DELETED"})
        await self.until(
            "select state = 'DELETED' from containers where id = $1", uuid_of(self.load.id)
        )
        await product.nothing_left(kept=1)
        await product.no_processes()
        await self.until(NOTHING_TO_REMOVE)
        assert await self.value(NOTHING_OPEN)
        # One for the object, one for the manifest: nobody promised it twice.
        made = await self.value(
            "select count(*) from reclaims where backup_id = $1", uuid_of(self.made["id"])
        )
        assert made == 2
        assert (await product.backup(self.kept["id"]))["state"] == "LIVE"

    async def is_free(self) -> None:
        assert (await self.product.back_up(self.stays))["state"] == "LIVE"
        back = await self.product.put_back(self.kept["id"], self.stays.instance(1))
        assert back["state"] == "SUCCEEDED"


class IntegrationStory(CascadeStory):
    """An integration goes by force, with its backups, its owner object and its key."""

    steps = (Step.CASCADE_PLACE_FREED, Step.CASCADE_INTEGRATION_ENDED)
    DELETE = f"""mutation ($id: ID!, $key: String) {{
      deleteIntegration(id: $id, force: true, idempotencyKey: $key) {{
        integration {{ state }} {ERRORS} }} }}"""

    async def prepare(self) -> None:
        self.load = await self.product.workload("db", backup=SMALL, instances=1)
        async with self.product.working():
            self.made = await self.product.back_up(self.load)
        self.key = str(uuid4())

    async def ask(self, *, at: str = "") -> None:
        await self.product.mutate(
            "deleteIntegration", self.DELETE, id=self.product.integration, key=self.key, at=at
        )

    async def agree(self) -> None:
        await self.product.backup_ended(self.made["id"], states={"DELETED"})
        await self.until("select sealed_key is null and state = 'DELETED' from integrations")
        assert self.product.b2.versions(self.product.bucket_id) == []
        assert await self.value(NOTHING_TO_REMOVE)
        assert await self.value("select count(*) from backup_policies") == 0
        assert await self.value("select state from containers") == "LIVE"


class HubStory(CascadeStory):
    """A whole hub goes; its key opens nothing more, so only the database tells."""

    steps = (Step.CASCADE_HUB_FORGOTTEN,)

    async def prepare(self) -> None:
        self.load = await self.product.workload("db", backup=SMALL, instances=1)
        async with self.product.working():
            await self.product.back_up(self.load)

    async def ask(self, *, at: str = "") -> None:
        if not at and await self.value(
            "select count(*) = 0 or bool_and(deleting_since is not null) from hubs"
        ):
            return  # It is done, and the key opens nothing more.
        await self.product.mutate(
            "deleteHub", f'mutation {{ deleteHub(confirm: "acme") {{ {ERRORS} }} }}', at=at
        )

    async def agree(self) -> None:
        await self.until("select count(*) = 0 from hubs")
        assert self.product.b2.versions(self.product.bucket_id) == []
        for table in ("containers", "backups", "runs", "integrations", "reclaims"):
            assert await self.value(f"select count(*) from {table}") == 0
