"""A storage over a local B2 of its own, small enough in sizes and pauses for tests."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.model.objects import PartPlan
from app.storage.b2 import B2Storage
from app.storage.retries import Patience
from app.storage.session import Timeouts
from app.storage.threads import StorageThreads
from tests.fakes.local_b2_server import LocalB2Server

PART = 10_000
BUCKET = "backups"
PREFIX = "team"
PLAN = PartPlan(first=PART, largest=256 * PART, in_flight_bytes=3 * PART)
QUICK = Patience(budget=10.0, first=0.01, longest=0.05)
SHORT = Patience(budget=0.2, tries=3, first=0.01, longest=0.05)
NAME = f"{PREFIX}/object"


@dataclass
class Place:
    """A bucket in a local B2, and a storage that reaches it."""

    b2: LocalB2Server
    bucket_id: str
    storage: B2Storage
    file_ids: list[str] = field(default_factory=list)

    async def start(self, name: str = NAME) -> Any:
        return await self.storage.start_upload(name, info={"backup": "1"}, on_file_id=self.keep)

    async def keep(self, file_id: str) -> None:
        self.file_ids.append(file_id)

    async def save(self, data: bytes, name: str = NAME, block: int = 7_001) -> Any:
        """Upload in blocks that do not fit into parts."""
        upload = await self.start(name)
        for at in range(0, len(data), block):
            await upload.write(data[at : at + block])
        return await upload.finish()

    async def load(self, file_id: str, size: int, start: int = 0) -> bytes:
        return b"".join(
            [block async for block in self.storage.read(file_id, size=size, start=start)]
        )

    def count(self, operation: str) -> int:
        return int(self.b2.faults.count(operation))

    def names(self) -> list[tuple[str, str]]:
        """Everything that is in the bucket: names and actions, unfinished uploads included."""
        return [(v["fileName"], v["action"]) for v in self.b2.versions(self.bucket_id)]


@asynccontextmanager
async def open_place(
    folder: Path,
    *,
    plan: PartPlan = PLAN,
    patience: Patience = QUICK,
    cancel_within: float = 5.0,
    child: bool = False,
    bucket: dict[str, Any] | None = None,
    key: Callable[[LocalB2Server, str], tuple[str, str]] | None = None,
    prefix: str = PREFIX,
) -> AsyncIterator[Place]:
    with LocalB2Server(folder, part_size=1, child=child) as b2:
        bucket_id = b2.bucket(BUCKET, **(bucket or {}))
        threads = StorageThreads(8)
        key_id, secret = key(b2, bucket_id) if key else (b2.key_id, b2.key)
        storage = B2Storage(
            realm=b2.url,
            key_id=key_id,
            key=secret,
            bucket=BUCKET,
            prefix=prefix,
            threads=threads,
            user_agent="backup-gateway/test",
            plan=plan,
            patience=patience,
            call_patience=patience,
            cancel_within=cancel_within,
            timeouts=Timeouts(connect=2.0, answer=5.0),
        )
        try:
            yield Place(b2, bucket_id, storage)
        finally:
            await storage.aclose()
            threads.close()


def make_bytes(size: int) -> bytes:
    return os.urandom(size)


async def until(condition: Callable[[], bool], pause: Callable[[float], Awaitable[None]]) -> None:
    """Wait until something became true; the test's own timeout is the bound."""
    while not condition():
        await pause(0.005)
