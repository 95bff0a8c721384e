"""Logs: what the command of a run printed."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Self
from uuid import UUID

import strawberry

from app.api.context import Info
from app.api.paging import Connection, Edge, PageInfo, read_limit, read_sequence
from app.api.scalars import BigInt
from app.model import runs as model
from app.model.ids import encode_sequence
from app.model.paging import Slice
from app.model.runs import LogStream
from app.postgres import pool
from app.queries import logs as queries

DESCRIPTION = (
    "What the command printed to standard error, in its order, with secrets replaced; where it "
    "failed without printing any, the last 1,024 bytes of its standard output. While a run goes on "
    "it grows: ask again `after` the last cursor."
)


@strawberry.type(description="A piece of a log.")
class LogEntry:
    sequence: BigInt = strawberry.field(
        description="Where the piece begins in all that was printed, in bytes; rising."
    )
    at: datetime = strawberry.field(description="When it was stored.")
    stream: LogStream = strawberry.field(description="Where it comes from.")
    text: str = strawberry.field(
        description="The piece as UTF-8, with U+FFFD for what is not. It may end within a line."
    )

    @classmethod
    def of(cls, record: model.LogEntry) -> Self:
        return cls(
            sequence=BigInt(record.sequence),
            at=record.at,
            stream=record.stream,
            text=record.text,
        )


@strawberry.type(description="A page of a log.")
class LogEntryConnection(Connection[LogEntry]):
    truncated: bool = strawberry.field(
        description="Something is missing between the first 64 KiB and the last 192 KiB, which is "
        "what is kept."
    )
    total_bytes: BigInt = strawberry.field(description="How many bytes were printed, kept or not.")


async def load_log(
    info: Info,
    run_id: UUID,
    *,
    truncated: bool,
    total_bytes: int,
    first: int | None,
    after: str | None,
    last: int | None,
    before: str | None,
) -> LogEntryConnection:
    """A page of a run's log. Raises GraphQLError for arguments that ask for none."""
    scope = f"logs:{run_id}"
    limit, backwards = read_limit(first, last)
    found = await info.context.load(
        _pages,
        run_id,
        limit,
        read_sequence(scope, "after", after),
        read_sequence(scope, "before", before),
        backwards,
    )
    return _show(
        found,
        scope,
        truncated=truncated,
        total_bytes=total_bytes,
        count=lambda: info.context.load(queries.counts, run_id),
    )


def _show(
    found: Slice[model.LogEntry] | None,
    scope: str,
    *,
    truncated: bool,
    total_bytes: int,
    count: Callable[[], Awaitable[int | None]],
) -> LogEntryConnection:
    edges = [
        Edge(
            cursor=encode_sequence(scope, entry.sequence),
            node=LogEntry.of(entry),
        )
        for entry in (found.items if found else ())
    ]
    return LogEntryConnection(
        edges=edges,
        nodes=[edge.node for edge in edges],
        page_info=PageInfo(
            has_next_page=found is not None and found.has_next,
            has_previous_page=found is not None and found.has_previous,
            start_cursor=edges[0].cursor if edges else None,
            end_cursor=edges[-1].cursor if edges else None,
        ),
        truncated=truncated,
        total_bytes=BigInt(total_bytes),
        count=count,
    )


async def _pages(  # noqa: PLR0917 - a loader's arguments have no names
    connection: pool.Connection,
    hub_id: UUID,
    run_ids: Sequence[UUID],
    limit: int,
    after: int | None,
    before: int | None,
    backwards: bool,  # noqa: FBT001
) -> dict[UUID, Slice[model.LogEntry]]:
    return await queries.pages(
        connection, hub_id, run_ids, limit=limit, after=after, before=before, backwards=backwards
    )
