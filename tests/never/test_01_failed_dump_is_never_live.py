"""Point 1: a failed dump is never a backup."""

import asyncio
from typing import Any

import pytest

NUL = "\ufffd"
# Each writes something that looks like a backup, or nothing, and must not become one:
# the command, the error's code, the exit code, where the log comes from, and the log.
FAILING: dict[str, tuple[str, str, int | None, str, str]] = {
    "exits 1 after everything": ("printf data; exit 1", "COMMAND_FAILED", 1, "STDOUT_TAIL", "data"),
    "exits 1 after many parts": (
        "yes 1234567 | head -c 20000000; exit 1",
        *("COMMAND_FAILED", 1, "STDOUT_TAIL", "1234567\n" * 128),
    ),
    "exits 0 without a byte": ("true", "OUTPUT_TOO_SMALL", 0, "", ""),
    "is killed after 100 MB": (
        "head -c 100000000 /dev/zero; kill -9 $$",
        *("COMMAND_KILLED", 137, "STDOUT_TAIL", NUL * 1024),
    ),
    "is terminated": (
        "printf data; echo bye >&2; kill $$",
        *("COMMAND_KILLED", 143, "STDERR", "bye\n"),
    ),
    "writes only to stderr": ("echo oops >&2", "OUTPUT_TOO_SMALL", 0, "STDERR", "oops\n"),
    "fails and says why": (
        "printf data; echo broken >&2; exit 3",
        *("COMMAND_FAILED", 3, "STDERR", "broken\n"),
    ),
    "prints what is no text": (
        r"printf data; printf 'a\000b\377\376c\n' >&2; exit 2",
        *("COMMAND_FAILED", 2, "STDERR", f"a{NUL}b{NUL}{NUL}c\n"),
    ),
    "fails in a session of its own": (
        "setsid -w sh -c 'printf data; exit 5'",
        *("COMMAND_FAILED", 5, "STDOUT_TAIL", "data"),
    ),
    "fails at the end of a pipeline": (
        "printf data | setsid -w sh -c 'cat; exit 6'",
        *("COMMAND_FAILED", 6, "STDOUT_TAIL", "data"),
    ),
    "fails, its output held open": (
        "printf data; sleep 600 & exit 4",
        *("COMMAND_FAILED", 4, "STDOUT_TAIL", "data"),
    ),
    "leaves its output held open": (
        "printf data; setsid sleep 600 &",
        *("OUTPUT_NOT_CLOSED", 0, "", ""),
    ),
    "never ends": ("printf data; sleep 600", "TIMED_OUT", None, "STDOUT_TAIL", "data"),
    "never ends what it started": (
        "printf data; setsid -w sleep 600; true",
        *("TIMED_OUT", None, "STDOUT_TAIL", "data"),
    ),
}
IMPATIENT = "PT2S"


def _as_seen(backup: dict[str, Any]) -> tuple[str, str, str, int | None, str, str]:
    """State, error, exit code and log of a backup."""
    nodes = backup["logs"]["nodes"]
    return (
        backup["state"],
        backup["error"] and backup["error"]["code"],
        backup["exitCode"],
        "".join({node["stream"] for node in nodes}),
        "".join(node["text"] for node in nodes),
    )


@pytest.mark.timeout(180)  # many commands, 100 MB
async def test_a_failed_dump_is_never_live(product):
    loads = {
        how: await product.workload(
            f"db-{number}",
            backup=command,
            instances=1,
            timeout=IMPATIENT if code == "TIMED_OUT" else "PT10M",
        )
        for number, (how, (command, code, *_)) in enumerate(FAILING.items())
    }
    async with product.working(runs=6, output_close_seconds=1.0):
        started = {how: await product.start_backup(load) for how, load in loads.items()}
        ended = {how: await product.backup_ended(i, seconds=120) for how, i in started.items()}
        assert {how: _as_seen(backup) for how, backup in ended.items()} == {
            how: ("FAILED", *expected) for how, (_, *expected) in FAILING.items()
        }
        assert {how for how, backup in ended.items() if backup["sha256"]} == set()
        assert product.processes() == []
        await product.nothing_left()


async def test_one_byte_less_than_the_floor_is_never_live(product):
    load = await product.workload("db", backup="cat data", instances=1, min_bytes=1000)
    data = load.folder(1) / "data"
    async with product.working():
        data.write_bytes(bytes(999))
        backup = await product.back_up(load)
        assert (backup["state"], backup["error"]["code"]) == ("FAILED", "OUTPUT_TOO_SMALL")
        data.write_bytes(bytes(1000))
        assert (await product.back_up(load))["state"] == "LIVE"
        await product.nothing_left(kept=1)


async def test_without_its_manifest_it_is_never_live(product):
    load = await product.workload("db", backup="head -c 3000000 /dev/zero", instances=1)
    async with product.working():
        # The object is stored, its manifest is not.
        product.b2.faults.fail_next(
            "b2_upload_file", status=400, code="bad_request", skip=1, times=1
        )
        backup = await product.back_up(load)
        assert (backup["state"], backup["error"]["code"]) == ("FAILED", "STORAGE_FAILED")
        assert backup["progress"]["bytesStored"] == 3_000_000
        product.b2.faults.reset()
        await product.nothing_left()


@pytest.mark.parametrize(
    ("size", "last"), [(3_000_000, "b2_upload_file"), (20_000_000, "b2_finish_large_file")]
)
async def test_without_the_confirmation_it_is_never_live(product, size, last):
    load = await product.workload("db", backup=f"head -c {size} /dev/zero", instances=1)
    faults = product.b2.faults
    async with product.working():
        before = faults.count(last)
        faults.hold(last)
        backup_id = await product.start_backup(load)
        async with asyncio.timeout(30):
            while faults.count(last) == before:
                await asyncio.sleep(0.02)
        # All bytes are there, the command has ended well, and still nothing is promised.
        backup = await product.backup(backup_id)
        faults.release()
        assert (backup["state"], backup["sha256"]) == ("SAVING", None)
        assert (await product.backup_ended(backup_id))["state"] == "LIVE"


@pytest.mark.timeout(60)  # 100 MB
async def test_a_good_dump_is_live_however_much_it_says(product):
    """100 MB of log are no failure; the first 64 KiB and the last 192 KiB of them are kept."""
    load = await product.workload(
        "db", backup="yes 1234567 | head -c 100000000 >&2; printf data", instances=1
    )
    async with product.working():
        backup = await product.back_up(load)
        assert (backup["state"], backup["exitCode"], backup["sizeBytes"]) == ("LIVE", 0, 4)
        log = backup["logs"]
        assert (log["totalBytes"], log["truncated"]) == (100_000_000, True)
        entries = await product.ask(
            """query ($id: ID!) { backup(id: $id) { logs(first: 100) {
              nodes { stream text } } } }""",
            id=backup["id"],
        )
        nodes = entries["backup"]["logs"]["nodes"]
        text = "".join(node["text"] for node in nodes)
        assert (64 + 192) * 1024 <= len(text) <= (64 + 192 + 32) * 1024
        assert set(text.splitlines()) == {"1234567"}
        assert {node["stream"] for node in nodes} == {"STDERR"}


async def test_what_a_good_dump_left_running_is_gone(product):
    load = await product.workload(
        "db", backup="printf data; setsid sleep 600 > /dev/null 2>&1 &", instances=1
    )
    async with product.working():
        assert (await product.back_up(load))["state"] == "LIVE"
        assert product.processes() == []
        await product.nothing_left(kept=1)
