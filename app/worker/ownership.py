"""Asks and advances owner objects: before a batch that deletes by itself, on a claim, each hour."""

import asyncio
from collections.abc import Sequence
from uuid import UUID

import structlog

from app.errors import GatewayError, NotTheOwner, OwnerBusy
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
from app.service import ownership
from app.storage.port import Storage, StoredObject
from app.worker.parts import Parts

BATCH = 20
AT_ONCE = 4
TURN_SECONDS = 90.0
"""Less than a turn lasts: whoever was late writes nothing more."""
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
    turn = await _wait_for_turn(parts, integration_id)
    try:
        async with asyncio.timeout(TURN_SECONDS):
            await _advance(parts, turn)
    except NotTheOwner as error:
        log.warning("not the owner", integration=str(integration_id), error=error.message)
        await ownership.stop(parts.database, turn, error.message)
        raise
    except TimeoutError:
        await ownership.end_turn(parts.database, turn)
        raise OwnerBusy("The bucket took too long to say whose it is.") from None
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

    async with asyncio.TaskGroup() as tasks:
        for id in due:
            tasks.create_task(one(id))
    return len(due)


async def release(parts: Parts, integration_id: UUID) -> None:
    """Remove our owner object, so that the place is free. Another one's stays.

    Raises what `require_owner` raises, but not NotTheOwner.
    """
    try:
        turn = await _wait_for_turn(parts, integration_id)
    except NotTheOwner:
        return
    try:
        storage = parts.storage_of(turn.storage)
        for version in await storage.versions(owner_name(turn.storage.prefix)):
            if read_owner(version.info).mark in turn.marks:
                await storage.delete(version.file_id, version.name)
    finally:
        await ownership.end_turn(parts.database, turn)


async def _wait_for_turn(parts: Parts, integration_id: UUID) -> Turn:
    """Wait for other workers of this database: their turns do not take ours away."""
    loop = asyncio.get_running_loop()
    end = loop.time() + WAIT_SECONDS
    while True:
        try:
            return await ownership.begin_turn(parts.database, parts.sealer, integration_id)
        except OwnerBusy:
            if loop.time() > end:
                raise
        await asyncio.sleep(LOOK_SECONDS)


async def _advance(parts: Parts, turn: Turn) -> None:
    storage = parts.storage_of(turn.storage)
    marks = [*turn.marks]
    for _ in range(TRIES):
        if await _try_to_advance(parts, turn, storage, marks):
            return
    raise OwnerBusy("The owner object changed while it was read.")


async def _try_to_advance(parts: Parts, turn: Turn, storage: Storage, marks: list[UUID]) -> bool:
    """Write the next version; `marks` learns its mark.

    False: something else changed meanwhile, and it is to be read anew. Raises NotTheOwner.
    """
    name = owner_name(turn.storage.prefix)
    before = await storage.versions(name)
    if not turn.is_claim:
        _require(before, marks, turn)
    mark = await ownership.issue_mark(parts.database, turn)
    marks.append(mark)
    generation = next_generation([read_owner(version.info) for version in before], turn.generation)
    owner = OwnerObject(installation_id=turn.installation_id, generation=generation, mark=mark)
    # Others write by this name too: whoever does so at the same time must see ours, and we theirs.
    await storage.put(
        name, owner.encode(), info=owner.info(), content_type=OWNER_CONTENT_TYPE, alone=False
    )
    after = await storage.versions(name)
    ours = [version for version in after if read_owner(version.info).mark == mark]
    others = [version for version in after if version not in ours]
    if not ours or {one.file_id for one in others} != {one.file_id for one in before}:
        for version in ours:
            await storage.delete(version.file_id, name)
        if not turn.is_claim:
            _require(others, marks, turn)
        return False
    await ownership.confirm(parts.database, turn, generation)
    for version in [*others, *ours[1:]]:
        await storage.delete(version.file_id, name)
    return True


def _require(versions: Sequence[StoredObject], marks: Sequence[UUID], turn: Turn) -> None:
    seen = [read_owner(version.info) for version in versions]
    holder = find_holder(seen, marks=marks, generation=turn.generation)
    if holder not in {Holder.WE, Holder.NOBODY}:
        raise NotTheOwner(explain(holder, seen, turn.installation_id))
