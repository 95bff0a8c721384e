"""Fixtures: the whole gateway as clients meet it, over ASGI or a real socket."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.types import ASGIApp

from app.api.context import Parts
from app.errors import StorageUnavailable
from app.model.access import Principal, Role
from app.model.hubs import Hub
from app.model.integrations import StorageAccess
from app.model.schedules import MOST_JITTER
from app.postgres.listen import ListenHub
from app.postgres.pool import Connection, Database
from app.storage.port import Storage
from app.transfer.objects import Objects
from app.web.app import create_app
from tests.builders import EMBEDDED_KEY_PREFIX, HOST, SEALER, START_WITHIN, a_hub, a_key
from tests.conftest import GATEWAY_ROLE

GRACE = timedelta(hours=1)


@dataclass(frozen=True, kw_only=True)
class Client:
    """A client with a key of one hub."""

    http: httpx.AsyncClient
    hub: Hub
    principal: Principal
    token: str

    async def post(self, query: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
        """The whole answer to an operation."""
        response = await self.http.post(
            "/graphql",
            json={"query": query, "variables": variables},
            headers={"authorization": f"Bearer {self.token}"},
        )
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer

    async def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        """The data of an operation that has no error."""
        answer = await self.post(query, variables)
        assert "errors" not in answer, answer["errors"]
        data: dict[str, Any] = answer["data"]
        return data

    async def fail(self, query: str, **variables: Any) -> list[dict[str, Any]]:
        """The top-level errors of an operation."""
        answer = await self.post(query, variables)
        errors: list[dict[str, Any]] = answer["errors"]
        return errors


ClientAs = Callable[..., Awaitable[Client]]


@pytest.fixture
def listen(dsn: str) -> ListenHub:
    """The hub of notifications; `listening` runs it."""
    return ListenHub(dsn, role=GATEWAY_ROLE)


@pytest.fixture
async def listening(listen: ListenHub) -> AsyncIterator[ListenHub]:
    task = asyncio.create_task(listen.run())
    await listen.wait_until_listening()
    yield listen
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def find_no_storage(access: StorageAccess) -> Storage:
    raise StorageUnavailable(f"There is no B2 here for {access.bucket}.")


@pytest.fixture
def objects() -> Iterator[Objects]:
    """No B2 is here; a test that wants one has this fixture of its own."""
    with ThreadPoolExecutor(1) as threads:
        yield Objects(find_no_storage, threads)


@pytest.fixture
def parts(gateway_database: Database, listen: ListenHub, objects: Objects) -> Parts:
    return Parts(
        database=gateway_database,
        listen=listen,
        sealer=SEALER,
        delete_grace=GRACE,
        schedule_jitter=MOST_JITTER,
        start_within=START_WITHIN,
        embedded_key_prefix=EMBEDDED_KEY_PREFIX,
        default_host=HOST,
        webhooks_without_tls=False,
        objects=objects,
    )


@pytest.fixture
def app(parts: Parts) -> Starlette:
    return create_app(parts, allowed_origins=["https://friend.example"])


@pytest.fixture
async def http(app: Starlette) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        yield client


@pytest.fixture
async def hub(owner: Database) -> Hub:
    return await a_hub(owner)


@pytest.fixture
def client_as(
    owner: Database, gateway_database: Database, http: httpx.AsyncClient, hub: Hub
) -> ClientAs:
    """Make a client of this role, of the test's hub or of another one."""

    async def make(role: Role = Role.ADMIN, *, of: Hub | None = None) -> Client:
        of = of or hub
        principal, token = await a_key(owner, gateway_database, of, role=role)
        return Client(http=http, hub=of, principal=principal, token=token)

    return make


@pytest.fixture
async def admin(client_as: ClientAs) -> Client:
    return await client_as(Role.ADMIN)


@pytest.fixture
async def stranger(client_as: ClientAs, owner: Database) -> Client:
    """An ADMIN of another hub."""
    return await client_as(Role.ADMIN, of=await a_hub(owner))


@contextlib.asynccontextmanager
async def serve(
    app: ASGIApp, *, port: int = 0, send_buffer: int | None = None
) -> AsyncIterator[str]:
    """The application behind a real socket; gives `host:port`.

    `send_buffer`: bytes that the kernel takes for a client that does not read.
    """
    bound = socket.create_server(("127.0.0.1", port))
    if send_buffer is not None:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
    server = uvicorn.Server(
        uvicorn.Config(app, log_config=None, lifespan="off", ws="websockets-sansio")
    )
    task = asyncio.create_task(server.serve(sockets=[bound]))
    try:
        while not server.started:
            await asyncio.sleep(0.005)
        yield f"127.0.0.1:{bound.getsockname()[1]}"
    finally:
        if isinstance(app, Starlette) and hasattr(app.state, "stopping"):
            app.state.stopping.set()
        server.should_exit = True
        await task
        bound.close()


class LoggedDatabase(Database):
    """Writes down each statement that its borrowers send."""

    statements: list[str]

    @contextlib.asynccontextmanager
    async def connection(self, hub_id: UUID | None = None) -> AsyncIterator[Connection]:
        async with super().connection(hub_id) as connection:
            connection.add_query_logger(self._keep)
            try:
                yield connection
            finally:
                connection.remove_query_logger(self._keep)

    def _keep(self, record: Any) -> None:
        self.statements.append(record.query)


@pytest.fixture
async def logged_database(dsn: str) -> AsyncIterator[LoggedDatabase]:
    # One connection: what is asked together then does not depend on which answer comes first.
    async with LoggedDatabase.open(dsn, role=GATEWAY_ROLE, min_size=0, max_size=1) as database:
        database.statements = []
        yield database


@pytest.fixture
def logged_app(parts: Parts, logged_database: LoggedDatabase) -> Starlette:
    """The gateway on the database that writes down its statements."""
    return create_app(replace(parts, database=logged_database))
