"""Backups: what a record says, and backing up, cancelling, deleting."""

from datetime import timedelta
from uuid import uuid4

import pytest

from app.model.access import Role
from app.model.ids import encode_id
from app.model.orders import NewLogEntry
from app.model.runs import LogStream
from app.postgres.pool import Database
from app.service.runs import append_log
from tests.builders import (
    Stage,
    a_container,
    a_failed_backup,
    a_live_backup,
    a_queued_backup,
    a_queued_restore,
    a_save,
    a_stage,
    an_instance,
)
from tests.graphql_server import Client, ClientAs

BACKUP = """
query($id: ID!) { backup(id: $id) {
  id state trigger instanceHostname createdAt startedAt finishedAt duration sizeBytes sha256
  exitCode error { code message } commands { backup restore }
  target { integration { id } bucket path fileId }
  progress { bytesRead bytesStored bytesPerSecond updatedAt }
  container { identifier } instance { hostname }
  requestedBy { kind id name }
} }
"""
LIST = """
query($id: ID!, $filter: BackupFilter, $first: Int, $after: String) { container(id: $id) {
  backups(filter: $filter, first: $first, after: $after) {
    totalCount nodes { id state } pageInfo { hasNextPage endCursor }
  }
} }
"""
LOGS = """
query($id: ID!, $first: Int, $after: String, $last: Int) { backup(id: $id) {
  logs(first: $first, after: $after, last: $last) {
    truncated totalBytes totalCount
    nodes { sequence stream text }
    pageInfo { hasNextPage hasPreviousPage endCursor }
  }
} }
"""
CREATE = """
mutation($container: ID!, $instance: ID, $key: String) {
  createBackup(containerId: $container, instanceId: $instance, idempotencyKey: $key) {
    backup { id state trigger instance { id } requestedBy { name } }
    errors { __typename code path message }
  }
}
"""
CANCEL = """
mutation($id: ID!) { cancelBackup(id: $id) { backup { id state } errors { __typename code } } }
"""
DELETE = """
mutation($ids: [ID!]!, $key: String) { deleteBackups(ids: $ids, idempotencyKey: $key) {
  results { id accepted backup { id state } error { __typename code } }
  errors { __typename code path }
} }
"""


@pytest.fixture
async def stage(
    admin: Client, owner: Database, gateway_database: Database, worker_database: Database
) -> Stage:
    return await a_stage(owner, gateway_database, worker_database, admin=admin.principal)


async def test_a_live_backup_says_everything_about_itself(
    admin: Client, stage: Stage, gateway_database: Database, worker_database: Database
) -> None:
    backup = await a_live_backup(gateway_database, worker_database, stage, size=1234)
    id = encode_id("Backup", backup.id)
    found = (await admin.ask(BACKUP, id=id))["backup"]
    for name in ("createdAt", "startedAt", "finishedAt"):
        assert found.pop(name).endswith("Z")
    assert found.pop("duration").startswith("PT")
    assert found.pop("progress")["bytesRead"] >= 0
    assert found == {
        "id": id,
        "state": "LIVE",
        "trigger": "MANUAL",
        "instanceHostname": stage.instance.hostname,
        "sizeBytes": 1234,
        "sha256": bytes(range(32)).hex(),
        "exitCode": 0,
        "error": None,
        "commands": {"backup": "cat data", "restore": "cat > data"},
        "target": {
            "integration": {"id": encode_id("Integration", stage.integration.id)},
            "bucket": stage.integration.bucket,
            "path": backup.object_name,
            "fileId": backup.file_id,
        },
        "container": {"identifier": stage.container.identifier},
        "instance": {"hostname": stage.instance.hostname},
        "requestedBy": {
            "kind": "API_KEY",
            "id": encode_id("ApiKey", admin.principal.key_id),
            "name": admin.principal.name,
        },
    }


async def test_a_failed_backup_says_why(
    admin: Client, stage: Stage, gateway_database: Database, worker_database: Database
) -> None:
    backup = await a_failed_backup(gateway_database, worker_database, stage)
    found = (await admin.ask(BACKUP, id=encode_id("Backup", backup.id)))["backup"]
    assert found["state"] == "FAILED"
    assert found["error"] == {
        "code": "COMMAND_FAILED",
        "message": "The command ended with a failure.",
    }
    assert (found["exitCode"], found["sizeBytes"], found["sha256"]) == (1, None, None)


async def test_commands_are_for_those_who_may_read_them(
    client_as: ClientAs, stage: Stage, gateway_database: Database, worker_database: Database
) -> None:
    backup = await a_live_backup(gateway_database, worker_database, stage)
    operator = await client_as(Role.OPERATOR)
    answer = await operator.post(
        """query($id: ID!) { backup(id: $id) {
          state commands { backup }
          container { backupPolicy { backup { command timeout } restore { command } }
            instances { nodes { variableNames hostname } } }
        } }""",
        {"id": encode_id("Backup", backup.id)},
    )
    assert answer["data"]["backup"] == {
        "state": "LIVE",
        "commands": None,
        "container": {
            "backupPolicy": {
                "backup": {"command": None, "timeout": "PT12H"},
                "restore": {"command": None},
            },
            "instances": {"nodes": [{"variableNames": None, "hostname": stage.instance.hostname}]},
        },
    }
    assert sorted(error["path"][-1] for error in answer["errors"]) == [
        "command",
        "command",
        "commands",
        "variableNames",
    ]
    assert {error["extensions"]["code"] for error in answer["errors"]} == {"FORBIDDEN"}


async def test_a_log_is_read_in_pages(
    admin: Client, stage: Stage, gateway_database: Database, worker_database: Database
) -> None:
    order = await a_save(gateway_database, worker_database, stage)
    pieces = [b"one\n", b"tw\xff", "dr\u00e9i".encode()]
    sequences = [0, 4, 7]
    await append_log(
        worker_database,
        order.run.id,
        order.run.epoch,
        [
            NewLogEntry(sequence=sequence, stream=LogStream.STDERR, data=piece)
            for sequence, piece in zip(sequences, pieces, strict=True)
        ],
        drop_before=None,
        total_bytes=12,
        truncated=False,
    )
    id = encode_id("Backup", order.run.id)
    logs = (await admin.ask(LOGS, id=id, first=2))["backup"]["logs"]
    assert logs["nodes"] == [
        {"sequence": 0, "stream": "STDERR", "text": "one\n"},
        {"sequence": 4, "stream": "STDERR", "text": "tw\ufffd"},
    ]
    assert (logs["truncated"], logs["totalBytes"], logs["totalCount"]) == (False, 12, 3)
    assert logs["pageInfo"].pop("endCursor")
    assert logs["pageInfo"] == {"hasNextPage": True, "hasPreviousPage": False}
    logs = (await admin.ask(LOGS, id=id, last=1))["backup"]["logs"]
    assert [node["text"] for node in logs["nodes"]] == ["dr\u00e9i"]
    after = logs["pageInfo"]["endCursor"]
    logs = (await admin.ask(LOGS, id=id, after=after))["backup"]["logs"]
    assert logs["nodes"] == []
    assert logs["pageInfo"] == {
        "hasNextPage": False,
        "hasPreviousPage": True,
        "endCursor": None,
    }
    [error] = await admin.fail(LOGS, id=id, after="rubbish")
    assert error["extensions"] == {"code": "BAD_USER_INPUT", "argument": "after", "limit": None}


async def test_backups_are_filtered_and_leave_out_the_deleted(
    admin: Client, stage: Stage, gateway_database: Database, worker_database: Database
) -> None:
    live = await a_live_backup(gateway_database, worker_database, stage)
    failed = await a_failed_backup(gateway_database, worker_database, stage)
    gone = await a_failed_backup(gateway_database, worker_database, stage)
    other = await an_instance(gateway_database, admin.principal, stage.container)
    await admin.ask(DELETE, ids=[encode_id("Backup", gone.id)])
    id = encode_id("Container", stage.container.id)
    moment = failed.created_at.isoformat()
    instance = encode_id("Instance", stage.instance.id)
    for filter, found in (
        (None, [failed, live]),
        ({"states": ["LIVE"]}, [live]),
        ({"states": ["DELETED"]}, [gone]),
        ({"states": []}, []),
        ({"instanceId": instance}, [failed, live]),
        ({"instanceId": encode_id("Instance", other.id)}, []),
        ({"instanceId": "rubbish"}, []),
        ({"trigger": "SCHEDULE"}, []),
        ({"trigger": "MANUAL"}, [failed, live]),
        ({"createdBefore": moment}, [live]),
        ({"createdAfter": moment}, [failed]),
        ({"createdAfter": (live.created_at - timedelta(seconds=1)).isoformat()}, [failed, live]),
    ):
        page = (await admin.ask(LIST, id=id, filter=filter))["container"]["backups"]
        assert [node["id"] for node in page["nodes"]] == [
            encode_id("Backup", backup.id) for backup in found
        ], filter
        assert page["totalCount"] == len(found)


async def test_a_page_of_backups_goes_on_after_its_cursor(
    admin: Client, stage: Stage, gateway_database: Database, worker_database: Database
) -> None:
    made = [await a_failed_backup(gateway_database, worker_database, stage) for _ in range(3)]
    id = encode_id("Container", stage.container.id)
    page = (await admin.ask(LIST, id=id, first=2))["container"]["backups"]
    assert page["pageInfo"]["hasNextPage"] is True
    rest = await admin.ask(LIST, id=id, first=2, after=page["pageInfo"]["endCursor"])
    nodes = page["nodes"] + rest["container"]["backups"]["nodes"]
    assert [node["id"] for node in nodes] == [
        encode_id("Backup", backup.id) for backup in reversed(made)
    ]


async def test_back_up_now_answers_with_a_queued_backup(admin: Client, stage: Stage) -> None:
    container = encode_id("Container", stage.container.id)
    instance = encode_id("Instance", stage.instance.id)
    made = (await admin.ask(CREATE, container=container, instance=instance, key="k"))[
        "createBackup"
    ]
    assert made["backup"].pop("id")
    assert made == {
        "backup": {
            "state": "QUEUED",
            "trigger": "MANUAL",
            "instance": {"id": instance},
            "requestedBy": {"name": admin.principal.name},
        },
        "errors": [],
    }
    busy = (await admin.ask(CREATE, container=container))["createBackup"]
    assert [(error["__typename"], error["code"]) for error in busy["errors"]] == [
        ("ConflictError", "INSTANCE_BUSY")
    ]


async def test_a_repeated_call_with_a_key_backs_up_once(admin: Client, stage: Stage) -> None:
    container = encode_id("Container", stage.container.id)
    first = await admin.ask(CREATE, container=container, key="once")
    again = await admin.ask(CREATE, container=container, key="once")
    assert first["createBackup"]["errors"] == []
    assert again == first


async def test_what_cannot_be_backed_up_is_refused_with_the_reason(
    admin: Client, stage: Stage, gateway_database: Database
) -> None:
    web = await a_container(gateway_database, admin.principal, stateful=False)
    bare = await a_container(gateway_database, admin.principal)
    await an_instance(gateway_database, admin.principal, stage.container)
    for arguments, refusal in (
        ({"container": encode_id("Container", web.id)}, "CONTAINER_NOT_STATEFUL"),
        ({"container": encode_id("Container", bare.id)}, "NO_BACKUP_POLICY"),
        ({"container": encode_id("Container", stage.container.id)}, "INVALID_INPUT"),
        ({"container": encode_id("Container", uuid4())}, "NOT_FOUND"),
        (
            {"container": encode_id("Container", stage.container.id), "instance": "rubbish"},
            "NOT_FOUND",
        ),
    ):
        refused = (await admin.ask(CREATE, **arguments))["createBackup"]
        assert refused["backup"] is None
        assert [error["code"] for error in refused["errors"]] == [refusal]


async def test_a_queued_backup_is_cancelled(
    admin: Client, stage: Stage, gateway_database: Database
) -> None:
    backup = await a_queued_backup(gateway_database, stage)
    id = encode_id("Backup", backup.id)
    answer = (await admin.ask(CANCEL, id=id))["cancelBackup"]
    assert answer["errors"] == []
    assert answer["backup"]["id"] == id
    assert answer["backup"]["state"] in {"QUEUED", "CANCELED"}


async def test_what_has_ended_cannot_be_cancelled(
    admin: Client, stage: Stage, gateway_database: Database, worker_database: Database
) -> None:
    backup = await a_live_backup(gateway_database, worker_database, stage)
    answer = (await admin.ask(CANCEL, id=encode_id("Backup", backup.id)))["cancelBackup"]
    assert answer == {
        "backup": None,
        "errors": [{"__typename": "InvalidStateError", "code": "INVALID_STATE"}],
    }


async def test_each_id_to_delete_has_its_own_answer(
    admin: Client, stage: Stage, gateway_database: Database, worker_database: Database
) -> None:
    live = await a_live_backup(gateway_database, worker_database, stage)
    failed = await a_failed_backup(gateway_database, worker_database, stage)
    read = await a_live_backup(gateway_database, worker_database, stage)
    await a_queued_restore(gateway_database, stage, read)
    second = await an_instance(gateway_database, admin.principal, stage.container)
    queued = await a_queued_backup(gateway_database, stage, instance=second)
    ids = [encode_id("Backup", backup.id) for backup in (live, failed, read, queued)]
    unknown = encode_id("Backup", uuid4())
    answer = (await admin.ask(DELETE, ids=[*ids, unknown, "rubbish", ids[0]]))["deleteBackups"]
    assert answer["errors"] == []

    def state(number: int, state: str) -> dict:
        return {"id": ids[number], "state": state}

    missing = {"__typename": "NotFoundError", "code": "NOT_FOUND"}
    in_use = {"__typename": "InvalidStateError", "code": "BACKUP_IN_USE"}
    running = {"__typename": "InvalidStateError", "code": "BACKUP_RUNNING"}
    assert answer["results"] == [
        {"id": ids[0], "accepted": True, "backup": state(0, "DELETING"), "error": None},
        {"id": ids[1], "accepted": True, "backup": state(1, "DELETED"), "error": None},
        {"id": ids[2], "accepted": False, "backup": state(2, "LIVE"), "error": in_use},
        {"id": ids[3], "accepted": False, "backup": state(3, "QUEUED"), "error": running},
        {"id": unknown, "accepted": False, "backup": None, "error": missing},
        {"id": "rubbish", "accepted": False, "backup": None, "error": missing},
    ]
    again = (await admin.ask(DELETE, ids=ids[:2]))["deleteBackups"]
    assert [result["accepted"] for result in again["results"]] == [True, True]


async def test_more_than_100_ids_are_refused_as_a_whole(admin: Client) -> None:
    answer = (await admin.ask(DELETE, ids=["x"] * 101))["deleteBackups"]
    assert answer == {
        "results": [],
        "errors": [{"__typename": "InvalidInputError", "code": "TOO_MANY_IDS", "path": ["ids"]}],
    }


async def test_the_last_good_backup_is_not_an_operators_to_delete(
    client_as: ClientAs, stage: Stage, gateway_database: Database, worker_database: Database
) -> None:
    backup = await a_live_backup(gateway_database, worker_database, stage)
    operator = await client_as(Role.OPERATOR)
    id = encode_id("Backup", backup.id)
    [result] = (await operator.ask(DELETE, ids=[id]))["deleteBackups"]["results"]
    assert result["accepted"] is False
    assert result["error"] == {"__typename": "NotPermittedError", "code": "LAST_GOOD_BACKUP"}
    assert result["backup"] == {"id": id, "state": "LIVE"}


async def test_another_hubs_backups_are_not_there(
    stranger: Client, stage: Stage, gateway_database: Database, worker_database: Database
) -> None:
    backup = await a_live_backup(gateway_database, worker_database, stage)
    id = encode_id("Backup", backup.id)
    assert await stranger.ask(BACKUP, id=id) == {"backup": None}
    [result] = (await stranger.ask(DELETE, ids=[id]))["deleteBackups"]["results"]
    assert result == {
        "id": id,
        "accepted": False,
        "backup": None,
        "error": {"__typename": "NotFoundError", "code": "NOT_FOUND"},
    }
    created = await stranger.ask(CREATE, container=encode_id("Container", stage.container.id))
    assert [error["code"] for error in created["createBackup"]["errors"]] == ["NOT_FOUND"]
