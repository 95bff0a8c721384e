"""Pytest plugin: the whole product for one test, as the fixture `product`."""

import asyncio
import itertools
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.model.access import Role
from app.model.ids import decode_id
from app.postgres.pool import Database
from app.service import hubs, keys
from app.service.secrets import Sealer, make_key
from app.settings import ProcessRoot, Settings, parse_sealing_keys
from app.web.app import create_app
from app.wiring.gateway import make_api_parts
from app.wiring.parts import bind
from app.wiring.programs import make_server
from app.worker import ownership, probe
from tests.conftest import GATEWAY_ROLE, WORKER_ROLE
from tests.copies import parts_of
from tests.fakes.local_b2_server import LocalB2Server
from tests.product import BUCKET, ERRORS, FIRST_UID, HOST, PATIENCE, PREFIX, Product

_uids = itertools.count()


@pytest.fixture
def instances_root() -> Iterator[Path]:
    """A hub's folder; as root with an owner of its own, and not below pytest's closed one."""
    top = Path(tempfile.mkdtemp(prefix="hub-"))
    top.chmod(0o711)
    root = top / "instances"
    root.mkdir(mode=0o700)
    if os.geteuid() == 0:
        uid = FIRST_UID + os.getpid() % 10_000 + next(_uids)
        os.chown(root, uid, uid)
    yield root
    shutil.rmtree(top)


@pytest.fixture
def b2(tmp_path: Path) -> Iterator[LocalB2Server]:
    with LocalB2Server(tmp_path / "b2", part_size=1_000_000, minimum_part_size=1000) as server:
        yield server


@pytest.fixture
def product_settings() -> dict[str, Any]:
    """Settings that a module's tests want otherwise."""
    return {}


@pytest.fixture
async def product(
    owner: Database,
    b2: LocalB2Server,
    instances_root: Path,
    product_settings: dict[str, Any],
) -> AsyncIterator[Product]:
    """The product with a gateway; workers are started by the test."""
    bucket_id = b2.bucket(BUCKET)
    async with open_product(owner, b2, bucket_id, instances_root, product_settings) as product:
        yield product


@asynccontextmanager
async def open_product(
    owner: Database,
    b2: LocalB2Server,
    bucket_id: str,
    root: Path,
    changes: dict[str, Any],
) -> AsyncIterator[Product]:
    """The product over a database, with a hub of its own and an integration with the bucket."""
    key, dsn = make_key(), owner.dsn
    hub = await hubs.create_hub(owner, "acme")
    _, token = await keys.create_key(owner, hub_id=hub.id, name="test", role=Role.ADMIN)
    chosen = {
        "database_url": dsn,
        "gateway_role": GATEWAY_ROLE,
        "worker_role": WORKER_ROLE,
        "host_name": HOST,
        "b2_realm": b2.url,
        "secret_key": parse_sealing_keys(key),
        "process_roots": (ProcessRoot(hub=str(hub.id), folder=root),),
        "lease_seconds": 4,
        "lease_renew_seconds": 0.5,
        "lease_give_up_seconds": 2.5,
    }
    settings = Settings(**(chosen | changes))
    sealer = Sealer([key])
    async with make_api_parts(settings, dsn, sealer=sealer, embedded_realm=None) as parts:
        with bind("127.0.0.1", 0) as listening:
            url = f"http://127.0.0.1:{listening.getsockname()[1]}"
            server = make_server(create_app(parts))
            async with (
                httpx.AsyncClient(
                    base_url=url,
                    headers={"Authorization": f"Bearer {token}"},
                    trust_env=False,
                    verify=False,
                    timeout=30,
                ) as client,
                asyncio.TaskGroup() as tasks,
            ):
                listener = tasks.create_task(parts.listen.run())
                tasks.create_task(server.serve(sockets=[listening]))
                product = Product(
                    settings=settings,
                    sealer=sealer,
                    sealing_key=key,
                    owner=owner,
                    b2=b2,
                    bucket_id=bucket_id,
                    root=root,
                    hub_id=hub.id,
                    url=url,
                    token=token,
                    client=client,
                )
                try:
                    product.integration = await _integrate(product)
                    yield product
                finally:
                    server.stop()
                    listener.cancel()


async def _integrate(product: Product) -> str:
    """Make the integration, and have what a worker does find that it works.

    Without the loops of a worker: to start all of them takes longer than the rest of a product.
    """
    b2 = product.b2
    made = await product.mutate(
        "createIntegration",
        f"""mutation ($keyId: String!, $key: String!) {{
          createIntegration(name: "B2", keyId: $keyId, key: $key, bucket: "{BUCKET}",
            prefix: "{PREFIX}") {{ integration {{ id }} {ERRORS} }} }}""",
        keyId=b2.key_id,
        key=b2.key,
    )
    identifier: str = made["integration"]["id"]
    decoded = decode_id(identifier)
    assert decoded is not None
    async with parts_of(product) as parts, asyncio.timeout(PATIENCE):
        while True:
            await probe.carry_out_due(parts)
            await ownership.carry_out_due(parts)
            data = await product.ask("{ hub { integrations { nodes { state } } } }")
            state = data["hub"]["integrations"]["nodes"][0]["state"]
            # Its owner object, or another one's, is there: no test finds that among its own.
            if state == "LIVE" and await _is_owned(product):
                return identifier
            await asyncio.sleep(0.05)


async def _is_owned(product: Product) -> bool:
    async with product.owner.connection() as connection:
        return bool(
            await connection.fetchval(
                "select generation > 0 or stopped_at is not null from integration_owners"
            )
        )
