"""Metrics for Prometheus: all hubs together, none by name, read at most once in some seconds."""

import asyncio
import time
from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from app.errors import DatabaseUnavailable
from app.model.drifts import DriftKind
from app.model.events import EventKind
from app.model.integrations import IntegrationState
from app.model.metrics import Metrics
from app.postgres.pool import Database
from app.queries import metrics as queries

PREFIX = "backup_gateway_"
KEPT_SECONDS = 5.0
READ_SECONDS = 10
SHOWN = (IntegrationState.VERIFYING, IntegrationState.LIVE, IntegrationState.FAILED, "UNREACHABLE")


class Measured(Collector):
    """One reading, as Prometheus' library wants it."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        metrics = self._metrics
        now = metrics.now
        yield _gauge(
            "runs",
            "Runs that have not ended, by kind and whether a worker has them.",
            ("kind", "state"),
            (
                ((kind.lower(), "running" if running else "waiting"), found.count)
                for (kind, running), found in metrics.open_runs.items()
            ),
        )
        yield _gauge(
            "oldest_waiting_run_seconds",
            "Age of the oldest run that no worker has; 0 where there is none.",
            ("kind",),
            (
                ((kind.lower(),), (now - (found.oldest or now)).total_seconds())
                for (kind, running), found in metrics.open_runs.items()
                if not running
            ),
        )
        yield _gauge(
            "runs_ended_last_hour",
            "Runs that ended within the last hour, by kind and outcome.",
            ("kind", "outcome"),
            (
                ((kind.lower(), outcome), number)
                for (kind, outcome), number in metrics.ended_runs.items()
            ),
        )
        yield _gauge(
            "last_success_timestamp_seconds",
            "When a run of a kind last succeeded; absent where none did within a week.",
            ("kind",),
            (((kind.lower(),), at.timestamp()) for kind, at in metrics.last_success.items()),
        )
        yield _gauge(
            "waiting_work",
            "What waits: jobs of the queue, removals from B2, messages to webhooks.",
            ("work",),
            (((work,), found.count) for work, found in metrics.waiting.items()),
        )
        yield _gauge(
            "oldest_waiting_work_seconds",
            "Age of the oldest of what waits; 0 where there is none.",
            ("work",),
            (
                ((work,), (now - (found.oldest or now)).total_seconds())
                for work, found in metrics.waiting.items()
            ),
        )
        yield _gauge(
            "scheduled_containers",
            "Containers that make backups by themselves.",
            (),
            (((), metrics.scheduled),),
        )
        yield _gauge(
            "overdue_containers",
            "Containers whose backup did not come in time.",
            (),
            (((), metrics.overdue.count),),
        )
        yield _gauge(
            "oldest_overdue_seconds",
            "How long the longest awaited backup is overdue; 0 where none is.",
            (),
            (((), (now - (metrics.overdue.oldest or now)).total_seconds()),),
        )
        yield _gauge(
            "drifts",
            "Where buckets and records disagree now, by kind; at most 10,000 of a kind are kept of"
            " a bucket.",
            ("kind",),
            (((kind,), metrics.drifts.get(kind, 0)) for kind in DriftKind),
        )
        yield _gauge(
            "integrations",
            "Connections to Backblaze B2 by state; UNREACHABLE: B2 did not answer for 10 minutes.",
            ("state",),
            (((state,), metrics.integrations.get(state, 0)) for state in SHOWN),
        )
        yield _gauge(
            "events_last_day",
            "What people were told of within the last 24 hours, by kind of event.",
            ("kind",),
            (((kind,), metrics.events.get(kind, 0)) for kind in EventKind),
        )


class MetricsEndpoint:
    """Answers `/metrics`; whoever asks meanwhile gets the same reading."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = asyncio.Lock()
        self._written = b""
        self._until = 0.0

    async def answer(self, request: Request) -> Response:
        del request
        async with self._lock:
            if time.monotonic() >= self._until:
                try:
                    self._written = await self._read()
                except (TimeoutError, DatabaseUnavailable):
                    return PlainTextResponse("The database cannot be reached.\n", 503)
                self._until = time.monotonic() + KEPT_SECONDS
            return Response(self._written, media_type=CONTENT_TYPE_PLAIN_0_0_4)

    async def _read(self) -> bytes:
        async with asyncio.timeout(READ_SECONDS), self._database.connection(None) as connection:
            found = await queries.read(connection)
        registry = CollectorRegistry()
        registry.register(Measured(found))
        return generate_latest(registry)


def create_metrics_app(database: Database) -> Starlette:
    """The application behind a loopback port of its own. `database` is in the worker's role."""
    app = Starlette(routes=[Route("/metrics", MetricsEndpoint(database).answer)])
    app.state.stopping = asyncio.Event()
    return app


def _gauge(
    name: str,
    what: str,
    labels: tuple[str, ...],
    samples: Iterable[tuple[tuple[str, ...], float]],
) -> Metric:
    gauge = GaugeMetricFamily(PREFIX + name, what, labels=labels)
    for values, number in samples:
        gauge.add_metric(values, number)
    return gauge
