"""The gateway as others' clients meet it: graphql-http's audit, graphql-ws, graphql-sse."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette

from app.api.context import Parts
from app.model.ids import encode_id
from app.postgres.listen import notify
from app.postgres.pool import Database
from app.service.endings import finish_restore
from app.web.app import create_app
from tests.builders import a_live_backup, a_stage, a_started_restore
from tests.graphql_server import Client, serve

NODE = Path(__file__).parent / "node"
FOLLOW = "subscription($id: ID!) { restoreProgress(restoreId: $id) { id state } }"
NAME = "{ viewer { name } }"

pytestmark = [
    pytest.mark.needs("node-clients"),
    pytest.mark.timeout(60),  # a Node starts in each
    pytest.mark.usefixtures("listening"),
]


@dataclass(kw_only=True)
class Script:
    """A script that runs in Node and tells what it sees."""

    process: asyncio.subprocess.Process
    seen: list[dict[str, Any]]

    async def read(self) -> dict[str, Any]:
        """The next line."""
        assert self.process.stdout is not None
        line = await self.process.stdout.readline()
        assert line, "the script has ended"
        self.seen.append(json.loads(line))
        return self.seen[-1]

    async def read_until(self, name: str) -> Any:
        """The value of the next line that has this name."""
        while True:
            line = await self.read()
            if name in line:
                return line[name]

    def count(self, name: str) -> int:
        return sum(name in line for line in self.seen)


@contextlib.asynccontextmanager
async def run(name: str, *arguments: str) -> AsyncIterator[Script]:
    process = await asyncio.create_subprocess_exec(
        "node", str(NODE / name), *arguments, stdout=asyncio.subprocess.PIPE
    )
    try:
        yield Script(process=process, seen=[])
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        # Reading to the end closes the pipe.
        await process.communicate()


def follow(
    kind: str, place: str, client: Client, query: str, *, attempts: int = 100, **variables: str
) -> contextlib.AbstractAsyncContextManager[Script]:
    url = f"http://{place}/graphql"
    given = json.dumps(variables)
    return run("follow.mjs", kind, url, client.token, query, given, str(attempts))


@dataclass(frozen=True, kw_only=True)
class Started:
    """A restore that a worker carries out."""

    id: str
    order: Any


@pytest.fixture
async def started(
    admin: Client, owner: Database, gateway_database: Database, worker_database: Database
) -> Started:
    stage = await a_stage(owner, gateway_database, worker_database, admin=admin.principal)
    backup = await a_live_backup(gateway_database, worker_database, stage)
    order = await a_started_restore(gateway_database, worker_database, stage, backup)
    return Started(id=encode_id("Restore", order.run.id), order=order)


async def test_the_audit_of_graphql_over_http_passes_whole(app: Starlette, admin: Client) -> None:
    async with serve(app) as place:
        url = f"http://{place}/graphql"
        async with run("audit.mjs", url, admin.token) as node:
            assert node.process.stdout is not None
            audits = [json.loads(line) async for line in node.process.stdout]
    assert [audit for audit in audits if audit["status"] != "ok"] == []
    assert len(audits) == 61


@pytest.mark.parametrize("kind", ["ws", "sse"])
async def test_a_client_gets_a_querys_answer(app: Starlette, admin: Client, kind: str) -> None:
    async with serve(app) as place, follow(kind, place, admin, NAME) as node:
        result = await node.read_until("result")
        assert result["data"] == {"viewer": {"name": admin.principal.name}}
        assert await node.read() == {"end": True}


@pytest.mark.parametrize(
    ("query", "code"),
    [("{", "PARSE_FAILED"), ("{ nope }", "VALIDATION_FAILED"), (FOLLOW, "BAD_USER_INPUT")],
)
@pytest.mark.parametrize("kind", ["ws", "sse"])
async def test_a_client_gets_the_error_of_a_wrong_operation(
    app: Starlette, admin: Client, kind: str, query: str, code: str
) -> None:
    async with serve(app) as place, follow(kind, place, admin, query) as node:
        told = await node.read_until("error" if kind == "ws" else "result")
        assert [error["extensions"]["code"] for error in told["errors"]] == [code]
        await node.read_until("end")


async def test_a_socket_client_with_a_bad_key_does_not_come_again(
    app: Starlette, admin: Client
) -> None:
    async with serve(app) as place, follow("ws", place, replace(admin, token="no"), NAME) as node:
        error = await node.read_until("error")
        assert (error["code"], error["reason"]) == (4401, "Unauthorized")
        await node.read_until("end")
        assert node.count("opened") == 1


async def test_a_stream_client_with_a_bad_key_is_told(app: Starlette, admin: Client) -> None:
    """graphql-sse would ask again as often as it may, whatever the status is."""
    stranger = replace(admin, token="no")
    async with serve(app) as place, follow("sse", place, stranger, NAME, attempts=0) as node:
        assert (await node.read_until("error"))["status"] == 401
        await node.read_until("end")


@pytest.mark.parametrize("kind", ["ws", "sse"])
async def test_a_client_with_a_revoked_key_stops(
    app: Starlette,
    admin: Client,
    owner: Database,
    started: Started,
    kind: str,
) -> None:
    async with serve(app) as place, follow(kind, place, admin, FOLLOW, id=started.id) as node:
        await node.read_until("result")
        async with owner.transaction(None) as connection:
            key_id = admin.principal.key_id
            await connection.execute("update api_keys set revoked_at = now() where id = $1", key_id)
            await notify(connection, [f"key:{key_id}"])
        if kind == "ws":
            assert (await node.read_until("error"))["code"] == 4401
        else:
            [error] = (await node.read_until("result"))["errors"]
            assert error["extensions"]["code"] == "UNAUTHENTICATED"
        await node.read_until("end")
        assert node.count("opened") == 1


@pytest.mark.parametrize("kind", ["ws", "sse"])
async def test_a_client_comes_again_after_a_restart_and_sees_the_end(
    parts: Parts,
    admin: Client,
    worker_database: Database,
    started: Started,
    kind: str,
) -> None:
    """What happened while no gateway was there is in the state that it begins with."""
    async with contextlib.AsyncExitStack() as stack:
        async with serve(create_app(parts)) as place:
            node = await stack.enter_async_context(
                follow(kind, place, admin, FOLLOW, id=started.id)
            )
            result = await node.read_until("result")
            assert result["data"]["restoreProgress"]["state"] == "RUNNING"
        async with serve(create_app(parts), port=int(place.partition(":")[2])):
            result = await node.read_until("result")
            assert result["data"]["restoreProgress"]["state"] == "RUNNING"
            await finish_restore(worker_database, started.order, 0)
            result = await node.read_until("result")
            assert result["data"]["restoreProgress"]["state"] == "SUCCEEDED"
            assert await node.read() == {"end": True}
    assert node.count("opened") > 1
    assert node.count("error") == 0
