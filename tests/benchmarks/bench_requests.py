"""How many requests for a container and 10 of its backups one gateway process answers a second.

The ASGI application is called without a network; PostgreSQL is a process of its own beside it.
"""

import asyncio
import time
from dataclasses import replace

import orjson
import pytest
from starlette.types import ASGIApp, Message

from app.api.limits import Limits
from app.model.ids import encode_id
from app.postgres.pool import Database
from app.web.app import create_app
from tests.builders import a_hub, a_key, a_live_backup, a_stage
from tests.conftest import GATEWAY_ROLE
from tests.graphql_server import listen, objects, parts  # noqa: F401

BACKUPS = 10
AT_A_TIME = (1, 8)
PAGE = """query Page($id: ID!) { container(id: $id) {
  id identifier name state storedBytes
  backups(first: 10) {
    nodes { id state createdAt sizeBytes instanceHostname error { code message }
      progress { bytesRead bytesStored } }
    pageInfo { hasNextPage endCursor }
  }
} }"""


@pytest.fixture
async def asked(owner, gateway_database, worker_database):
    """The headers and the body of the request."""
    principal, token = await a_key(owner, gateway_database, await a_hub(owner))
    stage = await a_stage(owner, gateway_database, worker_database, admin=principal)
    for _ in range(BACKUPS):
        await a_live_backup(gateway_database, worker_database, stage)
    headers = [
        (b"content-type", b"application/json"),
        (b"authorization", f"Bearer {token}".encode()),
    ]
    variables = {"id": encode_id("Container", stage.container.id)}
    return headers, orjson.dumps({"query": PAGE, "variables": variables})


async def post(app: ASGIApp, headers: list[tuple[bytes, bytes]], body: bytes) -> bytes:
    """One request, handed to the application as a server does it."""
    sent: list[Message] = []
    asked = False

    async def receive() -> Message:
        nonlocal asked
        if asked:
            await asyncio.Event().wait()
        asked = True
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/graphql",
        "raw_path": b"/graphql",
        "query_string": b"",
        "root_path": "",
        "headers": headers,
        "server": ("127.0.0.1", 80),
        "client": ("127.0.0.1", 1),
    }
    await app(scope, receive, send)
    assert sent[0]["status"] == 200, sent
    content: bytes = sent[1]["body"]
    return content


async def keep_asking(app, headers, body, *, many, seconds):
    """Answers a second with so many requests at a time, and CPU milliseconds for each."""
    done = 0
    began, used = time.perf_counter(), time.process_time()

    async def keep_on() -> None:
        nonlocal done
        while time.perf_counter() < began + seconds:
            await post(app, headers, body)
            done += 1

    async with asyncio.TaskGroup() as tasks:
        for _ in range(many):
            tasks.create_task(keep_on())
    rate = done / (time.perf_counter() - began)
    return rate, (time.process_time() - used) / done * 1000


async def measure_requests(dsn, parts, asked, quick, show):  # noqa: F811
    """One at a time, and several side by side."""
    async with Database.open(dsn, role=GATEWAY_ROLE) as database:
        limits = Limits(points_per_minute=10**9)
        app = create_app(replace(parts, database=database), limits=limits)
        answer = orjson.loads(await post(app, *asked))
        assert len(answer["data"]["container"]["backups"]["nodes"]) == BACKUPS
        table = []
        for many in AT_A_TIME:
            rate, cpu = await keep_asking(app, *asked, many=many, seconds=1 if quick else 10)
            table.append((f"{many} at a time", f"{rate:.0f}", f"{cpu:.1f}"))
    columns = ("", "requests/s", "ms of CPU each")
    show(f"A container and {BACKUPS} of its backups, one gateway process", columns, table)
