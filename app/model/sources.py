"""Where values come from: the API, a label of a container, or the default."""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final

CONTAINER_VALUES: Final = ("identifier", "name", "stateful", "labels", "backupPolicy")
INSTANCE_VALUES: Final = ("hostname", "folder", "user", "variables")
POLICY_VALUES: Final = (
    "enabled",
    "integration",
    "backup.command",
    "backup.timeout",
    "backup.cron",
    "backup.timeZone",
    "backup.instances",
    "backup.minBytes",
    "restore.command",
    "restore.timeout",
    "restore.check",
    "restore.safetyBackup",
    "retention.maxAge",
    "retention.keepLast",
    "retention.keepHourly",
    "retention.keepDaily",
    "retention.keepWeekly",
    "retention.keepMonthly",
    "retention.keepYearly",
    "retention.preRestoreMaxAge",
    "verification",
    "overdueAfter",
)


class ValueSource(StrEnum):
    API = "API"
    LABEL = "LABEL"
    DEFAULT = "DEFAULT"


Sources = Mapping[str, ValueSource]
"""By value, as stored: what is not there is a default. Empty: all is of the API."""


def source_of(sources: Sources, value: str) -> ValueSource:
    if not sources:
        return ValueSource.API
    return sources.get(value, ValueSource.DEFAULT)


def set_by_api(sources: Sources, values: Iterable[str]) -> Sources:
    """The sources once these values were set through the API."""
    return {**sources, **dict.fromkeys(values, ValueSource.API)} if sources else sources


def forget_api(sources: Sources) -> Sources:
    """The sources once what was set through the API counts no more."""
    return {value: source for value, source in sources.items() if source is not ValueSource.API}
