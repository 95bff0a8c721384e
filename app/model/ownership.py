"""The owner object: which database may delete by itself what an integration's bucket holds."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from uuid import UUID

from app.model.integrations import StorageAccess
from app.model.objects import FORMAT_VERSION, below

OWNER_CONTENT_TYPE: Final = "application/json"
_NAME: Final = "owner"


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnerObject:
    """What one version of the owner object says; a value that cannot be read is None."""

    installation_id: UUID | None
    generation: int | None
    mark: UUID | None
    """Made for this version alone; the database that wrote it knew it before."""

    def info(self) -> dict[str, str]:
        """Give it as file info, so that a listing alone tells whose it is."""
        return {
            "installation": str(self.installation_id),
            "generation": str(self.generation),
            "mark": str(self.mark),
        }

    def encode(self) -> bytes:
        """Give it as JSON, for people who look into the bucket."""
        return json.dumps({"formatVersion": FORMAT_VERSION} | self.info(), sort_keys=True).encode()


class Holder(StrEnum):
    """Who holds the place of an integration, by its owner object."""

    WE = "WE"
    NOBODY = "NOBODY"
    """There is no owner object, and we never wrote one."""
    OTHERS = "OTHERS"
    """A version that we did not write is there."""
    LOST = "LOST"
    """We wrote one, and it is gone: a listing that comes short looks the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One worker's turn to read and advance an owner object; nobody else of this database does."""

    integration_id: UUID
    token: UUID
    installation_id: UUID
    generation: int
    marks: tuple[UUID, ...]
    """The marks that this database wrote lately; the one that counts is among them."""
    is_claim: bool
    """The operator has said that this database is the owner, whatever the bucket says."""
    storage: StorageAccess


def owner_name(prefix: str) -> str:
    """`<prefix>/owner`; no object of a backup is called so."""
    return below(prefix, _NAME)


def read_owner(info: Mapping[str, str]) -> OwnerObject:
    """Read the file info of a version that anybody may have written."""
    generation = info.get("generation", "")
    known = generation.isascii() and generation.isdigit() and len(generation) <= 18  # noqa: PLR2004
    return OwnerObject(
        installation_id=_uuid(info.get("installation", "")),
        generation=int(generation) if known else None,
        mark=_uuid(info.get("mark", "")),
    )


def find_holder(seen: Sequence[OwnerObject], *, marks: Collection[UUID], generation: int) -> Holder:
    """Judge all versions that are there. `generation` 0: this database never held the place."""
    if any(version.mark is None or version.mark not in marks for version in seen):
        return Holder.OTHERS
    if seen:
        return Holder.WE
    return Holder.LOST if generation else Holder.NOBODY


def next_generation(seen: Sequence[OwnerObject], generation: int) -> int:
    """One more than anybody has written."""
    return 1 + max([generation, *(version.generation or 0 for version in seen)])


def explain(holder: Holder, seen: Sequence[OwnerObject], installation_id: UUID) -> str:
    """Say why nothing is deleted by itself; for people."""
    if holder is Holder.LOST:
        return "The owner object that this installation had written is not in the bucket any more."
    if any(version.installation_id not in {None, installation_id} for version in seen):
        return "The bucket and prefix belong to another installation of the gateway."
    return "Another copy of this database has taken the bucket and prefix since."


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
