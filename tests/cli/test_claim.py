"""`backup-gateway claim`, the operator's word that a bucket is this database's."""

import asyncio
import os
import sys
from pathlib import Path

from click.testing import CliRunner

from app.__main__ import main
from app.service import ownership
from app.worker.ownership import may_delete_by_itself
from tests.copies import copied, parts_of
from tests.product import OWNER


async def claim(product, *words):
    process = await asyncio.create_subprocess_exec(
        Path(sys.executable).parent / "backup-gateway",
        "claim",
        *words,
        env={"PATH": os.environ["PATH"], "DATABASE_URL": product.owner.dsn}
        | {"BACKUP_GATEWAY_SECRET_KEY": product.sealing_key},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    return process.returncode, said.decode().strip()


async def claimed(product):
    async with product.owner.connection() as connection:
        return await connection.fetchval("select claimed_in is not null from integration_owners")


def generations(product):
    return [
        version["fileInfo"]["generation"]
        for version in product.b2.versions(product.bucket_id)
        if version["fileName"] == OWNER
    ]


async def test_it_is_told_once_and_a_worker_carries_it_out(product):
    assert await claim(product, "B2") == (
        0,
        "B2 of acme is claimed; a worker writes it into the bucket.",
    )
    assert await claimed(product)
    assert generations(product) == ["1"]
    async with product.working(), asyncio.timeout(15):
        while await claimed(product):
            await asyncio.sleep(0.05)
    assert generations(product) == ["2"]


async def test_it_goes_by_the_id_of_clients_too_and_refuses_what_is_not_there(product):
    found = await ownership.find_integration(product.owner, product.integration)
    assert (found.name, found.hub_name) == ("B2", "acme")
    code, said = await claim(product, "elsewhere")
    assert (code, said) == (2, "Error: There is no integration 'elsewhere'.")
    assert not await claimed(product)


def test_one_is_named_or_all():
    for words in ([], ["B2", "--all"]):
        done = CliRunner().invoke(main, ["claim", *words])
        assert (done.exit_code, "Name one integration, or give --all." in done.output) == (2, True)


async def test_all_is_what_a_restored_database_needs(product):
    found = await ownership.find_integration(product.owner, "B2")
    async with copied(product) as copy:
        async with parts_of(copy) as parts:
            assert not await may_delete_by_itself(parts, found.id)
        assert generations(product) == ["1"]
        assert await claim(copy, "--all") == (0, "1 claimed; a worker writes it into the buckets.")
        async with copy.working(), asyncio.timeout(15):
            while await claimed(copy):
                await asyncio.sleep(0.05)
        assert generations(product) == ["2"]
