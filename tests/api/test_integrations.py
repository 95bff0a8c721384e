"""Integrations: connected, changed, verified, deleted; the key is never seen again."""

from typing import Any

from app.errors import KeyReachesNothing
from app.model.ids import encode_id
from app.postgres.pool import Database
from app.service.integration_checks import check_failed, check_passed, due_checks
from tests.builders import SEALER, a_stage, an_integration, an_unchecked_integration
from tests.graphql_server import Client

FIELDS = "id name state keyId bucket prefix error { code message } verifiedAt"
CREATE = f"""
mutation($bucket: String! = "a-bucket", $prefix: String! = "backups", $key: String) {{
  createIntegration(name: "Main", keyId: "0123456789ab", key: "the-secret-key", bucket: $bucket,
    prefix: $prefix, idempotencyKey: $key) {{
    integration {{ {FIELDS} }} errors {{ __typename code path }}
  }}
}}
"""
UPDATE = """
mutation($id: ID!, $name: String, $keyId: String, $key: String) {
  updateIntegration(id: $id, name: $name, keyId: $keyId, key: $key) {
    integration { name state keyId } errors { __typename code path }
  }
}
"""
ROTATED = "state keyId nextKeyId error { code }"
ROTATE = f"""
mutation($id: ID!, $keyId: String!) {{
  updateIntegration(id: $id, keyId: $keyId, key: "a-key") {{ integration {{ {ROTATED} }} }}
}}
"""
LOOK = f"query($id: ID!) {{ node(id: $id) {{ ... on Integration {{ {ROTATED} }} }} }}"
VERIFY = """
mutation($id: ID!) { verifyIntegration(id: $id) { integration { id } errors { code } } }
"""
DELETE = """
mutation($id: ID!) { deleteIntegration(id: $id) { integration { state } errors { code } } }
"""


async def test_an_integration_is_verifying_first_and_its_key_is_never_shown(admin: Client) -> None:
    answer = await admin.post(CREATE, {"key": "once"})
    made = answer["data"]["createIntegration"]
    assert made["integration"].pop("id")
    assert made == {
        "integration": {
            "name": "Main",
            "state": "VERIFYING",
            "keyId": "0123456789ab",
            "bucket": "a-bucket",
            "prefix": "backups",
            "error": None,
            "verifiedAt": None,
        },
        "errors": [],
    }
    again = await admin.post(CREATE, {"key": "once"})
    assert again["data"]["createIntegration"]["integration"]["name"] == "Main"
    assert "the-secret-key" not in str(answer) + str(again)
    data = await admin.ask("{ hub { integrations { totalCount nodes { name } } } }")
    assert data["hub"]["integrations"] == {"totalCount": 1, "nodes": [{"name": "Main"}]}


async def test_what_cannot_be_an_integration_is_refused(admin: Client) -> None:
    for arguments, path in (({"bucket": "b"}, ["bucket"]), ({"prefix": "/a"}, ["prefix"])):
        refused = (await admin.ask(CREATE, **arguments))["createIntegration"]
        assert refused["integration"] is None
        [error] = refused["errors"]
        assert error == {"__typename": "InvalidInputError", "code": "INVALID_INPUT", "path": path}
    data = await admin.ask("{ hub { integrations { totalCount } } }")
    assert data["hub"]["integrations"]["totalCount"] == 0


async def test_integrations_come_in_pages(admin: Client, gateway_database: Database) -> None:
    for name in ("one", "two", "three"):
        await an_unchecked_integration(gateway_database, admin.principal, name=name)
    query = """query($after: String) { hub { integrations(
      first: 2, after: $after, orderBy: OLDEST_FIRST
    ) { nodes { name } pageInfo { endCursor hasNextPage } } } }"""
    first = (await admin.ask(query))["hub"]["integrations"]
    rest = (await admin.ask(query, after=first["pageInfo"]["endCursor"]))["hub"]["integrations"]
    assert [node["name"] for node in first["nodes"] + rest["nodes"]] == ["one", "two", "three"]
    assert (first["pageInfo"]["hasNextPage"], rest["pageInfo"]["hasNextPage"]) == (True, False)


async def test_a_live_integration_says_when_it_was_seen_to_work(
    admin: Client, gateway_database: Database, worker_database: Database
) -> None:
    live = await an_integration(gateway_database, worker_database, admin.principal)
    id = encode_id("Integration", live.id)
    query = "query($id: ID!) { node(id: $id) { ... on Integration { state verifiedAt } } }"
    node = (await admin.ask(query, id=id))["node"]
    assert node["state"] == "LIVE"
    assert node["verifiedAt"].endswith("Z")
    renamed = (await admin.ask(UPDATE, id=id, name="Other"))["updateIntegration"]
    assert renamed == {
        "integration": {"name": "Other", "state": "LIVE", "keyId": live.key_id},
        "errors": [],
    }
    assert (await admin.ask(VERIFY, id=id))["verifyIntegration"] == {
        "integration": {"id": id},
        "errors": [],
    }


async def test_half_a_key_is_refused(
    admin: Client, gateway_database: Database, worker_database: Database
) -> None:
    live = await an_integration(gateway_database, worker_database, admin.principal)
    answer = await admin.ask(UPDATE, id=encode_id("Integration", live.id), keyId="ba9876543210")
    [error] = answer["updateIntegration"]["errors"]
    assert (error["__typename"], error["code"]) == ("InvalidInputError", "INVALID_INPUT")


async def test_an_integration_in_use_stays_and_an_unused_one_goes(
    admin: Client, owner: Database, gateway_database: Database, worker_database: Database
) -> None:
    stage = await a_stage(owner, gateway_database, worker_database, admin=admin.principal)
    unused = await an_unchecked_integration(gateway_database, admin.principal)
    refused = await admin.ask(DELETE, id=encode_id("Integration", stage.integration.id))
    assert refused["deleteIntegration"] == {
        "integration": None,
        "errors": [{"code": "INTEGRATION_IN_USE"}],
    }
    deleted = await admin.ask(DELETE, id=encode_id("Integration", unused.id))
    assert deleted["deleteIntegration"] == {"integration": {"state": "DELETED"}, "errors": []}


async def test_another_hubs_integration_is_not_there(
    admin: Client, stranger: Client, gateway_database: Database
) -> None:
    made = await an_unchecked_integration(gateway_database, admin.principal)
    id = encode_id("Integration", made.id)
    for query in (UPDATE, VERIFY, DELETE):
        [payload] = (await stranger.ask(query, id=id)).values()
        assert payload["integration"] is None
        assert [error["code"] for error in payload["errors"]] == ["NOT_FOUND"]
    data = await stranger.ask("{ hub { integrations { totalCount nodes { id } } } }")
    assert data["hub"]["integrations"] == {"totalCount": 0, "nodes": []}


async def test_a_new_key_is_seen_waiting_and_judged_by_its_own_check_only(
    admin: Client, gateway_database: Database, worker_database: Database
) -> None:
    """What was said of the key before it is gone."""
    made = await an_integration(gateway_database, worker_database, admin.principal, key_id="old")
    id = encode_id("Integration", made.id)

    async def rotate(key_id: str) -> dict[str, Any]:
        data = await admin.ask(ROTATE, id=id, keyId=key_id)
        found: dict[str, Any] = data["updateIntegration"]["integration"]
        return found

    async def look() -> dict[str, Any]:
        data = await admin.ask(LOOK, id=id)
        found: dict[str, Any] = data["node"]
        return found

    waiting = {"state": "LIVE", "keyId": "old", "nextKeyId": "first", "error": None}
    assert await rotate("first") == waiting == await look()
    [check] = await due_checks(worker_database, SEALER, 100)
    await check_failed(worker_database, check, KeyReachesNothing())
    refused = {"code": "KEY_REACHES_NOTHING"}
    assert await look() == {**waiting, "nextKeyId": None, "error": refused}
    assert await rotate("second") == {**waiting, "nextKeyId": "second"}
    [check] = await due_checks(worker_database, SEALER, 100)
    assert await check_passed(worker_database, check)
    assert await look() == {**waiting, "keyId": "second", "nextKeyId": None}
