"""Containers, and their instances: the places where commands run."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID


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


@dataclass(frozen=True, slots=True, kw_only=True)
class NewContainer:
    identifier: str
    name: str
    stateful: bool
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewInstance:
    """What `createInstance` asks for. `host` and `folder` belong to the `process` executor."""

    container_id: UUID
    hostname: str
    state: InstanceState
    executor: str
    host: str | None
    folder: str | None
    variables: Mapping[str, str]
    scratch: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerFilter:
    identifier: str | None = None
    stateful: bool | None = None
    states: tuple[ContainerState, ...] | None = None
    """None: all but DELETED."""
