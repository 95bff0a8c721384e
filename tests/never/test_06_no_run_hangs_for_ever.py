"""Point 6: no run hangs for ever, whoever stops moving."""

import asyncio
import os
import signal
from datetime import timedelta
from pathlib import Path

import pytest

from app.model.ids import decode_id
from app.service.backups import create_backup
from tests.builders import an_admin

STOPPING = {
    "the command stops itself": "head -c 100000 /dev/zero; kill -STOP $$",
    "the command ignores its end": "trap '' TERM INT HUP; head -c 100000 /dev/zero; sleep 600",
    "the command waits for itself": "mkfifo fifo; head -c 100000 /dev/zero; cat fifo",
}


def _uuid(identifier):
    decoded = decode_id(identifier)
    assert decoded is not None
    return decoded[1]


def _guards(product):
    """The parents of the commands that run in this product's folders."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if (entry / "cwd").readlink().is_relative_to(product.root):
                parent = int((entry / "status").read_text().partition("PPid:")[2].split()[0])
                if b"guard.py" in Path(f"/proc/{parent}/cmdline").read_bytes():
                    found.add(parent)
        except OSError:
            continue
    return found


@pytest.mark.timeout(60)  # timeouts of commands
async def test_a_command_that_stops_moving_ends_with_its_timeout(product):
    loads = [
        await product.workload(f"db-{number}", backup=command, instances=1, timeout="PT2S")
        for number, command in enumerate(STOPPING.values())
    ]
    async with product.working():
        started = [await product.start_backup(load) for load in loads]
        for backup_id in started:
            backup = await product.backup_ended(backup_id, seconds=30)
            assert (backup["state"], backup["error"]["code"]) == ("FAILED", "TIMED_OUT")
        assert product.processes() == []
        await product.nothing_left()


@pytest.mark.timeout(60)  # a timeout
async def test_a_guard_that_stops_moving_holds_nothing_up(product):
    load = await product.workload("db", backup="echo > up; sleep 600", instances=1)
    async with product.working():
        backup_id = await product.start_backup(load)
        async with asyncio.timeout(30):
            while not (load.folder(1) / "up").exists():
                await asyncio.sleep(0.02)
        (guard,) = _guards(product)
        os.kill(guard, signal.SIGSTOP)
        await product.cancel_backup(backup_id)
        assert (await product.backup_ended(backup_id, seconds=40))["state"] == "CANCELED"
        assert product.processes() == []
        await product.nothing_left()


@pytest.mark.timeout(90)  # a timeout, and the time that a cancel of an upload is given
async def test_a_b2_that_never_answers_ends_the_run_with_its_timeout(product):
    load = await product.workload(
        "db", backup="head -c 20000000 /dev/zero", instances=1, timeout="PT2S"
    )
    async with product.working():
        product.b2.faults.hold("b2_upload_part")
        backup = await product.back_up(load, seconds=70)
        assert (backup["state"], backup["error"]["code"]) == ("FAILED", "TIMED_OUT")
        product.b2.faults.release()
        await product.nothing_left()


async def test_a_run_that_nobody_could_start_in_time_ends_and_frees_its_instance(
    product, gateway_database
):
    load = await product.workload("db", backup="printf data", instances=1)
    backup = await create_backup(
        gateway_database,
        an_admin(product.hub_id),
        container_id=_uuid(load.id),
        instance_id=_uuid(load.instance(1)),
        start_within=timedelta(seconds=1),
    )
    # No worker reaches the place; another one tells what became of it.
    async with product.working(host_name="elsewhere"):
        async with asyncio.timeout(30):
            while (ended := await _only_backup(product, load))["state"] == "QUEUED":
                await asyncio.sleep(0.05)
    assert (ended["state"], ended["error"]["code"]) == ("FAILED", "NOT_STARTED")
    assert _uuid(ended["id"]) == backup.id
    async with product.working():
        assert (await product.back_up(load))["state"] == "LIVE"


async def _only_backup(product, load):
    data = await product.ask(
        """query ($id: ID!) { container(id: $id) {
          backups { nodes { id state error { code } } } } }""",
        id=load.id,
    )
    (backup,) = data["container"]["backups"]["nodes"]
    return backup
