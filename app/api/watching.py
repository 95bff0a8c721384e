"""Following a row: its state now, then every change, then the state that ended it."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import TypeVar
from uuid import UUID

from app.api.context import Context
from app.api.loaders import Fetch
from app.errors import NotFound

INTERVAL_SECONDS = 0.25
LONGEST_SILENCE_SECONDS = 10
"""Then the row is read without having been told to."""

V = TypeVar("V")


async def watch_run(
    context: Context, id: UUID, *, fetch: Fetch[V], ended: Callable[[V], bool]
) -> AsyncGenerator[V, None]:
    """Yield a run's row at most 4 times a second, until it has ended.

    A reader that is slow misses states, never the last one. Of what was chosen of the rows nothing
    is said twice but the end: see `Operations.subscribe`. Raises NotFound.
    """
    context.shows_state = True
    with context.parts.listen.subscribe(f"run:{id}") as mailbox:
        shown: V | None = None
        while True:
            # What nested fields read for the state before is out of date.
            context.forget()
            found = await context.load(fetch, id)
            if found is None:
                raise NotFound
            if found != shown:
                yield found
                shown = found
            if ended(found):
                return
            await asyncio.sleep(INTERVAL_SECONDS)
            await mailbox.wait(LONGEST_SILENCE_SECONDS)
