"""Metrics: what the operator's monitoring is told, of all hubs together and of none by name."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from app.model.runs import RunKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    count: int
    oldest: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """Everything at one moment."""

    now: datetime
    """By the database's clock."""
    open_runs: Mapping[tuple[RunKind, bool], Waiting]
    """By kind, and whether a worker has them."""
    ended_runs: Mapping[tuple[RunKind, str], int]
    """Of the last hour, by kind and outcome: succeeded, failed or canceled."""
    last_success: Mapping[RunKind, datetime]
    """Of kinds that succeeded within a week."""
    waiting: Mapping[str, Waiting]
    """Work by its name: queue, reclaims, webhooks."""
    scheduled: int
    """Containers that make backups by themselves."""
    overdue: Waiting
    """Of those, the ones whose backup did not come in time; `oldest`: since when."""
    drifts: Mapping[str, int]
    """Where buckets and records disagree now, by kind."""
    integrations: Mapping[str, int]
    """By state; UNREACHABLE: LIVE, and people were told that B2 cannot be reached."""
    events: Mapping[str, int]
    """Of the last day, by kind."""
