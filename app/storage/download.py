"""Downloads: an object's bytes as a stream that resumes a cut connection at the byte."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager
from http import HTTPStatus
from re import fullmatch

import httpx

from app.errors import ObjectMismatch, StorageError
from app.storage.failures import Failed, lose, refuse, translate
from app.storage.retries import Patience, Retries
from app.storage.session import Account, Session
from app.storage.threads import StorageThreads

_ACTION = "read an object"
_LARGEST_REFUSAL = 64 * 1024


class Download:
    """The bytes of one object, from `start` to its `size`, each exactly once."""

    def __init__(
        self,
        session: Session,
        file_id: str,
        *,
        size: int,
        start: int,
        http: httpx.AsyncClient,
        threads: StorageThreads,
        patience: Patience,
    ) -> None:
        self._session = session
        self._file_id = file_id
        self._size = size
        self._at = start
        self._http = http
        self._threads = threads
        self._retries = Retries(patience)
        self._stale: str | None = None

    async def stream(self) -> AsyncGenerator[bytes, None]:
        """Give the bytes; a slow taker slows the connection.

        Raises ObjectMissing, ObjectMismatch, StorageError.
        """
        while self._at < self._size:
            failure: Failed | None = None
            try:
                account = await self._authorize()
                async with self._open(account) as response:
                    await self._check(response, account)
                    async for block in response.aiter_raw():
                        self._advance(block)
                        yield block
            except Failed as failed:
                failure = failed
            except (httpx.TransportError, httpx.StreamError) as error:
                failure = lose(error)
            else:
                # httpx sees a body that ends short of its length, but not a length that is short.
                failure = Failed(status=None, code=Failed.unreachable)
            if self._at < self._size:
                await self._pause(failure)

    async def _authorize(self) -> Account:
        stale, self._stale = self._stale, None
        return await self._threads.ask(lambda _: self._session.authorize(stale=stale))

    def _open(self, account: Account) -> AbstractAsyncContextManager[httpx.Response]:
        return self._http.stream(
            "GET",
            f"{account.download_url}/b2api/v4/b2_download_file_by_id",
            params={"fileId": self._file_id},
            headers={
                "Authorization": account.token,
                "Range": f"bytes={self._at}-{self._size - 1}",
                "Accept-Encoding": "identity",
                "User-Agent": self._session.user_agent,
            },
        )

    async def _check(self, response: httpx.Response, account: Account) -> None:
        """Raise unless the answer is exactly the range that was asked for."""
        if response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise self._mismatch()
        if response.status_code not in {HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT}:
            failure = await _read_refusal(response)
            if failure.expired:
                self._stale = account.token
            raise failure
        found = fullmatch(r"bytes (\d+)-(\d+)/(\d+)", response.headers.get("Content-Range", ""))
        if response.status_code == HTTPStatus.OK or found is None:
            raise StorageError("Backblaze B2 did not answer with the range that was asked for.")
        if tuple(map(int, found.groups())) != (self._at, self._size - 1, self._size):
            raise self._mismatch()

    def _advance(self, block: bytes) -> None:
        self._at += len(block)
        if self._at > self._size:
            raise self._mismatch()
        if block:
            self._retries.succeed()

    async def _pause(self, failure: Failed) -> None:
        pause = self._retries.pause(failure)
        if pause is None:
            raise translate(failure, _ACTION)
        await asyncio.sleep(pause)

    def _mismatch(self) -> ObjectMismatch:
        return ObjectMismatch(f"The object in the bucket is not the one of {self._size} bytes.")


async def _read_refusal(response: httpx.Response) -> Failed:
    body = b""
    async for block in response.aiter_raw():
        body += block
        if len(body) > _LARGEST_REFUSAL:
            break
    try:
        answer = json.loads(body)
    except ValueError:
        answer = None
    return refuse(response.status_code, answer, response.headers)
