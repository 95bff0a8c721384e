"""The versions of the local B2: one row a version, its parts, and the pages that listings show."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from app.storage.local_index import Index, Row

_FILE_ID = re.compile(r"4_z([0-9a-f]{24})_f([12])([0-9a-f]{16})_u(\d{14})")
_LAST_NAME = "\U0010ffff" * 257  # above all names, which have 1,024 bytes at most
_LAST_SEQUENCE = (1 << 63) - 1
_SURROGATES = range(0xD800, 0xE000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What B2 remembers about a version besides its name, size and time."""

    content_type: str
    sha1: str | None
    large: bool = False
    info: dict[str, str]
    encryption: dict[str, str] | None = None
    retention_mode: str | None = None
    retain_until: int | None = None
    legal_hold: str | None = None
    replication: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A version of a name: `start` (unfinished), `upload` or `hide`. `uploaded` is in ms."""

    sequence: int
    bucket_id: str
    name: str
    action: str
    size: int
    uploaded: int
    facts: Facts

    @property
    def file_id(self) -> str:
        kind = 2 if self.facts.large else 1
        return f"4_z{self.bucket_id}_f{kind}{self.sequence:016x}_u{self.uploaded:014d}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of a large file, or the only one of a plain one."""

    number: int
    start: int = 0
    size: int
    sha1: str
    blob: str
    uploaded: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What a listing asks for."""

    bucket_id: str
    prefix: str = ""
    delimiter: str | None = None
    start_name: str = ""
    start_sequence: int | None = None
    limit: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """The entry that stands for all names below a delimiter."""

    name: str


Entry = Version | Folder


def sequence_of(file_id: str) -> int | None:
    """The row number inside a file id; None for what was never one of ours."""
    match = _FILE_ID.fullmatch(file_id)
    return int(match[3], 16) if match else None


class Versions:
    """Rows of the index that are versions and parts. Callers open the transactions."""

    def __init__(self, index: Index) -> None:
        self._index = index

    def add(
        self, *, bucket_id: str, name: str, action: str, size: int, uploaded: int, facts: Facts
    ) -> Version:
        version = Version(
            sequence=self._index.next_sequence(),
            bucket_id=bucket_id,
            name=name,
            action=action,
            size=size,
            uploaded=uploaded,
            facts=facts,
        )
        self._index.run(
            "insert into files (sequence, bucket_id, name, action, size, uploaded, facts)"
            " values (?, ?, ?, ?, ?, ?, ?)",
            (version.sequence, bucket_id, name, action, size, uploaded, _dump(facts)),
        )
        return version

    def find(self, file_id: str) -> Version | None:
        rows = self._index.rows(
            "select sequence, bucket_id, name, action, size, uploaded, facts"
            " from files where sequence = ?",
            (sequence_of(file_id),),
        )
        version = _version(rows[0]) if rows else None
        return version if version and version.file_id == file_id else None

    def newest(self, bucket_id: str, name: str) -> Version | None:
        """The version that a download by name gets: an upload, or a hide marker."""
        rows = self._index.rows(
            "select sequence, bucket_id, name, action, size, uploaded, facts from files"
            " where bucket_id = ? and name = ? and action <> 'start'"
            " order by sequence desc limit 1",
            (bucket_id, name),
        )
        return _version(rows[0]) if rows else None

    def change(self, version: Version) -> None:
        """Write action, size and facts of a version that exists."""
        self._index.run(
            "update files set action = ?, size = ?, facts = ? where sequence = ?",
            (version.action, version.size, _dump(version.facts), version.sequence),
        )

    def remove(self, version: Version) -> list[str]:
        """Remove the row and its parts; returns the blobs that nobody names any more."""
        blobs = self._index.rows("select blob from parts where sequence = ?", (version.sequence,))
        self._index.run("delete from files where sequence = ?", (version.sequence,))
        return [str(row[0]) for row in blobs]

    def bucket_is_empty(self, bucket_id: str) -> bool:
        return not self._index.rows(
            "select sequence from files where bucket_id = ? limit 1", (bucket_id,)
        )

    def fill(self, first: Version, count: int) -> None:
        """Add `count` versions like the first without bytes; names get ten digits at their end."""
        facts = _dump(first.facts)
        self._index.run_many(
            "insert into files (sequence, bucket_id, name, action, size, uploaded, facts)"
            " values (?, ?, ?, ?, ?, ?, ?)",
            (
                (
                    first.sequence + number,
                    first.bucket_id,
                    f"{first.name}{number:010d}",
                    first.action,
                    first.size,
                    first.uploaded,
                    facts,
                )
                for number in range(count)
            ),
        )
        self._index.run(
            "update settings set value = ? where name = 'sequence'", (first.sequence + count,)
        )

    def put_part(self, version: Version, part: Part) -> list[str]:
        """Store a part, in place of one of the same number; returns the blobs of that one."""
        replaced = self._index.rows(
            "select blob from parts where sequence = ? and number = ?",
            (version.sequence, part.number),
        )
        self._index.run(
            "insert or replace into parts (sequence, number, start, size, sha1, blob, uploaded)"
            " values (?, ?, ?, ?, ?, ?, ?)",
            (
                version.sequence,
                part.number,
                part.start,
                part.size,
                part.sha1,
                part.blob,
                part.uploaded,
            ),
        )
        return [str(row[0]) for row in replaced]

    def parts(self, version: Version, *, first: int = 1, limit: int = 10_000) -> list[Part]:
        rows = self._index.rows(
            "select number, start, size, sha1, blob, uploaded from parts"
            " where sequence = ? and number >= ? order by number limit ?",
            (version.sequence, first, limit),
        )
        return [_part(row) for row in rows]

    def parts_between(self, version: Version, start: int, end: int) -> list[Part]:
        """The parts of a finished file that hold bytes of [start, end)."""
        rows = self._index.rows(
            "select number, start, size, sha1, blob, uploaded from parts"
            " where sequence = ? and start < ? and start + size > ? order by number",
            (version.sequence, end, start),
        )
        return [_part(row) for row in rows]

    def place_parts(self, version: Version, parts: Sequence[Part]) -> int:
        """Write where each part starts in the whole; returns the size of the whole."""
        starts: list[tuple[int, int, int]] = []
        size = 0
        for part in parts:
            starts.append((size, version.sequence, part.number))
            size += part.size
        self._index.run_many("update parts set start = ? where sequence = ? and number = ?", starts)
        return size

    def unfinished(
        self, bucket_id: str, *, prefix: str, from_sequence: int, limit: int
    ) -> list[Version]:
        rows = self._index.rows(
            "select sequence, bucket_id, name, action, size, uploaded, facts from files"
            " where bucket_id = ? and action = 'start' and sequence >= ?"
            " and name >= ? and name < ? order by sequence limit ?",
            (bucket_id, from_sequence, prefix, _after(prefix), limit),
        )
        return [_version(row) for row in rows]

    def page(self, window: Window, *, all_versions: bool) -> tuple[list[Entry], Entry | None]:
        """One page of names or of versions (newest first), and the entry after it."""
        entries: list[Entry] = []
        for entry in self._scan(window, all_versions=all_versions):
            if len(entries) == window.limit:
                return entries, entry
            entries.append(entry)
        return entries, None

    def _scan(self, window: Window, *, all_versions: bool) -> Iterator[Entry]:
        name = max(window.start_name, window.prefix)
        sequence = _LAST_SEQUENCE
        if name == window.start_name and window.start_sequence is not None:
            sequence = window.start_sequence
        read = self._read_versions if all_versions else self._read_names
        left = window.limit + 1
        while left > 0:
            batch = read(window, name, sequence, left)
            for version in batch:
                left -= 1
                folder = _folder(version.name, window)
                if folder is not None:
                    yield Folder(name=folder)
                    name, sequence = _after(folder), _LAST_SEQUENCE
                    break
                yield version
            else:
                return  # the batch was as long as what is left, or the end of the bucket

    def _read_versions(self, window: Window, name: str, sequence: int, limit: int) -> list[Version]:
        rows = self._index.rows(
            "select sequence, bucket_id, name, action, size, uploaded, facts from files"
            " where bucket_id = ? and name >= ? and (name > ? or sequence <= ?) and name < ?"
            " order by name, sequence desc limit ?",
            (window.bucket_id, name, name, sequence, _after(window.prefix), limit),
        )
        return [_version(row) for row in rows]

    def _read_names(self, window: Window, name: str, _: int, limit: int) -> list[Version]:
        rows = self._index.rows(
            "select sequence, bucket_id, name, action, size, uploaded, facts from files as file"
            " where bucket_id = ? and name >= ? and name < ? and action = 'upload'"
            " and not exists (select 1 from files as newer where newer.bucket_id = file.bucket_id"
            " and newer.name = file.name and newer.sequence > file.sequence"
            " and newer.action <> 'start') order by name limit ?",
            (window.bucket_id, name, _after(window.prefix), limit),
        )
        return [_version(row) for row in rows]


def _folder(name: str, window: Window) -> str | None:
    if not window.delimiter:
        return None
    end = name.find(window.delimiter, len(window.prefix))
    return None if end < 0 else name[: end + len(window.delimiter)]


def _after(prefix: str) -> str:
    """The least string above all that begin with the prefix (names sort by code point)."""
    rest = prefix.rstrip("\U0010ffff")
    if not rest:
        return _LAST_NAME
    following = ord(rest[-1]) + 1
    return rest[:-1] + chr(_SURROGATES.stop if following in _SURROGATES else following)


def _dump(facts: Facts) -> str:
    return json.dumps(asdict(facts), separators=(",", ":"))


def _version(row: Row) -> Version:
    sequence, bucket_id, name, action, size, uploaded, facts = row
    return Version(
        sequence=int(str(sequence)),
        bucket_id=str(bucket_id),
        name=str(name),
        action=str(action),
        size=int(str(size)),
        uploaded=int(str(uploaded)),
        facts=Facts(**json.loads(str(facts))),
    )


def _part(row: Row) -> Part:
    number, start, size, sha1, blob, uploaded = row
    return Part(
        number=int(str(number)),
        start=int(str(start)),
        size=int(str(size)),
        sha1=str(sha1),
        blob=str(blob),
        uploaded=int(str(uploaded)),
    )
