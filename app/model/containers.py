"""Containers, and their instances: the places where commands run."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

from app.errors import InvalidInput
from app.model.sources import Sources
from app.model.texts import (
    check_hostname,
    check_identifier,
    check_line,
    check_name,
    check_path,
    check_text,
)

MOST_LABELS: Final = 64
LONGEST_LABEL: Final = 1_000
LONGEST_FOLDER_BYTES: Final = 1_000
LONGEST_VARIABLES_BYTES: Final = 64 * 1024
RESERVED_VARIABLES: Final = "BACKUP_GATEWAY_"
"""The gateway finds what a run left behind by variables of its own."""

_ENGINE_CONTAINER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,63})?")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class ContainerState(StrEnum):
    LIVE = "LIVE"
    DELETING = "DELETING"
    DELETED = "DELETED"


class InstanceState(StrEnum):
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    STOPPED = "STOPPED"
    UNREACHABLE = "UNREACHABLE"
    GONE = "GONE"
    DELETING = "DELETING"


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    id: UUID
    hub_id: UUID
    identifier: str
    name: str
    stateful: bool
    labels: Mapping[str, str]
    state: ContainerState
    deleting_since: datetime | None
    created_at: datetime
    goes_at: datetime | None = None
    """When the objects of one in deletion begin to go; until then it can be brought back."""
    found_engine_id: UUID | None = None
    """The engine on which it was found by its labels; None: it was made through the API."""
    found_project: str | None = None
    found_service: str | None = None
    """Of Compose; None where it was found without."""
    sources: Sources = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    id: UUID
    hub_id: UUID
    container_id: UUID
    hostname: str
    state: InstanceState
    executor: str
    host: str | None
    folder: str | None
    variable_names: tuple[str, ...]
    scratch: bool
    created_at: datetime
    removed_at: datetime | None
    engine_id: UUID | None = None
    engine_container: str | None = None
    """What the engine calls it: a name, or an id."""
    user: str | None = None
    """As whom commands run there; None: as the image says."""
    replica: int | None = None
    """Which one of its service, where it was found by labels."""
    sources: Sources = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewContainer:
    identifier: str
    name: str
    stateful: bool
    labels: Mapping[str, str]
    found_engine_id: UUID | None = None
    found_project: str | None = None
    found_service: str | None = None
    sources: Sources = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewInstance:
    """What `createInstance` asks for.

    `host` belongs to the executor `process`, an engine, its container and a user to `docker`.
    """

    container_id: UUID
    hostname: str
    state: InstanceState
    executor: str
    host: str | None
    folder: str | None
    variables: Mapping[str, str] = field(repr=False)
    scratch: bool
    engine_id: UUID | None = None
    engine_container: str | None = None
    user: str | None = None
    replica: int | None = None
    sources: Sources = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerFilter:
    identifier: str | None = None
    stateful: bool | None = None
    states: tuple[ContainerState, ...] | None = None
    """None: all but DELETED."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceFilter:
    """Instances that were removed are never listed."""

    container_id: UUID | None = None
    hostname: str | None = None
    states: tuple[InstanceState, ...] | None = None
    scratch: bool | None = None


SETTABLE: Final = frozenset(
    {InstanceState.RUNNING, InstanceState.PAUSED, InstanceState.STOPPED, InstanceState.GONE}
)
"""What `createInstance` and `updateInstance` may say; the other states are the gateway's."""


def check_container(new: NewContainer) -> None:
    """Raise InvalidInput where a container cannot be made like this."""
    check_identifier(new.identifier, what="The identifier", path=("identifier",))
    check_name(new.name, what="The name", path=("name",))
    check_labels(new.labels)


def check_labels(labels: Mapping[str, str]) -> None:
    """Raise InvalidInput for too many labels, and for one that cannot be kept."""
    if len(labels) > MOST_LABELS:
        raise InvalidInput(
            f"There are {len(labels)} labels; at most {MOST_LABELS} are allowed.", path=("labels",)
        )
    for name, value in labels.items():
        check_name(name, what="A label's name", path=("labels",))
        check_line(value, what=f"The label {name}", path=("labels", name), longest=LONGEST_LABEL)


def check_instance(new: NewInstance) -> None:
    """Raise InvalidInput where an instance cannot be made like this.

    `host` may still be None: then the gateway's default is taken.
    """
    check_hostname(new.hostname, what="The hostname", path=("hostname",))
    check_state(new.state)
    check_variables(new.variables)
    match new.executor:
        case "process":
            _refuse_engine(new)
            if new.folder is None:
                raise InvalidInput(
                    "An instance of the executor `process` needs a folder.", path=("folder",)
                )
            check_folder(new.folder)
            if new.host is not None:
                check_hostname(new.host, what="The host", path=("host",))
        case "docker":
            check_engine_container(new)
        case _:
            raise InvalidInput(
                "There is no such executor; use `process` or `docker`.", path=("executor",)
            )


def _refuse_engine(new: NewInstance) -> None:
    """An instance of the executor `process` has nothing of an engine. Raises InvalidInput."""
    for value, name in (
        (new.engine_id, "engineId"),
        (new.engine_container, "engineContainer"),
        (new.user, "user"),
    ):
        if value is not None:
            raise InvalidInput(f"`{name}` belongs to the executor `docker`.", path=(name,))


def check_engine_container(new: NewInstance) -> None:
    """Raise InvalidInput where this names no container of an engine."""
    if new.engine_id is None:
        raise InvalidInput(
            "An instance of the executor `docker` needs an engine; make one by `createEngine`.",
            path=("engineId",),
        )
    if new.engine_container is None or not _ENGINE_CONTAINER.fullmatch(new.engine_container):
        raise InvalidInput(
            "An instance of the executor `docker` needs the container's name or id on its engine.",
            path=("engineContainer",),
        )
    if new.host is not None:
        raise InvalidInput("The host is that of the engine; leave it out.", path=("host",))
    if new.user is not None:
        check_user(new.user)
    if new.folder is not None:
        check_working_folder(new.folder)


def check_user(user: str) -> None:
    """As whom commands run in a container. Raises InvalidInput."""
    if not _USER.fullmatch(user):
        raise InvalidInput("The user is a name or number, or user:group.", path=("user",))


def check_working_folder(folder: str) -> None:
    """A folder in a container. Raises InvalidInput."""
    if not folder.startswith("/"):
        raise InvalidInput("The folder in a container begins with a slash.", path=("folder",))
    check_line(folder, what="The folder", path=("folder",), longest=LONGEST_FOLDER_BYTES)


def check_state(state: InstanceState) -> None:
    """Raise InvalidInput for a state that only the gateway itself gives."""
    if state not in SETTABLE:
        names = ", ".join(sorted(SETTABLE))
        raise InvalidInput(
            f"The state {state} is set by the gateway alone; use one of {names}.", path=("state",)
        )


def check_folder(folder: str) -> None:
    """A folder below the hub's root. Raises InvalidInput."""
    check_path(folder, what="The folder", path=("folder",), longest_bytes=LONGEST_FOLDER_BYTES)


def check_variables(variables: Mapping[str, str]) -> None:
    """Raise InvalidInput where these cannot be a command's environment. Never shows a value."""
    size = 0
    for name, value in variables.items():
        check_text(name, what="A variable's name", path=("variables",), longest=200)
        if not _VARIABLE.fullmatch(name):
            raise InvalidInput(
                "A variable's name may hold letters, digits and _, and begins with no digit.",
                path=("variables",),
            )
        if name.startswith(RESERVED_VARIABLES):
            raise InvalidInput(
                f"Variables that begin with {RESERVED_VARIABLES} are the gateway's own;"
                f" rename {name}.",
                path=("variables", name),
            )
        check_text(
            value,
            what=f"The variable {name}",
            path=("variables", name),
            longest=LONGEST_VARIABLES_BYTES,
        )
        size += len(name.encode()) + len(value.encode())
    if size > LONGEST_VARIABLES_BYTES:
        raise InvalidInput(
            f"The variables take {size} bytes; at most {LONGEST_VARIABLES_BYTES} are allowed.",
            path=("variables",),
        )
