"""Container engines: Docker or Podman, and the addresses at which they are reached."""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Final
from urllib.parse import urlsplit
from uuid import UUID

from app.errors import ExecutorNotAllowed, InvalidInput
from app.model.labels import Problem
from app.model.texts import check_hostname, check_line, check_name

LONGEST_ADDRESS: Final = 300
LONGEST_PEM: Final = 64 * 1024
_FORMS: Final = (
    "unix:///run/docker.sock, http://127.0.0.1:2375 (plain, on this machine only) or"
    " https://host:2376 (TLS)"
)


class EngineState(StrEnum):
    VERIFYING = "VERIFYING"
    LIVE = "LIVE"
    UNREACHABLE = "UNREACHABLE"
    DELETING = "DELETING"
    DELETED = "DELETED"


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRecord:
    """An engine that a hub made known."""

    id: UUID
    hub_id: UUID
    name: str
    address: str
    host: str | None
    authority: str | None
    certificate: str | None
    state: EngineState
    version: str | None
    error_code: str | None
    error_message: str | None
    unreachable_since: datetime | None
    checked_at: datetime | None
    created_at: datetime
    problems: tuple[Problem, ...]
    """What was wrong with labels there at the last look."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEngine:
    name: str
    address: str
    host: str | None
    authority: str | None
    certificate: str | None
    key: str | None = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineAddress:
    """Where an engine listens: a socket's path, or host and port."""

    path: str | None
    host: str | None
    port: int | None
    is_tls: bool

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix://{self.path}"
        host = f"[{self.host}]" if ":" in (self.host or "") else self.host
        return f"{'https' if self.is_tls else 'http'}://{host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class AllowedEngines:
    """What the operator allows: patterns of addresses, by hub."""

    patterns: Mapping[UUID, tuple[str, ...]]

    def allows(self, hub_id: UUID, address: str) -> bool:
        return any(fnmatchcase(address, one) for one in self.patterns.get(hub_id, ()))

    def require(self, hub_id: UUID, address: EngineAddress) -> None:
        """Raises ExecutorNotAllowed."""
        if not self.allows(hub_id, str(address)):
            raise ExecutorNotAllowed(
                f"BACKUP_GATEWAY_ENGINES does not allow {address} to this hub; ask the operator."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineTls:
    """What TLS needs, as PEM. `authority` None: the machine's own certificates are trusted."""

    authority: str | None = None
    certificate: str | None = None
    key: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineAccess:
    """How to reach an engine."""

    address: EngineAddress
    tls: EngineTls = field(default_factory=EngineTls)


def parse_address(text: str) -> EngineAddress:
    """Read an engine's address. Raises InvalidInput."""
    check_line(text, what="The address", path=("address",), longest=LONGEST_ADDRESS)
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise _refuse() from None
    if parts.query or parts.fragment or parts.username or parts.password:
        raise _refuse()
    if parts.scheme == "unix" and not parts.netloc and parts.path.startswith("/"):
        # Another spelling of a path would pass by what the operator allowed.
        if {"", ".", ".."} & set(parts.path.split("/")[1:]):
            raise _refuse()
        return EngineAddress(path=parts.path, host=None, port=None, is_tls=False)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.path not in {"", "/"}:
        raise _refuse()
    is_tls = parts.scheme == "https"
    if not is_tls and not _is_loopback(parts.hostname):
        raise InvalidInput(
            "Without TLS an engine may only be on this machine: whoever can reach it rules its"
            " host. Use https:// with certificates.",
            path=("address",),
        )
    return EngineAddress(
        path=None, host=parts.hostname, port=port or (2376 if is_tls else 2375), is_tls=is_tls
    )


def check_engine(new: NewEngine) -> EngineAddress:
    """Raises InvalidInput where an engine cannot be made like this."""
    check_name(new.name, what="The name", path=("name",))
    address = parse_address(new.address)
    if new.host is not None:
        check_hostname(new.host, what="The host", path=("host",))
    check_certificates(address, new.authority, new.certificate, new.key)
    if (new.certificate is None) != (new.key is None):
        missing = "key" if new.key is None else "certificate"
        raise InvalidInput("A client certificate and its key go together.", path=(missing,))
    return address


def check_certificates(
    address: EngineAddress, authority: str | None, certificate: str | None, key: str | None
) -> None:
    """Raises InvalidInput for what is no PEM. Never shows the key."""
    given = {"authority": authority, "certificate": certificate, "key": key}
    for name, text in given.items():
        if text is None:
            continue
        if not address.is_tls:
            raise InvalidInput(
                "Certificates need an address that begins with https://.", path=(name,)
            )
        if len(text) > LONGEST_PEM or not text.lstrip().startswith("-----BEGIN ") or "\0" in text:
            raise InvalidInput(f"`{name}` is no PEM of at most 64 KiB.", path=(name,))


def _refuse() -> InvalidInput:
    return InvalidInput(f"The address is none of an engine: {_FORMS}.", path=("address",))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
