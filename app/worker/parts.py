"""What wiring hands to a worker: its parts and its times."""

from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Executor as Threads
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from app.executor.port import ContainerHost, Executor
from app.model.containers import Instance
from app.model.integrations import StorageAccess
from app.model.schedules import MOST_JITTER
from app.model.steps import PassStep, pass_step
from app.postgres.listen import ListenHub
from app.postgres.pool import Database
from app.postgres.queue import Queue
from app.service.secrets import Sealer
from app.storage.port import Storage
from app.worker.receivers import Receivers


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """How long things may take, in seconds; tests shorten them."""

    lease: float = 10
    renew: float = 2
    give_up: float = 7
    """Without a renewal for so long a worker ends its commands, before others may take over."""
    progress: float = 0.25
    sweep: float = 2
    drain: float = 30
    output_close: float = 10
    owner_lost: float = 600
    delete_grace: timedelta = timedelta(hours=1)
    prune: float = 3600
    keep_ended: timedelta = timedelta(days=90)
    start_within: timedelta = timedelta(hours=24)
    schedule_jitter: timedelta = MOST_JITTER


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Everything that a worker works with; it makes none of it itself."""

    owner: str
    """Unique to this process."""
    places: tuple[str, ...]
    """The places whose instances this worker can reach."""
    database: Database
    listener: ListenHub
    queue: Queue
    sealer: Sealer = field(repr=False)
    executor_of: Callable[[Instance], Awaitable[Executor]]
    """Raises ExecutorNotAllowed, ExecutorUnavailable, SecretUnreadable."""
    engine_of: Callable[[UUID, UUID], Awaitable[ContainerHost]]
    """The engine of a hub, both by id. Raises as `executor_of` does."""
    serves: Callable[[UUID, str], bool]
    """Whether this worker may connect to an engine of a hub at an address."""
    storage_of: Callable[[StorageAccess], Storage]
    receivers: Receivers
    """Where webhooks' messages go."""
    threads: Threads
    """Where hashing is done."""
    times: Times
    runs: int
    """How many runs at a time."""
    runs_per_hub: int | None
    hidden: Mapping[str, str] = field(repr=False, default_factory=dict)
    """Secrets of the operator that no log may show, by name."""
    step: PassStep = pass_step
    """Awaited at each step, for those who want to see what a crash there does."""
