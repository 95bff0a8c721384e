"""One-time addresses: checked bytes, once, and never anything else."""

import asyncio
import base64
import hashlib
import os
import re
import socket
import sys
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from app.errors import DownloadsBusy
from app.transfer.objects import Objects
from app.web.app import create_app
from app.web.downloads import PATH, DownloadEndpoint
from app.wiring.gateway import make_api_parts
from tests.graphql_server import serve
from tests.product import ERRORS, Product, Refused

CHUNK = 4 * 1024 * 1024
DATA = hashlib.shake_128(b"data").digest(10_000_000)

CREATE = f"""mutation ($id: ID!, $key: String) {{
  createDownload(backupId: $id, idempotencyKey: $key) {{
    download {{ address expiresAt backup {{ id sizeBytes sha256 }} }} {ERRORS} }} }}"""


async def a_backup(product: Product, data: bytes = DATA) -> dict[str, Any]:
    load = await product.workload("ledger", backup="cat data", instances=1, min_bytes=0)
    (load.folder(1) / "data").write_bytes(data)
    async with product.working():
        backup = await product.back_up(load)
    assert backup["state"] == "LIVE"
    return {**backup, "load": load}


async def an_address(product: Product, backup: dict[str, Any]) -> str:
    payload = await product.mutate("createDownload", CREATE, id=backup["id"])
    return str(httpx.URL(f"{product.url}/graphql").join(payload["download"]["address"]))


async def storage_of(product: Product, backup: dict[str, Any], *, live: bool = False) -> Any:
    data = await product.ask(
        """query ($id: ID!, $live: Boolean!) {
          backup(id: $id) { storage(live: $live) { status checkedAt error { code } } } }""",
        id=backup["id"],
        live=live,
    )
    return data["backup"]["storage"]


async def get(url: str) -> httpx.Response:
    """What somebody without a key gets."""
    async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
        return await client.get(url)


async def read_until_cut(url: str) -> tuple[int, bytes]:
    """The length that was said, and the bytes that came before the connection was cut."""
    got = b""
    async with (
        httpx.AsyncClient(trust_env=False, timeout=30) as client,
        client.stream("GET", url) as response,
    ):
        try:
            async for block in response.aiter_raw():
                got += block
        except httpx.RemoteProtocolError:
            return int(response.headers["content-length"]), got
    pytest.fail("nothing was cut")


def code_of(response: httpx.Response) -> str:
    [error] = response.json()["errors"]
    return str(error["extensions"]["code"])


@pytest.mark.parametrize("data", [DATA, DATA[:CHUNK], b"x", b""], ids=["3 chunks", "1", "x", "0"])
async def test_the_bytes_of_a_backup_come_whole_and_with_their_digest(product, data):
    backup = await a_backup(product, data)
    assert (await storage_of(product, backup)) == {
        "status": "UNCHECKED",
        "checkedAt": None,
        "error": None,
    }
    response = await get(await an_address(product, backup))
    assert response.status_code == 200
    assert response.content == data
    digest = base64.b64encode(hashlib.sha256(data).digest()).decode()
    assert response.headers["repr-digest"] == f"sha-256=:{digest}:"
    assert response.headers["content-length"] == str(len(data))
    assert response.headers["cache-control"] == "no-store"
    assert re.fullmatch(
        r'attachment; filename="ledger-\d{8}T\d{6}Z\.backup"',
        response.headers["content-disposition"],
    )
    assert (await storage_of(product, backup))["status"] == "PRESENT"


async def test_an_address_is_opened_once_and_a_look_at_it_does_not_count(product):
    backup = await a_backup(product, b"data")
    url = await an_address(product, backup)
    async with httpx.AsyncClient(trust_env=False) as client:
        for method in ("HEAD", "POST"):
            response = await client.request(method, url)
            assert (response.status_code, response.headers["allow"]) == (405, "GET")
    assert (await get(url)).content == b"data"
    second = await get(url)
    assert (second.status_code, code_of(second)) == (404, "NOT_FOUND")


async def test_of_many_who_open_an_address_at_once_one_gets_it(product):
    backup = await a_backup(product, b"data")
    url = await an_address(product, backup)
    answers = await asyncio.gather(*(get(url) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 404, 404, 404]


@pytest.mark.parametrize(
    "change",
    [
        "update downloads set expires_at = now()",
        "update api_keys set revoked_at = now()",
        "update api_keys set expires_at = now()",
    ],
)
async def test_an_address_ends_with_its_time_and_with_the_key_that_made_it(product, change):
    backup = await a_backup(product, b"data")
    url = await an_address(product, backup)
    async with product.owner.connection() as connection:
        await connection.execute(change)
    response = await get(url)
    assert (response.status_code, code_of(response)) == (404, "NOT_FOUND")


@pytest.mark.parametrize("secret", ["x", "A" * 43, "%00", "..%2fgraphql", "A" * 5000])
async def test_what_was_never_an_address_is_not_found(product, secret):
    assert (await get(f"{product.url}/downloads/{secret}")).status_code == 404


async def test_an_address_works_on_every_gateway(product):
    backup = await a_backup(product, b"data")
    address = httpx.URL(await an_address(product, backup)).path
    async with (
        make_api_parts(
            product.settings, product.owner.dsn, sealer=product.sealer, embedded_realm=None
        ) as parts,
        serve(create_app(parts)) as place,
    ):
        assert (await get(f"http://{place}{address}")).content == b"data"


@pytest.mark.parametrize("at", [CHUNK, 9_999_999])
async def test_no_byte_that_is_not_what_was_saved_is_sent(product, at):
    """The stream ends short of the length that it said; the record knows from then on."""
    backup = await a_backup(product)
    product.b2.faults.damage(backup["target"]["fileId"], at=at)
    url = await an_address(product, backup)
    length, got = await read_until_cut(url)
    assert length == len(DATA)
    assert len(got) <= at // CHUNK * CHUNK
    assert DATA.startswith(got)
    assert (await storage_of(product, backup))["status"] == "MISMATCH"
    # Name and size are right: that is no proof of the bytes.
    assert (await storage_of(product, backup, live=True))["status"] == "MISMATCH"


async def test_reading_everything_clears_a_mismatch(product):
    backup = await a_backup(product)
    file_id = backup["target"]["fileId"]
    product.b2.faults.damage(file_id, at=1)
    response = await get(await an_address(product, backup))
    assert (response.status_code, code_of(response)) == (502, "OBJECT_MISMATCH")
    assert (await storage_of(product, backup))["status"] == "MISMATCH"
    product.b2.faults.damage(file_id, at=1)
    assert (await storage_of(product, backup, live=True))["status"] == "MISMATCH"
    assert (await get(await an_address(product, backup))).content == DATA
    assert (await storage_of(product, backup))["status"] == "PRESENT"


async def test_what_is_marked_says_how_it_is_cleared_and_that_clears_it(product):
    backup = await a_backup(product)
    instance, file_id = backup["load"].instance(1), backup["target"]["fileId"]
    product.b2.faults.damage(file_id, at=1)
    await get(await an_address(product, backup))
    product.b2.faults.damage(file_id, at=1)
    with pytest.raises(Refused) as refusal:
        await product.start_restore(backup["id"], instance)
    assert refusal.value.code == "OBJECT_MISMATCH"
    assert "download the backup (`createDownload`)" in str(refusal.value)
    asking = "query ($id: ID!) { backup(id: $id) { storage { advice } } }"
    advice = (await product.ask(asking, id=backup["id"]))["backup"]["storage"]["advice"]
    assert "download the backup (`createDownload`)" in advice
    assert (await get(await an_address(product, backup))).content == DATA
    assert (await product.ask(asking, id=backup["id"]))["backup"]["storage"]["advice"] is None
    restore = await product.start_restore(backup["id"], instance)
    assert (await product.restore(restore))["state"] == "QUEUED"


async def test_a_lost_object_is_told_and_then_neither_downloaded_nor_restored(product):
    backup = await a_backup(product, b"data")
    url = await an_address(product, backup)
    product.b2.faults.remove(backup["target"]["fileId"])
    response = await get(url)
    assert (response.status_code, code_of(response)) == (502, "OBJECT_MISSING")
    assert (await storage_of(product, backup))["status"] == "MISSING"
    refused = (await product.ask(CREATE, id=backup["id"]))["createDownload"]
    [error] = refused["errors"]
    assert (error["__typename"], error["code"]) == ("StorageError", "OBJECT_MISSING")
    assert refused["download"] is None


async def test_a_repeated_call_shows_no_address_again(product):
    backup = await a_backup(product, b"data")
    first = await product.mutate("createDownload", CREATE, id=backup["id"], key="1")
    again = await product.mutate("createDownload", CREATE, id=backup["id"], key="1")
    assert first["download"]["address"] is not None
    assert again["download"] == {**first["download"], "address": None}


async def test_only_so_many_are_streamed_at_a_time_and_who_goes_makes_room(product):
    """An address that was refused for want of room is not spent; a client that goes frees its."""
    backup = await a_backup(product)
    settings = product.settings.model_copy(update={"downloads": 1})
    product.b2.faults.slow_down(200_000)
    async with (
        make_api_parts(
            settings, product.owner.dsn, sealer=product.sealer, embedded_realm=None
        ) as parts,
        serve(create_app(parts), send_buffer=4096) as place,
    ):
        first, second = [
            f"http://{place}{httpx.URL(await an_address(product, backup)).path}" for _ in "12"
        ]
        async with httpx.AsyncClient(trust_env=False) as client, asyncio.TaskGroup() as tasks:
            slow = tasks.create_task(client.get(first, timeout=60))
            async with asyncio.timeout(10):
                while not parts.objects.streams.locked():
                    await asyncio.sleep(0.01)
            busy = await get(second)
            assert (busy.status_code, code_of(busy)) == (503, "DOWNLOADS_BUSY")
            assert int(busy.headers["retry-after"]) > 0
            product.b2.faults.slow_down(None)
            assert (await slow).content == DATA
        async with httpx.AsyncClient(trust_env=False) as client:
            async with client.stream("GET", second) as response:
                assert response.status_code == 200
                assert parts.objects.streams.locked()
            async with asyncio.timeout(10):
                while parts.objects.streams.locked():
                    await asyncio.sleep(0.01)


async def test_a_hub_leaves_room_for_others_and_what_it_is_refused_is_not_spent(product):
    """It gets half of the streams."""
    backup = await a_backup(product)
    settings = product.settings.model_copy(update={"downloads": 3})
    async with (
        make_api_parts(
            settings, product.owner.dsn, sealer=product.sealer, embedded_realm=None
        ) as parts,
        serve(create_app(parts), send_buffer=4096) as place,
    ):
        first, second = [
            f"http://{place}{httpx.URL(await an_address(product, backup)).path}" for _ in "12"
        ]
        async with httpx.AsyncClient(trust_env=False) as client:
            async with client.stream("GET", first) as response:
                assert response.status_code == 200
                busy = await get(second)
                assert (busy.status_code, code_of(busy)) == (503, "DOWNLOADS_BUSY")
                assert int(busy.headers["retry-after"]) > 0
                assert not parts.objects.streams.locked()
                with parts.objects.share(uuid4()):
                    pass
            async with asyncio.timeout(10):
                while (answer := await get(second)).status_code == 503:
                    await asyncio.sleep(0.01)
        assert answer.content == DATA


def test_a_hub_holds_half_of_the_streams_and_at_least_one():
    for streams, share in ((1, 1), (2, 1), (3, 1), (4, 2), (9, 4)):
        objects = Objects(
            lambda access: pytest.fail(str(access)), ThreadPoolExecutor(), streams=streams
        )
        hub = uuid4()
        with ExitStack() as held:
            for _ in range(share):
                held.enter_context(objects.share(hub))
            with pytest.raises(DownloadsBusy):
                held.enter_context(objects.share(hub))
            held.enter_context(objects.share(uuid4()))
        with objects.share(hub):
            pass


@asynccontextmanager
async def impatient(product: Product, **seconds: float) -> AsyncIterator[tuple[Objects, str]]:
    """A gateway for downloads alone that waits for less long."""
    async with make_api_parts(
        product.settings, product.owner.dsn, sealer=product.sealer, embedded_realm=None
    ) as parts:
        app = Starlette(routes=[Route(PATH, DownloadEndpoint(parts, **seconds))])
        async with serve(app, send_buffer=4096) as place:
            yield parts.objects, f"http://{place}"


async def test_a_download_ends_where_b2_gives_nothing(product):
    """Before the first byte as an answer, later by a cut; then there is room for others."""
    backup = await a_backup(product)
    async with impatient(product, chunk_seconds=0.3) as (objects, place):
        url = place + httpx.URL(await an_address(product, backup)).path
        product.b2.faults.slow_down(1000)
        response = await get(url)
        assert (response.status_code, code_of(response)) == (503, "STORAGE_UNAVAILABLE")
        assert int(response.headers["retry-after"]) > 0
        assert objects.streams._value == product.settings.downloads
        product.b2.faults.slow_down(None)
        # It was spent all the same.
        assert (await get(url)).status_code == 404


async def test_a_download_ends_where_its_client_takes_nothing(product):
    backup = await a_backup(product)
    async with impatient(product, piece_seconds=0.3) as (objects, place):
        url = httpx.URL(place + httpx.URL(await an_address(product, backup)).path)
        narrow = socket.socket()
        narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        narrow.setblocking(False)  # noqa: FBT003
        loop = asyncio.get_running_loop()
        with narrow:
            await loop.sock_connect(narrow, (url.host, url.port))
            await loop.sock_sendall(narrow, f"GET {url.path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
            assert (await loop.sock_recv(narrow, 15)).startswith(b"HTTP/1.1 200 OK")
            async with asyncio.timeout(10):
                while objects.streams._value != product.settings.downloads:
                    await asyncio.sleep(0.01)


async def run_download(product: Product, folder: Path, *arguments: str) -> tuple[int, str, str]:
    """`backup-gateway download` in a folder: exit code, stdout and stderr."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "app", "download", *arguments),
        cwd=folder,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "BACKUP_GATEWAY_URL": f"{product.url}/graphql",
            "BACKUP_GATEWAY_TOKEN": product.token,
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode("latin-1"), err.decode()


@pytest.mark.timeout(240)  # six programs start, on a busy machine
async def test_the_command_line_writes_a_file_or_into_a_pipe(product, tmp_path):
    here = tmp_path / "here"
    here.mkdir()
    backup = await a_backup(product)
    code, out, err = await run_download(product, here, backup["id"], "-o", "mine")
    assert (code, out) == (0, "mine: 9.5 MiB\n"), err
    assert err.startswith("DOWNLOADING: ")
    assert " of 9.5 MiB, " in err
    assert (here / "mine").read_bytes() == DATA
    assert (here / "mine").stat().st_mode & 0o777 == 0o600
    code, out, err = await run_download(product, here, backup["id"][-12:])
    [named] = set(here.iterdir()) - {here / "mine"}
    assert (code, out) == (0, f"{named.name}: 9.5 MiB\n")
    assert named.read_bytes() == DATA
    code, out, err = await run_download(product, here, backup["id"], "-o", "-")
    assert (code, out.encode("latin-1")) == (0, DATA)
    code, out, err = await run_download(product, here, backup["id"], "-o", "mine")
    assert (code, err) == (2, "Error: mine is there already; name another file by -o.\n")
    product.b2.faults.damage(backup["target"]["fileId"], at=CHUNK)
    code, out, err = await run_download(product, here, backup["id"], "-o", "cut")
    assert (code, out) == (3, "")
    assert "Error: The download was cut: " in err
    product.b2.faults.remove(backup["target"]["fileId"])
    code, out, err = await run_download(product, here, backup["id"], "-o", "lost")
    assert (code, out) == (1, "")
    assert err.endswith("(OBJECT_MISSING)\n")
    assert set(here.iterdir()) == {here / "mine", named}
