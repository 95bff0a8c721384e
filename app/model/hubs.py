"""A hub: the tenant that everything belongs to."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from app.model.texts import check_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Hub:
    id: UUID
    name: str
    created_at: datetime


def check_hub_name(name: str) -> None:
    """Raise InvalidInput where a hub cannot be called so."""
    check_name(name, what="The hub's name", path=("name",))
