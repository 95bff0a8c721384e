"""Several gateways, and gateways that go: who follows something sees its end for certain."""

import asyncio
import contextlib
import json
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from app.api.context import Parts
from app.model.ids import encode_id
from app.model.orders import RestoreOrder, RunProgress
from app.postgres.listen import ListenHub
from app.postgres.pool import Database
from app.service.endings import finish_restore
from app.service.runs import record_progress
from app.web.app import create_app
from tests.builders import a_live_backup, a_stage, a_started_restore
from tests.conftest import GATEWAY_ROLE
from tests.gateway_process import RunGateway
from tests.graphql_server import Client, serve
from tests.graphql_socket import Socket, open_socket

FOLLOW = """subscription($id: ID!) { restoreProgress(restoreId: $id) {
  state progress { bytesDelivered } } }"""


@dataclass(frozen=True, kw_only=True)
class Started:
    """A restore that a worker carries out."""

    id: str
    order: RestoreOrder


@pytest.fixture
async def started(
    admin: Client, owner: Database, gateway_database: Database, worker_database: Database
) -> Started:
    stage = await a_stage(owner, gateway_database, worker_database, admin=admin.principal)
    backup = await a_live_backup(gateway_database, worker_database, stage)
    order = await a_started_restore(gateway_database, worker_database, stage, backup)
    return Started(id=encode_id("Restore", order.run.id), order=order)


async def tell(worker: Database, order: RestoreOrder, delivered: int) -> None:
    progress = RunProgress(
        run_id=order.run.id,
        epoch=order.run.epoch,
        bytes_read=0,
        bytes_stored=0,
        bytes_delivered=delivered,
        bytes_per_second=100,
    )
    await record_progress(worker, [progress])


async def read(client: Socket) -> tuple[str, int]:
    message = await client.read()
    assert message["type"] == "next", message
    found = message["payload"]["data"]["restoreProgress"]
    return found["state"], found["progress"]["bytesDelivered"]


@contextlib.asynccontextmanager
async def another_gateway(parts: Parts, dsn: str) -> AsyncIterator[Starlette]:
    """With connections of its own: nothing is shared but the database."""
    async with Database.open(dsn, role=GATEWAY_ROLE, min_size=0) as database:
        listen = ListenHub(dsn, role=GATEWAY_ROLE)
        task = asyncio.create_task(listen.run())
        await listen.wait_until_listening()
        try:
            yield create_app(replace(parts, database=database, listen=listen))
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


@pytest.mark.usefixtures("listening")
async def test_a_run_is_followed_at_every_gateway(
    parts: Parts, dsn: str, admin: Client, started: Started, worker_database: Database
) -> None:
    async with (
        another_gateway(parts, dsn) as other,
        serve(create_app(parts)) as here,
        serve(other) as there,
        open_socket(here) as first,
        open_socket(there) as second,
    ):
        for client in (first, second):
            await client.init(admin.token)
            await client.subscribe("1", FOLLOW, id=started.id)
            assert await read(client) == ("RUNNING", 0)
        await tell(worker_database, started.order, 500)
        assert [await read(client) for client in (first, second)] == [("RUNNING", 500)] * 2
        await finish_restore(worker_database, started.order, 0)
        for client in (first, second):
            assert (await read(client))[0] == "SUCCEEDED"
            assert await client.read() == {"type": "complete", "id": "1"}


@pytest.mark.usefixtures("listening")
async def test_a_key_that_is_revoked_at_one_gateway_ends_its_sockets_at_another(
    parts: Parts, dsn: str, admin: Client, started: Started
) -> None:
    """By `revokeApiKey` itself."""
    revoke = "mutation($id: ID!) { revokeApiKey(id: $id) { errors { code } } }"
    async with (
        another_gateway(parts, dsn) as other,
        serve(other) as there,
        open_socket(there) as client,
    ):
        await client.init(admin.token)
        await client.subscribe("1", FOLLOW, id=started.id)
        assert await read(client) == ("RUNNING", 0)
        answer = await admin.ask(revoke, id=encode_id("ApiKey", admin.principal.key_id))
        assert answer["revokeApiKey"] == {"errors": []}
        assert await client.wait_closed() == (4401, "Unauthorized")


@pytest.mark.timeout(60)  # a gateway starts twice
async def test_after_a_killed_gateway_the_next_one_shows_the_state_and_the_end(
    run_gateway: RunGateway, admin: Client, started: Started, worker_database: Database
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        async with run_gateway() as gateway:
            client = await stack.enter_async_context(open_socket(gateway.place))
            await client.init(admin.token)
            await client.subscribe("1", FOLLOW, id=started.id)
            assert await read(client) == ("RUNNING", 0)
            gateway.process.kill()
            await client.connection.wait_closed()
        # Nobody is told of this.
        await tell(worker_database, started.order, 700)
        gateway = await stack.enter_async_context(run_gateway())
        client = await stack.enter_async_context(open_socket(gateway.place))
        await client.init(admin.token)
        await client.subscribe("1", FOLLOW, id=started.id)
        assert await read(client) == ("RUNNING", 700)
        await finish_restore(worker_database, started.order, 0)
        assert (await read(client))[0] == "SUCCEEDED"
        assert await client.read() == {"type": "complete", "id": "1"}


@pytest.mark.timeout(60)  # a gateway starts
async def test_a_gateway_that_is_told_to_stop_does_not_wait_for_open_streams(
    run_gateway: RunGateway, admin: Client, started: Started
) -> None:
    """Its log would say that the time for its clients had run out."""
    headers = {"authorization": f"Bearer {admin.token}", "accept": "text/event-stream"}
    sent: dict[str, Any] = {"query": FOLLOW, "variables": {"id": started.id}}
    async with (
        run_gateway() as gateway,
        open_socket(gateway.place) as client,
        httpx.AsyncClient(trust_env=False, timeout=30) as http,
        http.stream("POST", gateway.url, json=sent, headers=headers) as stream,
    ):
        lines = stream.aiter_lines()
        while not (line := await anext(lines)).startswith("data: "):
            pass
        data = json.loads(line.removeprefix("data: "))["data"]
        assert data["restoreProgress"]["state"] == "RUNNING"
        await client.init(admin.token)
        await client.subscribe("1", FOLLOW, id=started.id)
        assert await read(client) == ("RUNNING", 0)
        gateway.process.send_signal(signal.SIGTERM)
        assert "event: complete" not in [line async for line in lines]
        assert (await client.wait_closed())[0] == 1012
        assert await gateway.process.wait() == 0
        assert "exceeded" not in gateway.log.read_text()
