"""How the local B2 takes bytes in: plain uploads and parts, streamed to disk and hashed."""

import asyncio
from dataclasses import dataclass, replace
from functools import partial
from urllib.parse import unquote_plus

from starlette.requests import ClientDisconnect, Request
from starlette.types import Send

from app.storage.local_access import Key
from app.storage.local_buckets import find_bucket
from app.storage.local_exchange import Service, answer_json
from app.storage.local_files import BLOCK, Blob, BlobWriter
from app.storage.local_locks import guards_from_headers
from app.storage.local_objects import (
    add_part,
    add_upload,
    check_info,
    check_part_number,
    content_type_of,
    find_upload,
    replication_of,
)
from app.storage.local_requests import Refusal, check_file_name, check_sha1, refuse
from app.storage.local_versions import Facts

_AT_END = "hex_digits_at_end"
_UNVERIFIED = "unverified:"
_DO_NOT_VERIFY = "do_not_verify"
_DIGITS = 40
_LARGEST = 5_000_000_000
_INFO = "x-bz-info-"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Body:
    """What arrived: the blob on disk, and its SHA-1 as B2 tells it later."""

    blob: Blob
    sha1: str


async def upload_file(service: Service, request: Request, send: Send) -> None:
    await service.begin("b2_upload_file", request)
    token = service.token(request, "upload")
    if token.scope != request.path_params["bucket_id"]:
        raise Refusal(401, "bad_auth_token", "The token is of another upload URL")
    key = await service.run(service.key, token)
    key.require("writeFiles")
    key.check_bucket(token.scope)
    name = check_file_name(_decode(request.headers.get("x-bz-file-name", "")))
    key.check_name(name)
    facts = await service.run(_facts, service, request, key, token.scope, name)
    uploaded = _timestamp(request, service.store.now())
    body = await _receive_alone(service, request)
    try:
        answer = await service.run(
            add_upload,
            service.store,
            key,
            token.scope,
            name,
            body.blob,
            facts=replace(facts, sha1=body.sha1),
            uploaded=uploaded,
        )
    except Exception:
        await service.run(service.store.blobs.remove, [body.blob.name])
        raise
    service.finish("b2_upload_file")
    await answer_json(answer, request, send)


async def upload_part(service: Service, request: Request, send: Send) -> None:
    await service.begin("b2_upload_part", request)
    token = service.token(request, "part")
    if token.scope != request.path_params["file_id"]:
        raise Refusal(401, "bad_auth_token", "The token is of another upload URL")
    key = await service.run(service.key, token)
    key.require("writeFiles")
    await service.run(find_upload, service.store, key, token.scope)
    digits = request.headers.get("x-bz-part-number", "")
    number = check_part_number(int(digits) if digits.isdecimal() else 0)
    body = await _receive_alone(service, request)
    try:
        answer = await service.run(add_part, service.store, key, token.scope, number, body.blob)
    except Exception:
        await service.run(service.store.blobs.remove, [body.blob.name])
        raise
    service.finish("b2_upload_part")
    await answer_json(answer, request, send)


def _facts(service: Service, request: Request, key: Key, bucket_id: str, name: str) -> Facts:
    bucket = find_bucket(service.store, bucket_id)
    guards = guards_from_headers(request.headers, key, bucket, service.store.now())
    info = {
        header.removeprefix(_INFO): _decode(value)
        for header, value in request.headers.items()
        if header.startswith(_INFO)
    }
    return Facts(
        content_type=content_type_of(name, request.headers.get("content-type", "")),
        sha1=None,
        info=check_info(info),
        encryption=guards.encryption,
        retention_mode=guards.retention_mode,
        retain_until=guards.retain_until,
        legal_hold=guards.legal_hold,
        replication=replication_of(bucket),
    )


def _timestamp(request: Request, now: int) -> int:
    asked = request.headers.get("x-bz-custom-upload-timestamp", "")
    return int(asked) if asked.isdecimal() and int(asked) <= now else now


def _decode(value: str) -> str:
    try:
        return unquote_plus(value, errors="strict")
    except UnicodeDecodeError:
        refuse("Names and infos must be percent-encoded UTF-8")


async def _receive_alone(service: Service, request: Request) -> _Body:
    """B2 takes one upload at a time on a URL."""
    token = request.headers["authorization"]
    if token in service.busy_tokens:
        refuse(f"more than one upload using auth token {token}", code="auth_token_limit")
    service.busy_tokens.add(token)
    try:
        return await _receive(service, request)
    finally:
        service.busy_tokens.discard(token)


async def _receive(service: Service, request: Request) -> _Body:
    told = request.headers.get("x-bz-content-sha1", "")
    length = request.headers.get("content-length", "")
    if not length.isdecimal():
        refuse("An upload needs a Content-Length")
    size = int(length) - (_DIGITS if told == _AT_END else 0)
    if not 0 <= size <= _LARGEST:
        refuse(f"An upload has 0 to {_LARGEST} bytes", code="bad_request")
    wanted = _wanted_sha1(told)
    writer = await service.run(service.store.blobs.write)
    try:
        trailer = await _write_all(service, request, writer, size)
        if told == _AT_END:
            wanted = check_sha1(trailer.decode("latin-1"))
        blob = await service.run(writer.commit)
        if wanted is not None and blob.sha1 != wanted:
            refuse(f"Sha1 did not match data received: {wanted}, but {blob.sha1}")
    except BaseException:
        service.store.threads.submit(writer.discard)
        raise
    unverified = told == _DO_NOT_VERIFY or told.startswith(_UNVERIFIED)
    return _Body(blob=blob, sha1=(_UNVERIFIED if unverified else "") + blob.sha1)


def _wanted_sha1(told: str) -> str | None:
    """What the bytes must hash to; None where that is not told, or comes at the end."""
    if told in (_AT_END, _DO_NOT_VERIFY):
        return None
    if told.startswith(_UNVERIFIED):
        check_sha1(told.removeprefix(_UNVERIFIED))
        return None
    return check_sha1(told)


async def _write_all(service: Service, request: Request, writer: BlobWriter, size: int) -> bytes:
    """Write `size` bytes, one block ahead of the network; returns the bytes after them."""
    writing: asyncio.Future[None] | None = None
    blocks: list[memoryview] = []
    waiting = 0
    left = size
    trailer = b""
    async for chunk in request.stream():
        service.check_up()
        taken = memoryview(chunk)[:left]
        trailer += chunk[len(taken) :]
        left -= len(taken)
        blocks.append(taken)
        waiting += len(taken)
        if waiting >= BLOCK or (left == 0 and waiting):
            if writing is not None:
                await writing
            writing = service.start(partial(writer.write, blocks))
            blocks, waiting = [], 0
    if writing is not None:
        await writing
    if left > 0:
        raise ClientDisconnect
    return trailer
