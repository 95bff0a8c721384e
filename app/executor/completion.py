"""Work that a cancel does not break off half-way."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def complete(
    work: Coroutine[Any, Any, T], *, undo: Callable[[T], Coroutine[Any, Any, None]] | None = None
) -> T:
    """Await the work to its end, then let a cancel that came meanwhile take effect.

    `undo` gets the result that nobody will receive because of such a cancel.
    """
    # Owned by this call, which never returns before it is done.
    task = asyncio.get_running_loop().create_task(work)
    canceled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            canceled = error
    if canceled is None:
        return task.result()
    if undo is not None and not task.cancelled() and task.exception() is None:
        await complete(undo(task.result()))
    raise canceled


async def happens(event: asyncio.Event, *, within: float) -> bool:
    """Whether the event happens within so many seconds."""
    try:
        async with asyncio.timeout(within):
            await event.wait()
    except TimeoutError:
        return event.is_set()
    return True
