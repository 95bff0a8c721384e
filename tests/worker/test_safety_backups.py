"""Restores with a safety net: the instance is saved first, and what came of it is checked."""

import asyncio
from pathlib import Path

import pytest

RESTORE = "cat > data; echo restored >&2"


async def _restorable(product, load):
    """A backup of the first instance; the second one holds something else."""
    for number, text in ((1, "wanted"), (2, "before")):
        path = load.folder(number) / "data"
        path.write_text(text)
        product.give(path)
    return await product.back_up(load)


async def _appears(path: Path) -> None:
    async with asyncio.timeout(30):
        while not path.exists():
            await asyncio.sleep(0.02)


@pytest.mark.timeout(60)  # a whole product
async def test_the_target_is_saved_before_a_restore_and_can_be_put_back(product):
    load = await product.workload(
        "db", backup="cat data", restore=RESTORE, check="grep wanted data"
    )
    async with product.working():
        backup = await _restorable(product, load)
        restore = await product.put_back(backup["id"], load.instance(2), safe=True)
        assert (restore["state"], restore["phase"]) == ("SUCCEEDED", "CHECKING")
        assert (load.folder(2) / "data").read_text() == "wanted"
        saved = restore["safetyBackup"]
        assert (saved["state"], saved["trigger"]) == ("LIVE", "PRE_RESTORE")
        # Without its check, which would rightly refuse what was there before.
        await product.configure(load, backup="cat data", restore=RESTORE)
        undone = await product.put_back(saved["id"], load.instance(2))
        assert (undone["state"], undone["safetyBackup"]) == ("SUCCEEDED", None)
        assert (load.folder(2) / "data").read_text() == "before"


@pytest.mark.timeout(60)  # a whole product
async def test_a_restore_does_not_begin_where_its_target_cannot_be_saved(product):
    load = await product.workload(
        "db",
        backup="cat data; test -e sound",
        restore="echo > began; cat > data",
        safety_backup=True,
    )
    (load.folder(1) / "sound").touch()
    async with product.working():
        backup = await _restorable(product, load)
        restore = await product.put_back(backup["id"], load.instance(2))
        assert (restore["state"], restore["error"]["code"]) == ("FAILED", "SAFETY_BACKUP_FAILED")
        assert (restore["phase"], restore["progress"]["bytesDelivered"]) == ("SAVING_TARGET", 0)
        assert restore["safetyBackup"]["state"] == "FAILED"
        assert (load.folder(2) / "data").read_text() == "before"
        assert not (load.folder(2) / "began").exists()
        await product.nothing_left(kept=1)
        events = (await product.ask("{ hub { events { nodes { kind } } } }"))["hub"]["events"]
        kinds = [node["kind"] for node in events["nodes"]]
        assert kinds.count("RESTORE_FAILED") == 1
        (load.folder(2) / "sound").touch()
        again = await product.put_back(backup["id"], load.instance(2))
        assert again["state"] == "SUCCEEDED"


@pytest.mark.timeout(60)  # a whole product
async def test_a_safety_backup_that_is_cancelled_ends_its_restore_untouched(product):
    backup_command = "cat data; echo > began; test -e quick || sleep 600"
    load = await product.workload("db", backup=backup_command, restore=RESTORE)
    (load.folder(1) / "quick").touch()
    async with product.working():
        backup = await _restorable(product, load)
        (load.folder(2) / "began").unlink(missing_ok=True)
        for cancel_restore in (False, True):
            started = await product.start_restore(backup["id"], load.instance(2), safe=True)
            await _appears(load.folder(2) / "began")
            saving = (await product.restore(started))["safetyBackup"]["id"]
            if cancel_restore:
                await product.cancel_restore(started)
            else:
                await product.cancel_backup(saving)
            restore = await product.restore_ended(started, seconds=10)
            assert restore["safetyBackup"]["state"] == "CANCELED"
            code = restore["error"] and restore["error"]["code"]
            expected = ("CANCELED", None) if cancel_restore else ("FAILED", "SAFETY_BACKUP_FAILED")
            assert (restore["state"], code) == expected
            (load.folder(2) / "began").unlink()
        await product.no_processes()
        await product.nothing_left(kept=1)
    assert (load.folder(2) / "data").read_text() == "before"


@pytest.mark.timeout(120)  # a worker is killed, its lease runs out
async def test_a_save_whose_worker_dies_is_made_again_and_then_the_restore_goes_on(product):
    """Nobody else gets into the instance meanwhile."""
    backup_command = "echo >> starts; cat data; test -e quick || sleep 600"
    load = await product.workload("db", backup=backup_command, restore=RESTORE)
    (load.folder(1) / "quick").touch()
    async with product.worker_process() as worker:
        backup = await _restorable(product, load)
        started = await product.start_restore(backup["id"], load.instance(2), safe=True)
        await _appears(load.folder(2) / "starts")
        await worker.kill()
    await product.no_processes()
    with pytest.raises(AssertionError, match="INSTANCE_BUSY"):
        await product.start_backup(load, 2)
    (load.folder(2) / "quick").touch()
    async with product.working():
        restore = await product.restore_ended(started)
        assert (restore["state"], restore["safetyBackup"]["state"]) == ("SUCCEEDED", "LIVE")
        assert (load.folder(2) / "starts").read_text() == "\n\n"
        await product.nothing_left(kept=2)
        saved = await product.put_back(restore["safetyBackup"]["id"], load.instance(1))
        assert saved["state"] == "SUCCEEDED"
    assert (load.folder(1) / "data").read_text() == "before"


@pytest.mark.timeout(120)  # a worker is killed, its lease runs out
async def test_a_try_after_a_save_that_succeeded_saves_again_before_it_restores(product):
    """What the first try saved may be old by then."""
    load = await product.workload("db", backup="cat data", restore=RESTORE)
    async with product.working():
        backup = await _restorable(product, load)
    faults = product.b2.faults
    before = faults.count("b2_download_file_by_id")
    faults.hold("b2_download_file_by_id")
    async with product.worker_process() as worker:
        started = await product.start_restore(backup["id"], load.instance(2), safe=True)
        async with asyncio.timeout(30):
            while faults.count("b2_download_file_by_id") == before:
                await asyncio.sleep(0.02)
        first = (await product.restore(started))["safetyBackup"]
        assert first["state"] == "LIVE"
        await worker.kill()
    (load.folder(2) / "data").write_text("newer")
    faults.release()
    async with product.working():
        restore = await product.restore_ended(started)
        assert restore["state"] == "SUCCEEDED"
        second = restore["safetyBackup"]
        assert (second["state"], second["id"] != first["id"]) == ("LIVE", True)
        await product.put_back(second["id"], load.instance(1))
    assert (load.folder(1) / "data").read_text() == "newer"


@pytest.mark.timeout(60)  # a whole product
async def test_a_restore_whose_check_fails_has_failed(product):
    checks = {
        "refuses": ("echo no >&2; exit 3", "PT10M", ("CHECK_FAILED", 3, "restored\nno\n")),
        "says why on stdout": ("echo why; exit 4", "PT10M", ("CHECK_FAILED", 4, "restored\nwhy\n")),
        "is killed": ("kill -9 $$", "PT10M", ("CHECK_FAILED", 137, "restored\n")),
        "hangs": ("sleep 600; echo > done", "PT3S", ("TIMED_OUT", None, "restored\n")),
    }
    loads = {
        how: await product.workload(
            f"db-{number}", backup="cat data", restore=RESTORE, check=check, timeout=timeout
        )
        for number, (how, (check, timeout, _)) in enumerate(checks.items())
    }
    async with product.working(runs=6):
        saved = {how: await _restorable(product, load) for how, load in loads.items()}
        started = {
            how: await product.start_restore(saved[how]["id"], load.instance(2))
            for how, load in loads.items()
        }
        for how, (_, _, expected) in checks.items():
            restore = await product.restore_ended(started[how])
            assert (restore["state"], restore["phase"]) == ("FAILED", "CHECKING"), how
            text = "".join(node["text"] for node in restore["logs"]["nodes"])
            assert (restore["error"]["code"], restore["exitCode"], text) == expected, how
    assert product.processes() == []
    assert not any((load.folder(2) / "done").exists() for load in loads.values())
