"""Switches by which tests make the local B2 fail as Backblaze can, or change files unseen."""

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from app.storage.local_requests import Refusal
from app.storage.local_store import Store
from app.storage.local_versions import Facts, Part, Version

ANY = "*"


@dataclass(slots=True, kw_only=True)
class _Planned:
    operation: str
    skip: int
    times: int

    def hits(self, operation: str) -> bool:
        """Whether this call is one of those that were planned; counts it down."""
        if self.operation not in (operation, ANY) or self.times == 0:
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        self.times -= 1
        return True


@dataclass(slots=True, kw_only=True)
class _Failure(_Planned):
    refusal: Refusal


class Faults:
    """Everything may be called from any thread while the server runs.

    Operations are B2's names, `b2_upload_file`, `b2_upload_part`, `b2_download_file_by_id`, ...,
    or `*` for all. `skip` calls go well first; then `times` calls are hit.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._store: Store | None = None
        self.generation = 0
        self.calls: Counter[str] = Counter()
        self._clear()

    def _clear(self) -> None:
        self.down = False
        self.kept_of_listings: int | None = None
        self.bytes_per_second: int | None = None
        self._failures: list[_Failure] = []
        self._lost: list[_Planned] = []
        self._cuts: list[tuple[_Planned, int]] = []
        self._held: set[str] = set()

    # --- how the next calls end -------------------------------------------------------------

    def fail_next(
        self,
        operation: str,
        *,
        status: int = 503,
        code: str = "service_unavailable",
        times: int = 1,
        skip: int = 0,
        retry_after: int | None = None,
    ) -> None:
        """Refuse calls without doing the work."""
        refusal = Refusal(status, code, "The test asked for this failure", retry_after=retry_after)
        with self._lock:
            self._failures.append(
                _Failure(operation=operation, skip=skip, times=times, refusal=refusal)
            )

    def lose_answer(self, operation: str, *, times: int = 1, skip: int = 0) -> None:
        """Do the work, then drop the connection without an answer."""
        with self._lock:
            self._lost.append(_Planned(operation=operation, skip=skip, times=times))

    def cut_download(self, after: int, *, times: int = 1, skip: int = 0) -> None:
        """Drop the connection of downloads after so many bytes of the body."""
        with self._lock:
            self._cuts.append((_Planned(operation=ANY, skip=skip, times=times), after))

    def expire_tokens(self) -> None:
        """Make all tokens that were issued so far expire."""
        with self._lock:
            self.generation += 1

    def short_listing(self, keep: int | None) -> None:
        """Let listings of files end, as if complete, after `keep` entries; None: no more."""
        self.kept_of_listings = keep

    def slow_down(self, bytes_per_second: int | None) -> None:
        """Send downloads at about this rate; None: as fast as possible."""
        self.bytes_per_second = bytes_per_second

    def hold(self, operation: str) -> None:
        """Let calls of the operation wait, before their work, until `release`."""
        with self._lock:
            self._held.add(operation)

    def release(self) -> None:
        with self._lock:
            self._held.clear()

    def go_down(self) -> None:
        """Close every connection, new and old, until `come_back`."""
        self.down = True

    def come_back(self) -> None:
        self.down = False

    def reset(self) -> None:
        """Take all planned faults back; what was changed in the store stays changed."""
        with self._lock:
            self._clear()

    def count(self, operation: str) -> int:
        """How many calls of the operation came in so far, failed ones included."""
        return self.calls[operation]

    # --- what is changed behind our back ----------------------------------------------------

    def damage(self, file_id: str, *, at: int = 0) -> None:
        """Flip the bits of the byte at this place of a file, and tell nobody."""
        store, version = self._find(file_id)
        part = store.versions.parts_between(version, at, at + 1)[0]
        with store.blobs.path(part.blob).open("r+b") as file:
            file.seek(at - part.start)
            byte = file.read(1)
            file.seek(at - part.start)
            file.write(bytes([byte[0] ^ 0xFF]))

    def replace_bytes(self, file_id: str, data: bytes | str) -> None:
        """Give a file other bytes and another size under the same file id."""
        store, version = self._find(file_id)
        writer = store.blobs.write()
        writer.write([data.encode() if isinstance(data, str) else data])
        blob = writer.commit()
        with store.index.atomic():
            parts = store.versions.parts(version)
            store.index.run("delete from parts where sequence = ?", (version.sequence,))
            first = replace(parts[0], number=1, start=0, size=blob.size, blob=blob.name)
            store.versions.put_part(version, first)
            store.versions.change(replace(version, size=blob.size))
        store.blobs.remove([part.blob for part in parts])

    def remove(self, file_id: str) -> None:
        """Remove a version, finished or not."""
        store, version = self._find(file_id)
        with store.index.atomic():
            blobs = store.versions.remove(version)
        store.blobs.remove(blobs)

    def lose_bytes(self, file_id: str) -> None:
        """Keep a version in listings, but lose its bytes: its downloads break off."""
        store, version = self._find(file_id)
        store.blobs.remove([part.blob for part in store.versions.parts(version)])

    def fill(self, bucket_id: str, prefix: str, *, count: int, size: int = 1) -> None:
        """Insert `count` files without bytes, named by the prefix and ten digits."""
        store = self._opened()
        facts = Facts(content_type="application/octet-stream", sha1="0" * 40, info={})
        with store.index.atomic():
            sequence = store.index.next_sequence()
            store.versions.fill(
                Version(
                    sequence=sequence,
                    bucket_id=bucket_id,
                    name=prefix,
                    action="upload",
                    size=size,
                    uploaded=store.now(),
                    facts=facts,
                ),
                count,
            )

    def add_parts(self, file_id: str, parts: Sequence[bytes]) -> None:
        """Give an unfinished file parts 1, 2, ... at once, which takes seconds for 10,000."""
        store, version = self._find(file_id)
        with store.index.atomic():
            for number, data in enumerate(parts, start=1):
                writer = store.blobs.write()
                writer.write([data])
                blob = writer.commit()
                part = Part(
                    number=number,
                    size=blob.size,
                    sha1=blob.sha1,
                    blob=blob.name,
                    uploaded=store.now(),
                )
                store.versions.put_part(version, part)

    # --- what the server asks ---------------------------------------------------------------

    def attach(self, store: Store | None) -> None:
        self._store = store

    def begin(self, operation: str) -> None:
        """Count a call; raises the Refusal that was planned for it."""
        with self._lock:
            self.calls[operation] += 1
            for failure in self._failures:
                if failure.hits(operation):
                    raise failure.refusal

    def holds(self, operation: str) -> bool:
        with self._lock:
            return operation in self._held or ANY in self._held

    def loses(self, operation: str) -> bool:
        with self._lock:
            return any(planned.hits(operation) for planned in self._lost)

    def cut(self) -> int | None:
        """After how many bytes this download is to be cut."""
        with self._lock:
            for planned, after in self._cuts:
                if planned.hits(ANY):
                    return after
        return None

    def _opened(self) -> Store:
        if self._store is None:
            raise RuntimeError("The local B2 of these faults does not run")
        return self._store

    def _find(self, file_id: str) -> tuple[Store, Version]:
        store = self._opened()
        version = store.versions.find(file_id)
        if version is None:
            raise LookupError(f"There is no version {file_id}")
        return store, version
