"""A storage that confirms other bytes than it was given."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

from app.storage.port import Storage, StoredObject, Upload


class LyingStorage:
    """Stores by another storage, and tells sizes that are off by so many bytes."""

    def __init__(self, storage: Storage, *, off_by: int) -> None:
        self._storage = storage
        self._off_by = off_by

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    async def start_upload(
        self,
        name: str,
        *,
        info: Mapping[str, str],
        on_file_id: Callable[[str], Awaitable[None]],
    ) -> "LyingUpload":
        upload = await self._storage.start_upload(name, info=info, on_file_id=on_file_id)
        return LyingUpload(upload, off_by=self._off_by)


class LyingUpload:
    def __init__(self, upload: Upload, *, off_by: int) -> None:
        self._upload = upload
        self._off_by = off_by

    def __getattr__(self, name: str) -> Any:
        return getattr(self._upload, name)

    async def finish(self) -> StoredObject:
        stored = await self._upload.finish()
        return replace(stored, size=stored.size + self._off_by)
