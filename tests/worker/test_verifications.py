"""Verifications through the whole product: each level, what passes, and what must not."""

import asyncio
import hashlib
from pathlib import Path

import pytest

from tests.product import Refused

DATA = hashlib.shake_128(b"data").digest(9_000_000)
READS = {"level": "READABLE", "every": "P1D"}


async def _saved(product, load):
    """A backup of the first instance, which holds DATA."""
    (load.folder(1) / "data").write_bytes(DATA)
    product.give(load.folder(1) / "data")
    backup = await product.back_up(load)
    assert backup["state"] == "LIVE"
    return backup


async def _last(product, backup_id):
    data = await product.ask(
        """query ($id: ID!) { backup(id: $id) {
             storage { status } verification { id state }
             verifications { totalCount nodes { level state } } } }""",
        id=backup_id,
    )
    return data["backup"]


@pytest.mark.timeout(60)  # a whole product
async def test_a_stored_backup_is_read_again_byte_by_byte_and_damage_is_found(product):
    load = await product.workload("db", backup="cat data", instances=1)
    async with product.working():
        backup = await _saved(product, load)
        passed = await product.verify(backup["id"])
        assert (passed["state"], passed["error"], passed["exitCode"]) == ("PASSED", None, None)
        assert passed["instance"] is None
        size = len(DATA)
        progress = {"bytesChecked": size, "bytesTotal": size, "fraction": 1.0}
        assert passed["progress"] == progress
        product.b2.faults.damage(backup["target"]["fileId"], at=8_500_000)
        failed = await product.verify(backup["id"])
        assert (failed["state"], failed["error"]["code"]) == ("FAILED", "OBJECT_MISMATCH")
        last = await _last(product, backup["id"])
        assert last["storage"] == {"status": "MISMATCH"}
        assert last["verification"] == {"id": failed["id"], "state": "FAILED"}
        assert last["verifications"] == {
            "totalCount": 2,
            "nodes": [
                {"level": "STORED", "state": "FAILED"},
                {"level": "STORED", "state": "PASSED"},
            ],
        }
        product.b2.faults.remove(backup["target"]["fileId"])
        gone = await product.verify(backup["id"])
        assert (gone["state"], gone["error"]["code"]) == ("FAILED", "OBJECT_MISSING")


@pytest.mark.timeout(60)  # a whole product
async def test_a_stored_verification_needs_no_instance_and_waits_for_none(product):
    load = await product.workload("db", backup="cat data", instances=1, restore="cat; sleep 600")
    async with product.working():
        backup = await _saved(product, load)
        busy = await product.start_restore(backup["id"], load.instance(1))
        assert (await product.verify(backup["id"]))["state"] == "PASSED"
        await product.cancel_restore(busy)
        await product.restore_ended(busy)


# How the check misbehaves: the command, the error's code, the exit code, the log.
FAILING = {
    "ignores its input": ("true", "INPUT_NOT_READ", 0, ""),
    "exits early": ("head -c 1000 > /dev/null", "INPUT_NOT_READ", 0, ""),
    "refuses": ("cat > /dev/null; echo no >&2; exit 3", "CHECK_FAILED", 3, "no\n"),
    "refuses on stdout": ("cat > /dev/null; echo no; exit 3", "CHECK_FAILED", 3, "no\n"),
    "is killed": ("cat > /dev/null; kill -9 $$", "CHECK_FAILED", 137, ""),
    "hangs": ("sleep 600; echo > done", "TIMED_OUT", None, ""),
    "hangs having read": (
        "cat > /dev/null; setsid -w sleep 600; echo > done",
        "TIMED_OUT",
        None,
        "",
    ),
}


@pytest.mark.timeout(120)  # many commands
async def test_a_check_that_did_not_take_everything_and_agree_never_passes(product):
    loads = {
        how: await product.workload(
            f"db-{number}",
            backup="head -c 3000000 /dev/zero",
            instances=1,
            timeout="PT3S" if code == "TIMED_OUT" else "PT10M",
            verification=READS | {"check": check},
        )
        for number, (how, (check, code, *_)) in enumerate(FAILING.items())
    }
    async with product.working(runs=6):
        saved = {how: await product.start_backup(load) for how, load in loads.items()}
        for backup_id in saved.values():
            await product.backup_ended(backup_id)
        started = {how: await product.start_verification(i, "READABLE") for how, i in saved.items()}
        ended = {how: await product.verification_ended(i) for how, i in started.items()}
    seen = {
        how: (
            one["state"],
            one["error"]["code"],
            one["exitCode"],
            "".join(node["text"] for node in one["logs"]["nodes"]),
        )
        for how, one in ended.items()
    }
    assert seen == {how: ("FAILED", *expected) for how, (_, *expected) in FAILING.items()}
    assert product.processes() == []
    assert not any((load.folder(1) / "done").exists() for load in loads.values())


@pytest.mark.timeout(60)  # a whole product
async def test_a_readable_backup_is_accepted_by_its_check_in_a_scratch_instance(product):
    check = "cat > seen; echo accepted >&2"
    load = await product.workload(
        "db", backup="cat data", instances=2, verification=READS | {"check": check}
    )
    await product.instance(load, 3, scratch=True)
    async with product.working():
        backup = await _saved(product, load)
        passed = await product.verify(backup["id"], "READABLE")
        assert (passed["state"], passed["exitCode"]) == ("PASSED", 0)
        assert passed["instance"] == {"hostname": "3.db"}
        assert passed["restore"] is None
        assert passed["logs"]["nodes"] == [{"stream": "STDERR", "text": "accepted\n"}]
        assert (load.folder(3) / "seen").read_bytes() == DATA
        chosen = await product.verify(backup["id"], "READABLE", load.instance(2))
        assert chosen["instance"] == {"hostname": "2.db"}


@pytest.mark.timeout(60)  # a large object
@pytest.mark.parametrize("at", [0, 5_000_000, 8_999_999])
async def test_no_damaged_byte_reaches_a_check_nor_does_it_see_an_end(product, at):
    chunk = 4 * 1024 * 1024
    check = "cat > got; echo COMMITTED > done"
    load = await product.workload(
        "db", backup="cat data", instances=1, verification=READS | {"check": check}
    )
    async with product.working():
        backup = await _saved(product, load)
        product.b2.faults.damage(backup["target"]["fileId"], at=at)
        failed = await product.verify(backup["id"], "READABLE")
    assert (failed["state"], failed["error"]["code"]) == ("FAILED", "OBJECT_MISMATCH")
    got = load.folder(1) / "got"
    arrived = got.read_bytes() if got.exists() else b""
    assert arrived == DATA[: len(arrived)]
    assert len(arrived) <= at // chunk * chunk
    assert not (load.folder(1) / "done").exists()


@pytest.mark.timeout(60)  # a whole product
async def test_a_restorable_backup_is_restored_and_checked_in_a_scratch_instance_only(product):
    load = await product.workload(
        "db",
        backup="cat data",
        restore="cat > data; echo restored >&2",
        check="cmp data expected && echo same >&2",
    )
    await product.instance(load, 3, scratch=True)
    (load.folder(3) / "expected").write_bytes(DATA)
    async with product.working():
        backup = await _saved(product, load)
        with pytest.raises(Refused) as refused:
            await product.start_verification(backup["id"], "RESTORABLE", load.instance(2))
        assert refused.value.code == "NOT_SCRATCH"
        passed = await product.verify(backup["id"], "RESTORABLE")
        assert (passed["state"], passed["exitCode"]) == ("PASSED", 0)
        assert passed["instance"] == {"hostname": "3.db"}
        assert passed["restore"] == {
            "state": "SUCCEEDED",
            "trigger": "VERIFICATION",
            "phase": "CHECKING",
        }
        text = "".join(node["text"] for node in passed["logs"]["nodes"])
        assert text == "restored\nsame\n"
        (load.folder(3) / "expected").write_bytes(b"something else")
        failed = await product.verify(backup["id"], "RESTORABLE")
        assert (failed["state"], failed["error"]["code"]) == ("FAILED", "CHECK_FAILED")
        assert failed["restore"]["state"] == "FAILED"
        assert (failed["exitCode"], failed["logs"]["nodes"][0]["text"]) == (1, "restored\n")
    assert not (load.folder(2) / "data").exists()


async def _verified(product, backup_id, *, times=1):
    """The verifications of a backup once so many have ended, newest first."""
    document = """query ($id: ID!) { backup(id: $id) { verifications { nodes {
      id level state requestedBy { kind } error { code } } } } }"""
    async with asyncio.timeout(30):
        while True:
            found = (await product.ask(document, id=backup_id))["backup"]["verifications"]["nodes"]
            if sum(one["state"] in {"PASSED", "FAILED"} for one in found) >= times:
                return found
            await asyncio.sleep(0.05)


@pytest.mark.timeout(60)  # a whole product
async def test_a_policy_has_each_backup_verified_and_failures_are_told_of(product):
    plan = {"level": "READABLE", "afterEach": True, "check": "grep -q sound"}
    load = await product.workload("db", backup="cat data", instances=1, verification=plan)
    data = load.folder(1) / "data"
    async with product.working():
        for text, state, code in (("sound", "PASSED", None), ("broken", "FAILED", "CHECK_FAILED")):
            data.write_text(text)
            product.give(data)
            backup = await product.back_up(load)
            [one] = await _verified(product, backup["id"])
            assert (one["level"], one["state"], one["requestedBy"]) == (
                "READABLE",
                state,
                {"kind": "SCHEDULE"},
            )
            assert (one["error"] and one["error"]["code"]) == code
        events = await product.ask(
            "{ hub { events { nodes { kind backup { id } verification { id } } } } }"
        )
    [event] = [e for e in events["hub"]["events"]["nodes"] if e["kind"] == "VERIFICATION_FAILED"]
    assert event["backup"] == {"id": backup["id"]}
    assert event["verification"] == {"id": one["id"]}


@pytest.mark.timeout(60)  # a whole product
async def test_a_policy_has_the_newest_good_backup_verified_by_the_calendar(product):
    load = await product.workload("db", backup="cat data", instances=1)
    async with product.working():
        old = await _saved(product, load)
        new = await product.back_up(load)
        plan = {"level": "STORED", "every": "P1D"}
        await product.configure(load, backup="cat data", restore="cat", verification=plan)
        assert [one["state"] for one in await _verified(product, new["id"])] == ["PASSED"]
        await product.configure(load, backup="cat data", restore="cat", verification=plan)
        await asyncio.sleep(1)
        assert len(await _verified(product, new["id"])) == 1
        assert await _verified(product, old["id"], times=0) == []


@pytest.mark.timeout(60)  # a whole product
async def test_a_cancelled_verification_ends_its_check_without_an_end_of_input(product):
    load = await product.workload(
        "db",
        backup="cat data",
        instances=1,
        verification=READS | {"check": "echo > began; sleep 600; cat; echo > done"},
    )
    async with product.working():
        backup = await _saved(product, load)
        started = await product.start_verification(backup["id"], "READABLE")
        await _appears(load.folder(1) / "began")
        await product.cancel_verification(started)
        ended = await product.verification_ended(started, seconds=10)
        assert (ended["state"], ended["error"]) == ("CANCELED", None)
        await product.no_processes()
    assert not (load.folder(1) / "done").exists()


@pytest.mark.timeout(120)  # a worker is killed, its lease runs out
async def test_a_check_whose_worker_dies_is_killed_and_done_again(product):
    check = "echo >> starts; head -c 100000 > got; test -e go || sleep 600; cat >> got"
    load = await product.workload(
        "db", backup="cat data", instances=1, verification=READS | {"check": check}
    )
    folder = load.folder(1)
    async with product.worker_process() as worker:
        backup = await _saved(product, load)
        started = await product.start_verification(backup["id"], "READABLE")
        await _appears(folder / "starts")
        await worker.kill()
    await product.no_processes()
    (folder / "go").touch()
    async with product.working():
        ended = await product.verification_ended(started)
    assert ended["state"] == "PASSED"
    assert (folder / "starts").read_text() == "\n\n"


@pytest.mark.timeout(120)  # a worker is killed, its lease runs out
async def test_a_stored_verification_whose_worker_dies_is_done_by_another(product):
    load = await product.workload("db", backup="cat data", instances=1)
    async with product.working():
        backup = await _saved(product, load)
    faults = product.b2.faults
    before = faults.count("b2_download_file_by_id")
    faults.hold("b2_download_file_by_id")
    async with product.worker_process() as worker:
        started = await product.start_verification(backup["id"])
        async with asyncio.timeout(30):
            while faults.count("b2_download_file_by_id") == before:
                await asyncio.sleep(0.02)
        await worker.kill()
    faults.release()
    async with product.working():
        assert (await product.verification_ended(started))["state"] == "PASSED"


async def _appears(path: Path) -> None:
    async with asyncio.timeout(30):
        while not path.exists():
            await asyncio.sleep(0.02)
