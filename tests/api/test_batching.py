"""A list of many takes as many statements as a list of one does."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from graphql import (
    FieldNode,
    GraphQLObjectType,
    GraphQLSchema,
    TypeInfo,
    TypeInfoVisitor,
    Visitor,
    build_schema,
    parse,
    visit,
)
from starlette.applications import Starlette

from app.model.engines import NewEngine
from app.model.events import EventKind, NewEvent
from app.postgres.pool import Database
from app.service.backups import delete_backups
from app.service.engines import create_engine
from app.service.events import record_event
from app.service.webhooks import create_webhook
from tests.builders import (
    SEALER,
    a_failed_backup,
    a_live_backup,
    a_queued_restore,
    a_reconcile,
    a_stage,
    an_instance,
)
from tests.graphql_server import Client, ClientAs, LoggedDatabase
from tests.verification_builders import a_queued_verification

ROOT = Path(__file__).parents[2]
RUN = """id state trigger createdAt startedAt finishedAt exitCode error { code message }
requestedBy { kind id name } waitingReason
logs(first: 1) { totalCount truncated totalBytes nodes { text } }
container { id } instance { id }"""
RESTORE = f"""{RUN} phase progress {{ bytesDelivered eta }} backup {{ id }}
 safetyBackup {{ id }}"""
VERIFICATION = """id level state createdAt startedAt finishedAt exitCode error { code message }
 requestedBy { kind id name } waitingReason
 logs(first: 1) { totalCount truncated totalBytes nodes { text } }
 container { id } instance { id } backup { id } restore { id } progress { bytesChecked }"""
BACKUP = f"""{RUN} verification {{ {VERIFICATION} }}
   verifications(first: 2) {{ totalCount nodes {{ {VERIFICATION} }} }}
   instanceHostname duration sizeBytes sha256 sizeDropped pinned note
  commands {{ backup }} target {{ integration {{ id }} path }} progress {{ bytesRead }}
  storage(live: true) {{ status advice checkedAt error {{ code }} }}
  retention {{ keep code reason }} expiresAt deletionRequestedBy {{ name }}
  restores(first: 2) {{ totalCount nodes {{ {RESTORE} }} }}"""
INTEGRATION = """id name state keyId nextKeyId bucket prefix error { code } verifiedAt createdAt
lastReconciledAt reconcile { running } recovery { running }"""
CONTAINERS = f"""{{ containers(first: 10) {{ totalCount nodes {{
  id identifier name stateful state labels {{ name }} createdAt goesAt storedBytes
  engine {{ id }} composeProject composeService sources {{ value }}
  lastBackup {{ id }} nextBackupAt overdueSince
  backupPolicy {{ updatedAt integration {{ {INTEGRATION} }}
    backup {{ command }} restore {{ command }} }}
  instances {{ totalCount nodes {{ id hostname state executor host folder scratch createdAt
    engine {{ id }} engineContainer user variableNames inDoubtSince replica sources {{ value }}
    restorable {{ possible }} container {{ id }} }} }}
  backups(first: 5) {{ totalCount nodes {{ {BACKUP} }} }}
  restores(filter: {{states: [QUEUED]}}) {{ totalCount nodes {{ id }} }}
  retentionPreview(first: 5) {{ totalCount nodes {{ keep backup {{ id }} }} }}
}} }} }}"""
BACKUPS = f"""{{ hub {{ storedBytes
  backups(first: 100) {{ totalCount nodes {{ {BACKUP} }} }}
  restores(first: 100) {{ totalCount nodes {{ {RESTORE} }} }}
  integrations(first: 100) {{ totalCount nodes {{ {INTEGRATION} }} }}
  engines(first: 20) {{ totalCount nodes {{ id name address host state version error {{ code }}
    unreachableSince checkedAt createdAt problems {{ message }} }} }}
  apiKeys(first: 100) {{ totalCount nodes {{ id name prefix role capabilities
    createdAt expiresAt revokedAt }} }}
  webhooks(first: 100) {{ totalCount nodes {{ id url kinds enabled pending lastDeliveredAt
    failingSince lastError formerSecretUntil createdAt }} }}
}} }}"""

EVENTS = """{ hub { events(first: 100) { totalCount nodes { id kind message createdAt
  details { name } container { name } instance { hostname } backup { state } restore { state }
  verification { state } integration { name } } } } }"""

DRIFTS = """{ hub { storageDrift(first: 100) { totalCount nodes { id kind detail name fileId
  sizeBytes uploadedAt foundAt resolvedAt resolution adopting bytesRead error { code }
  integration { name } backup { state } } } } }"""
RECLAIMS = """{ hub { reclaims(first: 100) { totalCount nodes { id kind name createdAt age attempts
  lastError { code } nextAttemptAt confirmedAt stuckSince backup { state } integration { name } } }
} }"""


@pytest.fixture
async def logged(logged_app: Starlette, client_as: ClientAs) -> AsyncIterator[Client]:
    """An ADMIN whose statements are written down."""
    transport = httpx.ASGITransport(app=logged_app)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as http:
        yield replace(await client_as(), http=http)


def is_ours(statement: str) -> bool:
    """One of db/queries: these are in lower case, the driver's own are not."""
    return statement.startswith("select") and "set_config" not in statement


async def count(client: Client, database: LoggedDatabase, query: str) -> int:
    """The statements that a query takes, but for those that depend on the pool's connections."""
    database.statements.clear()
    await client.ask(query)
    return len([text for text in database.statements if is_ours(text)])


async def test_many_containers_take_as_many_statements_as_one(
    *,
    logged: Client,
    logged_database: LoggedDatabase,
    owner: Database,
    gateway_database: Database,
    worker_database: Database,
) -> None:
    async def add() -> None:
        stage = await a_stage(owner, gateway_database, worker_database, admin=logged.principal)
        backup = await a_live_backup(gateway_database, worker_database, stage)
        await a_failed_backup(gateway_database, worker_database, stage)
        await a_queued_restore(gateway_database, stage, backup)
        await a_queued_verification(gateway_database, stage, backup)

    await add()
    one = await count(logged, logged_database, CONTAINERS)
    for _ in range(5):
        await add()
    many = await count(logged, logged_database, CONTAINERS)
    data = await logged.ask(CONTAINERS)
    assert len(data["containers"]["nodes"]) == 6
    # More statements are a change to explain.
    assert (one, many) == (41, 41), logged_database.statements


async def a_webhook(gateway: Database, client: Client) -> None:
    url = "https://hooks.example/"
    await create_webhook(gateway, client.principal, url=url, kinds=None, sealer=SEALER, http=False)


async def an_engine(gateway: Database, client: Client) -> None:
    new = NewEngine(
        name="docker",
        address="unix:///run/docker.sock",
        host=None,
        authority=None,
        certificate=None,
        key=None,
    )
    await create_engine(gateway, client.principal, new=new, default_host="here", sealer=SEALER)


@pytest.mark.timeout(120)  # a hundred backups are made, one after the other
async def test_a_hundred_backups_take_as_many_statements_as_one(
    *,
    logged: Client,
    logged_database: LoggedDatabase,
    owner: Database,
    gateway_database: Database,
    worker_database: Database,
) -> None:
    """Live ones, of several containers with policies, integrations and restores of their own."""

    async def add(count: int) -> None:
        stage = await a_stage(owner, gateway_database, worker_database, admin=logged.principal)
        await a_webhook(gateway_database, logged)
        await an_engine(gateway_database, logged)
        for _ in range(count):
            backup = await a_live_backup(gateway_database, worker_database, stage)
        await a_queued_verification(gateway_database, stage, backup)
        for _ in range(min(count, 3)):
            other = await an_instance(gateway_database, logged.principal, stage.container)
            await a_queued_restore(gateway_database, replace(stage, instance=other), backup)

    await add(1)
    one = await count(logged, logged_database, BACKUPS)
    for number in (33, 33, 33):
        await add(number)
    many = await count(logged, logged_database, BACKUPS)
    backups = (await logged.ask(BACKUPS))["hub"]["backups"]["nodes"]
    assert [backup["state"] for backup in backups] == ["LIVE"] * 100
    assert len({backup["container"]["id"] for backup in backups}) == 4
    assert {backup["retention"]["keep"] for backup in backups} == {True}
    assert sum(backup["restores"]["totalCount"] for backup in backups) == 1 + 3 * 3
    assert (one, many) == (43, 43), logged_database.statements


async def test_many_events_take_as_many_statements_as_one(
    *,
    logged: Client,
    logged_database: LoggedDatabase,
    owner: Database,
    gateway_database: Database,
    worker_database: Database,
) -> None:
    async def add() -> None:
        stage = await a_stage(owner, gateway_database, worker_database, admin=logged.principal)
        backup = await a_live_backup(gateway_database, worker_database, stage)
        restore = await a_queued_restore(gateway_database, stage, backup)
        await a_queued_verification(gateway_database, stage, backup)
        new = NewEvent(
            kind=EventKind.DRIFT_FOUND,
            message="Something is not as it was.",
            container_id=stage.container.id,
            instance_id=stage.instance.id,
            backup_id=backup.id,
            restore_id=restore.id,
            integration_id=stage.integration.id,
        )
        async with worker_database.transaction(None) as connection:
            await record_event(connection, stage.admin.hub_id, new)

    await add()
    one = await count(logged, logged_database, EVENTS)
    for _ in range(4):
        await add()
    many = await count(logged, logged_database, EVENTS)
    assert len((await logged.ask(EVENTS))["hub"]["events"]["nodes"]) == 5
    assert (one, many) == (9, 9), logged_database.statements


async def test_much_drift_takes_as_many_statements_as_one(
    *,
    logged: Client,
    logged_database: LoggedDatabase,
    owner: Database,
    gateway_database: Database,
    worker_database: Database,
) -> None:
    async def add() -> None:
        stage = await a_stage(owner, gateway_database, worker_database, admin=logged.principal)
        await a_live_backup(gateway_database, worker_database, stage)
        await a_reconcile(gateway_database, worker_database, stage, [])

    await add()
    one = await count(logged, logged_database, DRIFTS)
    for _ in range(4):
        await add()
    many = await count(logged, logged_database, DRIFTS)
    # The object and its manifest of each.
    assert len((await logged.ask(DRIFTS))["hub"]["storageDrift"]["nodes"]) == 10
    assert (one, many) == (6, 6), logged_database.statements


async def test_many_reclaims_take_as_many_statements_as_one(
    *,
    logged: Client,
    logged_database: LoggedDatabase,
    owner: Database,
    gateway_database: Database,
    worker_database: Database,
) -> None:
    async def add() -> None:
        stage = await a_stage(owner, gateway_database, worker_database, admin=logged.principal)
        backup = await a_live_backup(gateway_database, worker_database, stage)
        await delete_backups(gateway_database, logged.principal, ids=[("it", backup.id)])

    await add()
    one = await count(logged, logged_database, RECLAIMS)
    for _ in range(4):
        await add()
    many = await count(logged, logged_database, RECLAIMS)
    assert (await logged.ask(RECLAIMS))["hub"]["reclaims"]["totalCount"] == 10
    assert (one, many) == (6, 6), logged_database.statements


def test_each_field_of_a_node_is_asked_for_in_a_list() -> None:
    schema = build_schema((ROOT / "schema.graphql").read_text(encoding="utf-8"))
    listed = {
        name
        for query in (CONTAINERS, BACKUPS, EVENTS, DRIFTS, RECLAIMS)
        for name in find_listed(schema, query)
    }
    assert listed == {
        f"{type_.name}.{name}"
        for type_ in schema.type_map.values()
        if isinstance(type_, GraphQLObjectType)
        and "Node" in {interface.name for interface in type_.interfaces}
        and type_.name != "Hub"  # there is one for each key
        for name in type_.fields
    }


def find_listed(schema: GraphQLSchema, query: str) -> set[str]:
    """The fields of nodes that a document asks for of each entry of some list."""
    info, found, lists = TypeInfo(schema), set(), []

    class Find(Visitor):
        def enter_field(self, node: FieldNode, *_: object) -> None:
            parent = info.get_parent_type()
            assert isinstance(parent, GraphQLObjectType)
            if lists and "Node" in {interface.name for interface in parent.interfaces}:
                found.add(f"{parent.name}.{node.name.value}")
            if node.name.value == "nodes":
                lists.append(node)

        def leave_field(self, node: FieldNode, *_: object) -> None:
            if node.name.value == "nodes":
                lists.pop()

    visit(parse(query), TypeInfoVisitor(info, Find()))
    return found


async def test_a_total_is_counted_only_when_asked_for(
    logged: Client, logged_database: LoggedDatabase
) -> None:
    await logged.ask("{ viewer { name } }")
    logged_database.statements.clear()
    await logged.ask("{ containers { nodes { id } } }")
    assert [text for text in logged_database.statements if "count(" in text] == []
    await logged.ask("{ containers { totalCount } }")
    assert len([text for text in logged_database.statements if "count(" in text]) == 1
