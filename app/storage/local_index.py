"""The local B2's index: one SQLite file that says which versions exist and what holds them."""

import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

Row = tuple[object, ...]

_SCHEMA = """
create table if not exists settings (name text primary key, value text not null) without rowid;
create table if not exists buckets (
    bucket_id text primary key,
    name text not null unique,
    facts text not null,
    revision integer not null
) without rowid;
create table if not exists keys (
    key_id text primary key,
    secret_hash text not null,
    facts text not null
) without rowid;
create table if not exists files (
    sequence integer primary key,
    bucket_id text not null references buckets,
    name text not null,
    action text not null check (action in ('start', 'upload', 'hide')),
    size integer not null,
    uploaded integer not null,
    facts text not null
);
create index if not exists files_by_name on files (bucket_id, name, sequence desc);
create index if not exists files_unfinished on files (bucket_id, sequence) where action = 'start';
create table if not exists parts (
    sequence integer not null references files on delete cascade,
    number integer not null,
    start integer not null,
    size integer not null,
    sha1 text not null,
    blob text not null,
    uploaded integer not null,
    primary key (sequence, number)
) without rowid;
create index if not exists parts_by_blob on parts (blob);
"""


class Index:
    """The SQLite file. Methods may be called from any thread; one transaction runs at a time."""

    def __init__(self, path: Path, *, durable: bool) -> None:
        self._lock = threading.RLock()
        self._depth = 0
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        path.chmod(0o600)
        self._connection.execute("pragma journal_mode = wal")
        self._connection.execute(f"pragma synchronous = {'full' if durable else 'off'}")
        self._connection.execute("pragma foreign_keys = on")
        self._connection.executescript(_SCHEMA)

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    @contextmanager
    def atomic(self) -> Iterator[None]:
        """All statements inside are durable together or not at all; raises sqlite3.Error."""
        with self._lock:
            if self._depth:
                yield
                return
            self._connection.execute("begin immediate")
            self._depth = 1
            try:
                yield
                self._connection.execute("commit")
            except BaseException:
                if self._connection.in_transaction:  # a full disk may have rolled back by itself
                    self._connection.execute("rollback")
                raise
            finally:
                self._depth = 0

    def rows(self, statement: str, arguments: Sequence[object] = ()) -> list[Row]:
        with self._lock:
            return self._connection.execute(statement, arguments).fetchall()

    def run(self, statement: str, arguments: Sequence[object] = ()) -> int:
        """Run a statement and return the number of rows that it changed."""
        with self._lock:
            return self._connection.execute(statement, arguments).rowcount

    def run_many(self, statement: str, arguments: Iterable[Sequence[object]]) -> None:
        with self._lock:
            self._connection.executemany(statement, arguments)

    def setting(self, name: str, default: str) -> str:
        """A value that is made once and then stays."""
        with self.atomic():
            self.run("insert or ignore into settings (name, value) values (?, ?)", (name, default))
            return str(self.rows("select value from settings where name = ?", (name,))[0][0])

    def next_sequence(self) -> int:
        """A number that was never given before; to be called inside a transaction."""
        self.setting("sequence", "0")
        self.run("update settings set value = value + 1 where name = 'sequence'")
        return int(str(self.rows("select value from settings where name = 'sequence'")[0][0]))

    def blobs_of_shard(self, prefix: str) -> set[str]:
        """The blobs whose names begin with two hex digits."""
        found = self.rows(
            "select blob from parts where blob >= ? and blob < ?", (prefix, prefix + "g")
        )
        return {str(row[0]) for row in found}
