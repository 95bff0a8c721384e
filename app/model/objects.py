"""Objects in the bucket: their names, parts, file info and manifests."""

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from app.errors import ObjectMismatch
from app.model.backups import BackupTrigger

FORMAT_VERSION = 1
CHUNK_BYTES = 4 * 1024 * 1024
"""Each chunk of this many bytes of an object has a SHA-256 of its own, whatever its parts are."""
HASH_BYTES = 32
TOKEN_BYTES = 4
MANIFEST_SUFFIX = ".json"
MANIFEST_CONTENT_TYPE = "application/json"

LARGEST_MANIFEST = 64 * 1024 * 1024
"""Bytes; that of a backup of 5 TB, the largest, has 51 MB."""

_MB = 1_000_000
_PLACES_BELOW_PREFIX = 4
_TRY = re.compile(r"(?P<backup>.{36})(-(?P<token>[0-9a-f]{8}))?-(?P<epoch>[0-9]+)", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class PartPlan:
    """How large each part of an upload of unknown length is, and how many may be in flight.

    The defaults hold 102 GB in parts of one size; then parts grow, since B2 takes 10,000 of them.
    """

    first: int = 16 * _MB
    steady: int = 6_400
    every: int = 400
    largest: int = 4_096 * _MB
    parts: int = 10_000
    in_flight_bytes: int = 64 * _MB

    def size(self, number: int) -> int:
        """Bytes of part `number`, counted from 1. Raises ValueError outside of the plan."""
        if not 1 <= number <= self.parts:
            raise ValueError(number)
        if number <= self.steady:
            return self.first
        doublings = (number - self.steady - 1) // self.every + 1
        return min(self.largest, self.first << doublings)

    def in_flight(self, number: int) -> int:
        """How many parts may be on their way while part `number` is."""
        return max(1, self.in_flight_bytes // self.size(number))

    @property
    def capacity(self) -> int:
        """The bytes of the largest object that the plan can hold."""
        return sum(self.size(number) for number in range(1, self.parts + 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupPlace:
    """Whose backup an object is, and of which try of its run.

    Copies of one database count the same epochs; the token, made for one try alone, tells them
    apart. So whatever bears the name of a try is that try's own.
    """

    installation_id: UUID
    hub_id: UUID
    container_id: UUID
    backup_id: UUID
    token: str | None
    """8 hexadecimal digits; None in names that were given before there were tokens."""
    epoch: int

    def object_name(self, prefix: str) -> str:
        """`<prefix>/<installation>/<hub>/<container>/<backup>-<token>-<epoch>`."""
        place = f"{self.installation_id}/{self.hub_id}/{self.container_id}"
        token = "" if self.token is None else f"-{self.token}"
        return below(prefix, f"{place}/{self.backup_id}{token}-{self.epoch}")

    def file_info(self) -> dict[str, str]:
        """Give the headers that an object carries from its start: nothing known only at its end."""
        return {
            "installation": str(self.installation_id),
            "hub": str(self.hub_id),
            "container": str(self.container_id),
            "backup": str(self.backup_id),
            "format-version": str(FORMAT_VERSION),
        }


def below(prefix: str, name: str) -> str:
    """Give a full name below a prefix; an empty prefix is the whole bucket."""
    folder = prefix.strip("/")
    return f"{folder}/{name}" if folder else name


def manifest_name(object_name: str) -> str:
    return object_name + MANIFEST_SUFFIX


def parse_object_name(prefix: str, name: str) -> BackupPlace | None:
    """Tell whose object bears this name; None where it is not exactly an object name of ours."""
    root = below(prefix, "")
    segments = name.removeprefix(root).split("/")
    if not name.startswith(root) or len(segments) != _PLACES_BELOW_PREFIX:
        return None
    of_try = _TRY.fullmatch(segments[3])
    if of_try is None:
        return None
    try:
        place = BackupPlace(
            installation_id=UUID(segments[0]),
            hub_id=UUID(segments[1]),
            container_id=UUID(segments[2]),
            backup_id=UUID(of_try["backup"]),
            token=of_try["token"],
            epoch=int(of_try["epoch"]),
        )
    except ValueError:
        return None
    # UUID() and int() are generous; a name that we did not write is not ours.
    return place if place.object_name(prefix) == name else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestPolicy:
    """The policy under which a backup was made; no variable and no key is in it."""

    backup_command: str
    backup_timeout: timedelta
    min_bytes: int
    restore_command: str | None
    restore_timeout: timedelta | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Everything from which a backup's record can be rebuilt."""

    place: BackupPlace
    object_name: str
    file_id: str
    size: int
    sha256: bytes
    chunk_hashes: bytes
    """The SHA-256 of each chunk of CHUNK_BYTES, one after the other."""
    container_identifier: str
    instance_hostname: str
    trigger: BackupTrigger
    created_at: datetime
    started_at: datetime
    finished_at: datetime
    policy: ManifestPolicy

    def encode(self) -> bytes:
        """Give the manifest as JSON; the same values give the same bytes."""
        policy = self.policy
        document = {
            "formatVersion": FORMAT_VERSION,
            "installation": str(self.place.installation_id),
            "hub": str(self.place.hub_id),
            "container": str(self.place.container_id),
            "backup": str(self.place.backup_id),
            "token": self.place.token,
            "epoch": self.place.epoch,
            "objectName": self.object_name,
            "fileId": self.file_id,
            "size": self.size,
            "sha256": self.sha256.hex(),
            "chunkBytes": CHUNK_BYTES,
            "chunkHashes": base64.b64encode(self.chunk_hashes).decode(),
            "containerIdentifier": self.container_identifier,
            "instanceHostname": self.instance_hostname,
            "trigger": str(self.trigger),
            "createdAt": _encode_time(self.created_at),
            "startedAt": _encode_time(self.started_at),
            "finishedAt": _encode_time(self.finished_at),
            "policy": {
                "backupCommand": policy.backup_command,
                "backupTimeout": policy.backup_timeout.total_seconds(),
                "minBytes": policy.min_bytes,
                "restoreCommand": policy.restore_command,
                "restoreTimeout": None
                if policy.restore_timeout is None
                else policy.restore_timeout.total_seconds(),
            },
        }
        return json.dumps(document, separators=(",", ":"), sort_keys=True).encode()


def parse_manifest(data: bytes) -> Manifest:
    """Read what `Manifest.encode` wrote. Raises ObjectMismatch where it is anything else."""
    try:
        document = json.loads(data)
        version = _count(document["formatVersion"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ObjectMismatch("The manifest cannot be read.") from None
    if version != FORMAT_VERSION:
        raise ObjectMismatch("The manifest was written by another version of the gateway.")
    try:
        manifest = _parse_document(document)
    except (ValueError, KeyError, TypeError, OverflowError, binascii.Error):
        raise ObjectMismatch("The manifest cannot be read.") from None
    if not f"/{manifest.object_name}".endswith(f"/{manifest.place.object_name('')}"):
        raise ObjectMismatch("The manifest's object has the name of another backup.")
    chunks = -(-manifest.size // CHUNK_BYTES)
    if len(manifest.sha256) != HASH_BYTES or len(manifest.chunk_hashes) != chunks * HASH_BYTES:
        raise ObjectMismatch("The manifest's hashes do not fit its size.")
    return manifest


def _parse_document(document: Mapping[str, Any]) -> Manifest:
    if document["chunkBytes"] != CHUNK_BYTES:
        raise ValueError
    policy = document["policy"]
    return Manifest(
        place=BackupPlace(
            installation_id=UUID(_text(document["installation"])),
            hub_id=UUID(_text(document["hub"])),
            container_id=UUID(_text(document["container"])),
            backup_id=UUID(_text(document["backup"])),
            token=_optional_text(document.get("token")),
            epoch=_count(document["epoch"]),
        ),
        object_name=_text(document["objectName"]),
        file_id=_text(document["fileId"]),
        size=_count(document["size"]),
        sha256=bytes.fromhex(document["sha256"]),
        chunk_hashes=base64.b64decode(document["chunkHashes"], validate=True),
        container_identifier=_text(document["containerIdentifier"]),
        instance_hostname=_text(document["instanceHostname"]),
        trigger=BackupTrigger(document["trigger"]),
        created_at=_time(document["createdAt"]),
        started_at=_time(document["startedAt"]),
        finished_at=_time(document["finishedAt"]),
        policy=ManifestPolicy(
            backup_command=_text(policy["backupCommand"]),
            backup_timeout=timedelta(seconds=policy["backupTimeout"]),
            min_bytes=_count(policy["minBytes"]),
            restore_command=_optional_text(policy["restoreCommand"]),
            restore_timeout=_optional_seconds(policy["restoreTimeout"]),
        ),
    )


def _encode_time(at: datetime) -> str:
    return at.astimezone(UTC).isoformat()


def _time(value: str) -> datetime:
    at = datetime.fromisoformat(value)
    if at.tzinfo is None:
        raise ValueError(value)
    return at


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _optional_text(value: object) -> str | None:
    return None if value is None else _text(value)


def _optional_seconds(value: float | None) -> timedelta | None:
    return None if value is None else timedelta(seconds=value)


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError
    return value
