"""PostgreSQL that goes away in the middle of runs: for a moment, and for longer than the lease."""

import asyncio
import contextlib
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import websockets
from websockets.frames import CloseCode

from app.postgres.embedded import EmbeddedPostgres
from app.postgres.migrate import migrate
from tests.conftest import (
    GATEWAY_ROLE,
    LEAN,
    WORKER_ROLE,
    choose_fast_folder,
    execute,
    name_database,
    run_apart,
)

RESTART_SECONDS = 3
SIZE = 20_000_000
"""One whole part of the upload, and some of the next."""
HELD_SAVE = f"""echo one; head -c {SIZE} /dev/zero; touch half
until [ -e go ]; do sleep 0.1; done
echo two"""
HELD_RESTORE = """head -c 100000 > part; touch half
until [ -e go ]; do sleep 0.1; done
cat >> part && mv part got"""
LONG_LEASES = {"lease_seconds": 10, "lease_renew_seconds": 2, "lease_give_up_seconds": 7}
"""As they are by default."""
AWAY = "DATABASE_UNAVAILABLE"


@pytest.fixture(scope="session")
def own_server() -> Iterator[EmbeddedPostgres]:
    """A server that this module may stop."""
    home = Path(tempfile.mkdtemp(prefix="pg-", dir=choose_fast_folder()))
    server = EmbeddedPostgres(home, settings=LEAN)
    try:
        run_apart(server.start())
        yield server
    finally:
        run_apart(server.stop())
        shutil.rmtree(home)


@pytest.fixture
async def dsn(own_server, database_names):
    """A migrated database on the server that may be stopped."""
    name = next(database_names)
    server = name_database(own_server.dsn, "postgres")
    await execute(server, f'create database "{name}"')
    dsn = name_database(own_server.dsn, name)
    await migrate(dsn, gateway_role=GATEWAY_ROLE, worker_role=WORKER_ROLE)
    yield dsn
    await execute(server, f'drop database "{name}" with (force)')


@contextlib.asynccontextmanager
async def without(server, seconds):
    """No database within, and at least for so long; it is there again afterwards."""
    began = time.monotonic()
    await server.stop()
    try:
        yield
        await asyncio.sleep(max(0.0, seconds - (time.monotonic() - began)))
    finally:
        await server.start()


async def _until(condition):
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.02)


async def _half_done(load, number):
    await _until((load.folder(number) / "half").exists)


def _go(load, number):
    (load.folder(number) / "go").touch()


async def _answer(product):
    """The status and the error codes of a query."""
    response = await product.client.post("/graphql", json={"query": "{ hub { id } }"})
    errors = response.json().get("errors", [])
    return response.status_code, [error["extensions"]["code"] for error in errors]


@pytest.mark.timeout(180)  # a server is made and restarted, on a loaded machine
@pytest.mark.parametrize("product_settings", [LONG_LEASES])
async def test_a_save_goes_on_while_postgresql_is_restarted(product, own_server):
    load = await product.workload("db", backup=HELD_SAVE)
    async with product.working():
        backup_id = await product.start_backup(load)
        await _half_done(load, 1)
        async with without(own_server, RESTART_SECONDS):
            # Bytes go on to be moved meanwhile.
            _go(load, 1)
        backup = await product.backup_ended(backup_id)
    assert backup["state"] == "LIVE", backup
    assert backup["sizeBytes"] == SIZE + 8
    assert backup["target"]["path"].endswith("-1")
    await product.nothing_left(kept=1)


@pytest.mark.timeout(180)  # a server is made and restarted, on a loaded machine
@pytest.mark.parametrize("product_settings", [LONG_LEASES])
async def test_a_restore_goes_on_and_is_followed_while_postgresql_is_restarted(product, own_server):
    load = await product.workload("db", backup=f"head -c {SIZE} /dev/zero", restore=HELD_RESTORE)
    async with product.working():
        backup = await product.back_up(load)
        restore_id = await product.start_restore(backup["id"], load.instance(2))
        await _half_done(load, 2)
        async with asyncio.TaskGroup() as tasks:
            following = tasks.create_task(_follow(product, restore_id))
            async with without(own_server, RESTART_SECONDS):
                assert await _answer(product) == (503, [AWAY])
            _go(load, 2)
            restore = await product.restore_ended(restore_id)
    assert restore["state"] == "SUCCEEDED", restore
    assert (load.folder(2) / "got").stat().st_size == SIZE
    states, delivered = following.result()
    assert states[-1] == "SUCCEEDED"
    assert delivered == sorted(delivered)
    assert delivered[-1] == SIZE
    assert await _answer(product) == (200, [])


async def _follow(product, restore_id):
    """The states and bytes that a subscriber saw, who comes again after a typed error."""
    document = """subscription ($id: ID!) {
      restoreProgress(restoreId: $id) { state progress { bytesDelivered } } }"""
    states, delivered = [], []
    while True:
        try:
            async for data in product.watch(document, id=restore_id):
                found = data["restoreProgress"]
                states.append(found["state"])
                delivered.append(found["progress"]["bytesDelivered"])
        except AssertionError as refusal:
            # An answer that was asked for just then.
            if AWAY not in str(refusal):
                raise
        except websockets.ConnectionClosedError as refusal:
            # A socket that was opened just then.
            if refusal.rcvd is None or refusal.rcvd.code != CloseCode.TRY_AGAIN_LATER:
                raise
        else:
            return states, delivered
        await asyncio.sleep(0.5)


@pytest.mark.timeout(180)  # a server is made and restarted, on a loaded machine
async def test_a_save_whose_lease_was_lost_to_an_absence_is_killed_and_done_again(
    product, own_server
):
    load = await product.workload("db", backup=HELD_SAVE)
    async with product.working():
        backup_id = await product.start_backup(load)
        await _half_done(load, 1)
        async with without(own_server, product.settings.lease_seconds):
            await product.no_processes()
            _go(load, 1)
        backup = await product.backup_ended(backup_id)
        assert backup["state"] == "LIVE", backup
        assert backup["sizeBytes"] == SIZE + 8
        assert backup["target"]["path"].endswith("-2")
        await product.nothing_left(kept=1)


@pytest.mark.timeout(180)  # a server is made and restarted, on a loaded machine
async def test_a_restore_whose_lease_was_lost_to_an_absence_commits_nothing(product, own_server):
    load = await product.workload("db", backup=f"head -c {SIZE} /dev/zero", restore=HELD_RESTORE)
    async with product.working():
        backup = await product.back_up(load)
        restore_id = await product.start_restore(backup["id"], load.instance(2))
        await _half_done(load, 2)
        async with without(own_server, product.settings.lease_seconds):
            await product.no_processes()
            _go(load, 2)
        restore = await product.restore_ended(restore_id)
        assert restore["state"] == "FAILED"
        assert restore["error"]["code"] == "INTERRUPTED"
        assert not (load.folder(2) / "got").exists()
        # The instance is free again.
        again = await product.put_back(backup["id"], load.instance(2))
        assert again["state"] == "SUCCEEDED"


@pytest.mark.timeout(120)  # a server is made and restarted, on a loaded machine
async def test_what_is_asked_of_the_gateway_during_an_absence_is_answered_and_done_afterwards(
    product, own_server
):
    load = await product.workload("db", backup="echo hi")
    async with product.working():
        async with without(own_server, 1):
            answers = [await _answer(product) for _ in range(5)]
        assert answers == [(503, [AWAY])] * 5
        assert (await product.back_up(load))["state"] == "LIVE"
