"""A hub's connection to Backblaze B2."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID


class IntegrationState(StrEnum):
    VERIFYING = "VERIFYING"
    LIVE = "LIVE"
    FAILED = "FAILED"
    DELETING = "DELETING"
    DELETED = "DELETED"


class Realm(StrEnum):
    """Which B2 a key belongs to: the embedded one, or the operator's (default: Backblaze)."""

    EMBEDDED = "EMBEDDED"
    BACKBLAZE = "BACKBLAZE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Integration:
    id: UUID
    hub_id: UUID
    name: str
    realm: Realm
    key_id: str
    bucket: str
    prefix: str
    state: IntegrationState
    error_code: str | None
    error_message: str | None
    verified_at: datetime | None
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NewIntegration:
    name: str
    key_id: str
    key: str = field(repr=False)
    bucket: str
    prefix: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageAccess:
    """What a worker needs to reach an integration's bucket; the key is unsealed, never logged."""

    integration_id: UUID
    realm: Realm
    key_id: str
    key: str = field(repr=False)
    bucket: str
    prefix: str
