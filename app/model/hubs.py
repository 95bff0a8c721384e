"""A hub: the tenant that everything belongs to."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Hub:
    id: UUID
    name: str
    created_at: datetime
