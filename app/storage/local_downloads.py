"""How the local B2 gives bytes out: by id or by name, whole or a range."""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, unquote_plus

from starlette.requests import Request
from starlette.types import Send

from app.storage.local_access import Key, Token
from app.storage.local_buckets import Bucket, find_bucket, find_bucket_named
from app.storage.local_copies import pieces_of
from app.storage.local_exchange import Dropped, Service, transport_of
from app.storage.local_faults import Faults
from app.storage.local_locks import check_customer_key, offered_key_md5
from app.storage.local_requests import Refusal, forbid, refuse
from app.storage.local_versions import Facts, Version, sequence_of

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
_STEPS_PER_SECOND = 20
_FROM_INFO = {
    "b2-content-disposition": ("Content-Disposition", "b2ContentDisposition"),
    "b2-content-language": ("Content-Language", "b2ContentLanguage"),
    "b2-expires": ("Expires", "b2Expires"),
    "b2-cache-control": ("Cache-Control", "b2CacheControl"),
    "b2-content-encoding": ("Content-Encoding", "b2ContentEncoding"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Span:
    """The bytes [start, end) of a file; `partial` where a range was asked for."""

    start: int
    end: int
    partial: bool


async def download_by_id(service: Service, request: Request, send: Send) -> None:
    await service.begin("b2_download_file_by_id", request)
    file_id = request.query_params.get("fileId", "")
    if sequence_of(file_id) is None:
        refuse(f"Bad fileId: {file_id[:200]}")
    version = await service.run(service.store.versions.find, file_id)
    if version is None:
        await service.run(_check_reader, service, request)
        raise Refusal(404, "not_found", "File not present")
    bucket = await service.run(find_bucket, service.store, version.bucket_id)
    await _download(service, request, send, bucket=bucket, name=version.name, version=version)


async def download_by_name(service: Service, request: Request, send: Send) -> None:
    await service.begin("b2_download_file_by_name", request)
    name = _name_in(request)
    bucket = await service.run(find_bucket_named, service.store, request.path_params["bucket_name"])
    if bucket is None:
        await service.run(_check_reader, service, request)
        raise Refusal(404, "not_found", "Bucket does not exist")
    version = await service.run(service.store.versions.newest, bucket.bucket_id, name)
    await _download(service, request, send, bucket=bucket, name=name, version=version)


async def _download(
    service: Service,
    request: Request,
    send: Send,
    *,
    bucket: Bucket,
    name: str,
    version: Version | None,
) -> None:
    key = await service.run(_reader, service, request, bucket, name)
    if version is None or version.action != "upload":
        raise Refusal(404, "not_found", "File with such name does not exist.")
    check_customer_key(version.facts.encryption, offered_key_md5(request.headers))
    span = _span(request.headers.get("range"), version.size)
    headers = _headers(version, span, key, request.query_params)
    encoded = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    status = 206 if span.partial else 200
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    if request.method != "HEAD":
        await _send_bytes(service, request, send, version, span)
    await send({"type": "http.response.body", "body": b""})


async def _send_bytes(
    service: Service, request: Request, send: Send, version: Version, span: _Span
) -> None:
    """Send the span, reading one block ahead of the network; raises Dropped where bytes lack."""
    store = service.store
    pieces = await service.run(pieces_of, store, version, span.start, span.end)
    reader = store.blobs.read(pieces)
    transport = transport_of(request.scope)
    send_block = _send_block if service.faults is None else _FaultySender(service.faults).send
    left = span.end - span.start
    try:
        reading = service.start(reader.read)
        while left > 0:
            block = await reading
            if not block:
                raise Dropped(flush=True)
            left -= len(block)
            if left > 0:
                reading = service.start(reader.read)
            if transport is not None and transport.is_closing():
                return
            service.check_up()
            await send_block(send, block)
    finally:
        store.threads.submit(reader.close)


async def _send_block(send: Send, block: bytes) -> None:
    await send({"type": "http.response.body", "body": block, "more_body": True})


class _FaultySender:
    """Sends blocks as slowly as the faults tell, and breaks off where they tell."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._left = faults.cut()

    async def send(self, send: Send, block: bytes) -> None:
        start = 0
        while start < len(block):
            rate = self._faults.bytes_per_second
            end = start + max(1, rate // _STEPS_PER_SECOND) if rate else len(block)
            piece = block[start:end] if self._left is None else block[start:end][: self._left]
            await _send_block(send, piece)
            if self._left is not None:
                self._left -= len(piece)
                if self._left == 0:
                    raise Dropped(flush=True)
            if rate:
                await asyncio.sleep(len(piece) / rate)
            start += len(piece)


def _check_reader(service: Service, request: Request) -> None:
    service.key(service.token(request, "account", "download"))


def _reader(service: Service, request: Request, bucket: Bucket, name: str) -> Key | None:
    """The key that reads, or None for anybody in a public bucket; raises Refusal."""
    offered = request.headers.get("authorization") or request.query_params.get("Authorization")
    if bucket.type == "allPublic" and not offered:
        return None
    token = service.token(request, "account", "download")
    key = service.key(token)
    if token.kind == "download":
        _check_download_token(token, bucket, name)
    else:
        key.require("readFiles")
    key.check_bucket(bucket.bucket_id)
    key.check_name(name)
    return key


def _check_download_token(token: Token, bucket: Bucket, name: str) -> None:
    if token.scope != bucket.bucket_id or not name.startswith(token.prefix):
        forbid("unauthorized: the download authorization is for other files")


def _name_in(request: Request) -> str:
    raw: bytes = request.scope.get("raw_path") or request.scope["path"].encode()
    encoded = raw.decode("latin-1").split("/", 3)[3]
    try:
        return unquote_plus(encoded, errors="strict")
    except UnicodeDecodeError:
        refuse("Names must be percent-encoded UTF-8")


def _span(header: str | None, size: int) -> _Span:
    match = _RANGE.fullmatch(header or "")
    if match is None or match[0] == "bytes=-":
        return _Span(start=0, end=size, partial=False)
    first, last = match[1], match[2]
    if first:
        start, end = int(first), min(int(last) + 1, size) if last else size
    else:
        start, end = max(0, size - int(last)), size
    if start >= end:
        raise Refusal(416, "range_not_satisfiable", "The range is outside the size of the file")
    return _Span(start=start, end=end, partial=True)


def _headers(
    version: Version, span: _Span, key: Key | None, overrides: Mapping[str, str]
) -> dict[str, str]:
    facts = version.facts
    headers = {
        "Content-Type": overrides.get("b2ContentType", facts.content_type),
        "Content-Length": str(span.end - span.start),
        "Accept-Ranges": "bytes",
        "X-Bz-File-Id": version.file_id,
        "X-Bz-File-Name": quote(version.name),
        "X-Bz-Content-Sha1": facts.sha1 or "none",
        "X-Bz-Upload-Timestamp": str(version.uploaded),
    }
    if span.partial:
        headers["Content-Range"] = f"bytes {span.start}-{span.end - 1}/{version.size}"
    for name, value in facts.info.items():
        if name not in _FROM_INFO:
            headers[f"X-Bz-Info-{name}"] = quote(value)
    for name, (header, override) in _FROM_INFO.items():
        value = overrides.get(override, facts.info.get(name, ""))
        if value:
            headers[header] = value
    return {**headers, **_guard_headers(facts, key)}


def _guard_headers(facts: Facts, key: Key | None) -> dict[str, str]:
    headers: dict[str, str] = {}
    hidden: list[str] = []
    capabilities = () if key is None else key.capabilities
    if facts.retention_mode:
        if "readFileRetentions" in capabilities:
            headers["X-Bz-File-Retention-Mode"] = facts.retention_mode
            until = str(facts.retain_until)
            headers["X-Bz-File-Retention-Retain-Until-Timestamp"] = until
        else:
            hidden.append("X-Bz-File-Retention-Mode")
    if facts.legal_hold:
        if "readFileLegalHolds" in capabilities:
            headers["X-Bz-File-Legal-Hold"] = facts.legal_hold
        else:
            hidden.append("X-Bz-File-Legal-Hold")
    if hidden:
        headers["X-Bz-Client-Unauthorized-To-Read"] = ",".join(hidden)
    encryption = facts.encryption or {}
    if encryption.get("mode") == "SSE-B2":
        headers["X-Bz-Server-Side-Encryption"] = encryption["algorithm"]
    if encryption.get("mode") == "SSE-C":
        customer = "X-Bz-Server-Side-Encryption-Customer"
        headers[f"{customer}-Algorithm"] = encryption["algorithm"]
        headers[f"{customer}-Key-Md5"] = encryption["customerKeyMd5"]
    return headers
