"""Downloads: a backup's bytes into a file or a pipe, whole and right, or not at all."""

import hashlib
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO

import httpx

from app.cli import documents
from app.cli.client import Client, Json, describe, find_wait
from app.cli.show import LiveLine
from app.errors import DownloadBroken, GatewayUnreachable, NameUnclear, RequestRefused

STDOUT = "-"
PART = ".part"
BUSY_TRIES = 60
SHOWN_SECONDS = 0.25

_NAME = re.compile(r'attachment; filename="([A-Za-z0-9_-][A-Za-z0-9._-]*)"')


def download(client: Client, backup: Json, target: str | None, line: LiveLine) -> Json:
    """Write the backup into the file (None: one here, named by the gateway) or to stdout.

    Gives file, bytes and SHA-256. A file appears only once all of it is there and right. Raises
    RequestRefused, DownloadBroken, GatewayUnreachable, NameUnclear (the file cannot be made).
    """
    if target not in {None, STDOUT}:
        refuse_existing(Path(str(target)))
    made = ask_address(client, backup["id"])
    size, sha256 = made["backup"]["sizeBytes"], made["backup"]["sha256"]
    with open_stream(client, made["address"]) as response:
        if target == STDOUT:
            file = STDOUT
            digest = copy(response, sys.stdout.buffer, size, line)
            check(digest, sha256)
        else:
            path = Path(target) if target else choose_name(response)
            file = str(path)
            refuse_existing(path)
            with making(path) as stream:
                digest = copy(response, stream, size, line)
                check(digest, sha256)
    return {"backup": backup["id"], "file": file, "sizeBytes": size, "sha256": sha256}


def ask_address(client: Client, identifier: str) -> Json:
    """Give a download with its address; one whose answer was lost is asked for anew."""
    while True:
        payload = client.mutate(documents.CREATE_DOWNLOAD, {"backup": identifier}, None)
        made: Json = payload["download"]
        if made["address"] is not None:
            return made


@contextmanager
def open_stream(client: Client, address: str) -> Iterator[httpx.Response]:
    """Open a one-time address; where the gateway is busy, again. The API key stays here."""
    credentials = client.credentials
    url = httpx.URL(credentials.url).join(address)
    try:
        with httpx.Client(timeout=90.0, trust_env=credentials.through_proxy) as http:
            for tries in range(BUSY_TRIES):
                with http.stream("GET", url) as response:
                    if response.status_code == HTTPStatus.OK:
                        yield response
                        return
                    response.read()
                    error = read_error(response)
                if error["code"] != "DOWNLOADS_BUSY" or tries + 1 == BUSY_TRIES:
                    raise RequestRefused(f"{error['message']} ({error['code']})")
                time.sleep(find_wait(response, 5.0))
    except httpx.TransportError as error:
        raise GatewayUnreachable(
            f"The download was cut: {describe(error)}. Nothing was kept; try again."
        ) from None


def read_error(response: httpx.Response) -> Json:
    try:
        [error] = response.json()["errors"]
    except (ValueError, KeyError, TypeError):
        return {"code": str(response.status_code), "message": "The gateway refuses the download."}
    return {"code": error["extensions"]["code"], "message": error["message"]}


def copy(response: httpx.Response, stream: BinaryIO, size: int, line: LiveLine) -> str:
    """Copy the bytes; gives their SHA-256."""
    whole = hashlib.sha256()
    started = shown = time.monotonic()
    done = 0
    for block in response.iter_raw():
        whole.update(block)
        stream.write(block)
        done += len(block)
        if time.monotonic() - shown >= SHOWN_SECONDS or done == size:
            shown = time.monotonic()
            line.show(describe_state(done, size, shown - started))
    return whole.hexdigest()


def describe_state(done: int, size: int, seconds: float) -> Json:
    """Say how far it is, as a run says it."""
    rate = done / seconds if seconds > 0 else 0.0
    return {
        "state": "DOWNLOADING",
        "progress": {
            "bytesDelivered": done,
            "bytesTotal": size,
            "bytesPerSecond": rate,
            "etaSeconds": (size - done) / rate if rate else None,
        },
    }


def check(digest: str, sha256: str) -> None:
    """Raise DownloadBroken where other bytes came than were saved."""
    if digest != sha256:
        raise DownloadBroken(
            f"Other bytes came than were saved: their SHA-256 is {digest}, not {sha256}."
        )


def choose_name(response: httpx.Response) -> Path:
    """Take the gateway's name for it, if that is a plain one."""
    found = _NAME.fullmatch(response.headers.get("Content-Disposition", ""))
    return Path(found[1] if found else "download.backup")


def refuse_existing(path: Path) -> None:
    if path.exists():
        raise NameUnclear(f"{path} is there already; name another file by -o.")


@contextmanager
def making(path: Path) -> Iterator[BinaryIO]:
    """Write beside the file, and give it its name at the end of a block without an error."""
    part = path.with_name(path.name + PART)
    try:
        with part.open("wb") as stream:
            part.chmod(0o600)
            yield stream
        part.rename(path)
    except OSError as error:
        raise NameUnclear(f"{path} cannot be written: {error.strerror}.") from None
    finally:
        part.unlink(missing_ok=True)
