"""Point 3: a restore succeeds only if all was delivered, read and right, and the command agrees."""

import asyncio
import hashlib
from typing import Any

import pytest

SIZE = 3_000_000
SOURCE = f"head -c {SIZE} /dev/zero"
NUL = "\ufffd"
# Each of them did not put everything in place:
# the command, the error's code, the exit code, where the log comes from, and the log.
FAILING: dict[str, tuple[str, str, int | None, str, str]] = {
    "exits 0 having read nothing": ("true", "INPUT_NOT_READ", 0, "", ""),
    "exits 0 having read a part": ("head -c 1000 > got", "INPUT_NOT_READ", 0, "", ""),
    "exits 0 having read all but a byte": (
        f"head -c {SIZE - 1} > got; echo fine >&2",
        *("INPUT_NOT_READ", 0, "STDERR", "fine\n"),
    ),
    "closes its input": ("exec <&-; sleep 0.2", "INPUT_NOT_READ", 0, "", ""),
    "exits 1 at once": ("exit 1", "COMMAND_FAILED", 1, "", ""),
    "exits 1 having read it all": (
        "cat > got; echo broken >&2; exit 1",
        *("COMMAND_FAILED", 1, "STDERR", "broken\n"),
    ),
    "says why on stdout only": (
        "cat > got; echo why; exit 4",
        *("COMMAND_FAILED", 4, "STDOUT_TAIL", "why\n"),
    ),
    "is killed in the middle": (
        "head -c 1000 > got; kill -9 $$",
        *("COMMAND_KILLED", 137, "", ""),
    ),
    "is killed having read it all": (
        "cat > got; kill -9 $$",
        *("COMMAND_KILLED", 137, "", ""),
    ),
    "prints what is no text": (
        r"cat > got; printf 'a\000b\377\376c\n' >&2; exit 2",
        *("COMMAND_FAILED", 2, "STDERR", f"a{NUL}b{NUL}{NUL}c\n"),
    ),
    "fails in a session of its own": (
        "setsid -w sh -c 'cat > got; exit 5'",
        *("COMMAND_FAILED", 5, "", ""),
    ),
    "fails at the end of a pipeline": (
        "cat | setsid -w sh -c 'cat > got; exit 6'",
        *("COMMAND_FAILED", 6, "", ""),
    ),
    "never reads and never ends": ("sleep 600; echo > done", "TIMED_OUT", None, "", ""),
    "reads it all and never ends": (
        "cat > got; echo read; setsid -w sleep 600; echo > done",
        *("TIMED_OUT", None, "STDOUT_TAIL", "read\n"),
    ),
}
IMPATIENT = "PT3S"


def _as_seen(restore: dict[str, Any]) -> tuple[str, str, str, int | None, str, str]:
    nodes = restore["logs"]["nodes"]
    return (
        restore["state"],
        restore["error"] and restore["error"]["code"],
        restore["exitCode"],
        "".join({node["stream"] for node in nodes}),
        "".join(node["text"] for node in nodes),
    )


@pytest.mark.timeout(180)  # many commands
async def test_a_restore_that_did_not_put_everything_in_place_never_succeeds(product):
    loads = {
        how: await product.workload(
            f"db-{number}",
            backup=SOURCE,
            restore=command,
            instances=1,
            timeout=IMPATIENT if code == "TIMED_OUT" else "PT10M",
        )
        for number, (how, (command, code, *_)) in enumerate(FAILING.items())
    }
    async with product.working(runs=6):
        saved = {how: await product.start_backup(load) for how, load in loads.items()}
        for backup_id in saved.values():
            assert (await product.backup_ended(backup_id, seconds=120))["state"] == "LIVE"
        started = {
            how: await product.start_restore(saved[how], load.instance(1))
            for how, load in loads.items()
        }
        ended = {how: await product.restore_ended(i, seconds=120) for how, i in started.items()}
    assert {how: _as_seen(restore) for how, restore in ended.items()} == {
        how: ("FAILED", *expected) for how, (_, *expected) in FAILING.items()
    }
    assert product.processes() == []
    assert not any((load.folder(1) / "done").exists() for load in loads.values())


@pytest.mark.timeout(60)  # a large object
@pytest.mark.parametrize("at", [0, 5_000_000, 9_999_999])
async def test_no_byte_that_is_not_what_was_saved_reaches_a_command(product, at):
    chunk = 4 * 1024 * 1024
    load = await product.workload(
        "db", backup="cat data", restore="cat > got; echo COMMITTED > done"
    )
    data = hashlib.shake_128(b"data").digest(10_000_000)
    (load.folder(1) / "data").write_bytes(data)
    async with product.working():
        backup = await product.back_up(load)
        product.b2.faults.damage(backup["target"]["fileId"], at=at)
        restore = await product.put_back(backup["id"], load.instance(2))
        assert (restore["state"], restore["error"]["code"]) == ("FAILED", "OBJECT_MISMATCH")
        sound = at // chunk * chunk
        assert restore["error"]["message"].startswith(f"Bytes {sound} to ")
        assert restore["progress"]["bytesDelivered"] <= sound
    got = load.folder(2) / "got"
    assert data[:sound].startswith(got.read_bytes() if got.exists() else b"")
    assert not (load.folder(2) / "done").exists()


async def test_a_restore_succeeds_only_once_its_command_says_so(product):
    load = await product.workload(
        "db",
        backup=SOURCE,
        restore="cat > got; touch read; until [ -e go ]; do sleep 0.02; done; echo > done",
    )
    async with product.working():
        backup = await product.back_up(load)
        restore_id = await product.start_restore(backup["id"], load.instance(2))
        async with asyncio.timeout(30):
            while not (load.folder(2) / "read").exists():
                await asyncio.sleep(0.02)
            # Every byte is there, and still it has not succeeded.
            while (restore := await product.restore(restore_id))["phase"] != "WAITING_FOR_COMMAND":
                await asyncio.sleep(0.02)
        assert restore["state"] == "RUNNING"
        (load.folder(2) / "go").touch()
        restore = await product.restore_ended(restore_id)
    assert (restore["state"], restore["exitCode"]) == ("SUCCEEDED", 0)
    assert restore["progress"] == {"bytesDelivered": SIZE, "bytesTotal": SIZE}
    assert (load.folder(2) / "got").read_bytes() == bytes(SIZE)
    assert (load.folder(2) / "done").exists()


@pytest.mark.timeout(60)  # 100 MB
async def test_a_restore_succeeds_however_much_its_command_says_and_leaves_running(product):
    load = await product.workload(
        "db",
        backup=SOURCE,
        restore="cat > got; yes 1234567 | head -c 100000000 >&2; setsid sleep 600 &",
    )
    async with product.working():
        backup = await product.back_up(load)
        restore = await product.put_back(backup["id"], load.instance(2))
        assert product.processes() == []
    assert (restore["state"], restore["exitCode"]) == ("SUCCEEDED", 0)
    assert (restore["logs"]["totalBytes"], restore["logs"]["truncated"]) == (100_000_000, True)
