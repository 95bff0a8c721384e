"""The subscriptions backupProgress and containerBackups: nothing that matters is missed."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from starlette.applications import Starlette

from app.api import backup_changes
from app.errors import CommandFailed
from app.model.access import Role
from app.model.ids import encode_id
from app.model.orders import RunProgress, SaveOrder
from app.postgres.listen import CHANNEL, ListenHub
from app.postgres.pool import Database
from app.service.backups import cancel_backup, delete_backups
from app.service.containers import delete_container
from app.service.endings import fail_run, finish_backup, requeue_run
from app.service.reclaims import settle, take_due
from app.service.runs import record_progress
from app.service.sweeps import finish_container_deletions
from tests.builders import (
    SEALER,
    Stage,
    a_failed_backup,
    a_live_backup,
    a_queued_backup,
    a_save,
    a_stage,
    a_started_restore,
    stored_bytes,
)
from tests.graphql_server import Client, ClientAs, serve
from tests.graphql_socket import Socket, open_socket

FOLLOW = """subscription($id: ID!) { backupProgress(backupId: $id) {
  id state sizeBytes progress { bytesRead bytesStored } error { code }
} }"""
LIST = """subscription($id: ID!) { containerBackups(containerId: $id) {
  change id backup { id state container { id } }
} }"""
RESET = {"change": "RESET", "id": None, "backup": None}


@pytest.fixture
async def stage(
    admin: Client, owner: Database, gateway_database: Database, worker_database: Database
) -> Stage:
    return await a_stage(owner, gateway_database, worker_database, admin=admin.principal)


@pytest.fixture
async def client(
    app: Starlette, listening: ListenHub, client_as: ClientAs
) -> AsyncIterator[Socket]:
    del listening
    viewer = await client_as(Role.VIEWER)
    async with serve(app) as place, open_socket(place) as opened:
        await opened.init(viewer.token)
        yield opened


async def read(client: Socket, field: str) -> dict[str, Any]:
    message = await client.read()
    assert message["type"] == "next", message
    assert "errors" not in message["payload"], message
    found: dict[str, Any] = message["payload"]["data"][field]
    return found


async def read_change(client: Socket) -> tuple[str, str, str]:
    """What happened, to which backup, and the state that it has."""
    change = await read(client, "containerBackups")
    assert change["backup"]["id"] == change["id"]
    return change["change"], change["id"], change["backup"]["state"]


async def tell(worker: Database, order: SaveOrder, moved: int) -> None:
    progress = RunProgress(
        run_id=order.run.id,
        epoch=order.run.epoch,
        bytes_read=moved,
        bytes_stored=moved,
        bytes_delivered=0,
        bytes_per_second=100,
    )
    await record_progress(worker, [progress])


async def watch_list(client: Socket, stage: Stage) -> None:
    await client.subscribe("1", LIST, id=encode_id("Container", stage.container.id))
    assert await read(client, "containerBackups") == RESET


async def test_a_backup_is_followed_from_its_state_now_to_its_end(
    client: Socket, stage: Stage, gateway_database: Database, worker_database: Database
) -> None:
    order = await a_save(gateway_database, worker_database, stage)
    id = encode_id("Backup", order.backup.id)
    await client.subscribe("1", FOLLOW, id=id)
    assert await read(client, "backupProgress") == {
        "id": id,
        "state": "SAVING",
        "sizeBytes": None,
        "progress": {"bytesRead": 0, "bytesStored": 0},
        "error": None,
    }
    await tell(worker_database, order, 500)
    found = await read(client, "backupProgress")
    assert found["progress"] == {"bytesRead": 500, "bytesStored": 500}
    await finish_backup(worker_database, order, stored_bytes(1000))
    found = await read(client, "backupProgress")
    assert (found["state"], found["sizeBytes"]) == ("LIVE", 1000)
    assert await client.read() == {"type": "complete", "id": "1"}


async def test_a_backup_that_fails_is_followed_to_the_reason(
    client: Socket, stage: Stage, gateway_database: Database, worker_database: Database
) -> None:
    order = await a_save(gateway_database, worker_database, stage)
    await client.subscribe("1", FOLLOW, id=encode_id("Backup", order.backup.id))
    await read(client, "backupProgress")
    await fail_run(
        worker_database, order.run.id, order.run.epoch, error=CommandFailed(), exit_code=1
    )
    found = await read(client, "backupProgress")
    assert (found["state"], found["error"]) == ("FAILED", {"code": "COMMAND_FAILED"})
    assert await client.read() == {"type": "complete", "id": "1"}


async def test_a_backup_that_is_being_deleted_is_followed_until_it_is(
    client: Socket, stage: Stage, gateway_database: Database, worker_database: Database
) -> None:
    backup = await a_live_backup(gateway_database, worker_database, stage)
    await a_live_backup(gateway_database, worker_database, stage)
    id = encode_id("Backup", backup.id)
    await delete_backups(gateway_database, stage.admin, ids=[(id, backup.id)])
    await client.subscribe("1", FOLLOW, id=id)
    assert (await read(client, "backupProgress"))["state"] == "DELETING"
    for reclaim in await take_due(worker_database, SEALER, 100):
        await settle(worker_database, reclaim.id)
    assert (await read(client, "backupProgress"))["state"] == "DELETED"
    assert await client.read() == {"type": "complete", "id": "1"}


async def test_a_backup_that_stays_as_it_is_is_shown_once(
    client: Socket, stage: Stage, gateway_database: Database, worker_database: Database
) -> None:
    backup = await a_failed_backup(gateway_database, worker_database, stage)
    await client.subscribe("1", FOLLOW, id=encode_id("Backup", backup.id))
    assert (await read(client, "backupProgress"))["state"] == "FAILED"
    assert await client.read() == {"type": "complete", "id": "1"}


async def test_a_list_tells_what_enters_changes_and_leaves(
    client: Socket, stage: Stage, gateway_database: Database
) -> None:
    await watch_list(client, stage)
    backup = await a_queued_backup(gateway_database, stage)
    id = encode_id("Backup", backup.id)
    change = await read(client, "containerBackups")
    assert change == {
        "change": "ENTERED",
        "id": id,
        "backup": {
            "id": id,
            "state": "QUEUED",
            "container": {"id": encode_id("Container", stage.container.id)},
        },
    }
    await cancel_backup(gateway_database, stage.admin, id=backup.id)
    assert await read_change(client) == ("CHANGED", id, "CANCELED")
    await delete_backups(gateway_database, stage.admin, ids=[(id, backup.id)])
    assert await read_change(client) == ("LEFT", id, "DELETED")


async def test_a_new_backup_enters_in_whatever_state_it_is_seen_first(
    client: Socket, stage: Stage, gateway_database: Database, worker_database: Database
) -> None:
    await watch_list(client, stage)
    order = await a_save(gateway_database, worker_database, stage)
    await finish_backup(worker_database, order, stored_bytes())
    change, id, _ = await read_change(client)
    assert (change, id) == ("ENTERED", encode_id("Backup", order.backup.id))


async def test_an_old_backup_that_changes_does_not_enter(
    client: Socket,
    stage: Stage,
    owner: Database,
    gateway_database: Database,
    worker_database: Database,
) -> None:
    order = await a_save(gateway_database, worker_database, stage)
    async with owner.connection() as connection:
        await connection.execute("update backups set created_at = now() - interval '1 hour'")
    await watch_list(client, stage)
    await requeue_run(worker_database, order.run.id, order.run.epoch)
    assert await read_change(client) == ("CHANGED", encode_id("Backup", order.backup.id), "QUEUED")


async def test_a_backup_that_the_list_holds_already_does_not_enter_again(
    client: Socket, stage: Stage, gateway_database: Database
) -> None:
    """It is seconds old: the list that is read after RESET has it."""
    backup = await a_queued_backup(gateway_database, stage)
    await watch_list(client, stage)
    await cancel_backup(gateway_database, stage.admin, id=backup.id)
    id = encode_id("Backup", backup.id)
    assert await read_change(client) == ("CHANGED", id, "CANCELED")
    await delete_backups(gateway_database, stage.admin, ids=[(id, backup.id)])
    assert await read_change(client) == ("LEFT", id, "DELETED")


async def test_after_another_reset_what_was_told_before_is_known(
    client: Socket, stage: Stage, owner: Database, gateway_database: Database
) -> None:
    await watch_list(client, stage)
    backup = await a_queued_backup(gateway_database, stage)
    id = encode_id("Backup", backup.id)
    assert await read_change(client) == ("ENTERED", id, "QUEUED")
    async with owner.connection() as connection:
        await connection.execute(
            "select pg_notify($1, $2)",
            CHANNEL,
            f'{{"topics":[["container:{stage.container.id}",""]]}}',
        )
    assert await read(client, "containerBackups") == RESET
    await cancel_backup(gateway_database, stage.admin, id=backup.id)
    assert await read_change(client) == ("CHANGED", id, "CANCELED")


async def test_a_restore_is_no_change_of_the_list(
    client: Socket, stage: Stage, gateway_database: Database, worker_database: Database
) -> None:
    backup = await a_live_backup(gateway_database, worker_database, stage)
    await watch_list(client, stage)
    order = await a_started_restore(gateway_database, worker_database, stage, backup)
    await fail_run(
        worker_database, order.run.id, order.run.epoch, error=CommandFailed(), exit_code=1
    )
    new = await a_queued_backup(gateway_database, stage)
    seen = set()
    while (wanted := encode_id("Backup", new.id)) not in seen:
        seen.add((await read_change(client))[1])
    # The end of its own run may be told only now.
    assert seen <= {wanted, encode_id("Backup", backup.id)}


async def test_many_changes_at_once_are_a_reset(
    client: Socket, stage: Stage, owner: Database
) -> None:
    await watch_list(client, stage)
    topics = ",".join(f'["container:{stage.container.id}","{n}"]' for n in range(65))
    async with owner.connection() as connection:
        await connection.execute("select pg_notify($1, $2)", CHANNEL, f'{{"topics":[{topics}]}}')
    assert await read(client, "containerBackups") == RESET


async def test_a_subscription_remembers_a_bounded_number_of_backups(
    client: Socket, stage: Stage, gateway_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backup_changes, "MOST_TOLD", 1)
    await watch_list(client, stage)
    backup = await a_queued_backup(gateway_database, stage)
    assert (await read_change(client))[0] == "ENTERED"
    await cancel_backup(gateway_database, stage.admin, id=backup.id)
    assert await read(client, "containerBackups") == RESET


async def test_a_container_that_is_deleted_ends_its_list(
    client: Socket, stage: Stage, gateway_database: Database, worker_database: Database
) -> None:
    await watch_list(client, stage)
    await delete_container(
        gateway_database,
        stage.admin,
        id=stage.container.id,
        confirm=stage.container.identifier,
        grace=timedelta(0),
    )
    assert await read(client, "containerBackups") == RESET
    assert await finish_container_deletions(worker_database) == 1
    assert await read(client, "containerBackups") == RESET
    assert await client.read() == {"type": "complete", "id": "1"}
    await client.subscribe("2", LIST, id=encode_id("Container", stage.container.id))
    assert await read(client, "containerBackups") == RESET
    assert await client.read() == {"type": "complete", "id": "2"}


async def test_another_hubs_backups_are_not_there(
    app: Starlette,
    stranger: Client,
    stage: Stage,
    gateway_database: Database,
) -> None:
    backup = await a_queued_backup(gateway_database, stage)
    ids = {
        FOLLOW: [encode_id("Backup", backup.id), encode_id("Container", backup.id), "rubbish"],
        LIST: [encode_id("Container", stage.container.id), encode_id("Backup", backup.id), ""],
    }
    async with serve(app) as place, open_socket(place) as client:
        await client.init(stranger.token)
        for query, wrong in ids.items():
            for id in wrong:
                await client.subscribe("1", query, id=id)
                answer = await client.read()
                assert answer["type"] == "error", answer
                assert answer["payload"][0]["extensions"]["code"] == "NOT_FOUND"
