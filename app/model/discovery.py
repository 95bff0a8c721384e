"""What a look at an engine finds: containers with labels, as containers with instances."""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from app.model.containers import InstanceState
from app.model.labels import Labelled, Problem, read_labels

MOST_FOUND: Final = 1_000
"""How many containers of one engine are looked at."""
MOST_PROBLEMS: Final = 100
PROJECT: Final = "com.docker.compose.project"
SERVICE: Final = "com.docker.compose.service"
NUMBER: Final = "com.docker.compose.container-number"
ONE_OFF: Final = "com.docker.compose.oneoff"
LONGEST_PLACE: Final = 200
SHORT_ID: Final = 12
_NUMBER: Final = re.compile("[1-9][0-9]{0,4}")


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineContainer:
    """A container as its engine lists it."""

    id: str
    name: str
    state: InstanceState
    created: int
    """Seconds since 1970."""
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """A container of the engine that is an instance."""

    number: int
    id: str
    name: str
    state: InstanceState
    created: int
    labelled: Labelled

    @property
    def hostname(self) -> str:
        return f"{self.number}.{self.labelled.identifier}"


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundContainer:
    """A service of Compose with its replicas, or one other container."""

    project: str | None
    service: str | None
    labelled: Labelled
    """Of the replica that was created last."""
    replicas: tuple[Replica, ...]

    @property
    def place(self) -> str:
        if self.project is None:
            return "a container without Compose"
        return f"service {self.service} of the Compose project {self.project}"


def name_state(said: str) -> InstanceState:
    """What an engine calls the state of a container that it has."""
    match said:
        case "running":
            return InstanceState.RUNNING
        case "paused":
            return InstanceState.PAUSED
        case _:
            return InstanceState.STOPPED


def find(
    listed: Sequence[EngineContainer], of_api: Collection[str] = ()
) -> tuple[list[FoundContainer], list[Problem]]:
    """Group what an engine lists; in the order of identifiers.

    `of_api`: names and ids of those that are instances made through the API; they stay that only:
    two runs in one place would not know of each other. Containers of `docker compose run` are no
    replicas. Where several claim to be the same one, it is the one that runs, else the oldest.
    """
    problems = list[Problem]()
    if len(listed) > MOST_FOUND:
        problems.append(
            Problem(
                code="TOO_MANY",
                message=f"There are {len(listed)} containers; {MOST_FOUND} are looked at.",
                container=None,
            )
        )
    groups: dict[tuple[str | None, str | None, str], list[tuple[EngineContainer, Replica]]]
    groups = defaultdict(list)
    for one in sorted(listed, key=_by_age)[:MOST_FOUND]:
        if one.labels.get(ONE_OFF, "").lower() == "true":
            continue
        if _is_of_api(one, of_api):
            message = "It is an instance already, made through the API: its labels do not count."
            problems.append(Problem(code="INSTANCE_OF_API", message=message, container=one.name))
            continue
        labelled, complaints = read_labels(one.labels, one.name)
        problems += complaints
        if labelled is None:
            continue
        project, service, number = _read_place(one.labels)
        replica = Replica(
            number=number,
            id=one.id,
            name=one.name,
            state=one.state,
            created=one.created,
            labelled=labelled,
        )
        groups[(project, service, labelled.identifier)].append((one, replica))
    found = list[FoundContainer]()
    owners = dict[str, FoundContainer]()
    for (project, service, identifier), members in groups.items():
        replicas = _choose(members, problems)
        newest = max(replicas, key=_by_creation)
        group = FoundContainer(
            project=project,
            service=service,
            labelled=newest.labelled,
            replicas=tuple(replicas),
        )
        if (owner := owners.setdefault(identifier, group)) is not group:
            message = f"{identifier} is {owner.place} already; choose another identifier."
            problems += [
                Problem(code="DUPLICATE_CONTAINER", message=message, container=one.name)
                for one in replicas
            ]
            continue
        found.append(group)
    return sorted(found, key=lambda one: one.labelled.identifier), problems


def _is_of_api(one: EngineContainer, of_api: Collection[str]) -> bool:
    """Engines know a container by its name, and by the beginning of its id."""
    return one.name in of_api or any(
        len(name) >= SHORT_ID and one.id.startswith(name) for name in of_api
    )


def _by_age(one: EngineContainer) -> tuple[int, str]:
    return one.created, one.id


def _by_creation(replica: Replica) -> tuple[int, int]:
    """Engines tell whole seconds; of one second, the highest number came last."""
    return replica.created, replica.number


def _read_place(labels: Mapping[str, str]) -> tuple[str | None, str | None, int]:
    project, service, number = labels.get(PROJECT), labels.get(SERVICE), labels.get(NUMBER, "1")
    if not _is_place(project) or not _is_place(service):
        return None, None, 1
    return project, service, int(number) if _NUMBER.fullmatch(number) else 1


def _is_place(text: str | None) -> bool:
    return bool(text) and len(text or "") <= LONGEST_PLACE and (text or "").isprintable()


def _choose(
    members: Iterable[tuple[EngineContainer, Replica]], problems: list[Problem]
) -> list[Replica]:
    """One for each number, in their order."""
    chosen = dict[int, Replica]()
    for one, replica in sorted(members, key=_by_claim):
        first = chosen.setdefault(replica.number, replica)
        if first is not replica and one.state is not InstanceState.STOPPED:
            message = f"{first.name} is {first.hostname} already; this one is left out."
            problems.append(
                Problem(code="DUPLICATE_CONTAINER", message=message, container=one.name)
            )
    return [chosen[number] for number in sorted(chosen)]


def _by_claim(member: tuple[EngineContainer, Replica]) -> tuple[bool, int, str]:
    one = member[0]
    return one.state is InstanceState.STOPPED, one.created, one.id
