"""One HTTP request to the local B2: who sends it, what goes wrong, how it is answered."""

import asyncio
import errno
import sqlite3
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import count
from typing import ParamSpec, TypeVar, cast

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.storage.local_access import Key, Token
from app.storage.local_faults import Faults
from app.storage.local_requests import Refusal
from app.storage.local_store import Store

P = ParamSpec("P")
T = TypeVar("T")

TRANSPORT = "backup_gateway.transport"
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_TEST_MODE_EVERY = 3


class Dropped(Exception):
    """The connection ends without (the rest of) an answer; with `flush` what was sent arrives."""

    def __init__(self, *, flush: bool = False) -> None:
        super().__init__()
        self.flush = flush


class Service:
    """A store that is served, and how it fails on purpose."""

    def __init__(self, faults: Faults | None) -> None:
        self.faults = faults
        self.opened: Store | None = None
        self.busy_tokens: set[str] = set()
        self._test_mode_calls = count(1)

    @property
    def store(self) -> Store:
        if self.opened is None:
            raise RuntimeError("The local B2 was not started: its lifespan opens the store")
        return self.opened

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call something that blocks in one of the store's threads."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.store.threads, partial(call, *args, **kwargs))

    def start(self, call: Callable[[], T]) -> asyncio.Future[T]:
        """Begin a blocking call ahead of its need; nobody has to await what comes of it."""
        started = asyncio.get_running_loop().run_in_executor(self.store.threads, call)
        started.add_done_callback(_mark_seen)
        return started

    async def begin(self, operation: str, request: Request) -> None:
        """Let planned faults and B2's test modes have their way; raises Refusal, Dropped."""
        if self.faults is not None:
            self.check_up()
            self.faults.begin(operation)
            while self.faults.holds(operation):
                self.check_up()
                await asyncio.sleep(0.01)
        mode = request.headers.get("x-bz-test-mode")
        if mode is not None:
            self._obey_test_mode(mode, operation)

    def _obey_test_mode(self, mode: str, operation: str) -> None:
        upload = operation in ("b2_upload_file", "b2_upload_part")
        turn = next(self._test_mode_calls) % _TEST_MODE_EVERY == 0
        if mode == "force_cap_exceeded":
            code = "storage_cap_exceeded" if upload else "transaction_cap_exceeded"
            raise Refusal(403, code, "The test mode asks for an exceeded cap")
        if mode == "fail_some_uploads" and upload and turn:
            raise Refusal(503, "service_unavailable", "The test mode asks for failing uploads")
        if mode == "expire_some_account_authorization_tokens" and not upload and turn:
            raise Refusal(401, "expired_auth_token", "The test mode asks for expiring tokens")

    def check_up(self) -> None:
        if self.faults is not None and self.faults.down:
            raise Dropped

    def finish(self, operation: str) -> None:
        """To be called when the work is done and before it is answered; raises Dropped."""
        if self.faults is not None:
            self.check_up()
            if self.faults.loses(operation):
                raise Dropped

    def token(self, request: Request, *kinds: str) -> Token:
        """The token in the header or, for downloads, the query; raises Refusal."""
        text = request.headers.get("authorization") or request.query_params.get("Authorization")
        if not text:
            raise Refusal(401, "bad_auth_token", "The request has no authorization token")
        return self.store.tokens.read(text, *kinds)

    def key(self, token: Token) -> Key:
        """The key that a token was issued to; raises Refusal where it is gone or expired."""
        key = self.store.keys.find(token.key_id)
        if key is None:
            raise Refusal(401, "bad_auth_token", "The application key was deleted")
        if key.expires is not None and key.expires <= self.store.now():
            raise Refusal(401, "expired_auth_token", "The application key has expired")
        return key


Handler = Callable[[Service, Request, Send], Awaitable[None]]


def exchange(service: Service, handle: Handler) -> ASGIApp:
    """An ASGI app that calls the handler and answers refusals and full disks as B2 does."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            await handle(service, request, send)
        except Refusal as refusal:
            await answer_refusal(refusal, request, send)
        except (OSError, sqlite3.Error) as fault:
            await answer_refusal(_refusal_of(fault), request, send)
        except ClientDisconnect:
            return
        except Dropped as dropped:
            await _drop(scope, receive, flush=dropped.flush)

    return _Endpoint(serve)


class _Endpoint:
    """Starlette takes an object, not a function, for an ASGI app."""

    def __init__(self, serve: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        self._serve = serve

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._serve(scope, receive, send)


async def answer_json(answer: object, request: Request, send: Send) -> None:
    await answer_packed(orjson.dumps(answer), request, send)


async def answer_packed(answer: bytes, request: Request, send: Send) -> None:
    """Answer with JSON that was packed in a thread, since a page of 10,000 names takes long."""
    response = Response(answer, media_type="application/json")
    await response(request.scope, _nothing, send)


async def answer_refusal(refusal: Refusal, request: Request, send: Send) -> None:
    headers = {} if refusal.retry_after is None else {"Retry-After": str(refusal.retry_after)}
    body = {"status": refusal.status, "code": refusal.code, "message": refusal.message}
    response = JSONResponse(body, status_code=refusal.status, headers=headers)
    await response(request.scope, _nothing, send)


def transport_of(scope: Scope) -> asyncio.Transport | None:
    """The connection, where the server is ours (`local_server`)."""
    found = scope.get("extensions", {}).get(TRANSPORT, {}).get("connection")
    return cast("asyncio.Transport | None", found)  # uvloop's are transports only in behaviour


async def _drop(scope: Scope, receive: Receive, *, flush: bool) -> None:
    transport = transport_of(scope)
    if transport is None:
        raise RuntimeError("Only a server of local_server can drop connections")
    if flush:
        transport.close()
    else:
        transport.abort()
    while (await receive())["type"] != "http.disconnect":
        pass


def _mark_seen(done: asyncio.Future[T]) -> None:
    if not done.cancelled():
        done.exception()


async def _nothing() -> Message:
    raise RuntimeError("An answer reads nothing")


def _refusal_of(fault: OSError | sqlite3.Error) -> Refusal:
    if isinstance(fault, OSError):
        full = fault.errno in _NO_ROOM
    else:
        full = getattr(fault, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
    if full:
        return Refusal(503, "service_unavailable", "The disk of the local B2 is full")
    return Refusal(500, "internal_error", f"The local B2 failed: {type(fault).__name__}")
