"""Statements about the objects of backups: what they must be, and what was seen of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from app.model.backups import StorageStatus
from app.model.integrations import Realm, SealedAccess
from app.model.stored_objects import Look
from app.postgres.pool import Connection
from app.postgres.statements import load

_SQL = load("stored_objects")


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedObject:
    """What a LIVE backup must have in its bucket; `access` None: the integration's key is gone."""

    name: str
    file_id: str
    size_bytes: int
    sha256: bytes
    access: SealedAccess | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What a record says after a look."""

    container_id: UUID
    look: Look
    is_changed: bool


async def expected(
    connection: Connection, hub_id: UUID, ids: Sequence[UUID]
) -> dict[UUID, SealedObject]:
    """The objects of those backups that are LIVE."""
    rows = await connection.fetch(_SQL["expected"], hub_id, list(ids))
    return {
        row["id"]: SealedObject(
            name=row["object_name"],
            file_id=row["file_id"],
            size_bytes=row["size_bytes"],
            sha256=row["sha256"],
            access=None
            if row["sealed_key"] is None
            else SealedAccess(
                integration_id=row["integration_id"],
                realm=Realm(row["realm"]),
                key_id=row["key_id"],
                sealed_key=row["sealed_key"],
                bucket=row["bucket"],
                prefix=row["prefix"],
            ),
        )
        for row in rows
    }


async def chunk_hashes(connection: Connection, hub_id: UUID, id: UUID) -> bytes | None:
    """SHA-256 of each 4 MiB chunk, joined; None where the backup is not LIVE."""
    found: bytes | None = await connection.fetchval(_SQL["chunk_hashes"], hub_id, id)
    return found


async def record(
    connection: Connection, hub_id: UUID, seen: Mapping[UUID, StorageStatus], *, is_whole: bool
) -> dict[UUID, Recorded]:
    """Keep what was seen of LIVE backups; `is_whole`: all of their bytes were read and checked."""
    rows = await connection.fetch(_SQL["record"], hub_id, list(seen), list(seen.values()), is_whole)
    return {
        row["id"]: Recorded(
            container_id=row["container_id"],
            look=Look(
                status=StorageStatus(row["storage_status"]), checked_at=row["storage_checked_at"]
            ),
            is_changed=row["changed"],
        )
        for row in rows
    }
