"""Asks and advances owner objects: before a batch that deletes by itself, on a claim, each hour."""

import asyncio
import functools
from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

import structlog

from app.errors import Fenced, GatewayError, NotTheOwner, OwnerBusy
from app.model.ownership import (
    OWNER_CONTENT_TYPE,
    Holder,
    OwnerObject,
    Turn,
    explain,
    find_holder,
    next_generation,
    owner_name,
    read_owner,
)
from app.model.steps import Step
from app.postgres.leases import LeaseClock
from app.service import ownership
from app.storage.port import Storage, StoredObject
from app.worker.holding import Hold
from app.worker.parts import Parts
from app.worker.probe import look_soon

BATCH = 20
AT_ONCE = 4
TURN_SECONDS = 90.0
WAIT_SECONDS = 30.0
LOOK_SECONDS = 0.2
TRIES = 3

log = structlog.get_logger()


async def may_delete_by_itself(parts: Parts, integration_id: UUID) -> bool:
    """Read and advance the owner object; True: what this database knows there it may delete now.

    To be asked before every batch, once a batch. False: the place is another one's; the event
    NOT_THE_OWNER says so, and nothing may be deleted. Raises StorageError, SecretUnreadable where
    the bucket cannot be asked, OwnerBusy, DatabaseUnavailable: then nothing may be deleted either.
    """
    try:
        await require_owner(parts, integration_id)
    except NotTheOwner:
        return False
    return True


async def require_owner(parts: Parts, integration_id: UUID) -> None:
    """As `may_delete_by_itself`, but raises NotTheOwner with the reason."""
    turn, hold = await _wait_for_turn(parts, integration_id)
    try:
        async with asyncio.timeout(TURN_SECONDS):
            await _advance(parts, turn, hold)
    except NotTheOwner as error:
        log.warning("not the owner", integration=str(integration_id), error=error.message)
        await ownership.stop(parts.database, turn, error.message)
        raise
    except TimeoutError:
        await ownership.end_turn(parts.database, turn)
        raise OwnerBusy("The bucket took too long to say whose it is.") from None
    except Fenced:
        await ownership.end_turn(parts.database, turn)
        raise OwnerBusy("The turn was over; another worker may have its own by now.") from None
    except BaseException:
        # Also where this worker stops: nobody has to wait for the end of its turn.
        await ownership.end_turn(parts.database, turn)
        raise


async def carry_out_due(parts: Parts) -> int:
    """Read the owner objects that are due; returns how many there were.

    Raises DatabaseUnavailable.
    """
    due = await ownership.due_owners(parts.database, BATCH)
    limit = asyncio.Semaphore(AT_ONCE)

    async def one(id: UUID) -> None:
        async with limit:
            try:
                await may_delete_by_itself(parts, id)
            except GatewayError as error:
                log.warning("an owner cannot be asked", integration=str(id), code=error.code)
                await look_soon(parts, id, error)

    async with asyncio.TaskGroup() as tasks:
        for id in due:
            tasks.create_task(one(id))
    return len(due)


async def release(parts: Parts, integration_id: UUID) -> None:
    """Remove our owner object, so that the place is free. Another one's stays.

    Raises what `require_owner` raises, but not NotTheOwner.
    """
    try:
        turn, hold = await _wait_for_turn(parts, integration_id)
    except NotTheOwner:
        return

    async def remove() -> None:
        storage = parts.storage_of(turn.storage)
        for version in await storage.versions(owner_name(turn.storage.prefix)):
            if read_owner(version.info).mark in turn.marks:
                hold.require()
                await storage.delete(version.file_id, version.name)

    try:
        await hold.during(remove)
    except Fenced:
        raise OwnerBusy from None
    finally:
        await ownership.end_turn(parts.database, turn)


async def _wait_for_turn(parts: Parts, integration_id: UUID) -> tuple[Turn, Hold]:
    """Wait for other workers of this database: their turns do not take ours away."""
    lease = timedelta(seconds=parts.times.lease)
    loop = asyncio.get_running_loop()
    end = loop.time() + WAIT_SECONDS
    while True:
        clock = LeaseClock(parts.times.give_up)
        try:
            turn = await ownership.begin_turn(
                parts.database, parts.sealer, integration_id, lease=lease
            )
        except OwnerBusy:
            if loop.time() > end:
                raise
        else:
            renew = functools.partial(ownership.renew_turn, parts.database, turn)
            return turn, Hold(parts.times, clock, renew)
        await asyncio.sleep(LOOK_SECONDS)


async def _advance(parts: Parts, turn: Turn, hold: Hold) -> None:
    storage = parts.storage_of(turn.storage)

    async def write() -> list[StoredObject]:
        await parts.step(Step.OWNER_TURN_BEGUN)
        marks = [*turn.marks]
        for _ in range(TRIES):
            old = await _try_to_advance(parts, turn, storage, hold, marks)
            if old is not None:
                return old
        raise OwnerBusy("The owner object changed while it was read.")

    old = await hold.during(write)
    await parts.step(Step.OWNER_CONFIRMED)
    for version in old:
        await storage.delete(version.file_id, version.name)


async def _try_to_advance(
    parts: Parts, turn: Turn, storage: Storage, hold: Hold, marks: list[UUID]
) -> list[StoredObject] | None:
    """Write the next version; `marks` learns its mark. Returns the versions that are to go.

    None: something else changed meanwhile, and it is to be read anew. Raises NotTheOwner, Fenced.
    """
    name = owner_name(turn.storage.prefix)
    before = await storage.versions(name)
    if not turn.is_claim:
        _require(before, marks, turn)
    mark = await ownership.issue_mark(parts.database, turn)
    marks.append(mark)
    await parts.step(Step.OWNER_MARK_ISSUED)
    generation = next_generation([read_owner(version.info) for version in before], turn.generation)
    owner = OwnerObject(installation_id=turn.installation_id, generation=generation, mark=mark)
    # Others write by this name too: whoever does so at the same time must see ours, and we theirs.
    hold.require()
    await storage.put(
        name, owner.encode(), info=owner.info(), content_type=OWNER_CONTENT_TYPE, alone=False
    )
    await parts.step(Step.OWNER_WRITTEN)
    after = await storage.versions(name)
    # Where our turn is over, what others of this database wrote meanwhile is unknown to us.
    hold.require()
    ours = [version for version in after if read_owner(version.info).mark == mark]
    others = [version for version in after if version not in ours]
    if not ours or {one.file_id for one in others} != {one.file_id for one in before}:
        for version in ours:
            await storage.delete(version.file_id, name)
        if not turn.is_claim:
            _require(others, marks, turn)
        return None
    await ownership.confirm(parts.database, turn, generation)
    return [*others, *ours[1:]]


def _require(versions: Sequence[StoredObject], marks: Sequence[UUID], turn: Turn) -> None:
    seen = [read_owner(version.info) for version in versions]
    holder = find_holder(seen, marks=marks, generation=turn.generation)
    if holder not in {Holder.WE, Holder.NOBODY}:
        raise NotTheOwner(explain(holder, seen, turn.installation_id))
