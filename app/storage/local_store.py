"""The parts of a local B2 that belong to one data folder, opened and closed together."""

import fcntl
import os
import secrets
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from app.errors import StartError
from app.storage.local_access import Keys, Tokens
from app.storage.local_files import Blobs
from app.storage.local_index import Index
from app.storage.local_versions import Versions

_THREADS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Part sizes in bytes that authorize_account tells."""

    minimum: int = 5_000_000
    recommended: int = 100_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """Everything that operations need. `clock` gives seconds since 1970."""

    account_id: str
    index: Index
    versions: Versions
    blobs: Blobs
    keys: Keys
    tokens: Tokens
    sizes: Sizes
    clock: Callable[[], float]
    threads: ThreadPoolExecutor
    lock: int

    def now(self) -> int:
        """Milliseconds since 1970."""
        return int(self.clock() * 1000)

    def close(self) -> None:
        """Wait for what is under way and let the folder go."""
        self.threads.shutdown()
        self.index.close()
        os.close(self.lock)


def open_store(
    folder: Path,
    *,
    key_id: str,
    key: str,
    sizes: Sizes,
    durable: bool,
    clock: Callable[[], float],
    generation: Callable[[], int],
) -> Store:
    """Open or make the data folder; raises StartError where that cannot be done."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        lock = _lock(folder)
    except OSError as fault:
        raise StartError(
            f"The folder of the local B2, {folder}, cannot be used: {fault}"
        ) from fault
    try:
        index = Index(folder / "index.sqlite", durable=durable)
        blobs = Blobs(folder / "data", durable=durable)
        blobs.prepare()
        blobs.sweep(index.blobs_of_shard)
        account_id = index.setting("account_id", secrets.token_hex(6))
        secret = index.setting("token_secret", secrets.token_hex(32))
    except (OSError, sqlite3.Error) as fault:
        os.close(lock)
        raise StartError(
            f"The folder of the local B2, {folder}, cannot be used: {fault}"
        ) from fault
    return Store(
        account_id=account_id,
        index=index,
        versions=Versions(index),
        blobs=blobs,
        keys=Keys(index, master_id=key_id, master_secret=key),
        tokens=Tokens(secret, clock=clock, generation=generation),
        sizes=sizes,
        clock=clock,
        threads=ThreadPoolExecutor(_THREADS, thread_name_prefix="local-b2"),
        lock=lock,
    )


def _lock(folder: Path) -> int:
    """Two servers on one folder would sweep each other's uploads away."""
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise StartError(f"Another local B2 already uses the folder {folder}.") from None
    return lock
