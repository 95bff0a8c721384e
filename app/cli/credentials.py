"""Credentials: which gateway the client talks to, and with which API key."""

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from app.errors import NameUnclear
from app.settings import is_loopback, read_client_settings

FILE = "credentials.toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    url: str
    """Of `/graphql`, over http or https."""
    token: str = field(repr=False)

    @property
    def socket_url(self) -> str:
        return "ws" + self.url.removeprefix("http")

    @property
    def through_proxy(self) -> bool:
        """A proxy of the environment cannot reach this machine's loopback."""
        return not is_loopback(urlsplit(self.url).hostname or "")


def find_credentials(*, url: str | None, token: str | None) -> Credentials:
    """Take them from the command line, else the environment, else the data folder's file.

    The file's token goes to the file's address only: it is never sent to another one.
    Raises NameUnclear where they are nowhere.
    """
    settings = read_client_settings()
    url, token = url or settings.url, token or settings.token
    if url is None or token is None:
        stored = _read_file(settings.home / FILE)
        if token is None and stored is not None and url in {None, stored.url}:
            token = stored.token
        if url is None and stored is not None:
            url = stored.url
    if url is None or token is None:
        lacking = "address" if url is None else "API key"
        raise NameUnclear(
            f"The gateway's {lacking} is not known: `make up` writes both to "
            f"{settings.home / FILE}; or give --url and --token, or set BACKUP_GATEWAY_URL and "
            "BACKUP_GATEWAY_TOKEN."
        )
    token = token.strip()
    if not token.isascii() or not token.isprintable():
        raise NameUnclear("The API key holds characters that no API key has.")
    return Credentials(url=_complete(url), token=token)


def _read_file(path: Path) -> Credentials | None:
    try:
        content = tomllib.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise NameUnclear(f"{path} cannot be read: {error}") from None
    url, token = content.get("url"), content.get("token")
    if not isinstance(url, str) or not isinstance(token, str):
        raise NameUnclear(f"{path} does not hold a url and a token.")
    return Credentials(url=_complete(url), token=token)


def _complete(url: str) -> str:
    """Give the address of /graphql also where only the server's was given."""
    parts = urlsplit(url if "://" in url else f"http://{url}")
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise NameUnclear(f"{url} is not an address such as http://127.0.0.1:8000/graphql.")
    path = parts.path.rstrip("/") or "/graphql"
    return urlunsplit((parts.scheme, parts.netloc, path, "", ""))
