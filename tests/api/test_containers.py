"""Containers: read in pages, and created, changed, deleted."""

from collections.abc import Sequence
from uuid import uuid4

import pytest

from app.model.access import Role
from app.model.containers import Container
from app.model.ids import encode_id
from app.postgres.pool import Database
from tests.builders import (
    a_container,
    a_live_backup,
    a_stage,
    an_instance,
)
from tests.graphql_server import Client, ClientAs

PAGE = """
query(
  $first: Int, $after: String, $last: Int, $before: String
  $orderBy: CreationOrder! = OLDEST_FIRST
) {
  containers(first: $first, after: $after, last: $last, before: $before, orderBy: $orderBy) {
    nodes { identifier }
    edges { cursor node { identifier } }
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
    totalCount
  }
}
"""
CREATE = """
mutation($identifier: String!, $name: String, $labels: [LabelInput!], $key: String) {
  createContainer(
    identifier: $identifier, name: $name, stateful: true, labels: $labels, idempotencyKey: $key
  ) {
    container { id identifier name stateful state labels { name value } }
    errors { __typename code message path }
  }
}
"""
UPDATE = """
mutation($id: ID!, $name: String, $labels: [LabelInput!]) {
  updateContainer(id: $id, name: $name, labels: $labels) {
    container { name labels { name value } } errors { __typename code path }
  }
}
"""
DELETE = """
mutation($id: ID!, $confirm: String!) {
  deleteContainer(id: $id, confirm: $confirm) {
    container { id state } warnings errors { __typename code path }
  }
}
"""


async def make_containers(database: Database, client: Client, count: int) -> Sequence[Container]:
    return [
        await a_container(database, client.principal, identifier=f"c{number}")
        for number in range(count)
    ]


def identifiers(connection: dict) -> list[str]:
    return [node["identifier"] for node in connection["nodes"]]


async def test_pages_forwards_hold_every_container_once(
    admin: Client, gateway_database: Database
) -> None:
    await make_containers(gateway_database, admin, 5)
    seen, after, sizes = [], None, []
    while True:
        page = (await admin.ask(PAGE, first=2, after=after))["containers"]
        assert page["totalCount"] == 5
        assert page["pageInfo"]["hasPreviousPage"] is (after is not None)
        assert [edge["node"] for edge in page["edges"]] == page["nodes"]
        assert page["pageInfo"]["endCursor"] == page["edges"][-1]["cursor"]
        seen += identifiers(page)
        sizes.append(len(page["nodes"]))
        after = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            break
    assert (seen, sizes) == (["c0", "c1", "c2", "c3", "c4"], [2, 2, 1])


async def test_pages_backwards_hold_every_container_once(
    admin: Client, gateway_database: Database
) -> None:
    await make_containers(gateway_database, admin, 5)
    seen: list[str] = []
    before = None
    while True:
        page = (await admin.ask(PAGE, last=2, before=before))["containers"]
        assert page["pageInfo"]["hasNextPage"] is (before is not None)
        seen = identifiers(page) + seen
        before = page["pageInfo"]["startCursor"]
        if not page["pageInfo"]["hasPreviousPage"]:
            break
    assert seen == ["c0", "c1", "c2", "c3", "c4"]


async def test_the_newest_comes_first_unless_asked_otherwise(
    admin: Client, gateway_database: Database
) -> None:
    await make_containers(gateway_database, admin, 3)
    data = await admin.ask("{ containers { nodes { identifier } } }")
    assert identifiers(data["containers"]) == ["c2", "c1", "c0"]


async def test_25_come_where_no_number_is_given(admin: Client, gateway_database: Database) -> None:
    await make_containers(gateway_database, admin, 26)
    page = (await admin.ask(PAGE))["containers"]
    assert (len(page["nodes"]), page["pageInfo"]["hasNextPage"]) == (25, True)


@pytest.mark.parametrize(
    ("arguments", "argument"),
    [
        ({"first": 0}, "first"),
        ({"first": -1}, "first"),
        ({"first": 101}, "first"),
        ({"last": 0}, "last"),
        ({"last": 101}, "last"),
        ({"first": 1, "last": 1}, "last"),
    ],
    ids=str,
)
async def test_what_is_no_page_is_refused_with_its_limit(
    admin: Client, arguments: dict, argument: str
) -> None:
    [error] = await admin.fail(PAGE, **arguments)
    assert error["extensions"] == {"code": "BAD_USER_INPUT", "argument": argument, "limit": 100}
    assert error["path"] == ["containers"]


async def test_a_cursor_belongs_to_its_list_order_and_filter(
    admin: Client, stranger: Client, gateway_database: Database
) -> None:
    await make_containers(gateway_database, admin, 2)
    cursor = (await admin.ask(PAGE, first=1))["containers"]["pageInfo"]["endCursor"]
    refusal = {"code": "BAD_USER_INPUT", "argument": "after", "limit": None}
    for arguments in (
        {"after": "rubbish"},
        {"after": ""},
        {"after": cursor + "="},
        {"after": cursor, "orderBy": "NEWEST_FIRST"},
    ):
        [error] = await admin.fail(PAGE, **arguments)
        assert error["extensions"] == refusal
    [error] = await stranger.fail(PAGE, after=cursor)
    assert error["extensions"] == refusal
    [error] = await admin.fail(
        "query($after: String) { containers(after: $after, orderBy: OLDEST_FIRST, "
        "filter: {stateful: true}) { nodes { id } } }",
        after=cursor,
    )
    assert error["extensions"] == refusal


async def test_filters_narrow_the_list(admin: Client, gateway_database: Database) -> None:
    await a_container(gateway_database, admin.principal, identifier="db")
    await a_container(gateway_database, admin.principal, identifier="web", stateful=False)
    query = (
        "query($f: ContainerFilter) { containers(filter: $f) { totalCount nodes { identifier } } }"
    )
    for filter, found in (
        (None, ["web", "db"]),
        ({}, ["web", "db"]),
        ({"identifier": "db"}, ["db"]),
        ({"identifier": "d"}, []),
        ({"stateful": False}, ["web"]),
        ({"states": ["DELETED", "DELETING"]}, []),
        ({"states": None, "identifier": None}, ["web", "db"]),
    ):
        page = (await admin.ask(query, f=filter))["containers"]
        assert (identifiers(page), page["totalCount"]) == (found, len(found))


async def test_another_hub_sees_nothing(
    admin: Client, stranger: Client, gateway_database: Database
) -> None:
    [container] = await make_containers(gateway_database, admin, 1)
    id = encode_id("Container", container.id)
    data = await stranger.ask(
        "query($id: ID!) { container(id: $id) { id } containers { totalCount nodes { id } } }",
        id=id,
    )
    assert data == {"container": None, "containers": {"totalCount": 0, "nodes": []}}


async def test_a_container_shows_what_it_has(
    admin: Client, owner: Database, gateway_database: Database, worker_database: Database
) -> None:
    stage = await a_stage(owner, gateway_database, worker_database, admin=admin.principal)
    backup = await a_live_backup(gateway_database, worker_database, stage, size=1234)
    data = await admin.ask(
        """query($id: ID!) { container(id: $id) {
          identifier name stateful state storedBytes
          lastBackup { id sizeBytes }
          backupPolicy { integration { id state } updatedAt
            backup { command timeout minBytes } restore { command timeout } }
          instances { totalCount nodes { id hostname state executor host folder scratch
            variableNames restorable { possible code reason } container { identifier } } }
          backups { totalCount nodes { id } }
          restores { totalCount nodes { id } }
        } }""",
        id=encode_id("Container", stage.container.id),
    )
    container = data["container"]
    assert container.pop("backupPolicy").pop("updatedAt").endswith("Z")
    assert container == {
        "identifier": stage.container.identifier,
        "name": "A container",
        "stateful": True,
        "state": "LIVE",
        "storedBytes": 1234,
        "lastBackup": {"id": encode_id("Backup", backup.id), "sizeBytes": 1234},
        "instances": {
            "totalCount": 1,
            "nodes": [
                {
                    "id": encode_id("Instance", stage.instance.id),
                    "hostname": stage.instance.hostname,
                    "state": "RUNNING",
                    "executor": "process",
                    "host": "here",
                    "folder": stage.instance.folder,
                    "scratch": False,
                    "variableNames": [],
                    "restorable": {"possible": True, "code": None, "reason": None},
                    "container": {"identifier": stage.container.identifier},
                }
            ],
        },
        "backups": {"totalCount": 1, "nodes": [{"id": encode_id("Backup", backup.id)}]},
        "restores": {"totalCount": 0, "nodes": []},
    }


async def test_a_container_is_created_with_its_labels_in_order(admin: Client) -> None:
    labels = [{"name": "tier", "value": "gold"}, {"name": "app", "value": ""}]
    created = (await admin.ask(CREATE, identifier="db", labels=labels))["createContainer"]
    assert created["errors"] == []
    assert created["container"].pop("id")
    assert created["container"] == {
        "identifier": "db",
        "name": "db",
        "stateful": True,
        "state": "LIVE",
        "labels": [{"name": "app", "value": ""}, {"name": "tier", "value": "gold"}],
    }


async def test_refusals_are_data(admin: Client) -> None:
    await admin.ask(CREATE, identifier="db")
    twice = [{"name": "a", "value": "1"}, {"name": "a", "value": "2"}]
    for arguments, refusal in (
        ({"identifier": "db"}, ("ConflictError", "IDENTIFIER_TAKEN", ["identifier"])),
        ({"identifier": "No!"}, ("InvalidInputError", "INVALID_INPUT", ["identifier"])),
        (
            {"identifier": "x", "labels": twice},
            ("InvalidInputError", "INVALID_INPUT", ["labels"]),
        ),
    ):
        refused = (await admin.ask(CREATE, **arguments))["createContainer"]
        assert refused["container"] is None
        [error] = refused["errors"]
        assert error["message"]
        assert (error["__typename"], error["code"], error["path"]) == refusal
    data = await admin.ask("{ containers { totalCount } }")
    assert data["containers"]["totalCount"] == 1


async def test_a_repeated_call_with_a_key_creates_one_container(admin: Client) -> None:
    answers = [await admin.ask(CREATE, identifier="db", key="once") for _ in range(2)]
    assert answers[0] == answers[1]
    other = (await admin.ask(CREATE, identifier="other", key="once"))["createContainer"]
    assert [error["code"] for error in other["errors"]] == ["IDEMPOTENCY_KEY_REUSED"]
    assert other["errors"][0]["__typename"] == "ConflictError"


async def test_a_container_keeps_what_an_update_leaves_out(
    admin: Client, gateway_database: Database
) -> None:
    made = await a_container(gateway_database, admin.principal, name="Old", labels={"a": "1"})
    id = encode_id("Container", made.id)
    updated = (await admin.ask(UPDATE, id=id, name="New"))["updateContainer"]
    assert updated == {
        "container": {"name": "New", "labels": [{"name": "a", "value": "1"}]},
        "errors": [],
    }
    updated = (await admin.ask(UPDATE, id=id, labels=[]))["updateContainer"]
    assert updated == {"container": {"name": "New", "labels": []}, "errors": []}


async def test_a_container_is_deleted_once_its_identifier_is_typed_again(
    admin: Client, owner: Database, gateway_database: Database, worker_database: Database
) -> None:
    stage = await a_stage(owner, gateway_database, worker_database, admin=admin.principal)
    await a_live_backup(gateway_database, worker_database, stage, size=1000)
    id = encode_id("Container", stage.container.id)
    refused = (await admin.ask(DELETE, id=id, confirm="nope"))["deleteContainer"]
    assert refused == {
        "container": None,
        "warnings": [],
        "errors": [
            {"__typename": "InvalidInputError", "code": "CONFIRM_MISMATCH", "path": ["confirm"]}
        ],
    }
    deleted = (await admin.ask(DELETE, id=id, confirm=stage.container.identifier))[
        "deleteContainer"
    ]
    assert deleted["container"] == {"id": id, "state": "DELETING"}
    assert deleted["errors"] == []
    assert deleted["warnings"][0].startswith("1 backup of 1000 bytes")


async def test_wrong_and_foreign_ids_are_not_found_and_change_nothing(
    admin: Client, stranger: Client, gateway_database: Database
) -> None:
    [container] = await make_containers(gateway_database, admin, 1)
    foreign = encode_id("Container", container.id)
    missing = [{"__typename": "NotFoundError", "code": "NOT_FOUND", "path": ["id"]}]
    for id in (foreign, encode_id("Container", uuid4()), encode_id("Hub", container.id), "rubbish"):
        answer = (await stranger.ask(UPDATE, id=id, name="Mine"))["updateContainer"]
        assert answer == {"container": None, "errors": missing}
        answer = (await stranger.ask(DELETE, id=id, confirm="c0"))["deleteContainer"]
        assert answer == {"container": None, "warnings": [], "errors": missing}
    data = await admin.ask("query($id: ID!) { container(id: $id) { name state } }", id=foreign)
    assert data["container"] == {"name": "A container", "state": "LIVE"}


async def test_a_container_that_is_going_says_why_nothing_can_be_restored(
    client_as: ClientAs, gateway_database: Database, admin: Client
) -> None:
    container = await a_container(gateway_database, admin.principal, identifier="db")
    await an_instance(gateway_database, admin.principal, container)
    viewer = await client_as(Role.VIEWER)
    data = await viewer.ask(
        "{ containers { nodes { instances { nodes { restorable { possible code } } } } } }"
    )
    [found] = data["containers"]["nodes"]
    assert found["instances"]["nodes"] == [
        {"restorable": {"possible": False, "code": "NO_BACKUP_POLICY"}}
    ]
