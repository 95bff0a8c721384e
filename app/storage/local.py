"""B2's native API over a folder: the embedded default and the test bed."""

import base64
import binascii
import inspect
import json
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route
from starlette.types import Send

from app.storage import (
    local_buckets,
    local_copies,
    local_keys,
    local_listings,
    local_objects,
)
from app.storage.local_access import EMBEDDED_KEY_PREFIX, Key, Token, local_credentials
from app.storage.local_buckets import Answer
from app.storage.local_downloads import download_by_id, download_by_name
from app.storage.local_exchange import Service, answer_json, answer_packed, exchange
from app.storage.local_faults import Faults
from app.storage.local_requests import Fields, Refusal, refuse
from app.storage.local_store import Sizes, Store, open_store
from app.storage.local_uploads import upload_file, upload_part

__all__ = ["EMBEDDED_KEY_PREFIX", "Faults", "create_local_b2", "local_credentials"]

MINIMUM_PART_SIZE = 5_000_000
RECOMMENDED_PART_SIZE = 16_000_000
_LARGEST_REQUEST = 4 << 20

Operation = Callable[[Store, Key, Fields], Answer]

_OPERATIONS: dict[str, tuple[str, Operation]] = {
    "b2_list_buckets": ("listBuckets", local_buckets.list_buckets),
    "b2_create_bucket": ("writeBuckets", local_buckets.create_bucket),
    "b2_update_bucket": ("writeBuckets", local_buckets.update_bucket),
    "b2_delete_bucket": ("deleteBuckets", local_buckets.delete_bucket),
    "b2_get_bucket_notification_rules": (
        "readBucketNotifications",
        local_buckets.get_notification_rules,
    ),
    "b2_set_bucket_notification_rules": (
        "writeBucketNotifications",
        local_buckets.set_notification_rules,
    ),
    "b2_create_key": ("writeKeys", local_keys.create_key),
    "b2_list_keys": ("listKeys", local_keys.list_keys),
    "b2_delete_key": ("deleteKeys", local_keys.delete_key),
    "b2_get_download_authorization": ("shareFiles", local_keys.get_download_authorization),
    "b2_get_upload_url": ("writeFiles", local_objects.get_upload_url),
    "b2_start_large_file": ("writeFiles", local_objects.start_large_file),
    "b2_get_upload_part_url": ("writeFiles", local_objects.get_upload_part_url),
    "b2_list_parts": ("writeFiles", local_objects.list_parts),
    "b2_finish_large_file": ("writeFiles", local_objects.finish_large_file),
    "b2_cancel_large_file": ("writeFiles", local_objects.cancel_large_file),
    "b2_copy_file": ("writeFiles", local_copies.copy_file),
    "b2_copy_part": ("writeFiles", local_copies.copy_part),
    "b2_get_file_info": ("readFiles", local_objects.get_file_info),
    "b2_hide_file": ("writeFiles", local_objects.hide_file),
    "b2_delete_file_version": ("deleteFiles", local_objects.delete_file_version),
    "b2_update_file_retention": ("writeFileRetentions", local_objects.update_file_retention),
    "b2_update_file_legal_hold": ("writeFileLegalHolds", local_objects.update_file_legal_hold),
    "b2_list_file_names": ("listFiles", local_listings.list_file_names),
    "b2_list_file_versions": ("listFiles", local_listings.list_file_versions),
    "b2_list_unfinished_large_files": ("listFiles", local_listings.list_unfinished_large_files),
}
_FAULT_SWITCHES = (
    "fail_next",
    "lose_answer",
    "cut_download",
    "expire_tokens",
    "short_listing",
    "slow_down",
    "hold",
    "release",
    "go_down",
    "come_back",
    "reset",
    "count",
    "damage",
    "replace_bytes",
    "remove",
    "lose_bytes",
    "fill",
)


def create_local_b2(
    folder: Path,
    *,
    key_id: str,
    key: str,
    minimum_part_size: int = MINIMUM_PART_SIZE,
    recommended_part_size: int = RECOMMENDED_PART_SIZE,
    faults: Faults | None = None,
    durable: bool = True,
    clock: Callable[[], float] = time.time,
) -> Starlette:
    """The local B2 as an ASGI app whose lifespan opens the folder (StartError) and lets it go.

    `key_id` and `key` are the master key. Without `durable` nothing is flushed to the disk: for
    tests. With `faults` the switches can also be set by `POST /faults/<switch>`.
    """
    service = Service(faults)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        store = open_store(
            folder,
            key_id=key_id,
            key=key,
            sizes=Sizes(minimum=minimum_part_size, recommended=recommended_part_size),
            durable=durable,
            clock=clock,
            generation=lambda: 0 if faults is None else faults.generation,
        )
        service.opened = store
        if faults is not None:
            faults.attach(store)
        try:
            yield
        finally:
            service.opened = None
            if faults is not None:
                faults.attach(None)
            store.close()

    return Starlette(routes=_routes(service), lifespan=lifespan)


def _routes(service: Service) -> list[Route]:
    api = "/b2api/v{version:int}"
    both = ["GET", "POST"]
    routes = [
        Route(f"{api}/b2_authorize_account", exchange(service, _authorize), methods=both),
        Route(
            f"{api}/b2_upload_file/{{bucket_id}}/{{nonce}}",
            exchange(service, upload_file),
            methods=["POST"],
        ),
        Route(
            f"{api}/b2_upload_part/{{file_id}}/{{nonce}}",
            exchange(service, upload_part),
            methods=["POST"],
        ),
        Route(f"{api}/b2_download_file_by_id", exchange(service, download_by_id), methods=["GET"]),
        Route(f"{api}/{{operation}}", exchange(service, _operate), methods=both),
        Route(
            "/file/{bucket_name}/{name:path}",
            exchange(service, download_by_name),
            methods=["GET"],
        ),
    ]
    if service.faults is not None:
        switch = exchange(service, _switch_fault)
        routes.append(Route("/faults/{switch}", switch, methods=["POST"]))
    return routes


async def _authorize(service: Service, request: Request, send: Send) -> None:
    await service.begin("b2_authorize_account", request)
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    try:
        text = base64.b64decode(encoded, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        text = ""
    key_id, _, secret = text.partition(":")
    if scheme.lower() != "basic" or not secret:
        raise Refusal(401, "bad_auth_token", "Basic authorization with key id and key is needed")
    store = service.store
    key = await service.run(store.keys.authenticate, key_id, secret, now=store.now())
    answer = await service.run(
        local_keys.authorize,
        store,
        key,
        version=int(request.path_params["version"]),
        base_url=_base_url(request),
    )
    service.finish("b2_authorize_account")
    await answer_json(answer, request, send)


async def _operate(service: Service, request: Request, send: Send) -> None:
    operation = str(request.path_params["operation"])
    if operation not in _OPERATIONS:
        raise Refusal(404, "not_found", f"There is no operation {operation[:100]}")
    await service.begin(operation, request)
    fields = await _fields(request)
    token = service.token(request, "account")
    packed = await service.run(_call, service, token, operation, fields, _upload_base(request))
    service.finish(operation)
    await answer_packed(packed, request, send)


def _call(
    service: Service, token: Token, operation: str, fields: Fields, upload_base: str
) -> bytes:
    store = service.store
    capability, call = _OPERATIONS[operation]
    key = service.key(token)
    key.require(capability)
    account_id = fields.optional_text("accountId")
    if account_id not in (None, store.account_id):
        raise Refusal(401, "unauthorized", f"The key is not of the account {account_id}")
    answer = call(store, key, fields)
    if operation == "b2_get_upload_url":
        answer["uploadUrl"] = _upload_url(f"{upload_base}_file", answer["bucketId"])
    if operation == "b2_get_upload_part_url":
        answer["uploadUrl"] = _upload_url(f"{upload_base}_part", answer["fileId"])
    if service.faults is not None and service.faults.kept_of_listings is not None:
        _shorten(answer, service.faults.kept_of_listings)
    return orjson.dumps(answer)


async def _fields(request: Request) -> Fields:
    if request.method == "GET":
        return Fields(dict(request.query_params))
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LARGEST_REQUEST:
            refuse("The request is too large")
    try:
        values = json.loads(bytes(body) or b"{}")
    except ValueError:
        refuse("The body is not JSON", code="bad_json")
    if not isinstance(values, dict):
        refuse("The body must be a JSON object", code="bad_json")
    return Fields(values)


def _base_url(request: Request) -> str:
    return str(request.base_url).rstrip("/")


def _upload_base(request: Request) -> str:
    return f"{_base_url(request)}/b2api/v{request.path_params['version']}/b2_upload"


def _upload_url(base: str, scope: object) -> str:
    return f"{base}/{scope}/{secrets.token_hex(8)}"


def _shorten(answer: Answer, keep: int) -> None:
    files = answer.get("files")
    if isinstance(files, list):
        answer["files"] = files[:keep]
        for name in ("nextFileName", "nextFileId"):
            if name in answer:
                answer[name] = None


async def _switch_fault(service: Service, request: Request, send: Send) -> None:
    switch = str(request.path_params["switch"])
    if service.faults is None or switch not in _FAULT_SWITCHES:
        raise Refusal(404, "not_found", "There is no such switch")
    arguments = json.loads(await request.body() or b"{}")
    method = getattr(service.faults, switch)
    try:
        bound = inspect.signature(method).bind(**arguments)
    except TypeError as fault:
        refuse(str(fault))
    result = await service.run(method, *bound.args, **bound.kwargs)
    await answer_json({"result": result}, request, send)
