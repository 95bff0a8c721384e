"""Who is asking, and what a role or a key may do."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from app.errors import NotPermitted


class Role(StrEnum):
    VIEWER = "VIEWER"
    OPERATOR = "OPERATOR"
    ADMIN = "ADMIN"


class Capability(StrEnum):
    """What a key may do; `Viewer.capabilities` shows these words."""

    READ = "READ"
    BACK_UP = "BACK_UP"
    CANCEL = "CANCEL"
    RESTORE = "RESTORE"
    VERIFY = "VERIFY"
    DELETE_BACKUPS = "DELETE_BACKUPS"
    DELETE_LAST_GOOD_BACKUP = "DELETE_LAST_GOOD_BACKUP"
    PIN_BACKUPS = "PIN_BACKUPS"
    UNPIN_BACKUPS = "UNPIN_BACKUPS"
    DOWNLOAD = "DOWNLOAD"
    RESTORE_ELSEWHERE = "RESTORE_ELSEWHERE"
    CONFIGURE = "CONFIGURE"
    DELETE_CONTAINERS = "DELETE_CONTAINERS"
    READ_COMMANDS = "READ_COMMANDS"
    MANAGE_KEYS = "MANAGE_KEYS"
    DELETE_HUB = "DELETE_HUB"


_VIEWER = frozenset({Capability.READ})
_OPERATOR = _VIEWER | {
    Capability.BACK_UP,
    Capability.CANCEL,
    Capability.RESTORE,
    Capability.VERIFY,
    Capability.DELETE_BACKUPS,
    Capability.PIN_BACKUPS,
    Capability.DOWNLOAD,
}
CAPABILITIES: dict[Role, frozenset[Capability]] = {
    Role.VIEWER: _VIEWER,
    Role.OPERATOR: _OPERATOR,
    Role.ADMIN: frozenset(Capability),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """The credential behind a request; it belongs to one hub."""

    hub_id: UUID
    key_id: UUID
    name: str
    role: Role | None
    capabilities: frozenset[Capability]
    expires_at: datetime | None = None

    def may(self, capability: Capability) -> bool:
        return capability in self.capabilities

    def require(self, capability: Capability) -> None:
        """Raise NotPermitted unless the key has the capability."""
        if capability not in self.capabilities:
            raise NotPermitted(f"Your API key lacks the capability {capability}.")
