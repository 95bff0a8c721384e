"""Log tails: what the command of a run prints, followed while it goes on."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Annotated, Self
from uuid import UUID

import strawberry

from app.api import access
from app.api.arguments import given
from app.api.context import Info
from app.api.logs import LogEntry
from app.api.scalars import BigInt
from app.api.watching import INTERVAL_SECONDS, LONGEST_SILENCE_SECONDS
from app.errors import NotFound
from app.model import runs as model
from app.model.access import Capability
from app.model.ids import decode_id
from app.model.runs import RunKind
from app.queries import logs as queries

LARGEST_TAIL = 100
"""Entries of one message; they are at most 256 KiB in all."""

_KINDS = {
    "Backup": RunKind.BACKUP,
    "Restore": RunKind.RESTORE,
    "Verification": RunKind.VERIFICATION,
}


@strawberry.type(description="What was added to a run's log.")
class LogTail:
    attempt: BigInt = strawberry.field(
        description="How many tries of the run there were when this was printed. Where it rises, "
        "the log begins anew: drop what you have of it."
    )
    entries: list[LogEntry] = strawberry.field(
        description="The pieces that were added, in their order; at most 100, and more follow at "
        "once where there are more. The first message may have none."
    )
    truncated: bool = strawberry.field(
        description="Something is missing between the first 64 KiB and the last 192 KiB, which is "
        "what is kept."
    )
    total_bytes: BigInt = strawberry.field(
        description="How many bytes were printed up to now, kept or not."
    )

    @classmethod
    def of(cls, record: model.LogTail) -> Self:
        return cls(
            attempt=BigInt(record.attempt),
            entries=[LogEntry.of(entry) for entry in record.entries],
            truncated=record.truncated,
            total_bytes=BigInt(record.total_bytes),
        )


@strawberry.type
class LogSubscriptions:
    @access.subscription(
        Capability.READ,
        description="Follow a run's log: what there is of it first, then what is added (at most 4 "
        "times a second); then, once the run has ended and all of it was sent, the subscription "
        "completes. After a lost connection subscribe again, `after` the last sequence that you "
        "have: nothing is sent twice, and nothing is lost. An id that is no run's of your hub is a "
        "`NOT_FOUND` error.",
    )
    async def run_logs(
        self,
        info: Info,
        *,
        run_id: Annotated[
            strawberry.ID,
            strawberry.argument(description="The id of a `Backup`, `Restore` or `Verification`."),
        ],
        after: Annotated[
            BigInt | None,
            strawberry.argument(
                description="Only what follows this `LogEntry.sequence`, in bytes; all where "
                "absent."
            ),
        ] = strawberry.UNSET,
    ) -> AsyncGenerator[LogTail, None]:
        id, kind = _read_id(run_id)
        place: int | None = given(after)
        told: int | None = None
        with info.context.parts.listen.subscribe(f"run:{id}") as mailbox:
            while True:
                async with info.context.read() as connection:
                    tail = await queries.tail(
                        connection, info.context.hub_id, id, after=place, limit=LARGEST_TAIL
                    )
                if tail is None or tail.kind is not kind:
                    raise NotFound(path=("runId",))
                if told is not None and tail.attempt != told and place is not None:
                    # A new try printed over the old one's places.
                    place = None
                    continue
                if tail.entries or tail.attempt != told:
                    yield LogTail.of(tail)
                told = tail.attempt
                if tail.entries:
                    place = tail.entries[-1].sequence
                if len(tail.entries) == LARGEST_TAIL:
                    continue
                if tail.is_ended:
                    return
                await asyncio.sleep(INTERVAL_SECONDS)
                await mailbox.wait(LONGEST_SILENCE_SECONDS)


def _read_id(text: str) -> tuple[UUID, RunKind]:
    """The run of an id. Raises NotFound."""
    decoded = decode_id(text)
    if decoded is None or decoded[0] not in _KINDS:
        raise NotFound(path=("runId",))
    return decoded[1], _KINDS[decoded[0]]
