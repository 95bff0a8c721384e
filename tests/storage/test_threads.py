"""Threads end with, or before, the task that waits for them; which of it the work decides."""

import asyncio
import threading

import pytest

from app.storage.threads import StorageThreads
from tests.fakes.b2_places import until


@pytest.fixture
def threads():
    threads = StorageThreads(2)
    yield threads
    threads.close()


async def test_work_gives_its_result_or_its_exception(threads):
    assert await threads.ask(lambda _: 1) == 1
    assert await threads.run(lambda _: 2, bound=1.0) == 2
    assert await threads.complete(lambda _: 3, bound=10.0) == 3

    def fail(_):
        raise LookupError("x")

    for call in (threads.ask(fail), threads.run(fail, bound=1.0), threads.complete(fail, bound=9)):
        with pytest.raises(LookupError, match="x"):
            await call


async def test_a_cancelled_question_is_told_to_stop_and_left_behind(threads):
    begun, told = threading.Event(), threading.Event()

    def work(stop):
        begun.set()
        stop.wait()
        told.set()

    task = asyncio.create_task(threads.ask(work))
    await until(begun.is_set, asyncio.sleep)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(told.is_set, asyncio.sleep)


async def test_a_cancelled_task_waits_for_work_that_leaves_traces(threads):
    begun, ended, release = threading.Event(), threading.Event(), threading.Event()

    def work(stop):
        begun.set()
        stop.wait()
        release.wait()
        ended.set()

    task = asyncio.create_task(threads.run(work, bound=60.0))
    await until(begun.is_set, asyncio.sleep)
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0.01)
    assert not task.done()
    release.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()


async def test_the_wait_for_work_that_does_not_stop_is_bounded(threads):
    begun, release = threading.Event(), threading.Event()

    def work(_):
        begun.set()
        release.wait()

    task = asyncio.create_task(threads.run(work, bound=0.05))
    await until(begun.is_set, asyncio.sleep)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await threads.complete(lambda _: release.wait(), bound=0.05) is None
    release.set()


async def test_work_that_did_not_begin_is_dropped_with_its_task(threads):
    release, ran = threading.Event(), []
    for _ in range(2):
        threads.submit(release.wait)
    task = asyncio.create_task(threads.ask(lambda _: ran.append(1)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    release.set()
    assert await threads.ask(lambda _: 1) == 1
    assert ran == []


async def test_settling_waits_for_what_runs_but_not_for_ever(threads):
    release = threading.Event()
    job = threads.submit(release.wait)
    threads.settle(0.05)
    assert not job.done()
    release.set()
    threads.settle(60.0)
    assert threads._jobs == set()
    await job
