"""The whole product for one test: gateway, workers, local B2, commands in real folders.

Tests speak GraphQL to it, over HTTP and graphql-transport-ws. Workers run in this process, or as
processes of their own that a test may kill.
"""

import asyncio
import contextlib
import io
import json
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
import websockets

from app.postgres.pool import Database
from app.service.secrets import Sealer
from app.settings import Settings
from app.wiring.parts import make_worker_parts
from app.worker.loop import Worker
from tests.conftest import GATEWAY_ROLE, WORKER_ROLE
from tests.fakes.local_b2_server import LocalB2Server
from tests.verifying import Verifying
from tests.worker_processes import PATIENCE, WorkerProcess

HOST = "test-host"
BUCKET = "the-backups"
PREFIX = "kept"
OWNER = f"{PREFIX}/owner"
ENDED_BACKUP = {"LIVE", "FAILED", "CANCELED", "DELETED"}
ENDED_RESTORE = {"SUCCEEDED", "FAILED", "CANCELED"}
STOP_SECONDS = 40.0
FIRST_UID = 40_000

BACKUP = """id state sizeBytes sha256 exitCode error { code message }
progress { bytesRead bytesStored } target { bucket path fileId }
logs { totalBytes truncated nodes { stream text } }"""
RESTORE = """id state phase exitCode error { code message } safetyBackup { id state trigger }
progress { bytesDelivered bytesTotal } logs { totalBytes truncated nodes { stream text } }"""
ERRORS = "errors { __typename code message path }"


class Refused(AssertionError):
    """A mutation answered an error."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(f"{error['__typename']} {error['code']}: {error['message']}")
        self.code = error["code"]


@dataclass(kw_only=True)
class Workload:
    """A stateful container with its instances."""

    id: str
    identifier: str
    instances: dict[str, str]
    """Ids by hostname."""
    folders: dict[str, Path]

    def folder(self, number: int) -> Path:
        return self.folders[f"{number}.{self.identifier}"]

    def instance(self, number: int) -> str:
        return self.instances[f"{number}.{self.identifier}"]


@dataclass(kw_only=True)
class Product(Verifying):
    """A running gateway with a hub, an ADMIN key and a LIVE integration."""

    settings: Settings
    sealer: Sealer = field(repr=False)
    sealing_key: str = field(repr=False)
    owner: Database
    b2: LocalB2Server
    bucket_id: str
    root: Path
    hub_id: UUID
    url: str
    token: str = field(repr=False)
    client: httpx.AsyncClient
    integration: str = ""

    # --- GraphQL ------------------------------------------------------------------------------

    async def ask(self, document: str, *, at: str = "", **variables: Any) -> dict[str, Any]:
        """The data of an operation without errors; `at`: the address of another gateway."""
        answer = await self.client.post(
            f"{at}/graphql", json={"query": document, "variables": variables}
        )
        content = answer.json()
        assert "errors" not in content, content
        data: dict[str, Any] = content["data"]
        return data

    async def mutate(self, field: str, document: str, **variables: Any) -> dict[str, Any]:
        """The payload of a mutation that was not refused. Raises Refused."""
        payload: dict[str, Any] = (await self.ask(document, **variables))[field]
        if payload["errors"]:
            raise Refused(payload["errors"][0])
        return payload

    async def watch(self, document: str, **variables: Any) -> AsyncIterator[dict[str, Any]]:
        """What a subscription sends, to its completion."""
        url = "ws" + self.url.removeprefix("http") + "/graphql"
        async with websockets.connect(url, subprotocols=["graphql-transport-ws"]) as socket:
            init = {"Authorization": f"Bearer {self.token}"}
            await socket.send(json.dumps({"type": "connection_init", "payload": init}))
            assert json.loads(await socket.recv())["type"] == "connection_ack"
            payload = {"query": document, "variables": variables}
            await socket.send(json.dumps({"type": "subscribe", "id": "1", "payload": payload}))
            while True:
                message = json.loads(await socket.recv())
                if message["type"] == "ping":
                    await socket.send(json.dumps({"type": "pong"}))
                elif message["type"] == "next":
                    yield message["payload"]["data"]
                else:
                    assert message == {"type": "complete", "id": "1"}, message
                    return

    # --- what a user does ---------------------------------------------------------------------

    async def workload(
        self,
        identifier: str,
        *,
        backup: str,
        restore: str | None = "cat > restored",
        instances: int = 2,
        timeout: str = "PT10M",
        min_bytes: int = 1,
        variables: dict[str, str] | None = None,
        **policy: Any,
    ) -> Workload:
        """Make a container with a policy, and instances with folders."""
        made = await self.mutate(
            "createContainer",
            f"""mutation ($identifier: String!) {{
              createContainer(identifier: $identifier, name: $identifier, stateful: true) {{
                container {{ id }} {ERRORS} }} }}""",
            identifier=identifier,
        )
        load = Workload(id=made["container"]["id"], identifier=identifier, instances={}, folders={})
        for number in range(1, instances + 1):
            await self.instance(load, number, variables=variables)
        await self.configure(
            load, backup=backup, restore=restore, timeout=timeout, min_bytes=min_bytes, **policy
        )
        return load

    async def instance(
        self,
        load: Workload,
        number: int,
        *,
        variables: dict[str, str] | None = None,
        scratch: bool = False,
    ) -> None:
        hostname = f"{number}.{load.identifier}"
        folder = self.root / hostname
        folder.mkdir()
        self.give(folder)
        pairs = [{"name": name, "value": value} for name, value in (variables or {}).items()]
        made = await self.mutate(
            "createInstance",
            f"""mutation ($container: ID!, $hostname: String!, $variables: [VariableInput!],
                $scratch: Boolean! = false) {{
              createInstance(containerId: $container, hostname: $hostname, executor: "process",
                folder: $hostname, variables: $variables, scratch: $scratch) {{
                instance {{ id }} {ERRORS} }} }}""",
            container=load.id,
            hostname=hostname,
            variables=pairs,
            scratch=scratch,
        )
        load.instances[hostname] = made["instance"]["id"]
        load.folders[hostname] = folder

    def give(self, path: Path) -> None:
        """Give a path to the account of the hub's commands."""
        if os.geteuid() == 0:
            status = self.root.stat()
            os.chown(path, status.st_uid, status.st_gid, follow_symlinks=False)

    async def configure(
        self,
        load: Workload,
        *,
        backup: str,
        restore: str | None,
        timeout: str = "PT10M",
        min_bytes: int = 1,
        cron: str | None = None,
        check: str | None = None,
        safety_backup: bool = False,
        verification: dict[str, Any] | None = None,
    ) -> None:
        policy = {
            "integrationId": self.integration,
            "backup": {
                "command": backup,
                "timeout": timeout,
                "minBytes": min_bytes,
                "cron": cron,
            },
            "restore": None
            if restore is None
            else {
                "command": restore,
                "timeout": timeout,
                "check": check,
                "safetyBackup": safety_backup,
            },
            "verification": verification,
        }
        await self.mutate(
            "configureBackups",
            f"""mutation ($id: ID!, $policy: BackupPolicyInput) {{
              configureBackups(containerId: $id, policy: $policy) {{ {ERRORS} }} }}""",
            id=load.id,
            policy=policy,
        )

    async def start_backup(self, load: Workload, number: int = 1) -> str:
        made = await self.mutate(
            "createBackup",
            f"""mutation ($container: ID!, $instance: ID) {{
              createBackup(containerId: $container, instanceId: $instance) {{
                backup {{ id }} {ERRORS} }} }}""",
            container=load.id,
            instance=load.instance(number),
        )
        return str(made["backup"]["id"])

    async def start_restore(self, backup_id: str, instance_id: str, **more: Any) -> str:
        made = await self.mutate(
            "restoreBackup",
            f"""mutation ($backup: ID!, $instance: ID!, $accept: Boolean! = false,
                $safe: Boolean) {{
              restoreBackup(backupId: $backup, instanceId: $instance,
                acceptChangedCommand: $accept, safetyBackup: $safe) {{
                restore {{ id }} {ERRORS} }} }}""",
            backup=backup_id,
            instance=instance_id,
            **more,
        )
        return str(made["restore"]["id"])

    async def backup(self, backup_id: str) -> dict[str, Any]:
        data = await self.ask(
            f"query ($id: ID!) {{ backup(id: $id) {{ {BACKUP} }} }}", id=backup_id
        )
        found: dict[str, Any] = data["backup"]
        return found

    async def restore(self, restore_id: str) -> dict[str, Any]:
        data = await self.ask(
            f"query ($id: ID!) {{ restore(id: $id) {{ {RESTORE} }} }}", id=restore_id
        )
        found: dict[str, Any] = data["restore"]
        return found

    async def backup_ended(
        self, backup_id: str, *, seconds: float = PATIENCE, states: set[str] = ENDED_BACKUP
    ) -> dict[str, Any]:
        """The backup once it is in one of the states."""
        async with asyncio.timeout(seconds):
            while (found := await self.backup(backup_id))["state"] not in states:
                await asyncio.sleep(0.05)
        return found

    async def restore_ended(
        self, restore_id: str, *, seconds: float = PATIENCE, states: set[str] = ENDED_RESTORE
    ) -> dict[str, Any]:
        """The restore once it is in one of the states."""
        async with asyncio.timeout(seconds):
            while (found := await self.restore(restore_id))["state"] not in states:
                await asyncio.sleep(0.05)
        return found

    async def back_up(
        self, load: Workload, number: int = 1, *, seconds: float = PATIENCE
    ) -> dict[str, Any]:
        return await self.backup_ended(await self.start_backup(load, number), seconds=seconds)

    async def put_back(
        self, backup_id: str, instance_id: str, *, seconds: float = PATIENCE, **more: Any
    ) -> dict[str, Any]:
        restore_id = await self.start_restore(backup_id, instance_id, **more)
        return await self.restore_ended(restore_id, seconds=seconds)

    async def delete(self, *backup_ids: str) -> list[dict[str, Any]]:
        payload = await self.mutate(
            "deleteBackups",
            f"""mutation ($ids: [ID!]!) {{ deleteBackups(ids: $ids) {{
              results {{ id accepted backup {{ state }} error {{ code message }} }}
              {ERRORS} }} }}""",
            ids=list(backup_ids),
        )
        results: list[dict[str, Any]] = payload["results"]
        return results

    async def cancel_backup(self, backup_id: str) -> None:
        await self.mutate(
            "cancelBackup",
            f"mutation ($id: ID!) {{ cancelBackup(id: $id) {{ {ERRORS} }} }}",
            id=backup_id,
        )

    async def cancel_restore(self, restore_id: str) -> None:
        await self.mutate(
            "cancelRestore",
            f"mutation ($id: ID!) {{ cancelRestore(id: $id) {{ {ERRORS} }} }}",
            id=restore_id,
        )

    # --- workers ------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def working(
        self, *, parts: Mapping[str, Any] | None = None, **changes: Any
    ) -> AsyncIterator[Worker]:
        """A worker in this process; `changes` of its settings, and of its parts."""
        settings = self.settings.model_copy(update=changes)
        async with make_worker_parts(
            settings, self.owner.dsn, sealer=self.sealer, embedded_realm=None, demo=None
        ) as made:
            times = replace(made.times, sweep=0.2)
            worker = Worker(replace(made, times=times, **(parts or {})))
            async with asyncio.TaskGroup() as tasks:
                listener = tasks.create_task(made.listener.run())
                running = tasks.create_task(worker.run())
                try:
                    yield worker
                finally:
                    worker.stop()
                    worker.hurry()
                    await _stopped(running)
                    listener.cancel()

    @contextlib.asynccontextmanager
    async def worker_process(self, **environment: str) -> AsyncIterator[WorkerProcess]:
        """A worker as a process of its own; SIGKILLed at the end where it is still there."""
        worker = await WorkerProcess.start(self._environment() | environment)
        try:
            yield worker
        finally:
            await worker.end()

    @contextlib.asynccontextmanager
    async def stepping_worker(
        self, step: str, what: str, **environment: str
    ) -> AsyncIterator[WorkerProcess]:
        """One that does something to itself at a step; see tests/fakes/stepping_worker.py."""
        program = ("tests.fakes.stepping_worker", step, what)
        worker = await WorkerProcess.start(self._environment() | environment, *program)
        try:
            yield worker
        finally:
            await worker.end()

    @contextlib.asynccontextmanager
    async def stepping_gateway(
        self, step: str, what: str, **environment: str
    ) -> AsyncIterator[tuple[WorkerProcess, str]]:
        """A gateway of the same kind, and its address."""
        address = Path(tempfile.mkdtemp(prefix="gateway-")) / "address"
        program = ("tests.fakes.stepping_gateway", step, what, str(address))
        gateway = await WorkerProcess.start(self._environment() | environment, *program)
        try:
            async with asyncio.timeout(PATIENCE):
                while not address.exists():
                    await asyncio.sleep(0.05)
            yield gateway, address.read_text()
        finally:
            await gateway.end()
            shutil.rmtree(address.parent)

    def _environment(self) -> dict[str, str]:
        settings = self.settings
        return {
            "PATH": os.environ["PATH"],
            "DATABASE_URL": self.owner.dsn,
            "BACKUP_GATEWAY_SECRET_KEY": self.sealing_key,
            "BACKUP_GATEWAY_PROCESS_ROOTS": f"{self.hub_id}={self.root}",
            "BACKUP_GATEWAY_HOST_NAME": HOST,
            "BACKUP_GATEWAY_B2_REALM": self.b2.url,
            "BACKUP_GATEWAY_GATEWAY_ROLE": GATEWAY_ROLE,
            "BACKUP_GATEWAY_WORKER_ROLE": WORKER_ROLE,
            "BACKUP_GATEWAY_DELETE_GRACE": f"PT{settings.delete_grace.total_seconds():.0f}S",
            "BACKUP_GATEWAY_LEASE_SECONDS": str(settings.lease_seconds),
            "BACKUP_GATEWAY_LEASE_RENEW_SECONDS": str(settings.lease_renew_seconds),
            "BACKUP_GATEWAY_LEASE_GIVE_UP_SECONDS": str(settings.lease_give_up_seconds),
        }

    # --- what must be true at the end ---------------------------------------------------------

    def objects(self) -> list[str]:
        """The names of all versions in the bucket, unfinished uploads too, but the owner object."""
        return sorted(
            version["fileName"]
            for version in self.b2.versions(self.bucket_id)
            if version["fileName"] != OWNER
        )

    async def nothing_left(self, *, kept: int = 0, seconds: float = PATIENCE) -> None:
        """Wait until the bucket holds exactly so many backups and no unfinished upload."""
        async with asyncio.timeout(seconds):
            while len(self.objects()) != 2 * kept or self.b2.unfinished(self.bucket_id):
                await asyncio.sleep(0.1)

    def processes(self) -> list[str]:
        """The command lines of what runs with a run's mark of this product's folders."""
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            with contextlib.suppress(OSError):
                if (entry / "cwd").readlink().is_relative_to(self.root):
                    found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        return found

    async def no_processes(self, *, seconds: float = PATIENCE) -> None:
        """Wait until no command runs in any instance."""
        async with asyncio.timeout(seconds):
            while self.processes():
                await asyncio.sleep(0.05)


async def _stopped(running: asyncio.Task[None]) -> None:
    """Wait for a worker's end; one that hangs says where."""
    await asyncio.wait({running}, timeout=STOP_SECONDS)
    if not running.done():
        stacks = io.StringIO()
        for task in asyncio.all_tasks():
            task.print_stack(limit=8, file=stacks)
        running.cancel()
        pytest.fail(f"the worker does not stop:\n{stacks.getvalue()}")
    running.result()
