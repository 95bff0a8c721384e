"""The commands about the truth of a bucket, against the whole product."""

import asyncio
import json
import os

import pytest
from click.testing import CliRunner

from app.__main__ import main
from tests.drift_calls import Bucket, our_name

# Workers are started and stopped, on a machine that may be busy.
pytestmark = pytest.mark.timeout(90)


@pytest.fixture
def run(product, tmp_path):
    async def run(*arguments):
        foreign = dict.fromkeys(name for name in os.environ if name.startswith("BACKUP_GATEWAY_"))
        known = {
            "BACKUP_GATEWAY_URL": f"{product.url}/graphql",
            "BACKUP_GATEWAY_TOKEN": product.token,
            "BACKUP_GATEWAY_HOME": str(tmp_path),
        }
        runner = CliRunner()
        return await asyncio.to_thread(runner.invoke, main, arguments, env={**foreign, **known})

    return run


async def test_a_bucket_is_reconciled_followed_and_what_disagrees_is_listed(product, run):
    async with Bucket(product) as bucket:
        name = await our_name(product)
        await bucket.put(name, b"an orphan")
    done = await run("reconcile", "B2")
    assert (done.stdout, done.exit_code) == (
        "B2: asked for; --follow shows how it gets on\n",
        0,
    )
    async with product.working():
        done = await run("reconcile", "B2", "--follow")
    # The worker's log goes to the same place here.
    assert "B2: done: 1 objects, 1 orphans, 1 found" in done.stdout.splitlines()
    assert done.exit_code == 0
    lines = [line.split() for line in (await run("drift")).stdout.splitlines()]
    assert lines == [["KIND", "WHAT", "SIZE", "NAME"], ["ORPHAN", "OBJECT", "9", "B", name]]
    [found] = json.loads((await run("drift", "--json")).stdout)
    assert (found["kind"], found["name"]) == ("ORPHAN", name)


async def test_a_recovery_is_followed_to_its_end(product, run):
    load = await product.workload("db", backup="echo data", instances=1)
    async with product.working():
        await product.back_up(load)
        done = await run("recover", product.integration, "--follow", "--json")
    assert done.exit_code == 0
    recovery = json.loads(done.stdout)["recovery"]
    assert (recovery["running"], recovery["known"], recovery["recovered"]) == (False, 1, 0)


async def test_a_scan_that_cannot_go_on_is_a_failure_with_its_reason(product, run):
    product.b2.faults.fail_next("b2_list_file_versions", status=403, code="access_denied", times=9)
    async with product.working():
        done = await run("reconcile", "B2", "--follow")
    assert done.exit_code == 1
    assert done.stderr.splitlines()[-1].startswith("Error: STORAGE")
    done = await run("reconcile", "B3")
    assert (done.stderr, done.exit_code) == (
        "Error: There is no integration B3; there are: B2.\n",
        2,
    )
