"""The queue: a job says "look at run X", once, twice or late; the run's row alone is the truth.

Jobs are put in by the caller's transaction. A `Consumer` takes them out by PgQueuer, whose loop is
started again whenever its connection fails; what runs meanwhile is not touched by that.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import timedelta
from typing import Final
from uuid import UUID

import asyncpg
import structlog
from pgqueuer.adapters.drivers.asyncpg import AsyncpgDriver
from pgqueuer.adapters.persistence.queries import Queries
from pgqueuer.core.qm import QueueManager
from pgqueuer.domain.models import Job
from pgqueuer.errors import PgqException, RetryRequested

from app.errors import DatabaseUnavailable
from app.postgres.pool import Connection, log_in

Handler = Callable[[UUID], Awaitable[timedelta | None]]
"""Looks at a run. Returns None when there is nothing more to do now, or when to look again."""

ANYWHERE: Final = "anywhere"

_HEARTBEAT: Final = timedelta(seconds=6)
_DEQUEUE: Final = timedelta(seconds=2)
_NO_ROOM: Final = timedelta(seconds=1)
_DATABASE_AWAY: Final = timedelta(seconds=2)
_ANSWER_SECONDS: Final = 10
# The last one is what asyncpg says where a connection that tasks share breaks in the middle.
_BROKEN: Final = (
    OSError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)
_LONGEST_PAUSE: Final = 2.0

# Not the library's own statement, which writes three rows; nobody reads its log of what was queued.
_ENQUEUE: Final = """
insert into pgqueuer (priority, entrypoint, payload, execute_after, status)
values (0, $1, $2, now() + $3::interval, 'queued')
"""
_ENQUEUE_ALL: Final = """
insert into pgqueuer (priority, entrypoint, payload, execute_after, status)
select 0, told.place, told.payload, now(), 'queued'
from unnest($1::text[], $2::bytea[]) as told (place, payload)
"""
_ENQUEUE_ONCE: Final = """
insert into pgqueuer (priority, entrypoint, payload, dedupe_key, status)
values (0, $1, $2, $3, 'queued')
on conflict (dedupe_key) where status in ('queued', 'picked') and dedupe_key is not null do nothing
"""
_PRUNE: Final = """
with old_log as (
    delete from pgqueuer_log where created < now() - $1::interval
)
delete from pgqueuer where status = 'failed' and updated < now() - $1::interval
"""

_log = structlog.get_logger()


def name_host(host: str) -> str:
    """The place of runs that only the workers of this host name can carry out."""
    return f"host:{host}"


async def enqueue(
    connection: Connection, place: str, run_id: UUID, *, delay: timedelta = timedelta(0)
) -> None:
    """Have a worker of the place look at the run, once the transaction has committed."""
    await connection.execute(_ENQUEUE, place, run_id.bytes, delay)


async def enqueue_all(connection: Connection, told: Sequence[tuple[str, UUID]]) -> None:
    """The same for many runs, each with its place."""
    if told:
        places, ids = zip(*told, strict=True)
        await connection.execute(_ENQUEUE_ALL, places, [id.bytes for id in ids])


async def enqueue_once(connection: Connection, place: str, run_id: UUID) -> None:
    """The same for sweeps: no second job while one of theirs waits or is being looked at."""
    await connection.execute(_ENQUEUE_ONCE, place, run_id.bytes, str(run_id))


async def prune(connection: Connection, keep: timedelta) -> None:
    """Delete the library's log, and the jobs whose handler failed, when older than `keep`."""
    await connection.execute(_PRUNE, keep)


class Queue:
    """The consuming side, as workers are given it."""

    def __init__(
        self, dsn: str, *, role: str, application_name: str = "backup-gateway queue"
    ) -> None:
        self._dsn = dsn
        self._role = role
        self._application_name = application_name

    async def consume(
        self,
        places: Collection[str],
        handler: Handler,
        *,
        concurrency: int,
        stopping: asyncio.Event,
    ) -> None:
        """Have the handler look at the runs of these places, at most so many at a time.

        From `stopping` on no job is taken, and this returns when all handlers have; they are not
        cancelled by that. Cancelling this cancels them.
        """
        consumer = Consumer(
            self._dsn,
            role=self._role,
            places=places,
            handler=handler,
            concurrency=concurrency,
            application_name=self._application_name,
        )
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(consumer.run())
            await stopping.wait()
            consumer.stop()


class Consumer:
    """Takes jobs of some places out of the queue and has the handler look at their runs.

    At most `concurrency` runs are looked at, each by one handler at a time however often it is on
    the queue. A handler may be started again for a run at any time, here or by another worker: it
    asks the run's row what to do.
    """

    def __init__(
        self,
        dsn: str,
        *,
        role: str,
        places: Collection[str],
        handler: Handler,
        concurrency: int,
        application_name: str,
    ) -> None:
        self._dsn = dsn
        self._role = role
        self._places = places
        self._handler = handler
        self._concurrency = concurrency
        self._application_name = application_name
        self._running: dict[UUID, asyncio.Task[timedelta | Exception | None]] = {}
        self._stopping = asyncio.Event()
        self._manager: QueueManager | None = None

    @property
    def running(self) -> Collection[UUID]:
        """The runs that are being looked at."""
        return self._running.keys()

    def stop(self) -> None:
        """Take no more jobs; `run` returns once all handlers did.

        A handler hands its run off by returning a delay: the job is then put back.
        """
        self._stopping.set()
        if self._manager is not None:
            self._manager.shutdown.set()

    async def run(self) -> None:
        """Consume until stopped. Cancelling it cancels the handlers."""
        async with asyncio.TaskGroup() as handlers:
            pause = 0.1
            while not self._stopping.is_set():
                started = asyncio.get_running_loop().time()
                try:
                    await self._consume(handlers)
                except _BROKEN as error:
                    _log.warning("queue_unavailable", error=str(error) or type(error).__name__)
                if asyncio.get_running_loop().time() - started > _LONGEST_PAUSE:
                    pause = 0.1
                await self._pause(pause * random.uniform(0.5, 1))  # noqa: S311 - spreads workers
                pause = min(pause * 2, _LONGEST_PAUSE)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return

    async def _consume(self, handlers: asyncio.TaskGroup) -> None:
        """One life of the library's loop, on one connection."""
        connection = await log_in(
            self._dsn,
            role=self._role,
            application_name=self._application_name,
            answer_seconds=_ANSWER_SECONDS,
        )
        try:
            loop = _Loop(connection, self._stopping)
            self._manager = loop.manager

            async def look(job: Job) -> None:
                await self._look(job, handlers, loop)

            for place in self._places:
                loop.manager.entrypoint(place, on_failure="hold", accepts_context=False)(look)
            if not self._stopping.is_set():
                await loop.run(self._concurrency)
        finally:
            self._manager = None
            connection.terminate()

    async def _look(self, job: Job, handlers: asyncio.TaskGroup, loop: "_Loop") -> None:
        run_id = UUID(bytes=job.payload)
        task = self._running.get(run_id)
        if task is None:
            if len(self._running) >= self._concurrency or self._stopping.is_set():
                raise RetryRequested(_NO_ROOM, "no room")
            task = handlers.create_task(self._handle(run_id), name=f"run {run_id}")
            self._running[run_id] = task
        outcome = await loop.wait_for(task)
        if isinstance(outcome, Exception):
            raise outcome
        if outcome is not None:
            raise RetryRequested(outcome, "look again")

    async def _handle(self, run_id: UUID) -> timedelta | Exception | None:
        """Run the handler; a failure is a value, or it would end the other handlers as well."""
        try:
            return await self._handler(run_id)
        except DatabaseUnavailable:
            return _DATABASE_AWAY
        except Exception as error:  # noqa: BLE001 - a border: the queue holds the job, the log shows it
            _log.exception("handler_failed", run_id=str(run_id))
            return error
        finally:
            del self._running[run_id]


class _Loop:
    """One QueueManager with its connection, and the way out of it when that fails.

    The library waits without limit for the jobs under way before it gives a failure on. They are
    told to let go: their runs go on, and the next life's job for the same run finds them.
    """

    def __init__(self, connection: asyncpg.Connection, stopping: asyncio.Event) -> None:
        self._stopping = stopping
        self._failed = asyncio.Event()
        self.manager = QueueManager(Queries(_Driver(connection, self.fail)))
        connection.add_termination_listener(lambda _: self.fail())

    def fail(self) -> None:
        self._failed.set()
        self.manager.shutdown.set()

    async def run(self, concurrency: int) -> None:
        """Run until shutdown. Raises what the connection raised."""
        async with asyncio.TaskGroup() as tasks:
            life = tasks.create_task(self._live(concurrency))
            try:
                # Not `await life`: a cancel would go straight into the library, which then waits.
                await asyncio.wait({life})
            except asyncio.CancelledError:
                self.fail()
                raise
        error = life.result()
        if error is not None:
            raise error

    async def wait_for(
        self, task: asyncio.Task[timedelta | Exception | None]
    ) -> timedelta | Exception | None:
        """What the task returns, or an immediate retry when the loop failed before."""
        async with asyncio.TaskGroup() as tasks:
            failed = tasks.create_task(self._failed.wait())
            await asyncio.wait({task, failed}, return_when=asyncio.FIRST_COMPLETED)
            failed.cancel()
        if not task.done():
            return timedelta(0)
        return timedelta(0) if task.cancelled() else task.result()

    async def _live(self, concurrency: int) -> Exception | None:
        try:
            await self.manager.run(
                dequeue_timeout=_DEQUEUE,
                batch_size=1,
                # The library demands twice the batch; `Consumer` puts back what is too much.
                max_concurrent_tasks=max(2, concurrency),
                shutdown_on_listener_failure=True,
                heartbeat_timeout=_HEARTBEAT,
                log_aggregation_interval=timedelta(0),
            )
        except PgqException as error:
            return ConnectionError(f"the queue's listener failed: {type(error).__name__}")
        except _BROKEN as error:
            return error
        return None


class _Driver(AsyncpgDriver):
    """The library's driver, telling when its connection fails."""

    def __init__(self, connection: asyncpg.Connection, on_failure: Callable[[], None]) -> None:
        super().__init__(connection)
        self._on_failure = on_failure

    async def fetch(self, query: str, *args: object) -> list[dict[str, object]]:
        try:
            return await super().fetch(query, *args)
        except Exception:
            self._on_failure()
            raise

    async def execute(self, query: str, *args: object) -> str:
        try:
            return await super().execute(query, *args)
        except Exception:
            self._on_failure()
            raise

    async def notify(self, channel: str, payload: str) -> None:
        try:
            await super().notify(channel, payload)
        except Exception:
            self._on_failure()
            raise
