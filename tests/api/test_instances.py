"""Instances: added, changed, deleted."""

from uuid import uuid4

import pytest

from app.model.containers import Container
from app.model.ids import encode_id
from app.postgres.pool import Database
from tests.builders import a_container, a_live_backup, a_stage, an_instance
from tests.graphql_server import Client

CREATE = """
mutation($container: ID!, $hostname: String!, $folder: String, $executor: String! = "process",
         $state: InstanceState! = RUNNING, $variables: [VariableInput!], $scratch: Boolean! = false,
         $host: String) {
  createInstance(
    containerId: $container, hostname: $hostname, folder: $folder, executor: $executor,
    state: $state, variables: $variables, scratch: $scratch, host: $host
  ) {
    instance { hostname state executor host folder scratch variableNames
      container { identifier } }
    errors { __typename code path }
  }
}
"""
UPDATE = """
mutation($id: ID!, $state: InstanceState, $variables: [VariableInput!], $folder: String) {
  updateInstance(id: $id, state: $state, variables: $variables, folder: $folder) {
    instance { state folder variableNames } errors { __typename code path }
  }
}
"""
DELETE = """
mutation($id: ID!) { deleteInstance(id: $id) { instance { id } errors { __typename code } } }
"""


@pytest.fixture
async def container(admin: Client, gateway_database: Database) -> Container:
    return await a_container(gateway_database, admin.principal, identifier="db")


async def test_an_instance_is_added_with_its_variables(admin: Client, container: Container) -> None:
    variables = [{"name": "B", "value": "two"}, {"name": "A", "value": "a-secret"}]
    answer = await admin.post(
        CREATE,
        {
            "container": encode_id("Container", container.id),
            "hostname": "1.db",
            "folder": "one",
            "variables": variables,
        },
    )
    made = answer["data"]["createInstance"]
    assert sorted(made["instance"].pop("variableNames")) == ["A", "B"]
    assert made == {
        "instance": {
            "hostname": "1.db",
            "state": "RUNNING",
            "executor": "process",
            "host": "here",
            "folder": "one",
            "scratch": False,
            "container": {"identifier": "db"},
        },
        "errors": [],
    }
    assert "a-secret" not in str(answer)


async def test_what_cannot_be_an_instance_is_refused(admin: Client, container: Container) -> None:
    id = encode_id("Container", container.id)
    fine = {"container": id, "hostname": "1.db", "folder": "one"}
    await admin.ask(CREATE, **fine)
    pair = {"name": "A", "value": "1"}
    for arguments, refusal in (
        (fine, ("ConflictError", "HOSTNAME_TAKEN", ["hostname"])),
        ({"container": id, "hostname": "2.db"}, ("InvalidInputError", "INVALID_INPUT", ["folder"])),
        (
            {**fine, "hostname": "2.db", "folder": "../up"},
            ("InvalidInputError", "INVALID_INPUT", ["folder"]),
        ),
        (
            {**fine, "hostname": "2.db", "executor": "docker"},
            ("InvalidInputError", "INVALID_INPUT", ["engineId"]),
        ),
        (
            {**fine, "hostname": "2.db", "state": "UNREACHABLE"},
            ("InvalidInputError", "INVALID_INPUT", ["state"]),
        ),
        (
            {**fine, "hostname": "2.db", "variables": [pair, pair]},
            ("InvalidInputError", "INVALID_INPUT", ["variables"]),
        ),
        (
            {**fine, "container": encode_id("Container", uuid4())},
            ("NotFoundError", "NOT_FOUND", ["containerId"]),
        ),
    ):
        refused = (await admin.ask(CREATE, **arguments))["createInstance"]
        assert refused["instance"] is None
        [error] = refused["errors"]
        assert (error["__typename"], error["code"], error["path"]) == refusal
    data = await admin.ask("{ containers { nodes { instances { totalCount } } } }")
    assert data["containers"]["nodes"] == [{"instances": {"totalCount": 1}}]


async def test_a_hostname_with_backups_is_no_scratch_instance(
    admin: Client, owner: Database, gateway_database: Database, worker_database: Database
) -> None:
    stage = await a_stage(owner, gateway_database, worker_database, admin=admin.principal)
    await a_live_backup(gateway_database, worker_database, stage)
    await admin.ask(DELETE, id=encode_id("Instance", stage.instance.id))
    refused = await admin.ask(
        CREATE,
        container=encode_id("Container", stage.container.id),
        hostname=stage.instance.hostname,
        folder="x",
        scratch=True,
    )
    assert [error["code"] for error in refused["createInstance"]["errors"]] == ["SCRATCH_WAS_SAVED"]


async def test_an_instance_keeps_what_an_update_leaves_out(
    admin: Client, container: Container, gateway_database: Database
) -> None:
    made = await an_instance(
        gateway_database, admin.principal, container, folder="one", variables={"A": "1"}
    )
    id = encode_id("Instance", made.id)
    paused = (await admin.ask(UPDATE, id=id, state="PAUSED"))["updateInstance"]
    assert paused == {
        "instance": {"state": "PAUSED", "folder": "one", "variableNames": ["A"]},
        "errors": [],
    }
    moved = (await admin.ask(UPDATE, id=id, folder="two", variables=[]))["updateInstance"]
    assert moved == {
        "instance": {"state": "PAUSED", "folder": "two", "variableNames": []},
        "errors": [],
    }


async def test_a_deleted_instance_is_listed_no_more_and_its_backups_stay(
    admin: Client, owner: Database, gateway_database: Database, worker_database: Database
) -> None:
    stage = await a_stage(owner, gateway_database, worker_database, admin=admin.principal)
    backup = await a_live_backup(gateway_database, worker_database, stage)
    id = encode_id("Instance", stage.instance.id)
    assert (await admin.ask(DELETE, id=id))["deleteInstance"] == {
        "instance": {"id": id},
        "errors": [],
    }
    data = await admin.ask(
        """query($id: ID!) { backup(id: $id) { state instanceHostname
          container { instances { totalCount } } } }""",
        id=encode_id("Backup", backup.id),
    )
    assert data["backup"] == {
        "state": "LIVE",
        "instanceHostname": stage.instance.hostname,
        "container": {"instances": {"totalCount": 0}},
    }


async def test_another_hubs_instance_is_not_there(
    admin: Client, stranger: Client, container: Container, gateway_database: Database
) -> None:
    made = await an_instance(gateway_database, admin.principal, container)
    id = encode_id("Instance", made.id)
    for query in (UPDATE, DELETE):
        answer = await stranger.ask(query, id=id)
        [payload] = answer.values()
        assert payload["instance"] is None
        assert [error["code"] for error in payload["errors"]] == ["NOT_FOUND"]
    created = await stranger.ask(
        CREATE, container=encode_id("Container", container.id), hostname="x", folder="x"
    )
    assert [error["code"] for error in created["createInstance"]["errors"]] == ["NOT_FOUND"]
    data = await admin.ask(
        "query($id: ID!) { node(id: $id) { ... on Instance { state hostname } } }", id=id
    )
    assert data["node"] == {"state": "RUNNING", "hostname": made.hostname}
