"""B2 that fails in the middle of runs, and objects that were changed behind our back."""

import asyncio
import contextlib
import random
from datetime import timedelta

import pytest

from app.storage.buckets import Buckets
from app.storage.retries import Patience
from tests.product import ERRORS

CHUNK = 4 * 1024 * 1024
LARGE = random.Random(7).randbytes(33_000_000)
"""Three parts, eight chunks."""
SMALL = b"one short note\n" * 1000
HURRIED = Patience(budget=0.3, tries=2, first=0.05, longest=0.1)

# What a restore command keeps is only in place once it was all there.
KEEP = "cat > part && mv part got"
HELD = """head -c 100000 > part
until [ -e go ]; do sleep 0.1; done
cat >> part && mv part got"""


@pytest.fixture
def product_settings():
    return {"delete_grace": timedelta(seconds=1)}


@contextlib.asynccontextmanager
async def hurried(product):
    """A worker that gives up soon where B2 fails."""
    buckets = Buckets(
        realm=product.b2.url, embedded_realm=None, user_agent="test", patience=HURRIED
    )
    try:
        async with product.working(parts={"storage_of": buckets.open}) as worker:
            yield worker
    finally:
        await buckets.aclose()


async def _load(product, data, *, backup="cat data", restore=KEEP):
    load = await product.workload("db", backup=backup, restore=restore)
    (load.folder(1) / "data").write_bytes(data)
    product.give(load.folder(1) / "data")
    return load


async def _saved(product, load):
    backup = await product.back_up(load)
    assert backup["state"] == "LIVE", backup
    return backup


async def _until(condition):
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.02)


def _refuse(operation, status, code, **more):
    return lambda faults: faults.fail_next(operation, status=status, code=code, **more)


def _lose(operation, **more):
    return lambda faults: faults.lose_answer(operation, **more)


EXPIRED = (401, "expired_auth_token")
BUSY = (429, "too_many_requests")
DOWN = (503, "service_unavailable")

SAVE_FAULTS = {
    "the token expired before the start": _refuse("b2_start_large_file", *EXPIRED),
    "part tokens expired": _refuse("b2_upload_part", *EXPIRED, times=2),
    "too many parts at once": _refuse("b2_upload_part", *BUSY, retry_after=1, times=2),
    "too many URLs at once": _refuse("b2_get_upload_part_url", *BUSY, retry_after=1, times=2),
    "parts refused five times": _refuse("b2_upload_part", *DOWN, times=5, skip=1),
    "finish refused": _refuse("b2_finish_large_file", *DOWN, times=2),
    "manifest refused": _refuse("b2_upload_file", *DOWN, times=2),
    "answer to start lost": _lose("b2_start_large_file"),
    "answer to a part lost": _lose("b2_upload_part", times=2),
    "answer to finish lost": _lose("b2_finish_large_file"),
    "answer to the manifest lost": _lose("b2_upload_file"),
    "everything expires in the middle": lambda faults: faults.expire_tokens(),
}


@pytest.mark.timeout(120)  # pauses between tries, and a loaded machine
@pytest.mark.parametrize("fault", SAVE_FAULTS)
async def test_a_save_survives_what_b2_does_for_a_moment(product, fault):
    load = await _load(product, LARGE)
    async with product.working():
        SAVE_FAULTS[fault](product.b2.faults)
        backup = await _saved(product, load)
        assert backup["sizeBytes"] == len(LARGE)
        assert product.b2.read(backup["target"]["fileId"]) == LARGE
        await product.nothing_left(kept=1)


@pytest.mark.timeout(120)  # pauses between tries, and a loaded machine
@pytest.mark.parametrize(
    "fault",
    [
        _refuse("b2_upload_file", *EXPIRED),
        _refuse("b2_upload_file", *BUSY, retry_after=1),
        _refuse("b2_get_upload_url", *DOWN, times=2),
        _lose("b2_upload_file"),
        _lose("b2_upload_file", times=2),
    ],
    ids=["expired", "busy", "down", "answer lost", "answers lost"],
)
async def test_a_short_save_survives_and_leaves_one_version(product, fault):
    load = await _load(product, SMALL)
    async with product.working():
        fault(product.b2.faults)
        backup = await _saved(product, load)
        assert product.b2.read(backup["target"]["fileId"]) == SMALL
        await product.nothing_left(kept=1)


LASTING = {
    "parts": ("b2_upload_part", 503, "service_unavailable", "STORAGE_UNAVAILABLE"),
    "start": ("b2_start_large_file", 429, "too_many_requests", "STORAGE_UNAVAILABLE"),
    "finish": ("b2_finish_large_file", 503, "service_unavailable", "STORAGE_UNAVAILABLE"),
    "manifest": ("b2_upload_file", 500, "internal_error", "STORAGE_UNAVAILABLE"),
    "cap": ("b2_upload_part", 403, "storage_cap_exceeded", "STORAGE_CAP_EXCEEDED"),
    "key": ("b2_get_upload_part_url", 401, "unauthorized", "STORAGE_CAPABILITY"),
}


@pytest.mark.timeout(120)  # a loaded machine
@pytest.mark.parametrize("fault", LASTING)
async def test_a_save_that_b2_goes_on_refusing_fails_by_name_and_leaves_nothing(product, fault):
    operation, status, code, expected = LASTING[fault]
    load = await _load(product, LARGE)
    async with hurried(product):
        product.b2.faults.fail_next(operation, status=status, code=code, times=1000)
        backup = await product.back_up(load)
        assert backup["state"] == "FAILED"
        assert backup["error"]["code"] == expected
        product.b2.faults.reset()
        await product.nothing_left()
        assert not product.processes()


@pytest.mark.timeout(180)  # 20 s of absence, on a loaded machine
async def test_a_save_and_a_restore_survive_b2_being_down_for_twenty_seconds(product):
    halves = "head -c 17000000 data; until [ -e go ]; do sleep 0.1; done; tail -c +17000001 data"
    load = await _load(product, LARGE, backup=halves, restore=HELD)
    first, second = load.folder(1), load.folder(2)
    (first / "go").touch()
    async with product.working():
        backup = await _saved(product, load)
        (first / "go").unlink()
        save_id = await product.start_backup(load)
        restore_id = await product.start_restore(backup["id"], load.instance(2))
        await _until(lambda: product.b2.unfinished(product.bucket_id))
        await _until((second / "part").exists)
        product.b2.faults.go_down()
        (first / "go").touch()
        (second / "go").touch()
        await asyncio.sleep(20)
        assert (await product.backup(save_id))["state"] == "SAVING"
        assert (await product.restore(restore_id))["state"] == "RUNNING"
        product.b2.faults.come_back()
        saved = await product.backup_ended(save_id)
        restored = await product.restore_ended(restore_id)
        assert saved["state"] == "LIVE"
        assert product.b2.read(saved["target"]["fileId"]) == LARGE
        assert restored["state"] == "SUCCEEDED", restored
        assert (second / "got").read_bytes() == LARGE
        await product.nothing_left(kept=2)


@pytest.mark.timeout(120)  # a loaded machine
async def test_a_save_that_b2_deserts_fails_and_is_cleared_away_once_b2_is_back(product):
    load = await _load(
        product, LARGE, backup="head -c 17000000 data; touch half; sleep 1; cat data"
    )
    async with hurried(product):
        backup_id = await product.start_backup(load)
        await _until(lambda: product.b2.unfinished(product.bucket_id))
        product.b2.faults.go_down()
        backup = await product.backup_ended(backup_id)
        assert backup["state"] == "FAILED"
        assert backup["error"]["code"] == "STORAGE_UNAVAILABLE"
        assert not product.processes()
        product.b2.faults.come_back()
        await product.nothing_left()


RESTORE_FAULTS = {
    "token expired": _refuse("b2_download_file_by_id", *EXPIRED),
    "too many downloads": _refuse("b2_download_file_by_id", *BUSY, retry_after=1, times=2),
    "overloaded": _refuse("b2_download_file_by_id", *DOWN, times=3),
    "cut in the middle": lambda faults: faults.cut_download(CHUNK + 5, times=5),
    "cut at once": lambda faults: faults.cut_download(0, times=2),
    "everything expires": lambda faults: faults.expire_tokens(),
}


@pytest.mark.timeout(120)  # pauses between tries, and a loaded machine
@pytest.mark.parametrize("fault", RESTORE_FAULTS)
async def test_a_restore_survives_what_b2_does_for_a_moment(product, fault):
    load = await _load(product, LARGE)
    async with product.working():
        backup = await _saved(product, load)
        RESTORE_FAULTS[fault](product.b2.faults)
        restore = await product.put_back(backup["id"], load.instance(2))
    assert restore["state"] == "SUCCEEDED", restore
    assert restore["progress"]["bytesDelivered"] == len(LARGE)
    assert (load.folder(2) / "got").read_bytes() == LARGE


@pytest.mark.timeout(120)  # a loaded machine
async def test_a_restore_that_b2_deserts_fails_by_name_and_commits_nothing(product):
    load = await _load(product, LARGE)
    async with hurried(product):
        backup = await _saved(product, load)
        product.b2.faults.cut_download(CHUNK + 5)
        product.b2.faults.fail_next("b2_download_file_by_id", skip=1, times=1000)
        restore = await product.put_back(backup["id"], load.instance(2))
        product.b2.faults.reset()
    assert restore["state"] == "FAILED"
    assert restore["error"]["code"] == "STORAGE_UNAVAILABLE"
    # Whole chunks only; whether the command had taken the first one by then is its affair.
    assert restore["progress"]["bytesDelivered"] in {0, CHUNK}
    assert not (load.folder(2) / "got").exists()
    assert not product.processes()


CHANGES = {
    "first byte": (
        lambda f, file_id: f.damage(file_id),
        0,
        "OBJECT_MISMATCH",
        "Bytes 0 to 4194303",
    ),
    "in the third chunk": (
        lambda f, file_id: f.damage(file_id, at=2 * CHUNK + 17),
        2,
        "OBJECT_MISMATCH",
        "Bytes 8388608 to 12582911",
    ),
    "last byte": (
        lambda f, file_id: f.damage(file_id, at=len(LARGE) - 1),
        7,
        "OBJECT_MISMATCH",
        "Bytes 29360128 to 32999999",
    ),
    "other bytes": (
        lambda f, file_id: f.replace_bytes(file_id, bytes(len(LARGE))),
        0,
        "OBJECT_MISMATCH",
        "Bytes 0 to 4194303",
    ),
    "shortened": (
        lambda f, file_id: f.replace_bytes(file_id, LARGE[:-1]),
        0,
        "OBJECT_MISMATCH",
        "is not the one of 33000000 bytes",
    ),
    "lengthened": (
        lambda f, file_id: f.replace_bytes(file_id, LARGE + b"x"),
        0,
        "OBJECT_MISMATCH",
        "is not the one of 33000000 bytes",
    ),
    "removed": (lambda f, file_id: f.remove(file_id), 0, "OBJECT_MISSING", "not in the bucket"),
}


@pytest.mark.timeout(120)  # a loaded machine
@pytest.mark.parametrize("change", CHANGES)
async def test_no_command_gets_a_byte_of_a_changed_object_that_fails_the_check(product, change):
    alter, good_chunks, code, words = CHANGES[change]
    load = await _load(product, LARGE, restore="cat > part; mv part got")
    async with product.working():
        backup = await _saved(product, load)
        alter(product.b2.faults, backup["target"]["fileId"])
        restore = await product.put_back(backup["id"], load.instance(2))
    assert restore["state"] == "FAILED"
    assert restore["error"]["code"] == code
    assert words in restore["error"]["message"]
    folder = load.folder(2)
    assert not (folder / "got").exists()
    got = (folder / "part").read_bytes() if (folder / "part").exists() else b""
    assert got == LARGE[: len(got)]
    assert len(got) <= good_chunks * CHUNK
    assert restore["progress"]["bytesDelivered"] <= good_chunks * CHUNK


@pytest.mark.timeout(120)  # a loaded machine
async def test_a_backup_whose_deletion_b2_cannot_confirm_stays_deleting_until_it_can(product):
    load = await _load(product, LARGE)
    async with product.working():
        backup = await _saved(product, load)
        product.b2.faults.go_down()
        [result] = await product.delete(backup["id"])
        assert result["accepted"]
        await asyncio.sleep(2)
        assert (await product.backup(backup["id"]))["state"] == "DELETING"
        product.b2.faults.come_back()
        assert len(product.objects()) == 2
        gone = await product.backup_ended(backup["id"], states={"DELETED"})
        assert gone["state"] == "DELETED"
        assert product.objects() == []


@pytest.mark.timeout(120)  # a loaded machine
async def test_a_deleted_container_takes_all_its_backups_with_it_once_the_grace_is_over(product):
    load = await _load(product, SMALL)
    other = await product.workload("other", backup="echo keep me")
    async with product.working():
        backups = [await _saved(product, load) for _ in range(2)]
        kept = await _saved(product, other)
        product.b2.faults.hold("b2_delete_file_version")
        answer = await product.mutate(
            "deleteContainer",
            f"""mutation ($id: ID!) {{ deleteContainer(id: $id, confirm: "db") {{
              container {{ state }} warnings {ERRORS} }} }}""",
            id=load.id,
        )
        assert answer["container"] == {"state": "DELETING"}
        for backup in backups:
            assert (await product.backup(backup["id"]))["state"] == "DELETING"
        async with product.owner.connection() as connection:
            rows = await connection.fetch("select deleted_by, state from backups order by id")
        assert sorted((row["state"], row["deleted_by"]) for row in rows) == [
            ("DELETING", "CASCADE"),
            ("DELETING", "CASCADE"),
            ("LIVE", None),
        ]
        assert len(product.objects()) == 6
        product.b2.faults.release()
        for backup in backups:
            await product.backup_ended(backup["id"], states={"DELETED"})
        await product.nothing_left(kept=1)
        async with asyncio.timeout(30):
            query = "query ($id: ID!) { container(id: $id) { state } }"
            while (await product.ask(query, id=load.id))["container"]["state"] != "DELETED":
                await asyncio.sleep(0.05)
        assert (await product.backup(kept["id"]))["state"] == "LIVE"
