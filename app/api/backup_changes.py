"""Changes of backups: one that is followed to its end, and the list of a container's."""

import asyncio
from collections.abc import AsyncGenerator, Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Annotated
from uuid import UUID

import strawberry

from app.api import access
from app.api.arguments import name_id
from app.api.backups import Backup
from app.api.context import Context, Info, make_id
from app.api.watching import INTERVAL_SECONDS, LONGEST_SILENCE_SECONDS, watch_run
from app.errors import NotFound
from app.model import backups as model
from app.model.access import Capability
from app.model.backups import SETTLED, BackupState, ListChange
from app.model.containers import ContainerState
from app.postgres.listen import Resync, Wake
from app.queries import backups as queries
from app.queries import containers as containers_queries

MOST_TOLD = 1000
"""New backups that one subscription remembers to have told of; then it begins anew."""
LONGEST_TRANSACTION = timedelta(minutes=1)
"""A backup may be seen so long after the time that it bears."""
MOST_RECENT = 1000
"""Backups not older than that of which a subscription knows that the list holds them."""


@strawberry.type(description="One change of the list of a container's backups.")
class BackupChange:
    change: ListChange = strawberry.field(description="What happened.")
    id: strawberry.ID | None = strawberry.field(
        description="The id of the backup; null where it is `RESET`."
    )
    backup: Backup | None = strawberry.field(
        description="The backup as it is now; null where it is `RESET`."
    )


_RESET = BackupChange(change=ListChange.RESET, id=None, backup=None)


@strawberry.type
class BackupSubscriptions:
    @access.subscription(
        Capability.READ,
        description="Follow a backup: its current state first, then every change that shows in "
        "the fields you select (at most 4 a second, the newest wins), then the state that it stays "
        "in, even where the fields are the same: `LIVE`, `FAILED`, `CANCELED`, `SKIPPED` or "
        "`DELETED`; then the subscription completes. One that is `DELETING` is "
        "followed until it is `DELETED`. After a lost connection subscribe again: nothing that "
        "matters is lost. An id that is none of your hub's is a `NOT_FOUND` error.",
    )
    async def backup_progress(
        self,
        info: Info,
        *,
        backup_id: Annotated[strawberry.ID, strawberry.argument(description="The backup.")],
    ) -> AsyncGenerator[Backup, None]:
        id = name_id("Backup", backup_id)
        async for found in watch_run(
            info.context, id, fetch=queries.by_ids, ended=lambda backup: backup.state in SETTLED
        ):
            yield Backup.of(found)

    @access.subscription(
        Capability.READ,
        description="Follow the list of a container's backups that are not `DELETED`. First, and "
        "whenever changes may have been missed, comes `RESET`: read the list again. Then comes "
        "every backup that enters it, changes its state or what is kept with it, or leaves it (at "
        "most 4 times a second, the newest wins). One that enters may be in your list already, if "
        "it came while you read that: put it there by its `id`. How many bytes a run has moved is "
        "`backupProgress`. It completes once the container is `DELETED`. An id that is none of "
        "your hub's is a `NOT_FOUND` error.",
    )
    async def container_backups(
        self,
        info: Info,
        *,
        container_id: Annotated[strawberry.ID, strawberry.argument(description="The container.")],
    ) -> AsyncGenerator[BackupChange, None]:
        context = info.context
        id = name_id("Container", container_id)
        with context.parts.listen.subscribe(f"container:{id}") as mailbox:
            state, told = await _look(context, id)
            yield _RESET
            while state is not ContainerState.DELETED:
                await asyncio.sleep(INTERVAL_SECONDS)
                wakes = await mailbox.take(LONGEST_SILENCE_SECONDS)
                changed = _read_ids(wakes)
                if changed is None or told.is_full:
                    state, told = await _look(context, id)
                    yield _RESET
                elif not wakes:
                    state, _ = await _look(context, id)
                elif changed:
                    for change in told.tell(await _read(context, id, changed)):
                        yield change


class _Told:
    """Which backups a client knows: those of the list that it reads, and those it was told of."""

    def __init__(self, at: datetime, recent: Collection[UUID]) -> None:
        """`recent`: the list's backups that are too young to be known by their time."""
        self._since = at - LONGEST_TRANSACTION
        self._recent = frozenset(recent)
        self._ids: set[UUID] = set()

    @property
    def is_full(self) -> bool:
        return len(self._ids) >= MOST_TOLD

    def tell(self, found: Mapping[UUID, model.Backup]) -> Iterator[BackupChange]:
        for id, record in found.items():
            yield BackupChange(
                change=self._choose(record), id=make_id("Backup", id), backup=Backup.of(record)
            )

    def _choose(self, record: model.Backup) -> ListChange:
        if record.state is BackupState.DELETED:
            return ListChange.LEFT
        if record.created_at < self._since or record.id in self._recent or record.id in self._ids:
            return ListChange.CHANGED
        self._ids.add(record.id)
        return ListChange.ENTERED


def _read_ids(wakes: Sequence[Wake | Resync]) -> list[UUID] | None:
    """The backups that changed; None where more than that may have."""
    ids = []
    for wake in wakes:
        if isinstance(wake, Resync) or not wake.key:
            return None
        ids.append(UUID(wake.key))
    return ids


async def _look(context: Context, id: UUID) -> tuple[ContainerState, _Told]:
    """The state of the container, and what a client knows that reads its list now.

    Raises NotFound.
    """
    async with context.read() as connection:
        found = await containers_queries.look(
            connection, context.hub_id, id, since=LONGEST_TRANSACTION, limit=MOST_RECENT
        )
    if found is None:
        raise NotFound(path=("containerId",))
    state, at, recent = found
    return state, _Told(at, recent)


async def _read(
    context: Context, container_id: UUID, ids: Sequence[UUID]
) -> dict[UUID, model.Backup]:
    """Those of the ids that are backups of the container, the oldest first."""
    # What nested fields read before is out of date.
    context.forget()
    async with context.read() as connection:
        found = await queries.by_ids(connection, context.hub_id, ids)
    ordered = sorted(found.values(), key=lambda backup: (backup.created_at, backup.id))
    return {backup.id: backup for backup in ordered if backup.container_id == container_id}
