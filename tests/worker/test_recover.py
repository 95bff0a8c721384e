"""Recoveries: records rebuilt from the manifests in a bucket, after a database was lost."""

import hashlib
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest

from app.postgres.pool import Database
from tests.conftest import execute, name_database
from tests.drift_calls import (
    Bucket,
    a_manifest,
    drifts,
    plant,
    recover,
    scanned,
)
from tests.product_fixtures import open_product

LIST = """{ containers { nodes { id identifier stateful backupPolicy { enabled: updatedAt }
  backups(orderBy: OLDEST_FIRST) { nodes {
    id state trigger createdAt startedAt finishedAt sizeBytes sha256 instanceHostname exitCode
    commands { backup restore } target { bucket path fileId } storage { status }
    requestedBy { kind name } } } } } }"""

# Several workers are started and stopped, on a machine that may be busy.
pytestmark = pytest.mark.timeout(90)


@pytest.fixture
def another_database(server_dsn, template, database_names):
    """As after the loss of the first one: a new one, with nothing in it."""

    @asynccontextmanager
    async def make():
        name = next(database_names)
        await execute(server_dsn, f'create database "{name}" template "{template}"')
        dsn = name_database(server_dsn, name)
        try:
            async with Database.open(dsn, role=None, application_name="owner") as owner:
                async with owner.connection() as connection:
                    # The template gave it the first one's.
                    await connection.execute("update installation set id = gen_random_uuid()")
                yield owner
        finally:
            await execute(server_dsn, f'drop database "{name}" with (force)')

    return make


@pytest.fixture
def after_the_loss(another_database, product, instances_root, product_settings):
    """The product over a new database, with an integration with the same bucket and prefix."""

    @asynccontextmanager
    async def make():
        async with (
            another_database() as owner,
            open_product(
                owner, product.b2, product.bucket_id, instances_root, product_settings
            ) as again,
        ):
            yield again

    return make


async def lists(product):
    return (await product.ask(LIST))["containers"]["nodes"]


async def test_a_lost_database_is_rebuilt_and_its_backups_are_restored_and_deleted(
    product, after_the_loss
):
    data = [hashlib.sha256(bytes([n])).digest() * 1000 for n in range(2)]
    load = await product.workload("ledger", backup="cat data", restore="cat > back", instances=2)
    for number, content in enumerate(data, 1):
        (load.folder(number) / "data").write_bytes(content)
        product.give(load.folder(number) / "data")
    async with product.working():
        before = [await product.back_up(load, number) for number in (1, 2)]
    [known] = await lists(product)

    async with after_the_loss() as again:
        assert await lists(again) == []
        assert await recover(again) == {
            "running": False,
            "phase": None,
            "finishedAt": (await scanned(again, "recovery"))["finishedAt"],
            "objects": len(again.objects()),
            "recovered": 2,
            "known": 0,
            "skipped": 0,
            "error": None,
        }
        [container] = await lists(again)
        assert container["identifier"] == "ledger"
        assert container["stateful"] is True
        backups = container["backups"]["nodes"]
        for old, new in zip(known["backups"]["nodes"], backups, strict=True):
            assert new.pop("requestedBy") == {"kind": "GATEWAY", "name": "recovery"}
            assert new.pop("storage") == {"status": "PRESENT"}
            assert new["finishedAt"] >= new["startedAt"]
            left_out = ("requestedBy", "storage", "startedAt", "finishedAt")
            assert {k: v for k, v in old.items() if k not in left_out} == {
                k: v for k, v in new.items() if k not in left_out
            }

        # Twice makes nothing twice.
        once_more = await recover(again)
        assert (once_more["recovered"], once_more["known"], once_more["skipped"]) == (0, 2, 0)
        [container] = await lists(again)
        assert len(container["backups"]["nodes"]) == 2

        load.id = container["id"]
        load.instances.clear()
        load.folders.clear()
        for number in (3, 4):
            await again.instance(load, number)
        await again.configure(load, backup="cat data", restore="cat > back")
        async with again.working():
            for number, backup in enumerate(before):
                restored = await again.put_back(backup["id"], load.instance(number + 3))
                assert restored["state"] == "SUCCEEDED", restored
                assert (load.folder(number + 3) / "back").read_bytes() == data[number]
            await again.delete(*(backup["id"] for backup in before))
            for backup in before:
                await again.backup_ended(backup["id"], states={"DELETED"})
        assert [name for name in again.objects() if "/ledger" in name or "-1" in name] == []


async def test_nothing_of_another_hub_is_ever_recovered(product, after_the_loss):
    """Neither one of this gateway's, nor one of two lost hubs before somebody said which."""
    load = await product.workload("ledger", backup="echo data", instances=1)
    async with product.working():
        await product.back_up(load)
    async with Bucket(product) as bucket, after_the_loss() as again:
        former = product.hub_id
        async with again.owner.connection() as connection:
            neighbour = await connection.fetchval(
                "insert into hubs (name) values ('neighbour') returning id"
            )
        manifest = await a_manifest(product)
        for hub in (neighbour, stranger := uuid4()):
            await plant(bucket, manifest, hub=hub)
        found = await recover(again)
        assert found["error"]["code"] == "SEVERAL_HUBS"
        for hub in (former, stranger):
            assert str(hub) in found["error"]["message"]
        assert str(neighbour) not in found["error"]["message"]
        assert await lists(again) == []

        found = await recover(again, former_hub=str(neighbour))
        assert found["error"]["code"] == "SEVERAL_HUBS"
        assert await lists(again) == []

        found = await recover(again, former_hub=str(former))
        assert (found["recovered"], found["error"]) == (1, None)
        [container] = await lists(again)
        assert [b["target"]["path"].split("/")[2] for b in container["backups"]["nodes"]] == [
            str(former)
        ]
        foreign = [drift["name"].split("/")[2] for drift in await drifts(again, "FOREIGN")]
        assert set(foreign) <= {str(neighbour), str(stranger)}
