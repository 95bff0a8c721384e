"""One of everything in a hub, with names that are the same each time: what recorded cases show."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from app.api.events import name_stream
from app.errors import (
    CheckFailed,
    CommandFailed,
    ExecutorUnavailable,
    NotAdoptable,
    StorageCredentials,
    StorageUnavailable,
)
from app.model.access import Capability, Principal, Role
from app.model.backups import Backup, StorageStatus
from app.model.containers import Instance, InstanceState
from app.model.engines import NewEngine
from app.model.events import EventFilter, EventKind, NewEvent
from app.model.hubs import Hub
from app.model.ids import encode_id, encode_sequence
from app.model.integrations import Integration
from app.model.logs import LogStream
from app.model.objects import MANIFEST_SUFFIX
from app.model.orders import NewLogEntry, RunProgress
from app.model.paging import Page
from app.model.restores import RestorePhase
from app.model.runs import Run
from app.model.scans import ScanKind
from app.model.verifications import VerificationLevel
from app.model.webhooks import Webhook
from app.postgres.pool import Database
from app.queries import claims, events
from app.queries import reconciles as reconciles_queries
from app.service import adoptions, engines
from app.service.drifts import adopt_orphan
from app.service.endings import fail_run, finish_backup, finish_restore, finish_verification
from app.service.engines import DueEngine, create_engine
from app.service.events import record_event
from app.service.integration_checks import check_failed, due_checks
from app.service.keys import authenticate, create_api_key, create_key
from app.service.reclaims import STUCK_ATTEMPTS, settle, take_due
from app.service.reclaims import put_off as put_reclaims_off
from app.service.recoveries import looked, record_found, recover_backups
from app.service.runs import append_log, mark_touched, record_progress, set_phase
from app.service.scans import put_off
from app.service.stored_objects import record_looks
from app.service.webhooks import create_webhook, delivered, failed
from app.service.webhooks import take_due as take_deliveries
from tests.builders import (
    SEALER,
    TTL,
    Stage,
    a_container,
    a_hub,
    a_policy,
    a_queued_backup,
    a_reconcile,
    a_save,
    a_started_restore,
    a_step,
    a_version,
    an_instance,
    an_integration,
    an_unchecked_integration,
    read_backup,
    stored_bytes,
)
from tests.conftest import GATEWAY_ROLE, WORKER_ROLE
from tests.found_containers import find_one
from tests.verification_builders import a_queued_verification, a_started_verification

SIZE = 1000
END = datetime(2100, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A hub, a token of each role, and the ids of all that it holds by short names."""

    hub: Hub
    tokens: dict[str, str]
    """Of keys by the names of their roles; the KEEPER may read and manage keys."""
    ids: dict[str, str]
    """As clients know them."""
    names: dict[UUID, str]


async def build_scene(dsn: str, *, hub: str = "acme") -> Scene:
    """Fill a migrated database with a hub; nobody is connected to it afterwards."""
    async with (
        Database.open(dsn, role=None, min_size=0) as owner,
        Database.open(dsn, role=GATEWAY_ROLE, min_size=0) as gateway,
        Database.open(dsn, role=WORKER_ROLE, min_size=0) as worker,
    ):
        return await _Builder(owner=owner, gateway=gateway, worker=worker).build(hub)


class _Builder:
    """Builds a scene step by step, through the services."""

    def __init__(self, *, owner: Database, gateway: Database, worker: Database) -> None:
        self.owner = owner
        self.gateway = gateway
        self.worker = worker
        self.ids: dict[str, str] = {}
        self.names: dict[UUID, str] = {}

    def name(self, word: str, type_name: str, id: UUID) -> None:
        self.ids[word] = encode_id(type_name, id)
        self.names[id] = word

    async def build(self, name: str) -> Scene:
        hub = await a_hub(self.owner, name=name)
        self.name("hub", "Hub", hub.id)
        tokens, admin = await self._keys(hub)
        integration = await self._integrations(admin, prefix=name)
        stage, instances = await self._containers(admin, integration)
        await self._runs(stage, instances)
        webhook = await self._webhook(admin)
        await self._engine(admin, integration)
        await self._drift(stage)
        await self._events(stage)
        await self._deliver(webhook)
        self.name("nothing", "Backup", UUID(int=0))
        return Scene(hub=hub, tokens=tokens, ids=self.ids, names=self.names)

    async def _keys(self, hub: Hub) -> tuple[dict[str, str], Principal]:
        tokens: dict[str, str] = {}
        for role in (Role.ADMIN, Role.VIEWER):
            name = f"the {role.lower()}"
            id, tokens[role] = await create_key(self.owner, hub_id=hub.id, name=name, role=role)
            self.name(f"{role.lower()}Key", "ApiKey", id)
        admin = await authenticate(self.gateway, tokens[Role.ADMIN])
        assert admin is not None
        for name, grant in (
            ("operator", {"role": Role.OPERATOR, "expires_at": END}),
            ("keeper", {"capabilities": [Capability.READ, Capability.MANAGE_KEYS]}),
        ):
            key, token = await create_api_key(self.gateway, admin, name=f"the {name}", **grant)
            assert token is not None
            tokens[name.upper()] = token
            self.name(f"{name}Key", "ApiKey", key.id)
        return tokens, admin

    async def _integrations(self, admin: Principal, *, prefix: str) -> Integration:
        integration = await an_integration(
            self.gateway, self.worker, admin, name="B2", bucket="the-bucket", prefix=prefix
        )
        self.name("integration", "Integration", integration.id)
        unused = await an_unchecked_integration(
            self.gateway, admin, name="Broken", bucket="another-bucket", prefix="kept"
        )
        for check in await due_checks(self.worker, SEALER, 100):
            await check_failed(self.worker, check, StorageCredentials())
        self.name("unused", "Integration", unused.id)
        return integration

    async def _containers(
        self, admin: Principal, integration: Integration
    ) -> tuple[Stage, dict[str, Instance]]:
        gateway = self.gateway
        container = await a_container(
            gateway, admin, identifier="ledger", name="The ledger", labels={"tier": "gold"}
        )
        self.name("container", "Container", container.id)
        web = await a_container(gateway, admin, identifier="web", name="The web", stateful=False)
        self.name("web", "Container", web.id)
        policy = await a_policy(
            gateway,
            admin,
            container,
            integration,
            cron="30 2 * * *",
            restore_check="test -s data",
        )
        async with self.owner.connection() as connection:
            # It is due, and no worker was there for too long.
            late = "update schedules set next_at = now() - interval '2 hours'"
            await connection.execute(late)
        instances = {}
        for number, word in enumerate(("instance", "waiting", "busy"), 1):
            instances[word] = await an_instance(
                gateway, admin, container, hostname=f"{number}.ledger", variables={"PASSWORD": "x"}
            )
            self.name(word, "Instance", instances[word].id)
        scratch = await an_instance(gateway, admin, container, hostname="5.ledger", scratch=True)
        self.name("scratch", "Instance", scratch.id)
        stopped = await an_instance(
            gateway, admin, container, hostname="4.ledger", state=InstanceState.STOPPED
        )
        self.name("stopped", "Instance", stopped.id)
        stage = Stage(
            admin=admin,
            container=container,
            instance=instances["instance"],
            integration=integration,
            policy=policy,
        )
        return stage, instances

    async def _runs(self, stage: Stage, instances: dict[str, Instance]) -> None:
        """The last run of each instance may still be going on."""
        gateway, worker = self.gateway, self.worker
        order = await a_save(gateway, worker, stage)
        self.name("backup", "Backup", order.backup.id)
        await self._print(order.run, b"dumping\n", b"d\xf6ne\n")
        await self._progress(order.run)
        stored = replace(stored_bytes(SIZE), file_id="the-file", manifest_file_id="its-manifest")
        await finish_backup(worker, order, stored)
        backup = await read_backup(gateway, stage, order.backup.id)

        order = await a_save(gateway, worker, stage)
        self.name("failed", "Backup", order.backup.id)
        await self._print(order.run, b"no space left\n")
        run = order.run
        await fail_run(worker, run.id, run.epoch, error=CommandFailed(), exit_code=3)

        await self._reclaim(stage.admin.hub_id)

        order = await a_save(gateway, worker, stage)
        self.name("lost", "Backup", order.backup.id)
        gone = replace(stored_bytes(SIZE), file_id="lost-file", manifest_file_id="lost-manifest")
        await finish_backup(worker, order, gone)
        seen = {order.backup.id: StorageStatus.MISSING}
        await record_looks(gateway, stage.admin.hub_id, seen)

        queued = await a_queued_backup(gateway, stage, instance=instances["waiting"])
        self.name("queued", "Backup", queued.id)

        done = await a_started_restore(gateway, worker, stage, backup)
        self.name("restore", "Restore", done.run.id)
        await self._print(done.run, b"restored\n")
        await finish_restore(worker, done, 0)

        broken = await a_started_restore(gateway, worker, stage, backup)
        self.name("brokenRestore", "Restore", broken.run.id)
        run = broken.run
        await mark_touched(worker, run.id, run.epoch)
        await fail_run(worker, run.id, run.epoch, error=CommandFailed(), exit_code=3)

        await self._verifications(stage, backup)

        under_way = await a_started_restore(
            gateway, worker, stage, backup, instance=instances["busy"]
        )
        self.name("running", "Restore", under_way.run.id)
        run = under_way.run
        await mark_touched(worker, run.id, run.epoch)
        await set_phase(worker, run.id, run.epoch, RestorePhase.TRANSFERRING)
        await self._progress(run)

    async def _engine(self, admin: Principal, integration: Integration) -> None:
        """One that has a container, and one that answered and does not any more."""
        there, engine = [
            await create_engine(
                self.gateway,
                admin,
                new=NewEngine(
                    name=name,
                    address="unix:///run/docker.sock",
                    host=None,
                    authority=None,
                    certificate=None,
                    key=None,
                ),
                default_host="test-host",
                sealer=SEALER,
            )
            for name in ("there", "docker")
        ]
        problems = await find_one(self.worker, there, integration=integration.name)
        due = DueEngine(engine=there, instances=[], changes=0)
        await engines.answered(self.worker, due, "Docker 28.2.2", {}, problems)
        async with self.worker.connection() as connection:
            id = await connection.fetchval("select id from containers where identifier = 'found'")
        self.name("found", "Container", id)
        self.name("engine", "Engine", engine.id)
        due = DueEngine(engine=engine, instances=[], changes=0)
        await engines.answered(self.worker, due, "Docker 28.2.2", {})
        await engines.failed(self.worker, due, ExecutorUnavailable("The engine does not answer."))

    async def _webhook(self, admin: Principal) -> Webhook:
        webhook, _ = await create_webhook(
            self.gateway,
            admin,
            url="https://hooks.example/backups",
            kinds=["SUSPECT_LISTING"],
            sealer=SEALER,
            http=False,
        )
        self.name("webhook", "Webhook", webhook.id)
        return webhook

    async def _deliver(self, webhook: Webhook) -> None:
        """It took the event once, and did not the next time."""
        [delivery] = await take_deliveries(self.worker, SEALER, 10)
        assert delivery.webhook_id == webhook.id
        await delivered(self.worker, delivery)
        await failed(self.worker, delivery, "It answered 500.")

    async def _events(self, stage: Stage) -> None:
        """An event that is about everything; its kind is of no other event of the scene."""
        subjects = {
            f"{noun}_id": next(id for id, name in self.names.items() if name == noun)
            for noun in ("container", "instance", "backup", "restore", "integration")
        }
        new = NewEvent(
            kind=EventKind.SUSPECT_LISTING,
            message="A listing was not believed.",
            **subjects,
            data={"missing": 12, "of": 20},
        )
        hub_id = stage.admin.hub_id
        async with self.worker.transaction(None) as connection:
            await record_event(connection, hub_id, new)
        async with self.gateway.connection(hub_id) as connection:
            wanted = EventFilter(kinds=(new.kind,))
            [event] = (await events.page(connection, hub_id, wanted, Page())).items
        self.name("event", "Event", event.id)
        self.ids["beginning"] = encode_sequence(name_stream(hub_id), 0)

    async def _drift(self, stage: Stage) -> None:
        """What a reconcile found; another one and a recovery wait for B2."""
        gateway, worker = self.gateway, self.worker
        hub_id, prefix = stage.admin.hub_id, stage.integration.prefix
        async with worker.connection(None) as connection:
            installation_id = await claims.installation(connection)
            known = await reconciles_queries.records_between(
                connection, stage.integration.id, "", None, 100
            )
        place = f"{prefix}/{installation_id}/{hub_id}/{stage.container.id}"
        orphans = [f"{place}/{UUID(int=number)}-1" for number in (1, 2)]
        await a_reconcile(
            gateway,
            worker,
            stage,
            [
                *(
                    a_version(name, file_id)
                    for record in known
                    if record.file_id == "the-file"
                    for name, file_id in (
                        (record.object_name, "the-file"),
                        (record.object_name + ".json", "its-manifest"),
                    )
                ),
                *(a_version(name, f"orphan-{name[-3]}") for name in orphans),
                a_version(f"{prefix}/photo.jpg", "a-photo"),
            ],
        )
        async with self.owner.connection() as connection:
            rows = await connection.fetch(
                """
                select id, file_id from drifts
                where hub_id = $1 and (kind <> 'MISSING' or detail = 'OBJECT')
                """,
                hub_id,
            )
        words = {"orphan-1": "orphan", "orphan-2": "unreadable", "a-photo": "foreign"}
        ids = {words.get(row["file_id"], "missing"): row["id"] for row in rows}
        for word, id in ids.items():
            self.name(word, "Drift", id)
        await adopt_orphan(gateway, stage.admin, id=ids["unreadable"])
        [order] = await adoptions.take_due(worker, SEALER, 1, lease=TTL)
        assert await adoptions.renew(worker, order, SIZE // 2, TTL)
        await adoptions.failed(worker, order, NotAdoptable())

        await recover_backups(gateway, stage.admin, id=stage.integration.id)
        step = await a_step(worker, ScanKind.RECOVER)
        await looked(worker, step, None, None)
        step = await a_step(worker, ScanKind.RECOVER)
        await record_found(worker, step, [], None, step.counts)
        await recover_backups(gateway, stage.admin, id=stage.integration.id)
        for kind in ScanKind:
            await put_off(worker, await a_step(worker, kind), StorageUnavailable())

    async def _reclaim(self, hub_id: UUID) -> None:
        """Of what the failed save may have left one is gone, the other one is stuck."""
        for attempt in range(STUCK_ATTEMPTS):
            due = await take_due(self.worker, SEALER, 10)
            due = [order for order in due if order.hub_id == hub_id]  # there may be more scenes
            assert len(due) == (1 if attempt else 2)
            for order in due:
                if order.name.endswith(MANIFEST_SUFFIX):
                    self.name("reclaim", "Reclaim", order.id)
                    error = StorageCredentials()
                    await put_reclaims_off(self.worker, [order.id], error, again_in=timedelta(0))
                else:
                    await settle(self.worker, order.id, again_at=timedelta(days=1))

    async def _verifications(self, stage: Stage, backup: Backup) -> None:
        gateway, worker = self.gateway, self.worker
        level = VerificationLevel.RESTORABLE
        broken_check = await a_started_verification(gateway, worker, stage, backup, level=level)
        run = broken_check.run
        self.name("brokenVerification", "Verification", run.id)
        await fail_run(worker, run.id, run.epoch, error=CheckFailed(), exit_code=3)

        proof = await a_started_verification(gateway, worker, stage, backup)
        self.name("verification", "Verification", proof.run.id)
        await self._print(proof.run, b"the check was happy\n")
        await self._progress(proof.run)
        await finish_verification(worker, proof, None)

        proving = await a_started_verification(gateway, worker, stage, backup, level=level)
        self.name("proving", "Verification", proving.run.id)
        await self._progress(proving.run)

        waiting = await a_queued_verification(gateway, stage, backup)
        self.name("verifying", "Verification", waiting.id)

    async def _print(self, run: Run, *pieces: bytes) -> None:
        entries, place = [], 0
        for piece in pieces:
            entries.append(NewLogEntry(sequence=place, stream=LogStream.STDERR, data=piece))
            place += len(piece)
        await append_log(
            self.worker,
            run.id,
            run.epoch,
            entries,
            drop_before=None,
            total_bytes=place,
            truncated=False,
        )

    async def _progress(self, run: Run) -> None:
        progress = RunProgress(
            run_id=run.id,
            epoch=run.epoch,
            bytes_read=SIZE,
            bytes_stored=SIZE,
            bytes_delivered=SIZE // 4,
            bytes_per_second=50,
        )
        await record_progress(self.worker, [progress])
