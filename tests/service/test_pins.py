"""Pins and notes: what is pinned is not deleted by itself; unpinning is for few."""

from datetime import timedelta

import pytest

from app.errors import Conflict, InvalidInput, InvalidState, NotFound, NotPermitted
from app.model.access import Capability
from app.model.backups import BackupState
from app.service.backups import cancel_backup, delete_backups, update_backup
from app.service.containers import delete_container
from tests.builders import (
    a_failed_backup,
    a_hub,
    a_live_backup,
    a_queued_backup,
    a_stage,
    a_viewer,
    an_admin,
    an_operator,
    read_backup,
)


@pytest.fixture
async def stage(owner, gateway_database, worker_database):
    return await a_stage(owner, gateway_database, worker_database)


@pytest.fixture
async def backup(gateway_database, worker_database, stage):
    return await a_live_backup(gateway_database, worker_database, stage)


async def delete(database, principal, backup):
    (answer,) = await delete_backups(database, principal, ids=[(str(backup.id), backup.id)])
    return answer


async def test_a_pinned_backup_is_deleted_once_it_is_unpinned(gateway_database, stage, backup):
    assert (backup.pinned, backup.note) == (False, None)
    pinned = await update_backup(gateway_database, stage.admin, id=backup.id, pinned=True)
    assert pinned.pinned
    answer = await delete(gateway_database, stage.admin, backup)
    assert isinstance(answer.refusal, InvalidState)
    assert answer.refusal.reason == "PINNED"
    assert (await read_backup(gateway_database, stage, backup.id)).state is BackupState.LIVE
    await update_backup(gateway_database, stage.admin, id=backup.id, pinned=False)
    answer = await delete(gateway_database, stage.admin, backup)
    assert answer.refusal is None
    assert (await read_backup(gateway_database, stage, backup.id)).state is BackupState.DELETING


async def test_an_operator_pins_and_does_not_unpin(gateway_database, stage, backup):
    operator = an_operator(stage.admin.hub_id)
    await update_backup(gateway_database, operator, id=backup.id, pinned=True)
    again = await update_backup(gateway_database, operator, id=backup.id, pinned=True, note="Kept")
    assert (again.pinned, again.note) == (True, "Kept")
    with pytest.raises(NotPermitted, match=Capability.UNPIN_BACKUPS):
        await update_backup(gateway_database, operator, id=backup.id, pinned=False, note="Gone")
    after = await read_backup(gateway_database, stage, backup.id)
    assert (after.pinned, after.note) == (True, "Kept")


async def test_a_viewer_and_another_hub_change_nothing(owner, gateway_database, stage, backup):
    with pytest.raises(NotPermitted, match=Capability.PIN_BACKUPS):
        await update_backup(
            gateway_database, a_viewer(stage.admin.hub_id), id=backup.id, pinned=True, note="x"
        )
    with pytest.raises(NotFound):
        await update_backup(
            gateway_database, an_admin(await a_hub(owner)), id=backup.id, pinned=True, note="x"
        )
    assert await read_backup(gateway_database, stage, backup.id) == backup


async def test_a_note_stays_until_it_is_emptied(gateway_database, stage, backup):
    written = await update_backup(
        gateway_database, stage.admin, id=backup.id, note="Before the move\nto 16"
    )
    assert written.note == "Before the move\nto 16"
    kept = await update_backup(gateway_database, stage.admin, id=backup.id, pinned=True)
    assert (kept.pinned, kept.note) == (True, "Before the move\nto 16")
    emptied = await update_backup(gateway_database, stage.admin, id=backup.id, note="")
    assert (emptied.pinned, emptied.note) == (True, None)


@pytest.mark.parametrize("note", ["x" * 1001, "a\0b", "\ud800"])
async def test_a_note_is_a_text_of_a_bounded_length(gateway_database, stage, backup, note):
    with pytest.raises(InvalidInput) as refusal:
        await update_backup(gateway_database, stage.admin, id=backup.id, note=note)
    assert refusal.value.path == ("note",)
    assert await read_backup(gateway_database, stage, backup.id) == backup


async def test_what_is_not_kept_cannot_be_pinned(gateway_database, worker_database, stage):
    failed = await a_failed_backup(gateway_database, worker_database, stage)
    with pytest.raises(InvalidState) as refusal:
        await update_backup(gateway_database, stage.admin, id=failed.id, pinned=True)
    assert refusal.value.path == ("pinned",)
    noted = await update_backup(gateway_database, stage.admin, id=failed.id, note="The disk")
    assert (noted.pinned, noted.note) == (False, "The disk")


async def test_a_backup_that_is_pinned_before_it_is_made_stays_so(gateway_database, stage):
    queued = await a_queued_backup(gateway_database, stage)
    pinned = await update_backup(gateway_database, stage.admin, id=queued.id, pinned=True)
    assert (pinned.state, pinned.pinned) == (BackupState.QUEUED, True)
    await cancel_backup(gateway_database, stage.admin, id=queued.id)
    answer = await delete(gateway_database, stage.admin, queued)
    assert answer.refusal is not None
    assert answer.refusal.reason == "PINNED"


async def test_a_container_takes_its_pinned_backups_along_and_says_how_many(
    gateway_database, stage, backup
):
    await update_backup(gateway_database, stage.admin, id=backup.id, pinned=True)
    _, warnings = await delete_container(
        gateway_database,
        stage.admin,
        id=stage.container.id,
        confirm=stage.container.identifier,
        grace=timedelta(hours=1),
    )
    assert warnings[1:] == ["1 of them is pinned."]
    assert (await read_backup(gateway_database, stage, backup.id)).state is BackupState.DELETING
    answer = await delete(gateway_database, stage.admin, backup)
    assert answer.refusal is None


async def test_a_repeated_update_answers_the_backup_as_it_is_now(gateway_database, stage, backup):
    admin = stage.admin
    first = {"id": backup.id, "pinned": True, "idempotency_key": "1"}
    await update_backup(gateway_database, admin, **first)
    await update_backup(gateway_database, admin, id=backup.id, pinned=False)
    assert not (await update_backup(gateway_database, admin, **first)).pinned
    with pytest.raises(Conflict):
        await update_backup(gateway_database, admin, id=backup.id, note="x", idempotency_key="1")
