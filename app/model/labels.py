"""Labels of an engine's containers: what they say of a container and its backups."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from app.errors import InvalidInput
from app.model.containers import check_user, check_working_folder
from app.model.durations import parse_duration
from app.model.policies import NewPolicy, check_policy
from app.model.recipes import RECIPES, find_recipe
from app.model.retention import Retention
from app.model.schedules import InstanceSelection
from app.model.shell_syntax import find_syntax_error
from app.model.sources import Sources, ValueSource
from app.model.texts import check_identifier, check_name

PREFIX: Final = "backup-gateway."
MARK: Final = f"{PREFIX}container"
"""A container without this label is none of the gateway's business."""
RECIPE: Final = f"{PREFIX}recipe"
LONGEST_QUOTE: Final = 60
_NOBODY: Final = UUID(int=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What is wrong with labels; people see it at the engine."""

    code: str
    message: str
    container: str | None
    """What the engine calls the container."""
    label: str | None = None


PROBLEM_CODES: Final[Mapping[str, str]] = {
    "INVALID_LABEL": "A label's value cannot be what it means.",
    "UNKNOWN_LABEL": "No label has this name.",
    "MISSING_LABEL": "A label needs another one that is not there.",
    "COMMAND_SYNTAX": "`sh` cannot read a command.",
    "NOT_JOINED": "Another container has the identifier: made through the API, or found elsewhere.",
    "DUPLICATE_CONTAINER": "Several containers there say that they are the same one.",
    "INSTANCE_OF_API": "It is an instance already, made through the API.",
    "HOSTNAME_TAKEN": "An instance made through the API has the hostname.",
    "CONTAINER_DELETED": "It was deleted through the API, and is not taken up again as it is.",
    "INSTANCE_DELETED": "The instance was deleted through the API, and is not taken up again.",
    "CONTAINER_DELETING": "A container with the identifier is being deleted.",
    "NO_INTEGRATION": "Which integration keeps the backups cannot be told.",
    "NOT_STATEFUL": "A policy was set through the API, so it stays stateful.",
    "TOO_MANY": "There are more than the gateway looks at.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledPolicy:
    """A policy as labels say it; its integration is told by name, or is the hub's only one."""

    policy: NewPolicy
    """With an integration that is nobody's."""
    integration: str | None
    sources: Sources


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """What a container's labels say."""

    identifier: str
    name: str
    stateful: bool
    sources: Sources
    folder: str | None = None
    user: str | None = None
    instance_sources: Sources = field(default_factory=dict)
    policy: LabelledPolicy | None = None
    is_policy_broken: bool = False
    """It says one that cannot be carried out: what there is stays as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelMeaning:
    """A label, by the name behind the prefix."""

    name: str
    meaning: str
    default: str
    value: str | None = None
    """Of a policy: as the API names it."""
    attribute: str | None = None
    """Of NewPolicy, or of Retention."""
    read: Callable[[str], Any] = str

    @property
    def full_name(self) -> str:
        return PREFIX + self.name


def _read_flag(text: str) -> bool:
    if text not in {"true", "false"}:
        raise ValueError("It is neither true nor false.")
    return text == "true"


def _read_number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > len(str(2**53)):
        raise ValueError("It is no whole number.")
    return int(text)


def _read_selection(text: str) -> InstanceSelection:
    if text not in set(InstanceSelection):
        raise ValueError(f"It is none of {', '.join(InstanceSelection)}.")
    return InstanceSelection(text)


def _of_policy(
    name: str,
    value: str,
    attribute: str,
    meaning: str,
    default: str,
    *,
    read: Callable[[str], Any] = str,
) -> LabelMeaning:
    return LabelMeaning(
        name=name, meaning=meaning, default=default, value=value, attribute=attribute, read=read
    )


def _of_retention(name: str, value: str, attribute: str, kept: str) -> LabelMeaning:
    meaning = f"how many of the newest {kept} keep a backup"
    return _of_policy(
        f"retention.{name}", f"retention.{value}", attribute, meaning, "", read=_read_number
    )


LABELS: Final = (
    LabelMeaning(
        name="container",
        meaning="the container's identifier; without it nothing counts",
        default="",
    ),
    LabelMeaning(name="name", meaning="the container's name for people", default="the identifier"),
    LabelMeaning(name="stateful", meaning="it holds data, and can have backups", default="true"),
    LabelMeaning(name="user", meaning="as whom commands run", default="as the image says"),
    LabelMeaning(name="folder", meaning="where commands run", default="as the image says"),
    LabelMeaning(
        name="backup.integration",
        meaning="the name of the integration that keeps the backups",
        default="the hub's only one",
        value="integration",
    ),
    LabelMeaning(
        name="recipe",
        meaning="one of the recipes, whose commands are taken where no label gives them",
        default="none",
    ),
    _of_policy(
        "backup.command", "backup.command", "backup_command", "its output is the backup", ""
    ),
    _of_policy(
        "backup.timeout",
        "backup.timeout",
        "backup_timeout",
        "how long a save may take",
        "12h",
        read=parse_duration,
    ),
    _of_policy("backup.cron", "backup.cron", "cron", "when backups are made", "when asked for"),
    _of_policy(
        "backup.time-zone", "backup.timeZone", "time_zone", "the clock of `backup.cron`", "UTC"
    ),
    _of_policy(
        "backup.instances",
        "backup.instances",
        "instances",
        "`EACH` or `FIRST_RUNNING`",
        "EACH",
        read=_read_selection,
    ),
    _of_policy(
        "backup.min-bytes",
        "backup.minBytes",
        "min_bytes",
        "a backup of fewer bytes has failed",
        "1",
        read=_read_number,
    ),
    _of_policy(
        "backup.enabled",
        "enabled",
        "enabled",
        "`false`: only when asked for",
        "true",
        read=_read_flag,
    ),
    _of_policy(
        "backup.overdue-after",
        "overdueAfter",
        "overdue_after",
        "how late a backup may be",
        "1h",
        read=parse_duration,
    ),
    _of_policy(
        "restore.command",
        "restore.command",
        "restore_command",
        "reads the backup",
        "nothing can be restored",
    ),
    _of_policy(
        "restore.timeout",
        "restore.timeout",
        "restore_timeout",
        "how long a restore may take",
        "12h",
        read=parse_duration,
    ),
    _of_policy(
        "restore.check", "restore.check", "restore_check", "must succeed after a restore", "none"
    ),
    _of_policy(
        "restore.safety-backup",
        "restore.safetyBackup",
        "restore_safety_backup",
        "save the target before a restore",
        "false",
        read=_read_flag,
    ),
    _of_policy(
        "retention.max-age",
        "retention.maxAge",
        "max_age",
        "how old a backup gets",
        "365d",
        read=parse_duration,
    ),
    _of_policy(
        "retention.pre-restore-max-age",
        "retention.preRestoreMaxAge",
        "pre_restore_max_age",
        "how old a safety backup gets",
        "30d",
        read=parse_duration,
    ),
    _of_retention("keep-last", "keepLast", "keep_last", "backups"),
    _of_retention("keep-hourly", "keepHourly", "keep_hourly", "hours"),
    _of_retention("keep-daily", "keepDaily", "keep_daily", "days"),
    _of_retention("keep-weekly", "keepWeekly", "keep_weekly", "weeks"),
    _of_retention("keep-monthly", "keepMonthly", "keep_monthly", "months"),
    _of_retention("keep-yearly", "keepYearly", "keep_yearly", "years"),
)
_BY_NAME: Final = {label.full_name: label for label in LABELS}
_BY_PATH: Final = {
    ("policy", *label.value.split(".")): label.full_name
    for label in LABELS
    if label.value is not None
}
_OF_RETENTION: Final = frozenset(Retention.__dataclass_fields__)


class _Complaints(list[Problem]):
    """Problems of one container."""

    def __init__(self, container: str) -> None:
        super().__init__()
        self._container = container

    def add(self, code: str, message: str, label: str | None = None) -> None:
        self.append(Problem(code=code, message=message, container=self._container, label=label))


def read_labels(labels: Mapping[str, str], container: str) -> tuple[Labelled | None, list[Problem]]:
    """What labels say, and what is wrong with them. None: not even which container it is.

    `container` is what the engine calls it.
    """
    complaints = _Complaints(container)
    sources = dict[str, ValueSource]()
    ours = {name: text for name, text in sorted(labels.items()) if name.startswith(PREFIX)}
    for unknown in sorted(ours.keys() - _BY_NAME.keys()):
        complaints.add("UNKNOWN_LABEL", f"There is no label {unknown[:LONGEST_QUOTE]!a}.")
    identifier = ours.get(MARK, "")
    if not _is_good(
        complaints, MARK, lambda: check_identifier(identifier, what="The identifier", path=())
    ):
        return None, complaints
    sources["identifier"] = ValueSource.LABEL
    name = ours.get(f"{PREFIX}name", identifier)
    if f"{PREFIX}name" in ours and _is_good(
        complaints, f"{PREFIX}name", lambda: check_name(name, what="The name", path=())
    ):
        sources["name"] = ValueSource.LABEL
    stateful = ours.get(f"{PREFIX}stateful", "true")
    if f"{PREFIX}stateful" in ours and _is_good(
        complaints, f"{PREFIX}stateful", lambda: _read_flag(stateful)
    ):
        sources["stateful"] = ValueSource.LABEL
    is_stateful = stateful != "false"
    places, instance_sources = _read_places(ours, complaints)
    before = len(complaints)
    said = _take_recipe(ours, complaints) if is_stateful else None
    policy = None if said is None else _read_policy(said, complaints)
    return Labelled(
        identifier=identifier,
        name=name if "name" in sources else identifier,
        stateful=is_stateful,
        sources=sources,
        instance_sources=instance_sources,
        policy=policy,
        is_policy_broken=policy is None and len(complaints) > before,
        **places,
    ), complaints


def _read_places(
    ours: Mapping[str, str], complaints: _Complaints
) -> tuple[dict[str, str], dict[str, ValueSource]]:
    """User and folder, where they can be."""
    found, sources = dict[str, str](), {"hostname": ValueSource.LABEL}
    checks: dict[str, Callable[[str], None]] = {"user": check_user, "folder": check_working_folder}
    for name, check in checks.items():
        text = ours.get(PREFIX + name)
        if text is None:
            continue
        try:
            check(text)
        except InvalidInput as error:
            complaints.add("INVALID_LABEL", error.message, PREFIX + name)
        else:
            found[name] = text
            sources[name] = ValueSource.LABEL
    return found, sources


def _take_recipe(ours: Mapping[str, str], complaints: _Complaints) -> Mapping[str, str] | None:
    """The labels with the commands of their recipe where none are given. None: there is none."""
    name = ours.get(RECIPE)
    if name is None:
        return ours
    recipe = find_recipe(name)
    if recipe is None:
        complaints.add("INVALID_LABEL", f"It is none of {', '.join(RECIPES)}.", RECIPE)
        return None
    commands = {
        f"{PREFIX}backup.command": recipe.backup_command,
        f"{PREFIX}restore.command": recipe.restore_command,
    }
    return commands | dict(ours)


def _read_policy(ours: Mapping[str, str], complaints: _Complaints) -> LabelledPolicy | None:
    given = [label for label in LABELS if label.value is not None and label.full_name in ours]
    if not given:
        return None
    command = f"{PREFIX}backup.command"
    if command not in ours:
        first = given[0].full_name
        complaints.add("MISSING_LABEL", f"{first} means nothing without {command}.", command)
        return None
    values, kept, is_whole = dict[str, Any](), dict[str, Any](), True
    for label in given:
        if label.attribute is None:
            continue
        try:
            value = label.read(ours[label.full_name])
        except ValueError as error:
            complaints.add("INVALID_LABEL", str(error), label.full_name)
            is_whole = False
        else:
            (kept if label.attribute in _OF_RETENTION else values)[label.attribute] = value
    if not is_whole:
        return None
    if "restore_command" not in values and any(name.startswith("restore_") for name in values):
        missing = f"{PREFIX}restore.command"
        complaints.add("MISSING_LABEL", f"The labels of a restore need {missing}.", missing)
        return None
    policy = NewPolicy(integration_id=_NOBODY, retention=Retention(**kept), **values)
    try:
        check_policy(policy)
    except InvalidInput as error:
        complaints.add("INVALID_LABEL", error.message, _BY_PATH.get(tuple(error.path or ())))
        return None
    _look_at_commands(ours, complaints)
    return LabelledPolicy(
        policy=policy,
        integration=ours.get(f"{PREFIX}backup.integration"),
        sources={str(label.value): ValueSource.LABEL for label in given},
    )


def _look_at_commands(ours: Mapping[str, str], complaints: _Complaints) -> None:
    for name in ("backup.command", "restore.command", "restore.check"):
        text = ours.get(PREFIX + name)
        if text is not None and (fault := find_syntax_error(text)) is not None:
            complaints.add("COMMAND_SYNTAX", f"The command will fail: {fault}.", PREFIX + name)


def _is_good(complaints: _Complaints, label: str, check: Callable[[], object]) -> bool:
    try:
        check()
    except InvalidInput as error:
        complaints.add("INVALID_LABEL", error.message, label)
    except ValueError as error:
        complaints.add("INVALID_LABEL", str(error), label)
    else:
        return True
    return False
