"""Settings: the only place that reads the environment; every fault is listed at once, by name."""

import base64
import binascii
import math
import os
import re
import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.errors import StartError

MOST_JITTER = timedelta(minutes=5)

PREFIX = "BACKUP_GATEWAY_"
UNPREFIXED = frozenset({"host", "port", "database_url", "pg_bin"})
SEALING_KEY_BYTES = 32
LARGEST_LIMIT = 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class SealingKey:
    """A key that seals stored secrets; `id` says in the database which one sealed a secret."""

    id: str
    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessRoot:
    """A folder of this host below which a hub's `process` instances may live."""

    hub: str
    folder: Path


class LogLevel(StrEnum):
    DEBUG = "DEBUG"
    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"


_OF_A_TEXT = ("body_bytes", "tokens", "operations", "depth", "aliases", "fields", "directives")
_OF_A_REQUEST = ("nesting", "list", "values", "page", "nodes", "cost")
_OF_A_KEY = ("points_per_minute", "sockets", "subscriptions", "connections")
LIMITS = (*_OF_A_TEXT, *_OF_A_REQUEST, *_OF_A_KEY, "socket_operations", "seconds")
"""What BACKUP_GATEWAY_LIMITS may name."""
LIMITS_BETWEEN = {"page": (25, 100), "nesting": (1, 200)}  # A page holds 25 by default.


# --- how values are written -------------------------------------------------------------------

_SHORT = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")
_ISO = re.compile(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?)?")
_ROLE = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_KEY_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_URL = re.compile(r"https?://[^\s/?#@]+")


def parse_duration(value: object) -> object:
    """Read `1h30m`, `7d` or ISO 8601's `PT1H30M`; longer than nothing."""
    if not isinstance(value, str):
        return value
    match = _SHORT.fullmatch(value) or _ISO.fullmatch(value)
    days, hours, minutes, seconds = (int(n or 0) for n in match.groups()) if match else (0, 0, 0, 0)
    duration = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
    if duration <= timedelta():
        raise ValueError("is a duration such as 30s, 1h30m, 7d or PT30S, longer than nothing")
    return duration


def make_sealing_key() -> str:
    """Make a key as BACKUP_GATEWAY_SECRET_KEY holds it."""
    encoded = base64.urlsafe_b64encode(secrets.token_bytes(SEALING_KEY_BYTES)).decode()
    return f"{secrets.token_hex(4)}:{encoded}"


def split_list(value: object) -> object:
    """Read a comma separated list; blanks around the commas do not count."""
    if not isinstance(value, str):
        return value
    return tuple(part for part in map(str.strip, value.split(",")) if part)


def parse_sealing_keys(value: object) -> object:
    """Read `id:base64,id:base64`, newest first. Errors never quote a key."""
    if not isinstance(value, str):
        return value
    keys = tuple(_parse_sealing_key(part.strip()) for part in value.split(","))
    if len({key.id for key in keys}) != len(keys):
        raise ValueError("names the same key id twice")
    return keys


def _parse_sealing_key(text: str) -> SealingKey:
    identifier, colon, encoded = text.partition(":")
    if not colon or not _KEY_ID.fullmatch(identifier):
        raise ValueError("is a list of id:base64, newest first; the id has letters, digits, . _ -")
    try:
        key = base64.b64decode(encoded.replace("-", "+").replace("_", "/"), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"key {identifier!r} is not base64") from None
    if len(key) != SEALING_KEY_BYTES:
        raise ValueError(f"key {identifier!r} has {len(key)} bytes, not {SEALING_KEY_BYTES}")
    return SealingKey(id=identifier, key=key)


def parse_process_roots(value: object) -> object:
    """Read `hub=folder,hub=folder`. A folder belongs to one hub, and so does all below it."""
    if not isinstance(value, str):
        return value
    roots: list[ProcessRoot] = []
    for part in filter(None, map(str.strip, value.split(","))):
        hub, equals, folder = part.rpartition("=")
        path = Path(os.path.normpath(folder))
        if not equals or not hub or not path.is_absolute() or path == Path("/"):
            raise ValueError(f"{part!r} is not hub=/an/absolute/folder")
        for other in roots:
            if other.hub != hub and (
                path.is_relative_to(other.folder) or other.folder.is_relative_to(path)
            ):
                raise ValueError(f"{path} and {other.folder} overlap but belong to two hubs")
        roots.append(ProcessRoot(hub=hub, folder=path))
    return tuple(roots)


def parse_engines(value: object) -> object:
    """Read `hub=pattern,hub=pattern`; `*` in a pattern stands for anything."""
    if not isinstance(value, str):
        return value
    pairs = [tuple(map(str.strip, part.split("=", 1))) for part in value.split(",") if part.strip()]
    for pair in pairs:
        if len(pair) != 2 or not pair[0] or "://" not in pair[1]:  # noqa: PLR2004
            raise ValueError(f"{'='.join(pair)!r} is not hub=address, as unix:///run/docker.sock")
    return tuple(pairs)


def parse_limits(value: object) -> object:
    """Read `name=number,name=number`, of the names in LIMITS."""
    if not isinstance(value, str):
        return value
    limits: dict[str, int] = {}
    for part in filter(None, map(str.strip, value.split(","))):
        name, _, number = map(str.strip, part.partition("="))
        if name not in LIMITS:
            raise ValueError(f"{name!r} is no limit; there are {', '.join(LIMITS)}")
        least, most = LIMITS_BETWEEN.get(name, (1, LARGEST_LIMIT))
        if not number.isascii() or not number.isdigit() or not least <= int(number) <= most:
            raise ValueError(f"{name} is a number from {least} to {most}, not {number!r}")
        limits[name] = int(number)
    return tuple(limits.items())


def parse_networks(value: object) -> object:
    parts = split_list(value)
    if not isinstance(parts, tuple):
        return parts
    return tuple(ip_network(part) if isinstance(part, str) else part for part in parts)


def _matching(pattern: re.Pattern[str], sentence: str) -> Callable[[str], str]:
    def check(value: str) -> str:
        if not pattern.fullmatch(value):
            raise ValueError(sentence)
        return value

    return check


def _check_realm(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
        raise ValueError("must be https, or http on loopback: keys are sent there")
    return value


def _strip_slash(value: str) -> str:
    return value.rstrip("/")


def _check_origins(origins: tuple[str, ...]) -> tuple[str, ...]:
    for origin in origins:
        if not _URL.fullmatch(origin):
            raise ValueError(f"{origin!r} is not an origin such as https://example.com")
    return origins


def find_home(uid: int | None = None) -> Path:
    """Where data lives by default: /var/lib for root, the user's data folder otherwise."""
    if (os.geteuid() if uid is None else uid) == 0:
        return Path("/var/lib/backup-gateway")
    data = os.environ.get("XDG_DATA_HOME", "")
    base = Path(data) if Path(data).is_absolute() else Path.home() / ".local/share"
    return base / "backup-gateway"


Duration = Annotated[timedelta, BeforeValidator(parse_duration)]
RoleName = Annotated[
    str, AfterValidator(_matching(_ROLE, "is a role's name: lower case letters, digits and _"))
]
Folder = Annotated[Path, AfterValidator(Path.expanduser), AfterValidator(Path.absolute)]


class Settings(BaseSettings):
    """What an operator may set. Each docstring below is a row of the README's table."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix=PREFIX,
        env_ignore_empty=True,
        populate_by_name=True,
        use_attribute_docstrings=True,
        hide_input_in_errors=True,
    )

    host: str = Field(default="127.0.0.1", validation_alias="HOST")
    """Address to listen on; another one than loopback needs `BACKUP_GATEWAY_ALLOW_REMOTE=1`"""
    port: Annotated[int, Field(ge=0, le=65535)] = Field(default=8000, validation_alias="PORT")
    """Port to listen on; 0 takes a free one"""
    database_url: str | None = Field(default=None, validation_alias="DATABASE_URL", repr=False)
    """PostgreSQL 15 or newer to use instead of the embedded one"""
    pg_bin: Folder | None = Field(default=None, validation_alias="PG_BIN")
    """Folder with the `postgres` and `initdb` that the embedded server runs"""
    docker: str | None = Field(default=None, validation_alias="DOCKER")
    """With `up`: show the labelled containers of this machine's engine; 1, or its socket's path"""
    home: Folder = Field(default_factory=find_home)
    """Data folder (as root `/var/lib/backup-gateway`, else `~/.local/share/backup-gateway`)"""
    secret_key: Annotated[tuple[SealingKey, ...], NoDecode, BeforeValidator(parse_sealing_keys)] = (
        Field(default=(), repr=False)
    )
    """Keys that seal stored secrets, `id:base64` of 32 bytes each, newest first (or a file)"""
    process_roots: Annotated[
        tuple[ProcessRoot, ...], NoDecode, BeforeValidator(parse_process_roots)
    ] = ()
    """Folders in which a hub's commands may run here: `hub=folder,...`, a hub by name or id"""
    engines: Annotated[tuple[tuple[str, str], ...], NoDecode, BeforeValidator(parse_engines)] = ()
    """Addresses of container engines for a hub: `hub=pattern,...`, a hub by name or id"""
    host_name: Annotated[str, Field(min_length=1, max_length=253)] = Field(
        default_factory=socket.gethostname
    )
    """What `process` instances call this host"""
    runs: Annotated[int, Field(ge=1, le=64)] = 4
    """Runs that one worker carries out at a time"""
    runs_per_hub: PositiveInt | None = None
    """Runs of one hub that go at a time; by default a worker keeps a slot for other hubs, if any"""
    downloads: Annotated[int, Field(ge=1, le=64)] = 4
    """Downloads that one gateway streams at a time"""
    drain: Duration = timedelta(seconds=30)
    """How long a worker that is told to stop lets its runs go on"""
    delete_grace: Duration = timedelta(hours=1)
    """How long a deleted container can be brought back before its objects are removed"""
    b2_realm: Annotated[
        str,
        AfterValidator(_strip_slash),
        AfterValidator(_matching(_URL, "is an address such as https://api.backblazeb2.com")),
        AfterValidator(_check_realm),
    ] = "https://api.backblazeb2.com"
    """Backblaze B2's address"""
    allow_remote: bool = Field(default=False, validate_default=True)
    """Allow a `HOST` that others can reach"""
    allowed_origins: Annotated[
        tuple[str, ...], NoDecode, BeforeValidator(split_list), AfterValidator(_check_origins)
    ] = ()
    """Origins whose pages may call the API from a browser"""
    limits: Annotated[tuple[tuple[str, int], ...], NoDecode, BeforeValidator(parse_limits)] = ()
    """Limits of requests, `name=number,...`; the section Limits names them"""
    introspection: bool = True
    """Whether the API tells its schema to whoever has a key"""
    trusted_documents: Folder | None = None
    """File with the documents that a request may name by `documentId`: a JSON object, id to text"""
    trusted_only: bool = Field(default=False, validate_default=True)
    """Carry out no other documents than the trusted ones"""
    trusted_proxies: Annotated[
        tuple[IPv4Network | IPv6Network, ...], NoDecode, BeforeValidator(parse_networks)
    ] = ()
    """Addresses whose `X-Forwarded-For` is believed"""
    webhook_networks: Annotated[
        tuple[IPv4Network | IPv6Network, ...], NoDecode, BeforeValidator(parse_networks)
    ] = ()
    """Networks that webhooks may reach although they are not public, there also without TLS"""
    metrics_port: Annotated[int, Field(ge=0, le=65535)] | None = None
    """Port of 127.0.0.1 where a worker answers `/metrics` for Prometheus; off by default"""
    gateway_role: RoleName = "backup_gateway_gateway"
    """Database role of requests; sees one hub at a time"""
    worker_role: RoleName = "backup_gateway_worker"
    """Database role of workers"""
    lease_seconds: PositiveFloat = 10.0
    """After this long without a renewal another worker takes a run over"""
    lease_renew_seconds: PositiveFloat = 2.0
    """How often a worker renews its leases"""
    lease_give_up_seconds: PositiveFloat = Field(default=7.0, validate_default=True)
    """After this long without a renewal a worker ends its own runs; shorter than the lease"""
    start_within: Duration = timedelta(hours=24)
    """A run that no worker could start for this long ends `NOT_STARTED`"""
    schedule_jitter: Annotated[
        timedelta,
        BeforeValidator(lambda value: timedelta(0) if value == "0s" else parse_duration(value)),
        Field(le=MOST_JITTER),
    ] = MOST_JITTER
    """How much later than due scheduled backups are made at most, so that not all begin at once"""
    output_close_seconds: PositiveFloat = 10.0
    """How long after a command's exit its output may stay open"""
    keep_ended: Duration = timedelta(days=90)
    """How long records and logs without an object are kept"""
    log_level: Annotated[LogLevel, BeforeValidator(lambda v: str(v).upper())] = LogLevel.INFO
    """`DEBUG`, `INFO`, `WARNING` or `ERROR`"""

    @field_validator("allow_remote")
    @classmethod
    def _check_remote(cls, allowed: bool, info: ValidationInfo) -> bool:  # noqa: FBT001 - pydantic's shape
        host = info.data.get("host", "localhost")
        if not allowed and not is_loopback(host):
            raise ValueError(
                f"HOST={host} can be reached by others; set this to 1 (or say --allow-remote) "
                "to want that, or use HOST=127.0.0.1"
            )
        return allowed

    @field_validator("trusted_only")
    @classmethod
    def _check_trusted(cls, only: bool, info: ValidationInfo) -> bool:  # noqa: FBT001 - pydantic's shape
        if only and not info.data.get("trusted_documents"):
            raise ValueError("needs BACKUP_GATEWAY_TRUSTED_DOCUMENTS, a file with the documents")
        return only

    @field_validator("lease_give_up_seconds")
    @classmethod
    def _check_leases(cls, give_up: float, info: ValidationInfo) -> float:
        renew = info.data.get("lease_renew_seconds", 0)
        lease = info.data.get("lease_seconds", math.inf)
        if not renew < give_up < lease:
            raise ValueError(
                f"must be longer than a renewal ({renew:g}), shorter than the lease ({lease:g})"
            )
        return give_up


class ClientSettings(BaseSettings):
    """What the command-line client takes from the environment."""

    model_config = SettingsConfigDict(
        frozen=True,
        env_prefix=PREFIX,
        env_ignore_empty=True,
        use_attribute_docstrings=True,
        hide_input_in_errors=True,
    )

    home: Folder = Field(default_factory=find_home)
    """Folder whose `credentials.toml` says where the gateway is"""
    url: str | None = None
    """The gateway's address for the command-line client, such as `http://127.0.0.1:8000/graphql`"""
    token: str | None = Field(default=None, repr=False)
    """The API key for the command-line client"""


def is_loopback(host: str) -> bool:
    """Say if only this machine can reach the address; no name but localhost counts."""
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def name_variable(field_name: str) -> str:
    """Name the environment variable of a field."""
    return field_name.upper() if field_name in UNPREFIXED else PREFIX + field_name.upper()


def list_variables() -> list[str]:
    """Name every variable that is read, in the order of the README's table."""
    fields = [*Settings.model_fields, *ClientSettings.model_fields]
    return list(dict.fromkeys(map(name_variable, fields)))


def read_settings(
    *,
    host: str | None = None,
    port: int | None = None,
    home: Path | None = None,
    allow_remote: bool | None = None,
) -> Settings:
    """Read the environment; what the command line gave goes first (None stands for not given).

    Raises StartError, which lists every fault by the variable's name and quotes no value of a
    secret.
    """
    given = {"host": host, "port": port, "home": home, "allow_remote": allow_remote}
    chosen: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    faults = _find_unknown()
    settings: Settings | None = None
    try:
        settings = Settings(**chosen)
    except ValidationError as error:
        faults += _describe(error)
    if faults or settings is None:
        raise StartError("The settings are wrong:\n" + "\n".join(f"  - {f}" for f in faults))
    return settings


def read_client_settings() -> ClientSettings:
    """Read what the client needs; raises StartError like `read_settings`."""
    try:
        return ClientSettings()
    except ValidationError as error:
        raise StartError(
            "The settings are wrong:\n" + "\n".join(f"  - {f}" for f in _describe(error))
        ) from None


def _find_unknown() -> list[str]:
    known = set(list_variables())
    return [
        f"{name}: there is no such setting"
        for name in sorted(os.environ)
        if name.startswith(PREFIX) and name not in known and not name.endswith("_TESTS")
    ]


def _describe(error: ValidationError) -> list[str]:
    faults = []
    for fault in error.errors(include_url=False, include_input=False):
        reason = fault["msg"].removeprefix("Value error, ").removeprefix("Input ")
        where = str(fault["loc"][0]).lower().removeprefix(PREFIX.lower())
        faults.append(f"{name_variable(where)}: {reason}")
    return faults
