"""Adoptions: orphaned objects that somebody wants to be backups."""

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from app.model.integrations import StorageAccess


@dataclass(frozen=True, slots=True, kw_only=True)
class AdoptionOrder:
    """An orphan that a worker has taken, with all that it needs to make a backup of it."""

    id: UUID
    hub_id: UUID
    integration_id: UUID
    name: str
    file_id: str
    size: int
    uploaded_at: datetime
    epoch: int
    container_id: UUID | None
    """Where it belongs, as somebody said; None: as its manifest or its name says."""
    container_identifier: str | None
    """Of the container that was said, or that its name tells of; None: there is none."""
    hostname: str | None
    storage: StorageAccess = field(repr=False)
