"""Webhooks: where events are sent, how a message is written and signed, and what may be reached."""

import base64
import hashlib
import hmac
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final
from urllib.parse import urlsplit
from uuid import UUID

from app.errors import InvalidInput
from app.model.events import Event, EventKind
from app.model.ids import encode_id
from app.model.texts import check_line

LONGEST_URL: Final = 2000
MOST_WEBHOOKS: Final = 20
"""Of one hub."""
SECRET_BYTES: Final = 32
_PREFIX: Final = "whsec_"
_NAT64: Final = IPv6Network("64:ff9b::/96")
_SPECIAL: Final = IPv4Network("192.0.0.0/24")
"""Some versions of Python call it global."""

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """What lists show of one; its secret is never among it."""

    id: UUID
    hub_id: UUID
    url: str
    kinds: tuple[str, ...] | None
    """None: every kind."""
    enabled: bool
    last_delivered_at: datetime | None
    failing_since: datetime | None
    last_error: str | None
    former_until: datetime | None
    """Until then messages are signed by the former secret, too."""
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One event that is to be sent to one webhook now."""

    id: UUID
    webhook_id: UUID
    hub_id: UUID
    url: str
    secrets: Sequence[bytes] = field(repr=False)
    """The newest first."""
    event: Event
    at: datetime
    """When it is sent, by the database's clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message as Standard Webhooks wants it."""

    headers: dict[str, str] = field(repr=False)
    body: bytes


def write_secret(secret: bytes) -> str:
    """The secret as a receiver's library takes it."""
    return _PREFIX + base64.b64encode(secret).decode()


def write_message(delivery: Delivery) -> Message:
    """Body and headers. The id is the event's: a receiver that knows it has had it already."""
    event = delivery.event
    body = json.dumps(
        {
            "type": event.kind,
            "timestamp": event.created_at.isoformat().replace("+00:00", "Z"),
            "data": {
                "id": encode_id("Event", event.id),
                "hub": encode_id("Hub", event.hub_id),
                "message": event.message,
                **_name_subjects(event),
                "details": dict(event.data),
            },
        },
        ensure_ascii=False,
    ).encode()
    id, at = f"evt_{event.id.hex}", str(int(delivery.at.timestamp()))
    return Message(
        headers={
            "content-type": "application/json",
            "webhook-id": id,
            "webhook-timestamp": at,
            "webhook-signature": " ".join(
                sign(secret, id=id, timestamp=at, body=body) for secret in delivery.secrets
            ),
        },
        body=body,
    )


def sign(secret: bytes, *, id: str, timestamp: str, body: bytes) -> str:
    """One signature of a message."""
    signed = hmac.new(secret, f"{id}.{timestamp}.".encode() + body, hashlib.sha256)
    return f"v1,{base64.b64encode(signed.digest()).decode()}"


def check_url(url: str, *, http: bool) -> None:
    """Refuse what no webhook can be sent to. Raises InvalidInput.

    `http`: the operator listed networks, and an address there may be reached without TLS.
    """
    path = ("url",)
    check_line(url, what="The address", path=path, longest=LONGEST_URL, shortest=1)
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
        parts = urlsplit("")
    schemes = ("https", "http") if http else ("https",)
    is_odd = not url.isascii() or any(letter in url for letter in ' "<>\\^`{|}#')
    if parts.scheme not in schemes or not host or port == 0 or is_odd:
        raise InvalidInput("The address must be one such as https://example.com/path.", path=path)
    if parts.username is not None or parts.password is not None:
        raise InvalidInput("The address must hold no user and no password.", path=path)
    try:
        address = ip_address(host)
    except ValueError:
        return
    if not http and not is_public(address):
        raise InvalidInput("The address is private; the operator did not allow it.", path=path)


def may_reach(addresses: Collection[Address], allowed: Sequence[Network], *, tls: bool) -> bool:
    """Whether a host with all these addresses may be sent something.

    One bad address is enough to refuse it: which of them is called is nobody's choice.
    """
    listed = [any(_plain(one) in network for network in allowed) for one in addresses]
    if not addresses:
        return False
    if not tls:
        return all(listed)
    return all(known or is_public(one) for known, one in zip(listed, addresses, strict=True))


def is_public(address: Address) -> bool:
    """Whether it is an address of the internet at large, and none that stands for another one."""
    plain = _plain(address)
    if not plain.is_global or plain.is_multicast or plain.is_reserved:
        return False
    if isinstance(plain, IPv6Address):
        inner = plain.sixtofour or (plain.teredo and plain.teredo[1])
        return not inner and plain not in _NAT64 and not plain.is_site_local
    return plain not in _SPECIAL


def keep_kinds(kinds: Sequence[EventKind] | None) -> tuple[str, ...] | None:
    """What is stored of the kinds that a webhook wants. Raises InvalidInput where there is none."""
    if kinds is not None and not kinds:
        raise InvalidInput("Name at least one kind, or leave them out for all.", path=("kinds",))
    return None if kinds is None else tuple(map(str, kinds))


def _plain(address: Address) -> Address:
    """An IPv4 address that is written as an IPv6 one is that IPv4 address."""
    return (address.ipv4_mapped if isinstance(address, IPv6Address) else None) or address


def _name_subjects(event: Event) -> dict[str, str]:
    subjects = {
        "Container": event.container_id,
        "Instance": event.instance_id,
        "Backup": event.backup_id,
        "Restore": event.restore_id,
        "Verification": event.verification_id,
        "Integration": event.integration_id,
    }
    return {name.lower(): encode_id(name, id) for name, id in subjects.items() if id is not None}
