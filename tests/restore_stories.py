"""The work around restores that can be trusted: the save before one, and planned verifications."""

from app.model.steps import Step
from tests.step_cases import READS
from tests.step_stories import SMALL, LoadStory


class SafetyStory(LoadStory):
    """A restore that saves its target first restores once, whatever dies, over what is saved."""

    steps = (Step.SAFETY_BACKUP_BEGUN, Step.SAFETY_BACKUP_RECORDED)
    RESTORE = "cat > got; echo restored >> restores"
    SAVED = "select count(*) from backups where trigger = 'PRE_RESTORE' and state = 'LIVE'"

    restore_id: str | None = None

    async def prepare(self) -> None:
        await super().prepare()
        await self.product.configure(self.load, backup=SMALL, restore=self.RESTORE)

    async def ask(self) -> None:
        if self.restore_id is None:
            backup_id = self.backups[0]["id"]
            self.restore_id = await self.product.start_restore(
                backup_id, self.load.instance(2), safe=True, accept=True
            )

    async def agree(self) -> None:
        assert self.restore_id is not None
        restore = await self.product.restore_ended(self.restore_id)
        assert (restore["state"], restore["error"]) == ("SUCCEEDED", None)
        assert restore["safetyBackup"]["state"] == "LIVE"
        assert (self.load.folder(2) / "restores").read_text() == "restored\n"
        saved = await self.value(self.SAVED)
        # One that a worker died over after it was made stays, and the next worker makes its own.
        assert saved in (1, 2)
        await self.product.nothing_left(kept=2 + saved)
        await self.product.no_processes()


class PlanStory(LoadStory):
    """A policy wants the newest backup verified."""

    steps = (Step.PLAN_TAKEN, Step.PLAN_QUEUED)

    async def prepare(self) -> None:
        await super().prepare()
        await self.product.configure(self.load, backup=SMALL, restore="cat", verification=READS)

    async def ask(self) -> None:
        """It is: a policy that was changed is looked at at once."""

    async def agree(self) -> None:
        await self.until("select count(*) = 1 from verifications where state = 'PASSED'")
        await self.until("select verify_at > now() + interval '1 minute' from backup_policies")
        assert await self.value("select count(*) from verifications") == 1
        await self.product.no_processes()
