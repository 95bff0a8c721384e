"""Progress: what a run's row says of its bytes once it has ended."""

import pytest

from tests.product import Product

pytestmark = pytest.mark.timeout(120)  # a whole product, on a busy machine


async def test_runs_that_end_between_two_writes_have_told_every_byte(product: Product):
    """Small ones are over before the writer's first turn."""
    load = await product.workload("db", backup="head -c 3000000 /dev/zero")
    async with product.working():
        backup = await product.back_up(load)
        restore = await product.put_back(backup["id"], load.instance(2))
    assert backup["state"] == "LIVE"
    assert backup["progress"] == {"bytesRead": 3_000_000, "bytesStored": 3_000_000}
    assert restore["state"] == "SUCCEEDED"
    assert restore["progress"] == {"bytesDelivered": 3_000_000, "bytesTotal": 3_000_000}


async def test_a_run_that_fails_has_told_what_it_moved(product: Product):
    load = await product.workload("db", backup="head -c 70000 /dev/zero; exit 3")
    async with product.working():
        backup = await product.back_up(load)
    assert backup["state"] == "FAILED"
    assert backup["progress"]["bytesRead"] == 70_000
