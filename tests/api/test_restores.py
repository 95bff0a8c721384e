"""Restores: asked for, refused, cancelled, and what a record says."""

from uuid import uuid4

import pytest

from app.errors import CommandFailed
from app.model.access import Role
from app.model.backups import Backup
from app.model.ids import encode_id
from app.model.orders import RunProgress
from app.model.restores import RestorePhase
from app.postgres.pool import Database
from app.service.endings import fail_run, finish_restore
from app.service.runs import record_progress, set_phase
from tests.builders import (
    Stage,
    a_failed_backup,
    a_live_backup,
    a_policy,
    a_queued_restore,
    a_stage,
    a_started_restore,
    an_instance,
)
from tests.graphql_server import Client, ClientAs

RESTORE = """
query($id: ID!) { restore(id: $id) {
  id state trigger phase exitCode error { code message } createdAt startedAt finishedAt
  progress { bytesDelivered bytesTotal fraction bytesPerSecond eta etaSeconds updatedAt }
  backup { id state } container { identifier } instance { hostname }
  logs { totalCount totalBytes truncated nodes { text } }
  requestedBy { kind name }
} }
"""
BEGIN = """
mutation($backup: ID!, $instance: ID!, $other: Boolean! = false, $changed: Boolean! = false,
         $key: String) {
  restoreBackup(
    backupId: $backup, instanceId: $instance, allowOtherContainer: $other,
    acceptChangedCommand: $changed, idempotencyKey: $key
  ) {
    restore { id state phase backup { id } }
    errors { __typename code path }
  }
}
"""
CANCEL = """
mutation($id: ID!) { cancelRestore(id: $id) { restore { id state } errors { __typename code } } }
"""


@pytest.fixture
async def stage(
    admin: Client, owner: Database, gateway_database: Database, worker_database: Database
) -> Stage:
    return await a_stage(owner, gateway_database, worker_database, admin=admin.principal)


@pytest.fixture
async def backup(stage: Stage, gateway_database: Database, worker_database: Database) -> Backup:
    return await a_live_backup(gateway_database, worker_database, stage, size=1000)


async def test_a_restore_answers_at_once_and_is_queued(
    admin: Client, stage: Stage, backup: Backup
) -> None:
    arguments = {
        "backup": encode_id("Backup", backup.id),
        "instance": encode_id("Instance", stage.instance.id),
        "key": "once",
    }
    first = await admin.ask(BEGIN, **arguments)
    restore = first["restoreBackup"]["restore"]
    assert first["restoreBackup"]["errors"] == []
    assert restore["state"] == "QUEUED"
    assert restore["phase"] == "PREPARING"
    assert restore["backup"] == {"id": arguments["backup"]}
    assert await admin.ask(BEGIN, **arguments) == first
    listed = await admin.ask(
        """query($id: ID!) { backup(id: $id) { restores { totalCount nodes { id } }
          container { restores(filter: {states: [QUEUED]}) { totalCount nodes { id } }
            none: restores(filter: {states: [FAILED]}) { totalCount nodes { id } } } } }""",
        id=arguments["backup"],
    )
    one = {"totalCount": 1, "nodes": [{"id": restore["id"]}]}
    assert listed["backup"] == {
        "restores": one,
        "container": {"restores": one, "none": {"totalCount": 0, "nodes": []}},
    }


async def test_a_running_restore_says_how_far_it_is(
    admin: Client,
    stage: Stage,
    backup: Backup,
    gateway_database: Database,
    worker_database: Database,
) -> None:
    order = await a_started_restore(gateway_database, worker_database, stage, backup)
    await set_phase(worker_database, order.run.id, order.run.epoch, RestorePhase.TRANSFERRING)
    await record_progress(
        worker_database,
        [
            RunProgress(
                run_id=order.run.id,
                epoch=order.run.epoch,
                bytes_read=0,
                bytes_stored=0,
                bytes_delivered=250,
                bytes_per_second=50,
            )
        ],
    )
    found = (await admin.ask(RESTORE, id=encode_id("Restore", order.run.id)))["restore"]
    progress = found["progress"]
    assert progress.pop("eta").endswith("Z")
    assert progress.pop("updatedAt").endswith("Z")
    assert progress == {
        "bytesDelivered": 250,
        "bytesTotal": 1000,
        "fraction": 0.25,
        "bytesPerSecond": 50,
        "etaSeconds": 15.0,
    }
    assert (found["state"], found["phase"]) == ("RUNNING", "TRANSFERRING")
    assert found["finishedAt"] is None


async def test_a_restore_that_succeeded_says_everything_about_itself(
    admin: Client,
    stage: Stage,
    backup: Backup,
    gateway_database: Database,
    worker_database: Database,
) -> None:
    order = await a_started_restore(gateway_database, worker_database, stage, backup)
    await finish_restore(worker_database, order, 0)
    id = encode_id("Restore", order.run.id)
    found = (await admin.ask(RESTORE, id=id))["restore"]
    for name in ("createdAt", "startedAt", "finishedAt"):
        assert found.pop(name).endswith("Z")
    assert found.pop("progress")["etaSeconds"] is None
    assert found == {
        "id": id,
        "state": "SUCCEEDED",
        "trigger": "MANUAL",
        "phase": "PREPARING",
        "exitCode": 0,
        "error": None,
        "backup": {"id": encode_id("Backup", backup.id), "state": "LIVE"},
        "container": {"identifier": stage.container.identifier},
        "instance": {"hostname": stage.instance.hostname},
        "logs": {"totalCount": 0, "totalBytes": 0, "truncated": False, "nodes": []},
        "requestedBy": {"kind": "API_KEY", "name": admin.principal.name},
    }


async def test_a_restore_that_failed_says_why(
    admin: Client,
    stage: Stage,
    backup: Backup,
    gateway_database: Database,
    worker_database: Database,
) -> None:
    order = await a_started_restore(gateway_database, worker_database, stage, backup)
    await fail_run(
        worker_database, order.run.id, order.run.epoch, error=CommandFailed(), exit_code=3
    )
    found = (await admin.ask(RESTORE, id=encode_id("Restore", order.run.id)))["restore"]
    assert (found["state"], found["exitCode"]) == ("FAILED", 3)
    assert found["error"] == {
        "code": "COMMAND_FAILED",
        "message": "The command ended with a failure.",
    }


async def test_what_could_not_work_is_refused_with_the_reason(
    *,
    admin: Client,
    stage: Stage,
    backup: Backup,
    owner: Database,
    gateway_database: Database,
    worker_database: Database,
) -> None:
    failed = await a_failed_backup(gateway_database, worker_database, stage)
    other = await a_stage(owner, gateway_database, worker_database, admin=admin.principal)
    good = encode_id("Backup", backup.id)
    here = encode_id("Instance", stage.instance.id)
    there = encode_id("Instance", other.instance.id)
    for backup_id, instance_id, refusal in (
        (encode_id("Backup", failed.id), here, ("InvalidStateError", "BACKUP_NOT_LIVE")),
        (good, there, ("InvalidStateError", "OTHER_CONTAINER")),
        (encode_id("Backup", uuid4()), here, ("NotFoundError", "NOT_FOUND")),
        (good, encode_id("Instance", uuid4()), ("NotFoundError", "NOT_FOUND")),
        (here, good, ("NotFoundError", "NOT_FOUND")),
    ):
        refused = (await admin.ask(BEGIN, backup=backup_id, instance=instance_id))["restoreBackup"]
        assert refused["restore"] is None
        [error] = refused["errors"]
        assert (error["__typename"], error["code"]) == refusal
    listed = await admin.ask(
        "{ containers { nodes { restores { totalCount } } } }",
    )
    assert [node["restores"]["totalCount"] for node in listed["containers"]["nodes"]] == [0, 0]


async def test_a_changed_command_must_be_accepted(
    admin: Client, stage: Stage, backup: Backup, gateway_database: Database
) -> None:
    await a_policy(
        gateway_database,
        admin.principal,
        stage.container,
        stage.integration,
        backup_command="cat other",
    )
    arguments = {
        "backup": encode_id("Backup", backup.id),
        "instance": encode_id("Instance", stage.instance.id),
    }
    refused = (await admin.ask(BEGIN, **arguments))["restoreBackup"]
    assert [error["code"] for error in refused["errors"]] == ["COMMAND_CHANGED"]
    accepted = (await admin.ask(BEGIN, **arguments, changed=True))["restoreBackup"]
    assert accepted["errors"] == []


async def test_only_some_keys_may_restore_into_another_container(
    *,
    admin: Client,
    client_as: ClientAs,
    backup: Backup,
    owner: Database,
    gateway_database: Database,
    worker_database: Database,
) -> None:
    other = await a_stage(owner, gateway_database, worker_database, admin=admin.principal)
    arguments = {
        "backup": encode_id("Backup", backup.id),
        "instance": encode_id("Instance", other.instance.id),
        "other": True,
    }
    operator = await client_as(Role.OPERATOR)
    refused = (await operator.ask(BEGIN, **arguments))["restoreBackup"]
    assert [error["__typename"] for error in refused["errors"]] == ["NotPermittedError"]
    accepted = (await admin.ask(BEGIN, **arguments))["restoreBackup"]
    assert accepted["errors"] == []


async def test_a_restore_is_cancelled(
    admin: Client, stage: Stage, backup: Backup, gateway_database: Database
) -> None:
    restore = await a_queued_restore(gateway_database, stage, backup)
    id = encode_id("Restore", restore.id)
    answer = (await admin.ask(CANCEL, id=id))["cancelRestore"]
    assert answer["errors"] == []
    assert answer["restore"]["id"] == id
    missing = (await admin.ask(CANCEL, id=encode_id("Backup", backup.id)))["cancelRestore"]
    assert missing == {
        "restore": None,
        "errors": [{"__typename": "NotFoundError", "code": "NOT_FOUND"}],
    }


async def test_another_hubs_restores_are_not_there(
    stranger: Client, stage: Stage, backup: Backup, gateway_database: Database
) -> None:
    restore = await a_queued_restore(gateway_database, stage, backup)
    id = encode_id("Restore", restore.id)
    assert await stranger.ask(RESTORE, id=id) == {"restore": None}
    cancelled = (await stranger.ask(CANCEL, id=id))["cancelRestore"]
    assert [error["code"] for error in cancelled["errors"]] == ["NOT_FOUND"]
    begun = await stranger.ask(
        BEGIN,
        backup=encode_id("Backup", backup.id),
        instance=encode_id("Instance", stage.instance.id),
    )
    assert [error["code"] for error in begun["restoreBackup"]["errors"]] == ["NOT_FOUND"]


async def test_restores_of_a_backup_are_listed_in_pages(
    admin: Client,
    stage: Stage,
    backup: Backup,
    gateway_database: Database,
) -> None:
    made = []
    for _ in range(3):
        instance = await an_instance(gateway_database, admin.principal, stage.container)
        made.append(await a_queued_restore(gateway_database, stage, backup, instance=instance))
    query = """query($id: ID!, $after: String) { backup(id: $id) {
      restores(first: 2, after: $after, orderBy: OLDEST_FIRST) {
        nodes { id } pageInfo { endCursor } } } }"""
    id = encode_id("Backup", backup.id)
    page = (await admin.ask(query, id=id))["backup"]["restores"]
    rest = await admin.ask(query, id=id, after=page["pageInfo"]["endCursor"])
    nodes = page["nodes"] + rest["backup"]["restores"]["nodes"]
    assert [node["id"] for node in nodes] == [encode_id("Restore", one.id) for one in made]
