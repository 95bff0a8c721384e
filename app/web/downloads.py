"""Downloads: the one-time addresses that stream a backup's checked bytes."""

import asyncio
import base64
from collections.abc import AsyncGenerator
from contextlib import ExitStack, aclosing
from http import HTTPStatus
from uuid import UUID

import orjson
import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.api.context import Parts
from app.api.top_level_errors import make_error
from app.errors import DownloadsBusy, GatewayError, NotFound, StorageUnavailable
from app.model.backups import StorageStatus
from app.model.downloads import FOLDER
from app.service.downloads import Redeemed, redeem_download
from app.service.stored_objects import read_status, record_looks

PATH = f"/{FOLDER}/{{secret}}"
PIECE_BYTES = 256 * 1024
PIECE_SECONDS = 30.0
"""For the client to take a piece: one that does not read is let go."""
CHUNK_SECONDS = 60.0
"""For Backblaze B2 to give the next 4 MiB."""

log = structlog.get_logger()


class ClientStalled(Exception):
    """The client takes nothing more."""


class DownloadEndpoint:
    """The ASGI application behind the addresses."""

    def __init__(
        self,
        parts: Parts,
        *,
        chunk_seconds: float = CHUNK_SECONDS,
        piece_seconds: float = PIECE_SECONDS,
    ) -> None:
        self._parts = parts
        self._chunk_seconds = chunk_seconds
        self._piece_seconds = piece_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        streams = self._parts.objects.streams
        if request.method != "GET":
            # A look at the address must not spend it.
            refusal = _refuse(
                HTTPStatus.METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", "Use GET.", allow="GET"
            )
            await refusal(scope, receive, send)
        elif streams.locked():
            await _show(DownloadsBusy())(scope, receive, send)
        else:
            with ExitStack() as held:
                async with streams:
                    await self._open(request, send, held)

    async def _open(self, request: Request, send: Send, held: ExitStack) -> None:
        """`held` takes what has to be given back at the end."""
        parts = self._parts

        def admit(hub_id: UUID) -> None:
            held.enter_context(parts.objects.share(hub_id))

        try:
            redeemed = await redeem_download(
                parts.database, request.path_params["secret"], sealer=parts.sealer, admit=admit
            )
        except GatewayError as error:
            await _show(error)(request.scope, request.receive, send)
            return
        chunks = parts.objects.read(redeemed.expected, redeemed.chunk_hashes)
        async with aclosing(chunks):
            try:
                # Before anything is said: then a lost object is an answer and no cut stream.
                first = await self._next(chunks)
                if first is None:
                    # Whoever gets nothing goes at once: there is no time for it later.
                    await self._keep_proof(redeemed)
            except GatewayError as error:
                await self._keep_loss(redeemed, error)
                await _show(error)(request.scope, request.receive, send)
                return
            await send(_begin(redeemed))
            async with asyncio.TaskGroup() as tasks:
                streaming = tasks.create_task(self._stream(redeemed, first, chunks, send))
                watching = tasks.create_task(_wait_until_gone(request))
                await asyncio.wait({streaming, watching}, return_when=asyncio.FIRST_COMPLETED)
                streaming.cancel()
                watching.cancel()

    async def _stream(
        self,
        redeemed: Redeemed,
        first: bytes | None,
        chunks: AsyncGenerator[bytes, None],
        send: Send,
    ) -> None:
        """Send everything, or leave the answer short of its length: the server cuts it then."""
        try:
            chunk = first or b""
            # The last chunk waits until the whole was found to be right.
            while (following := await self._next(chunks)) is not None:
                await self._send(send, chunk, is_last=False)
                chunk = following
        except GatewayError as error:
            log.warning("a download was cut", backup=str(redeemed.backup.id), code=error.code)
            await self._keep_loss(redeemed, error)
        except ClientStalled:
            log.info("a download was given up", backup=str(redeemed.backup.id))
        else:
            await self._finish(redeemed, chunk, send)

    async def _finish(self, redeemed: Redeemed, chunk: bytes, send: Send) -> None:
        if chunk:
            await self._keep_proof(redeemed)
        try:
            await self._send(send, chunk, is_last=True)
        except ClientStalled:
            log.info("a download was given up", backup=str(redeemed.backup.id))

    async def _next(self, chunks: AsyncGenerator[bytes, None]) -> bytes | None:
        """The next checked chunk; None at the end. Raises StorageError."""
        try:
            async with asyncio.timeout(self._chunk_seconds):
                return await anext(chunks, None)
        except TimeoutError:
            raise StorageUnavailable from None

    async def _send(self, send: Send, chunk: bytes, *, is_last: bool) -> None:
        view = memoryview(chunk)
        for start in range(0, max(len(view), 1), PIECE_BYTES):
            piece = bytes(view[start : start + PIECE_BYTES])
            more = not is_last or start + PIECE_BYTES < len(view)
            try:
                async with asyncio.timeout(self._piece_seconds):
                    await send({"type": "http.response.body", "body": piece, "more_body": more})
            except (TimeoutError, OSError):
                raise ClientStalled from None

    async def _keep_proof(self, redeemed: Redeemed) -> None:
        """All bytes were read and are right."""
        database, backup = self._parts.database, redeemed.backup
        seen = {backup.id: StorageStatus.PRESENT}
        await record_looks(database, backup.hub_id, seen, is_whole=True)

    async def _keep_loss(self, redeemed: Redeemed, error: GatewayError) -> None:
        status = read_status(error)
        if status is not None:
            backup = redeemed.backup
            await record_looks(self._parts.database, backup.hub_id, {backup.id: status})


def _begin(redeemed: Redeemed) -> dict[str, object]:
    expected = redeemed.expected
    created = redeemed.backup.created_at
    # An identifier has letters, digits, `-`, `_` and `.` only.
    name = f"{redeemed.container.identifier}-{created:%Y%m%dT%H%M%SZ}.backup"
    digest = base64.b64encode(expected.sha256).decode()
    headers = {
        "content-type": "application/octet-stream",
        "content-length": str(expected.size_bytes),
        "content-disposition": f'attachment; filename="{name}"',
        "repr-digest": f"sha-256=:{digest}:",
        "accept-ranges": "none",
        "cache-control": "no-store",
        "x-content-type-options": "nosniff",
    }
    return {
        "type": "http.response.start",
        "status": HTTPStatus.OK.value,
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }


def _show(error: GatewayError) -> Response:
    if isinstance(error, NotFound):
        message = "There is no such address, or it was opened before or is too old; make another."
        return _refuse(HTTPStatus.NOT_FOUND, error.code, message)
    if error.retry:
        return _refuse(HTTPStatus.SERVICE_UNAVAILABLE, error.code, error.message, retry_after="5")
    return _refuse(HTTPStatus.BAD_GATEWAY, error.code, error.message)


def _refuse(
    status: HTTPStatus,
    code: str,
    message: str,
    *,
    allow: str | None = None,
    retry_after: str | None = None,
) -> Response:
    headers = {"cache-control": "no-store"}
    if allow is not None:
        headers["allow"] = allow
    if retry_after is not None:
        headers["retry-after"] = retry_after
    return Response(
        orjson.dumps({"errors": [make_error(code, message)]}),
        status_code=status,
        media_type="application/json",
        headers=headers,
    )


async def _wait_until_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
