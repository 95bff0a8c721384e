"""Every root field, as every role and without its capability."""

from pathlib import Path
from typing import Any

import pytest
from graphql import GraphQLField, GraphQLSchema, build_schema
from starlette.applications import Starlette

from app.model.access import CAPABILITIES, Capability, Role
from app.postgres.pool import Database
from tests.graphql_server import Client, ClientAs, serve
from tests.graphql_socket import open_socket

SAMPLES: dict[str, str] = {
    "ID!": '"x"',
    "[ID!]!": '["x"]',
    "String!": '"x"',
    "Boolean!": "true",
    "InstanceState!": "RUNNING",
    "CreationOrder!": "NEWEST_FIRST",
    "BackupPolicyInput": "null",
}
NEEDS = {
    "viewer": None,
    "node": Capability.READ,
    "nodes": Capability.READ,
    "hub": Capability.READ,
    "container": Capability.READ,
    "containers": Capability.READ,
    "backup": Capability.READ,
    "restore": Capability.READ,
    "backupRecipes": Capability.READ,
    "createBackup": Capability.BACK_UP,
    "cancelBackup": Capability.CANCEL,
    "updateBackup": Capability.PIN_BACKUPS,
    "deleteBackups": Capability.DELETE_BACKUPS,
    "createDownload": Capability.DOWNLOAD,
    "restoreBackup": Capability.RESTORE,
    "cancelRestore": Capability.CANCEL,
    "verifyBackup": Capability.VERIFY,
    "cancelVerification": Capability.CANCEL,
    "createContainer": Capability.CONFIGURE,
    "updateContainer": Capability.CONFIGURE,
    "deleteContainer": Capability.DELETE_CONTAINERS,
    "undeleteContainer": Capability.DELETE_CONTAINERS,
    "deleteHub": Capability.DELETE_HUB,
    "createInstance": Capability.CONFIGURE,
    "updateInstance": Capability.CONFIGURE,
    "deleteInstance": Capability.CONFIGURE,
    "configureBackups": Capability.CONFIGURE,
    "createEngine": Capability.CONFIGURE,
    "updateEngine": Capability.CONFIGURE,
    "deleteEngine": Capability.CONFIGURE,
    "createIntegration": Capability.CONFIGURE,
    "updateIntegration": Capability.CONFIGURE,
    "verifyIntegration": Capability.CONFIGURE,
    "deleteIntegration": Capability.CONFIGURE,
    "reconcileStorage": Capability.CONFIGURE,
    "recoverBackups": Capability.CONFIGURE,
    "adoptOrphan": Capability.CONFIGURE,
    "deleteOrphan": Capability.CONFIGURE,
    "acceptLoss": Capability.CONFIGURE,
    "createApiKey": Capability.MANAGE_KEYS,
    "revokeApiKey": Capability.MANAGE_KEYS,
    "createWebhook": Capability.CONFIGURE,
    "updateWebhook": Capability.CONFIGURE,
    "deleteWebhook": Capability.CONFIGURE,
    "restoreProgress": Capability.READ,
    "backupProgress": Capability.READ,
    "verificationProgress": Capability.READ,
    "runLogs": Capability.READ,
    "containerBackups": Capability.READ,
    "hubEvents": Capability.READ,
}


@pytest.fixture(scope="module")
def schema() -> GraphQLSchema:
    text = (Path(__file__).parents[2] / "schema.graphql").read_text(encoding="utf-8")
    return build_schema(text)


def write_call(name: str, field: GraphQLField) -> str:
    arguments = ", ".join(
        f"{key}: {SAMPLES[str(argument.type)]}"
        for key, argument in field.args.items()
        if str(argument.type) in SAMPLES
    )
    return f"{name}({arguments})" if arguments else name


async def limit_key(owner: Database, client: Client, capabilities: set[Capability]) -> None:
    """Give a key a list of capabilities instead of a role."""
    async with owner.connection() as connection:
        await connection.execute(
            "update api_keys set role = null, capabilities = $2 where id = $1",
            client.principal.key_id,
            sorted(capabilities),
        )


def test_every_root_field_is_in_the_table(schema: GraphQLSchema) -> None:
    roots = (schema.query_type, schema.mutation_type, schema.subscription_type)
    assert {name for root in roots if root for name in root.fields} == set(NEEDS)


async def test_a_query_is_forbidden_to_a_key_without_its_capability(
    schema: GraphQLSchema, client_as: ClientAs, owner: Database
) -> None:
    client = await client_as()
    await limit_key(owner, client, set(Capability) - {Capability.READ})
    assert schema.query_type is not None
    for name, field in schema.query_type.fields.items():
        answer = await client.post("{ " + write_call(name, field) + " { __typename } }")
        if NEEDS[name] is None:
            assert "errors" not in answer
            continue
        [error] = answer["errors"]
        assert (error["path"], error["extensions"]) == ([name], {"code": "FORBIDDEN"})


async def test_a_mutation_is_not_permitted_to_a_key_without_its_capability(
    schema: GraphQLSchema, client_as: ClientAs, owner: Database
) -> None:
    """Whatever its arguments are: the refusal tells nothing about them."""
    client = await client_as()
    assert schema.mutation_type is not None
    for name, field in schema.mutation_type.fields.items():
        needed = NEEDS[name]
        assert needed is not None
        await limit_key(owner, client, set(Capability) - {needed})
        payload = await call(client, name, field)
        assert payload["errors"] == [{"__typename": "NotPermittedError", "code": "NOT_PERMITTED"}]
    data = await (await client_as()).ask("{ containers { totalCount } }")
    assert data["containers"]["totalCount"] == 0


async def test_each_role_may_call_exactly_what_its_capabilities_allow(
    schema: GraphQLSchema, client_as: ClientAs
) -> None:
    assert schema.mutation_type is not None
    for role in Role:
        client = await client_as(role)
        for name, field in schema.mutation_type.fields.items():
            payload = await call(client, name, field)
            types = {error["__typename"] for error in payload["errors"]}
            may = NEEDS[name] in CAPABILITIES[role]
            assert ("NotPermittedError" in types) is not may, (role, name)


async def call(client: Client, name: str, field: GraphQLField) -> dict[str, Any]:
    selection = "{ errors { __typename code } }"
    data = await client.ask("mutation { " + write_call(name, field) + " " + selection + " }")
    payload: dict[str, Any] = data[name]
    return payload


async def test_a_subscription_is_forbidden_to_a_key_without_its_capability(
    schema: GraphQLSchema, app: Starlette, client_as: ClientAs, owner: Database
) -> None:
    assert schema.subscription_type is not None
    async with serve(app) as place:
        for name, field in schema.subscription_type.fields.items():
            needed = NEEDS[name]
            assert needed is not None
            client = await client_as()
            await limit_key(owner, client, set(Capability) - {needed})
            async with open_socket(place) as opened:
                await opened.init(client.token)
                call = "subscription { " + write_call(name, field) + " { __typename } }"
                await opened.subscribe("1", call)
                answer = await opened.read()
            assert answer["type"] == "error", name
            assert answer["payload"][0]["extensions"]["code"] == "FORBIDDEN"


async def test_a_revoked_and_an_expired_key_are_nobody(
    client_as: ClientAs, owner: Database
) -> None:
    for change in ("revoked_at = now()", "expires_at = now() - interval '1 second'"):
        client = await client_as()
        async with owner.connection() as connection:
            statement = f"update api_keys set {change} where id = $1"
            await connection.execute(statement, client.principal.key_id)
        response = await client.http.post(
            "/graphql",
            json={"query": "{ viewer { name } }"},
            headers={"authorization": f"Bearer {client.token}"},
        )
        assert response.status_code == 401
