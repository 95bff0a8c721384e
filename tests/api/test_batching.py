"""A list of many takes as many statements as a list of one does."""

from collections.abc import AsyncIterator
from dataclasses import replace

import httpx
import pytest

from app.api.context import Parts
from app.postgres.pool import Database
from app.web.app import create_app
from tests.builders import a_failed_backup, a_live_backup, a_queued_restore, a_stage
from tests.graphql_server import Client, ClientAs, LoggedDatabase

EVERYTHING = """
{ containers(first: 10) { totalCount nodes {
  id storedBytes lastBackup { id }
  backupPolicy { integration { id } backup { command } }
  instances { totalCount nodes { hostname variableNames restorable { possible }
    container { id } } }
  backups(first: 10) { totalCount nodes {
    id commands { backup } container { id } instance { id } target { integration { id } }
    logs(first: 1) { totalCount nodes { text } }
    restores(first: 2) { totalCount nodes { id backup { id } instance { id } container { id }
      logs(first: 1) { totalCount nodes { text } } } }
  } }
  restores(filter: {states: [QUEUED]}) { totalCount nodes { id } }
} } }
"""


@pytest.fixture
async def logged_http(
    parts: Parts, logged_database: LoggedDatabase
) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(replace(parts, database=logged_database))
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        yield client


def is_ours(statement: str) -> bool:
    """One of db/queries: these are in lower case, the driver's own are not."""
    return statement.startswith("select") and "set_config" not in statement


async def test_a_list_of_many_takes_as_many_statements_as_a_list_of_one(
    *,
    admin: Client,
    client_as: ClientAs,
    logged_http: httpx.AsyncClient,
    logged_database: LoggedDatabase,
    owner: Database,
    gateway_database: Database,
    worker_database: Database,
) -> None:
    client = replace(await client_as(), http=logged_http)

    async def add() -> None:
        stage = await a_stage(owner, gateway_database, worker_database, admin=admin.principal)
        backup = await a_live_backup(gateway_database, worker_database, stage)
        await a_failed_backup(gateway_database, worker_database, stage)
        await a_queued_restore(gateway_database, stage, backup)

    async def count() -> int:
        logged_database.statements.clear()
        await client.ask(EVERYTHING)
        # Binding to the hub and learning types depend on which connections the pool has.
        return len([text for text in logged_database.statements if is_ours(text)])

    await add()
    one = await count()
    for _ in range(5):
        await add()
    many = await count()
    data = await client.ask(EVERYTHING)
    assert len(data["containers"]["nodes"]) == 6
    # More statements are a change to explain.
    assert (one, many) == (26, 26), logged_database.statements


async def test_a_total_is_counted_only_when_asked_for(
    client_as: ClientAs, logged_http: httpx.AsyncClient, logged_database: LoggedDatabase
) -> None:
    client = replace(await client_as(), http=logged_http)
    await client.ask("{ viewer { name } }")
    logged_database.statements.clear()
    await client.ask("{ containers { nodes { id } } }")
    assert [text for text in logged_database.statements if "count(" in text] == []
    await client.ask("{ containers { totalCount } }")
    assert len([text for text in logged_database.statements if "count(" in text]) == 1
