"""Backblaze B2 as the gateway's storage: one integration's bucket, without blocking the loop."""

import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from threading import Event
from typing import TypeVar

import httpx

from app.errors import (
    BucketObjectLock,
    ObjectMismatch,
    ObjectMissing,
    StorageCapability,
    StorageError,
)
from app.model.drifts import ListedPage
from app.model.objects import PartPlan, below
from app.storage.download import Download
from app.storage.failures import Stopped
from app.storage.large_file import LargeFile, Target, check_size
from app.storage.port import StoredObject, UnfinishedUpload
from app.storage.probe import check_bucket, check_key
from app.storage.retries import Patience, persist
from app.storage.session import Session, Timeouts
from app.storage.threads import StorageThreads
from app.storage.upload import B2Upload
from app.storage.versions import Versions

T = TypeVar("T")
UPLOAD_CONTENT_TYPE = "application/octet-stream"
UPLOAD_PATIENCE = Patience()
CALL_PATIENCE = Patience(budget=30.0)
CANCEL_WITHIN = 30.0


class B2Storage:
    """Keeps the port `Storage` with b2sdk in threads and httpx for downloads.

    `patience` is for transfers, `call_patience` for single questions and deletions. `threads` may
    be shared by all integrations of a process, and so may `http`, which then stays open.
    Raises ValueError where `realm` is neither https nor on loopback.
    """

    def __init__(
        self,
        *,
        realm: str,
        key_id: str,
        key: str,
        bucket: str,
        prefix: str,
        threads: StorageThreads,
        user_agent: str,
        plan: PartPlan | None = None,
        patience: Patience = UPLOAD_PATIENCE,
        call_patience: Patience = CALL_PATIENCE,
        cancel_within: float = CANCEL_WITHIN,
        timeouts: Timeouts | None = None,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        timeouts = timeouts or Timeouts()
        self._session = Session(
            realm=realm,
            key_id=key_id,
            key=key,
            bucket=bucket,
            user_agent=user_agent,
            timeouts=timeouts,
        )
        self._prefix = prefix
        self._threads = threads
        self._plan = plan or PartPlan()
        self._patience = patience
        self._call_patience = call_patience
        self._cancel_within = cancel_within
        self._own_http = http is None
        self._http = http or httpx.AsyncClient(
            timeout=httpx.Timeout(timeouts.answer, connect=timeouts.connect),
            limits=httpx.Limits(max_connections=None),
            trust_env=False,
        )

    def __repr__(self) -> str:
        return f"B2Storage(bucket={self._session.bucket!r}, prefix={self._prefix!r})"

    async def aclose(self) -> None:
        """Close the connections; the shared threads stay."""
        self._session.close()
        if self._own_http:
            await self._http.aclose()

    async def start_upload(
        self,
        name: str,
        *,
        info: Mapping[str, str],
        on_file_id: Callable[[str], Awaitable[None]],
    ) -> B2Upload:
        """Begin an upload; B2 hears of it when the first part is full."""
        return B2Upload(
            self._session,
            self._target(name, info, UPLOAD_CONTENT_TYPE),
            plan=self._plan,
            on_file_id=on_file_id,
        )

    async def put(
        self,
        name: str,
        data: bytes,
        *,
        info: Mapping[str, str],
        content_type: str,
        alone: bool = True,
    ) -> StoredObject:
        """Store a small object whole; after a retried upload only the returned version is left.

        `alone` False: no version is removed, since the name is not ours alone.
        """
        file = LargeFile(self._session, self._target(name, info, content_type))
        stored = await self._threads.run(
            lambda stop: file.store_whole(memoryview(data), stop, alone=alone),
            bound=self._cancel_within,
        )
        return check_size(stored, len(data))

    async def read(self, file_id: str, *, size: int, start: int = 0) -> AsyncGenerator[bytes, None]:
        """Stream an object's bytes from `start`; close it (`aclosing`) when leaving early."""
        if start >= size:
            # There is no range to ask for, but the object must be the one that was meant.
            found = await self.stat(file_id)
            if found is None:
                raise ObjectMissing
            if found.size != size:
                raise ObjectMismatch
        download = Download(
            self._session,
            file_id,
            size=size,
            start=start,
            http=self._http,
            threads=self._threads,
            patience=self._patience,
        )
        async with aclosing(download.stream()) as blocks:
            async for block in blocks:
                yield block

    async def stat(self, file_id: str) -> StoredObject | None:
        """Look at a file version; None where B2 says that it is not there."""
        return await self._ask(lambda versions: versions.find(file_id))

    async def versions(self, name: str) -> list[StoredObject]:
        """List all versions of exactly this name, the newest first."""
        return await self._ask(lambda versions: versions.list_versions(name))

    async def page(self, prefix: str, *, start: str, limit: int) -> ListedPage:
        """List up to `limit` versions below the prefix from the name `start` on."""
        return await self._ask(
            lambda versions: versions.list_page(below(prefix, ""), start=start, limit=limit)
        )

    async def unfinished(self, prefix: str) -> list[UnfinishedUpload]:
        """List the unfinished large files below the prefix."""
        return await self._ask(lambda versions: versions.list_unfinished(prefix))

    async def delete(self, file_id: str, name: str) -> None:
        """Delete one file version; one that is not there counts as deleted."""
        await self._ask(lambda versions: versions.delete(file_id, name))

    async def cancel_unfinished(self, file_id: str) -> bool:
        """Cancel an unfinished large file; one that is not there counts as cancelled.

        False where it had been finished: it is an object now, with the same id.
        """
        return await self._ask(lambda versions: versions.cancel(file_id))

    async def probe(self) -> None:
        """Check the key and the bucket, then write, read and delete a small object."""
        await self._threads.ask(self._check)
        name = below(self._prefix, f"probe-{secrets.token_hex(16)}")
        written = secrets.token_bytes(64)
        try:
            stored = await self.put(name, written, info={}, content_type="text/plain")
            async with aclosing(self.read(stored.file_id, size=stored.size)) as blocks:
                read = b"".join([block async for block in blocks])
        except BaseException:
            await self._sweep(name)
            raise
        try:
            await self.delete(stored.file_id, name)
        except StorageCapability:
            raise BucketObjectLock(
                "The object that was written to try the bucket could not be deleted again: a"
                " retention or a legal hold keeps what is written there. Remove it."
            ) from None
        if read != written:
            raise ObjectMismatch("The object that was written to try the bucket came back changed.")

    def _check(self, stop: Event) -> None:
        session = self._session
        account = persist("authorise", session.authorize, patience=self._call_patience, stop=stop)
        check_key(account, bucket=session.bucket, prefix=self._prefix)
        bucket = persist(
            "look at the bucket", session.find_bucket, patience=self._call_patience, stop=stop
        )
        check_bucket(bucket, prefix=self._prefix)

    async def _sweep(self, name: str) -> None:
        """Remove what a probe may have left, as well as that goes."""
        try:
            await self._threads.complete(
                lambda stop: self._versions(stop).delete_others(name, keep=None),
                bound=self._cancel_within,
            )
        except (StorageError, Stopped):
            return

    async def _ask(self, question: Callable[[Versions], T]) -> T:
        return await self._threads.ask(lambda stop: question(self._versions(stop)))

    def _versions(self, stop: Event) -> Versions:
        return Versions(self._session, patience=self._call_patience, stop=stop)

    def _target(self, name: str, info: Mapping[str, str], content_type: str) -> Target:
        return Target(
            name=name,
            info=info,
            content_type=content_type,
            patience=self._patience,
            cancel_within=self._cancel_within,
        )
