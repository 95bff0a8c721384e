"""The queue: jobs are hints of a committed transaction; the loop's failures do not touch runs."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import UUID, uuid4

import asyncpg
import pytest

from app.errors import DatabaseUnavailable
from app.postgres.pool import Database
from app.postgres.queue import Consumer, Handler, enqueue, enqueue_once, prune

PLACE = "host:a.b"


@pytest.fixture
def make_consumer(worker_database: Database) -> Callable[..., Consumer]:
    def make(handler: Handler, *, concurrency: int = 4) -> Consumer:
        assert worker_database.role is not None
        return Consumer(
            worker_database.dsn,
            role=worker_database.role,
            places=[PLACE],
            handler=handler,
            concurrency=concurrency,
            application_name="test queue",
        )

    return make


@asynccontextmanager
async def consuming(consumer: Consumer) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(consumer.run())
        yield
        consumer.stop()


async def put(database: Database, *runs: UUID, place: str = PLACE) -> None:
    async with database.transaction() as connection:
        for run in runs:
            await enqueue(connection, place, run)


async def count_jobs(owner: Database, status: str | None = None) -> int:
    async with owner.connection() as connection:
        count: int = await connection.fetchval(
            "select count(*) from pgqueuer where $1::text is null or status::text = $1", status
        )
    return count


async def until_jobs(owner: Database, status: str, count: int) -> None:
    while await count_jobs(owner, status) < count:
        await asyncio.sleep(0.01)


async def until(question: Callable[[], object]) -> None:
    while not question():
        await asyncio.sleep(0.01)


async def cut_queue(owner: Database) -> None:
    async with owner.connection() as connection:
        cut = await connection.fetchval(
            """
            select count(pg_terminate_backend(pid, 5000)) from pg_stat_activity
            where application_name = 'test queue'
            """
        )
    assert cut == 1


async def test_a_committed_job_reaches_the_handler(
    gateway_database: Database, owner: Database, make_consumer: Callable[..., Consumer]
):
    run = uuid4()
    seen: asyncio.Queue[UUID] = asyncio.Queue()
    async with consuming(make_consumer(seen.put)):
        await put(gateway_database, run)
        assert await seen.get() == run
    assert await count_jobs(owner) == 0


async def test_a_rolled_back_job_never_was(gateway_database: Database, owner: Database):
    async def fail() -> None:
        async with gateway_database.transaction() as connection:
            await enqueue(connection, PLACE, uuid4())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert await count_jobs(owner) == 0


async def test_the_gateway_cannot_read_the_queue(gateway_database: Database):
    for table in ("pgqueuer", "pgqueuer_log", "pgqueuer_statistics", "pgqueuer_schedules"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with gateway_database.connection() as connection:
                await connection.fetch(f"select from {table}")


async def test_a_job_of_another_place_is_left_alone(
    gateway_database: Database, owner: Database, make_consumer: Callable[..., Consumer]
):
    mine = uuid4()
    seen: asyncio.Queue[UUID] = asyncio.Queue()
    await put(gateway_database, uuid4(), place="host:elsewhere")
    await put(gateway_database, mine)
    async with consuming(make_consumer(seen.put)):
        assert await seen.get() == mine
    assert seen.empty()
    assert await count_jobs(owner) == 1


async def test_a_delayed_job_waits(gateway_database: Database, owner: Database):
    async with gateway_database.transaction() as connection:
        await enqueue(connection, PLACE, uuid4(), delay=timedelta(hours=1))
    async with owner.connection() as connection:
        wait = await connection.fetchval("select execute_after - now() from pgqueuer")
    assert timedelta(minutes=59) < wait <= timedelta(hours=1)


@pytest.mark.parametrize(("concurrency", "jobs"), [(1, 2), (3, 9)])
async def test_no_more_handlers_run_than_allowed(
    gateway_database: Database, make_consumer: Callable[..., Consumer], concurrency: int, jobs: int
):
    """The library's own least is two; what it takes too much is put back."""
    done: set[UUID] = set()
    most = 0
    consumer: Consumer

    async def handle(run: UUID) -> None:
        nonlocal most
        most = max(most, len(consumer.running))
        await asyncio.sleep(0.05)
        done.add(run)

    runs = {uuid4() for _ in range(jobs)}
    await put(gateway_database, *runs)
    consumer = make_consumer(handle, concurrency=concurrency)
    async with consuming(consumer):
        await until(lambda: done == runs)
    assert most == concurrency


async def test_a_run_that_is_queued_twice_has_one_handler_at_a_time(
    gateway_database: Database, owner: Database, make_consumer: Callable[..., Consumer]
):
    run = uuid4()
    started = 0
    go = asyncio.Event()

    async def handle(_: UUID) -> None:
        nonlocal started
        started += 1
        await go.wait()

    await put(gateway_database, run, run, run)
    async with consuming(make_consumer(handle)):
        await until_jobs(owner, "picked", 3)
        assert started == 1
        go.set()
    assert started == 1
    assert await count_jobs(owner) == 0


async def test_a_handler_may_ask_to_look_again(
    gateway_database: Database, owner: Database, make_consumer: Callable[..., Consumer]
):
    looks: list[UUID] = []

    async def handle(run: UUID) -> timedelta | None:
        looks.append(run)
        if len(looks) == 1:
            raise DatabaseUnavailable
        return timedelta(0) if len(looks) == 2 else None

    run = uuid4()
    await put(gateway_database, run)
    async with consuming(make_consumer(handle)):
        await until(lambda: len(looks) == 3)
    assert looks == [run] * 3
    assert await count_jobs(owner) == 0


async def test_a_failed_handler_is_held_and_hurts_nobody_else(
    gateway_database: Database, owner: Database, make_consumer: Callable[..., Consumer]
):
    bad, good = uuid4(), uuid4()
    go = asyncio.Event()
    ended: list[UUID] = []

    async def handle(run: UUID) -> None:
        if run == bad:
            raise ZeroDivisionError
        await go.wait()
        ended.append(run)

    await put(gateway_database, good, bad)
    async with consuming(make_consumer(handle)):
        await until_jobs(owner, "failed", 1)
        go.set()
    assert ended == [good]
    assert await count_jobs(owner) == 1


async def test_a_cut_connection_does_not_touch_a_handler_and_jobs_go_on(
    gateway_database: Database, owner: Database, make_consumer: Callable[..., Consumer]
):
    first, second = uuid4(), uuid4()
    go = asyncio.Event()
    started: list[UUID] = []
    ended: list[UUID] = []

    async def handle(run: UUID) -> None:
        started.append(run)
        if run == first:
            await go.wait()
        ended.append(run)

    await put(gateway_database, first)
    async with consuming(make_consumer(handle)):
        await until(lambda: started == [first])
        await cut_queue(owner)
        await put(gateway_database, second)
        await until(lambda: ended == [second])
        go.set()
        await until(lambda: ended == [second, first])
    assert started == [first, second]


@pytest.mark.timeout(40)  # the library calls a job lost after 6 seconds without a heartbeat
async def test_a_job_that_lost_its_connection_finds_its_handler_again(
    gateway_database: Database, owner: Database, make_consumer: Callable[..., Consumer]
):
    run = uuid4()
    go = asyncio.Event()
    started = 0

    async def handle(_: UUID) -> None:
        nonlocal started
        started += 1
        await go.wait()

    await put(gateway_database, run)
    async with owner.connection() as connection:
        picks = "select count(*) from pgqueuer_log where status = 'picked'"
        async with consuming(make_consumer(handle)):
            await until(lambda: started == 1)
            await cut_queue(owner)
            while await connection.fetchval(picks) < 2:
                await asyncio.sleep(0.05)
            go.set()
    assert started == 1
    assert await count_jobs(owner) == 0


async def test_stopping_waits_for_handlers_and_puts_back_what_they_hand_off(
    gateway_database: Database, owner: Database, make_consumer: Callable[..., Consumer]
):
    go = asyncio.Event()
    runs = uuid4(), uuid4()
    ended: list[UUID] = []

    async def handle(run: UUID) -> timedelta | None:
        await go.wait()
        ended.append(run)
        return timedelta(0) if run == runs[0] else None

    await put(gateway_database, *runs)
    consumer = make_consumer(handle)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(consumer.run())
        await until(lambda: len(consumer.running) == 2)
        consumer.stop()
        await put(gateway_database, uuid4())
        assert not task.done()
        go.set()
    assert set(ended) == set(runs)
    assert await count_jobs(owner, "queued") == 2
    assert await count_jobs(owner) == 2


async def test_cancelling_the_consumer_cancels_its_handlers_at_once(
    gateway_database: Database, make_consumer: Callable[..., Consumer]
):
    cancelled = asyncio.Event()

    async def handle(_: UUID) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    await put(gateway_database, uuid4())
    consumer = make_consumer(handle)
    task = asyncio.create_task(consumer.run())
    await until(lambda: len(consumer.running) == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cancelled.is_set()
    assert not consumer.running


async def test_a_sweep_adds_no_second_job(worker_database: Database, owner: Database):
    runs = uuid4(), uuid4()
    for _ in range(3):
        async with worker_database.transaction() as connection:
            for run in runs:
                await enqueue_once(connection, PLACE, run)
    assert await count_jobs(owner) == 2


async def test_old_logs_and_held_jobs_are_pruned(worker_database: Database, owner: Database):
    async with owner.connection() as connection:
        await connection.execute(
            """
            insert into pgqueuer_log (created, job_id, status, priority, entrypoint)
            select now() - age * interval '1 hour', age, 'picked', 0, 'x'
            from generate_series(1, 3) age;
            insert into pgqueuer (updated, status, priority, entrypoint)
            select now() - age * interval '1 hour', status::pgqueuer_status, 0, 'x'
            from generate_series(1, 3) age, unnest(array['failed', 'queued', 'picked']) status
            """
        )
    async with worker_database.connection() as connection:
        await prune(connection, timedelta(minutes=90))
    async with owner.connection() as connection:
        assert await connection.fetchval("select array_agg(job_id) from pgqueuer_log") == [1]
        left = await connection.fetch(
            "select status::text, count(*) from pgqueuer group by 1 order by 1"
        )
    assert [tuple(row) for row in left] == [("failed", 1), ("picked", 3), ("queued", 3)]
