"""Who is asking, and what they may do; nodes by their ids."""

from uuid import uuid4

from app.model.access import CAPABILITIES, Role
from app.model.ids import encode_id
from app.postgres.pool import Database
from tests.builders import a_container
from tests.graphql_server import Client, ClientAs

NODE = "query($id: ID!) { node(id: $id) { __typename id } }"


async def test_a_key_sees_its_name_role_and_capabilities(client_as: ClientAs) -> None:
    for role in Role:
        client = await client_as(role)
        data = await client.ask("{ viewer { keyId name role capabilities expiresAt } }")
        assert data["viewer"] == {
            "keyId": encode_id("ApiKey", client.principal.key_id),
            "name": client.principal.name,
            "role": role,
            "capabilities": sorted(CAPABILITIES[role]),
            "expiresAt": None,
        }


async def test_the_hub_is_the_keys_own(admin: Client) -> None:
    data = await admin.ask("{ hub { id name integrations { totalCount nodes { id } } } }")
    assert data["hub"] == {
        "id": encode_id("Hub", admin.hub.id),
        "name": admin.hub.name,
        "integrations": {"totalCount": 0, "nodes": []},
    }


async def test_a_node_is_found_by_its_id(admin: Client, gateway_database: Database) -> None:
    container = await a_container(gateway_database, admin.principal)
    for type_name, id in (("Container", container.id), ("Hub", admin.hub.id)):
        node = encode_id(type_name, id)
        assert (await admin.ask(NODE, id=node))["node"] == {"__typename": type_name, "id": node}


async def test_wrong_foreign_and_unknown_ids_answer_alike(
    admin: Client, stranger: Client, gateway_database: Database
) -> None:
    container = await a_container(gateway_database, stranger.principal)
    ids = [
        encode_id("Container", container.id),
        encode_id("Hub", stranger.hub.id),
        encode_id("Container", uuid4()),
        encode_id("Backup", container.id),
        encode_id("ApiKey", uuid4()),
        encode_id("Nonsense", uuid4()),
        encode_id("Container", container.id) + "=",
        "",
        "x" * 1000,
    ]
    answers = [await admin.ask(NODE, id=id) for id in ids]
    assert answers == [{"node": None}] * len(ids)
    data = await admin.ask("query($ids: [ID!]!) { nodes(ids: $ids) { id } }", ids=ids)
    assert data["nodes"] == [None] * len(ids)


async def test_nodes_come_in_the_order_of_their_ids(
    admin: Client, gateway_database: Database
) -> None:
    containers = [await a_container(gateway_database, admin.principal) for _ in range(3)]
    ids = [encode_id("Container", container.id) for container in containers]
    wanted = [ids[2], encode_id("Hub", admin.hub.id), ids[0], ids[2]]
    data = await admin.ask("query($ids: [ID!]!) { nodes(ids: $ids) { id } }", ids=wanted)
    assert [node["id"] for node in data["nodes"]] == wanted


async def test_more_than_100_ids_are_refused(admin: Client) -> None:
    [error] = await admin.fail("query($ids: [ID!]!) { nodes(ids: $ids) { id } }", ids=["x"] * 101)
    assert error["extensions"] == {"code": "BAD_USER_INPUT", "argument": "ids", "limit": 100}
