"""Integrations: connected, changed, verified, deleted; the key is never seen again."""

from app.model.ids import encode_id
from app.postgres.pool import Database
from tests.builders import a_stage, an_integration, an_unchecked_integration
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
