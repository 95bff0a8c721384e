"""Addresses of backups: who may make one, of what, and what it gives to whoever spends it."""

import pytest

from app.errors import DownloadsBusy, InvalidState, NotFound, NotPermitted, StorageRefused
from app.model.access import Capability
from app.model.backups import StorageStatus
from app.model.downloads import FOLDER
from app.service import downloads
from app.service.backups import delete_backups
from app.service.downloads import create_download, redeem_download
from app.service.stored_objects import record_looks
from tests.builders import (
    SEALER,
    a_hub,
    a_live_backup,
    a_queued_backup,
    a_stage,
    a_viewer,
    an_admin,
    an_operator,
    read_backup,
)

COUNT = "select count(*) from downloads"


@pytest.fixture
async def stage(owner, gateway_database, worker_database):
    return await a_stage(owner, gateway_database, worker_database)


@pytest.fixture
async def backup(gateway_database, worker_database, stage):
    return await a_live_backup(gateway_database, worker_database, stage)


def anybody(hub_id):
    """Admits every hub."""


async def count(owner):
    async with owner.connection() as connection:
        return await connection.fetchval(COUNT)


async def test_an_operators_address_gives_the_object_once(gateway_database, stage, backup):
    operator = an_operator(stage.admin.hub_id)
    made, address = await create_download(gateway_database, operator, backup_id=backup.id)
    assert made.backup_id == backup.id
    folder, secret = address.split("/")
    assert folder == FOLDER
    redeemed = await redeem_download(gateway_database, secret, sealer=SEALER, admit=anybody)
    assert (redeemed.backup.id, redeemed.container) == (backup.id, stage.container)
    expected = redeemed.expected
    assert (expected.file_id, expected.size_bytes) == (backup.file_id, backup.size_bytes)
    assert (expected.name, expected.sha256) == (backup.object_name, backup.sha256)
    assert expected.access.key == "the-application-key"
    with pytest.raises(NotFound):
        await redeem_download(gateway_database, secret, sealer=SEALER, admit=anybody)


async def test_an_address_whose_hub_is_not_admitted_is_not_spent(gateway_database, stage, backup):
    _, address = await create_download(gateway_database, stage.admin, backup_id=backup.id)
    secret = address.split("/")[1]
    asked = []

    def nobody(hub_id):
        asked.append(hub_id)
        raise DownloadsBusy

    with pytest.raises(DownloadsBusy):
        await redeem_download(gateway_database, secret, sealer=SEALER, admit=nobody)
    assert asked == [stage.admin.hub_id]
    redeemed = await redeem_download(gateway_database, secret, sealer=SEALER, admit=anybody)
    assert redeemed.backup.id == backup.id


async def test_a_secret_is_not_in_the_database(owner, gateway_database, stage, backup):
    _, address = await create_download(gateway_database, stage.admin, backup_id=backup.id)
    async with owner.connection() as connection:
        row = str(tuple(await connection.fetchrow("select d::text from downloads as d")))
    assert address.split("/")[1] not in row


async def test_who_may_not_makes_no_address(owner, gateway_database, stage, backup):
    with pytest.raises(NotPermitted, match=Capability.DOWNLOAD):
        await create_download(gateway_database, a_viewer(stage.admin.hub_id), backup_id=backup.id)
    with pytest.raises(NotFound):
        await create_download(gateway_database, an_admin(await a_hub(owner)), backup_id=backup.id)
    assert await count(owner) == 0


async def test_only_what_is_live_and_there_has_an_address(
    owner, gateway_database, worker_database, stage, backup
):
    queued = await a_queued_backup(gateway_database, stage)
    with pytest.raises(InvalidState) as refusal:
        await create_download(gateway_database, stage.admin, backup_id=queued.id)
    assert refusal.value.reason == "BACKUP_NOT_LIVE"
    hub_id = stage.admin.hub_id
    await record_looks(worker_database, hub_id, {backup.id: StorageStatus.MISSING})
    with pytest.raises(StorageRefused) as lost:
        await create_download(gateway_database, stage.admin, backup_id=backup.id)
    assert lost.value.reason == "OBJECT_MISSING"
    assert await count(owner) == 0


async def test_an_address_of_a_backup_that_goes_meanwhile_is_not_found(
    gateway_database, stage, backup
):
    _, address = await create_download(gateway_database, stage.admin, backup_id=backup.id)
    await delete_backups(gateway_database, stage.admin, ids=[(str(backup.id), backup.id)])
    with pytest.raises(NotFound):
        await redeem_download(gateway_database, address.split("/")[1], sealer=SEALER, admit=anybody)


async def test_old_addresses_are_pruned_and_others_stay(
    owner, gateway_database, worker_database, stage, backup
):
    for _ in range(2):
        await create_download(gateway_database, stage.admin, backup_id=backup.id)
    async with owner.connection() as connection:
        await connection.execute(
            "update downloads set expires_at = now() - interval '25 hours'"
            " where id = (select id from downloads limit 1)"
        )
    await downloads.prune(worker_database)
    assert await count(owner) == 1


async def test_looks_are_kept_and_a_mismatch_only_goes_with_all_bytes(
    gateway_database, stage, backup
):
    hub_id = stage.admin.hub_id
    for seen, whole, kept in (
        (StorageStatus.PRESENT, False, StorageStatus.PRESENT),
        (StorageStatus.MISMATCH, False, StorageStatus.MISMATCH),
        (StorageStatus.PRESENT, False, StorageStatus.MISMATCH),
        (StorageStatus.MISSING, False, StorageStatus.MISSING),
        (StorageStatus.MISMATCH, False, StorageStatus.MISMATCH),
        (StorageStatus.PRESENT, True, StorageStatus.PRESENT),
    ):
        looks = await record_looks(gateway_database, hub_id, {backup.id: seen}, is_whole=whole)
        assert looks[backup.id].status is kept
        after = await read_backup(gateway_database, stage, backup.id)
        assert (after.storage_status, after.storage_checked_at) == (
            kept,
            looks[backup.id].checked_at,
        )


async def test_a_look_at_what_is_not_live_or_another_hubs_is_not_kept(
    owner, gateway_database, stage, backup
):
    queued = await a_queued_backup(gateway_database, stage)
    seen = {queued.id: StorageStatus.MISSING, backup.id: StorageStatus.MISSING}
    assert await record_looks(gateway_database, (await a_hub(owner)).id, seen) == {}
    assert await read_backup(gateway_database, stage, backup.id) == backup
    assert set(await record_looks(gateway_database, stage.admin.hub_id, seen)) == {backup.id}
