"""The addresses that a realm may send us to: its own domain by https, or the embedded B2."""

from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

_LABELS_OF_A_DOMAIN = 2


class Addresses:
    """What may be contacted on behalf of one realm.

    A realm by https names addresses on its own domain (`api.backblazeb2.com` may name
    `f005.backblazeb2.com`) and upload addresses anywhere by https. A realm on loopback is the
    embedded B2: every address must have exactly its origin. Raises ValueError for any other realm.
    """

    def __init__(self, realm: str) -> None:
        parts = urlsplit(realm)
        host = (parts.hostname or "").rstrip(".")
        if not host or parts.username is not None:
            raise ValueError("a realm is an https address, or http on loopback")
        self._embedded = parts.scheme == "http" and _is_loopback(host)
        if not self._embedded and parts.scheme != "https":
            raise ValueError("a realm is an https address, or http on loopback")
        self._origin = _origin(parts)
        self._domain = _domain(host)

    def allow(self, url: str) -> bool:
        """Whether `apiUrl` or `downloadUrl` may be this address."""
        parts = urlsplit(url)
        if self._embedded:
            return _origin(parts) == self._origin
        host = (parts.hostname or "").rstrip(".")
        return _is_https(parts) and (host == self._domain or host.endswith("." + self._domain))

    def allow_upload(self, url: str) -> bool:
        """Whether bytes may be sent to this address."""
        parts = urlsplit(url)
        return _origin(parts) == self._origin if self._embedded else _is_https(parts)


def _origin(parts: SplitResult) -> tuple[str, str | None, int | None, str | None]:
    return parts.scheme, parts.hostname, parts.port, parts.username


def _is_https(parts: SplitResult) -> bool:
    return parts.scheme == "https" and bool(parts.hostname) and parts.username is None


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _domain(host: str) -> str:
    """Give the domain that a realm's host stands on; an IP address or short name is its own."""
    labels = host.split(".")
    if host.replace(".", "").isdigit() or len(labels) <= _LABELS_OF_A_DOMAIN:
        return host
    return ".".join(labels[1:])
