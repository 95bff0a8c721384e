"""The hub's lists across containers: what failed last night, what is stored, who has a key."""

from datetime import timedelta

import pytest

from app.model.access import Role
from app.model.ids import encode_id
from app.postgres.pool import Database
from tests.builders import (
    Stage,
    a_failed_backup,
    a_live_backup,
    a_queued_backup,
    a_queued_restore,
    a_stage,
)
from tests.graphql_server import Client, ClientAs

BACKUPS = """
query($filter: BackupFilter, $order: CreationOrder! = NEWEST_FIRST, $first: Int, $after: String,
  $last: Int, $before: String) {
  hub { backups(filter: $filter, orderBy: $order, first: $first, after: $after, last: $last,
    before: $before) {
    totalCount nodes { id state } edges { cursor }
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
  } } }
"""
RESTORES = """
query($filter: RestoreFilter) { hub { restores(filter: $filter) { totalCount nodes { id } } } }
"""
KEYS = """
query($first: Int, $after: String) { hub { id apiKeys(first: $first, after: $after) {
  totalCount nodes { id name prefix role capabilities revokedAt expiresAt }
  pageInfo { hasNextPage endCursor } } } }
"""


@pytest.fixture
async def stages(
    owner: Database, gateway_database: Database, worker_database: Database, admin: Client
) -> list[Stage]:
    """Two containers of the hub."""
    return [
        await a_stage(owner, gateway_database, worker_database, admin=admin.principal)
        for _ in range(2)
    ]


async def test_backups_of_all_containers_are_listed_in_pages_both_ways(
    gateway_database: Database, worker_database: Database, admin: Client, stages: list[Stage]
) -> None:
    made = [
        encode_id("Backup", (await a_live_backup(gateway_database, worker_database, stage)).id)
        for stage in [*stages, *stages]
    ]
    newest_first = made[::-1]
    page = (await admin.ask(BACKUPS, first=3))["hub"]["backups"]
    assert [node["id"] for node in page["nodes"]] == newest_first[:3]
    assert (page["totalCount"], page["pageInfo"]["hasNextPage"]) == (4, True)
    after = page["pageInfo"]["endCursor"]
    rest = (await admin.ask(BACKUPS, first=3, after=after))["hub"]["backups"]
    assert [node["id"] for node in rest["nodes"]] == newest_first[3:]
    back = (await admin.ask(BACKUPS, last=2, before=after))["hub"]["backups"]
    assert [node["id"] for node in back["nodes"]] == newest_first[:2]
    oldest = (await admin.ask(BACKUPS, first=1, order="OLDEST_FIRST"))["hub"]["backups"]
    assert [node["id"] for node in oldest["nodes"]] == made[:1]
    # A cursor is of one list, order and filter.
    for other in ({"order": "OLDEST_FIRST"}, {"filter": {"states": ["LIVE"]}}):
        [error] = await admin.fail(BACKUPS, first=1, after=after, **other)
        assert error["extensions"]["argument"] == "after"


async def test_what_failed_last_night_is_found(
    gateway_database: Database, worker_database: Database, admin: Client, stages: list[Stage]
) -> None:
    one, two = stages
    await a_live_backup(gateway_database, worker_database, one)
    failed = await a_failed_backup(gateway_database, worker_database, two)
    queued = await a_queued_backup(gateway_database, two)
    at = failed.created_at
    for filter, found in (
        ({"states": ["FAILED"]}, [failed]),
        ({"createdAfter": at.isoformat()}, [queued, failed]),
        ({"createdAfter": at.isoformat(), "states": ["FAILED"]}, [failed]),
        ({"createdBefore": at.isoformat(), "states": ["FAILED"]}, []),
        ({"createdAfter": (at + timedelta(days=1)).isoformat()}, []),
        ({"instanceId": encode_id("Instance", two.instance.id)}, [queued, failed]),
        ({"instanceId": encode_id("Backup", two.instance.id)}, []),
        ({"trigger": "SCHEDULE"}, []),
    ):
        page = (await admin.ask(BACKUPS, filter=filter))["hub"]["backups"]
        ids = [encode_id("Backup", backup.id) for backup in found]
        assert [node["id"] for node in page["nodes"]] == ids, filter
        assert page["totalCount"] == len(found)


async def test_restores_of_all_containers_are_listed(
    gateway_database: Database, worker_database: Database, admin: Client, stages: list[Stage]
) -> None:
    made = []
    for stage in stages:
        backup = await a_live_backup(gateway_database, worker_database, stage)
        made.append((stage, await a_queued_restore(gateway_database, stage, backup)))
    ids = [encode_id("Restore", restore.id) for _, restore in made]
    found = (await admin.ask(RESTORES))["hub"]["restores"]
    assert found == {"totalCount": 2, "nodes": [{"id": id} for id in ids[::-1]]}
    for filter, wanted in (
        ({"instanceId": encode_id("Instance", made[0][0].instance.id)}, ids[:1]),
        ({"states": ["SUCCEEDED"]}, []),
        ({"states": ["QUEUED"], "createdAfter": made[1][1].created_at.isoformat()}, ids[1:]),
    ):
        found = (await admin.ask(RESTORES, filter=filter))["hub"]["restores"]
        assert found == {"totalCount": len(wanted), "nodes": [{"id": id} for id in wanted]}


async def test_stored_bytes_are_those_of_all_containers(
    gateway_database: Database, worker_database: Database, admin: Client, stages: list[Stage]
) -> None:
    assert (await admin.ask("{ hub { storedBytes } }"))["hub"]["storedBytes"] == 0
    for size, stage in zip((1000, 2**40), stages, strict=True):
        await a_live_backup(gateway_database, worker_database, stage, size=size)
    await a_failed_backup(gateway_database, worker_database, stages[0])
    assert (await admin.ask("{ hub { storedBytes } }"))["hub"]["storedBytes"] == 1000 + 2**40


async def test_another_hub_has_lists_of_its_own(
    gateway_database: Database,
    worker_database: Database,
    stages: list[Stage],
    stranger: Client,
) -> None:
    backup = await a_live_backup(gateway_database, worker_database, stages[0])
    await a_queued_restore(gateway_database, stages[0], backup)
    data = await stranger.ask(
        "{ hub { storedBytes backups { totalCount nodes { id } } restores { totalCount } "
        "apiKeys { nodes { id } } } }"
    )
    assert data["hub"] == {
        "storedBytes": 0,
        "backups": {"totalCount": 0, "nodes": []},
        "restores": {"totalCount": 0},
        "apiKeys": {"nodes": [{"id": encode_id("ApiKey", stranger.principal.key_id)}]},
    }


# --- keys ---------------------------------------------------------------------------------------

CREATE = """
mutation($name: String!, $role: Role, $capabilities: [String!], $expires: DateTime, $key: String) {
  createApiKey(name: $name, role: $role, capabilities: $capabilities, expiresAt: $expires,
    idempotencyKey: $key) {
    secret apiKey { id name prefix role capabilities revokedAt expiresAt }
    errors { __typename code path } } }
"""
REVOKE = """
mutation($id: ID!) { revokeApiKey(id: $id) {
  apiKey { id revokedAt } errors { __typename code path } } }
"""
NODE = "query($id: ID!) { node(id: $id) { __typename id ... on ApiKey { name } } }"


async def ask_as(client: Client, secret: str) -> int:
    response = await client.http.post(
        "/graphql",
        json={"query": "{ viewer { name } }"},
        headers={"authorization": f"Bearer {secret}"},
    )
    return response.status_code


async def test_a_key_is_made_used_listed_and_revoked(admin: Client) -> None:
    expires = "2099-01-01T00:00:00Z"
    asked = {"name": "partner", "capabilities": ["BACK_UP", "READ"], "expires": expires}
    made = (await admin.ask(CREATE, **asked, key="1"))["createApiKey"]
    assert made["errors"] == []
    key = made["apiKey"]
    assert key == {
        "id": key["id"],
        "name": "partner",
        "prefix": made["secret"].split("_")[1],
        "role": None,
        "capabilities": ["BACK_UP", "READ"],
        "revokedAt": None,
        "expiresAt": expires,
    }
    again = (await admin.ask(CREATE, **asked, key="1"))["createApiKey"]
    assert again == {**made, "secret": None}
    assert await ask_as(admin, made["secret"]) == 200
    found = (await admin.ask(KEYS))["hub"]["apiKeys"]
    assert (found["totalCount"], found["nodes"][0]) == (2, key)
    first = (await admin.ask(KEYS, first=1))["hub"]["apiKeys"]
    rest = await admin.ask(KEYS, first=1, after=first["pageInfo"]["endCursor"])
    own = encode_id("ApiKey", admin.principal.key_id)
    assert [node["id"] for node in rest["hub"]["apiKeys"]["nodes"]] == [own]
    node = await admin.ask(NODE, id=key["id"])
    assert node["node"] == {"__typename": "ApiKey", "id": key["id"], "name": "partner"}
    revoked = (await admin.ask(REVOKE, id=key["id"]))["revokeApiKey"]
    assert revoked["errors"] == []
    assert revoked["apiKey"]["revokedAt"] is not None
    assert await ask_as(admin, made["secret"]) == 401


async def test_keys_are_for_those_who_manage_them(admin: Client, client_as: ClientAs) -> None:
    """The rest of the hub is answered all the same, and a key's id is like nothing's."""
    operator = await client_as(Role.OPERATOR)
    answer = await operator.post(KEYS)
    assert answer["data"]["hub"] == {"id": encode_id("Hub", admin.hub.id), "apiKeys": None}
    [error] = answer["errors"]
    assert (error["path"], error["extensions"]) == (["hub", "apiKeys"], {"code": "FORBIDDEN"})
    for key_id in (admin.principal.key_id, operator.principal.key_id):
        found = await operator.ask(NODE, id=encode_id("ApiKey", key_id))
        assert found["node"] is None


async def test_a_refused_key_is_data(admin: Client, stranger: Client) -> None:
    refused = await admin.ask(CREATE, name="x", role="ADMIN", capabilities=["READ"])
    assert refused["createApiKey"] == {
        "secret": None,
        "apiKey": None,
        "errors": [{"__typename": "InvalidInputError", "code": "INVALID_INPUT", "path": ["role"]}],
    }
    theirs = encode_id("ApiKey", stranger.principal.key_id)
    answer = (await admin.ask(REVOKE, id=theirs))["revokeApiKey"]
    assert answer == {
        "apiKey": None,
        "errors": [{"__typename": "NotFoundError", "code": "NOT_FOUND", "path": ["id"]}],
    }
    assert await ask_as(stranger, stranger.token) == 200


# --- pins ---------------------------------------------------------------------------------------

UPDATE = """
mutation($id: ID!, $pinned: Boolean, $note: String) {
  updateBackup(id: $id, pinned: $pinned, note: $note) {
    backup { id pinned note } errors { __typename code path } } }
"""
DELETE = """
mutation($id: ID!) { deleteBackups(ids: [$id]) {
  results { accepted error { __typename code } } } }
"""


async def test_a_backup_is_pinned_and_noted_and_then_not_deleted(
    gateway_database: Database,
    worker_database: Database,
    admin: Client,
    client_as: ClientAs,
    stages: list[Stage],
) -> None:
    backup = await a_live_backup(gateway_database, worker_database, stages[0])
    id = encode_id("Backup", backup.id)
    operator = await client_as(Role.OPERATOR)
    done = (await operator.ask(UPDATE, id=id, pinned=True, note="Before 16"))["updateBackup"]
    pinned = {"id": id, "pinned": True, "note": "Before 16"}
    assert done == {"backup": pinned, "errors": []}
    [answer] = (await admin.ask(DELETE, id=id))["deleteBackups"]["results"]
    refusal = {"__typename": "InvalidStateError", "code": "PINNED"}
    assert answer == {"accepted": False, "error": refusal}
    refused = (await operator.ask(UPDATE, id=id, pinned=False))["updateBackup"]
    [error] = refused["errors"]
    assert (error["__typename"], refused["backup"]) == ("NotPermittedError", None)
    unpinned = (await admin.ask(UPDATE, id=id, pinned=False))["updateBackup"]
    assert unpinned["backup"] == {**pinned, "pinned": False}
    [answer] = (await admin.ask(DELETE, id=id))["deleteBackups"]["results"]
    assert answer == {"accepted": True, "error": None}
