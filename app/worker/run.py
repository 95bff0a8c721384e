"""Carries out one run: claim, leftovers, work under lease, deadline and cancel, and its ending."""

import asyncio
from datetime import timedelta
from uuid import UUID

import structlog

from app.errors import (
    Canceled,
    Fenced,
    GatewayError,
    HandedOff,
    Interrupted,
    RunError,
    SafetyBackupFailed,
    TimedOut,
)
from app.model.backups import StoredBackup
from app.model.orders import ClaimedRun, Order, RestoreOrder, SaveOrder, VerificationOrder
from app.model.restores import RestorePhase
from app.model.steps import Step, step_of
from app.postgres.leases import LeaseClock
from app.service import endings, runs
from app.service.orders import start_safety_backup
from app.worker import transfers
from app.worker.parts import Parts
from app.worker.persistence import Watch, end_log, end_progress, persist
from app.worker.probe import look_soon
from app.worker.running import Roster, Running

Outcome = StoredBackup | int | None | GatewayError
"""What was stored, an exit code, or why it ended otherwise."""

log = structlog.get_logger()


async def carry_out(parts: Parts, roster: Roster, run_id: UUID) -> bool:
    """Carry out a run if it is free for us; False where it is not."""
    if run_id in roster:
        return False
    # The clock starts before the claim is sent: the lease lasts at least as long.
    clock = LeaseClock(parts.times.give_up)
    claimed = await runs.claim_run(
        parts.database,
        run_id,
        owner=parts.owner,
        places=parts.places,
        ttl=timedelta(seconds=parts.times.lease),
        runs_per_hub=parts.runs_per_hub,
        serves=parts.serves,
    )
    if claimed is None:
        return False
    running = Running(claimed, clock)
    roster.enter(running)
    try:
        with structlog.contextvars.bound_contextvars(
            run=str(run_id), hub=str(claimed.run.hub_id), epoch=claimed.run.epoch
        ):
            await _carry_out_claimed(parts, running)
    finally:
        roster.leave(running)
    return True


async def _carry_out_claimed(parts: Parts, running: Running) -> None:
    kind = running.claimed.run.kind
    await parts.step(step_of(kind, "CLAIMED"))
    try:
        await _kill_leftovers(parts, running.claimed)
    except GatewayError as error:
        # Not freed: the lease runs out, and whoever can reach the place tries again.
        log.warning("leftovers could not be killed", code=error.code, error=error.message)
        return
    try:
        order = await persist(
            running,
            lambda: runs.start_run(parts.database, running.claimed, sealer=parts.sealer),
        )
        if order is None:
            log.warning("run was ended instead of started; its record says why")
            return
        await parts.step(step_of(kind, "STARTED"))
        outcome = await _work(parts, running, order)
        await parts.step(step_of(kind, "TRANSFERRED"))
        await _end(parts, running, order, outcome)
        await parts.step(step_of(kind, "RECORDED"))
    except Fenced:
        log.warning("run was taken over")


async def _kill_leftovers(parts: Parts, claimed: ClaimedRun) -> None:
    """Make the instance really free: what the former owner left running is killed first."""
    if (leftover := claimed.leftover) is None:
        return
    assert claimed.instance is not None
    executor = await parts.executor_of(claimed.instance)
    await executor.kill_leftovers(leftover.trace or {}, leftover.run_mark)


async def _work(parts: Parts, running: Running, order: Order) -> Outcome:
    """Do the transfer in a task of its own, so that it can be told to stop at any time."""
    async with asyncio.TaskGroup() as tasks:
        work = tasks.create_task(_outcome(parts, running, order))
        running.attach(work)
        await asyncio.wait({work})
    if work.cancelled():
        return running.reason or Interrupted()
    outcome = work.result()
    if isinstance(outcome, GatewayError) and running.reason is not None:
        return running.reason
    return outcome


async def _outcome(parts: Parts, running: Running, order: Order) -> Outcome:
    seconds = order.run.timeout.total_seconds()
    try:
        if isinstance(order, RestoreOrder) and order.restore.safety_backup_id is not None:
            # Its time is its own, so that a slow save leaves the restore its whole time.
            await _save_target(parts, running, order)
        async with asyncio.timeout(seconds):
            if isinstance(order, SaveOrder):
                return await transfers.save(parts, running, order)
            if isinstance(order, RestoreOrder):
                return await transfers.restore(parts, running, order)
            return await transfers.verify(parts, running, order)
    except TimeoutError:
        return TimedOut(f"The run took longer than its timeout of {seconds:g} s.")
    except GatewayError as error:
        return error
    except Exception:
        log.exception("run failed unexpectedly")
        return RunError("The run failed by a defect of the gateway; its log has the details.")


async def _save_target(parts: Parts, running: Running, order: RestoreOrder) -> None:
    """Save the instance before anything is restored into it. Raises Fenced, SafetyBackupFailed."""
    # With it the restore's own row is listened to, so that its cancel is heard.
    transfers.make_output(parts, running, order)
    await Watch(parts, running).phase(RestorePhase.SAVING_TARGET)
    save_order = await persist(
        running,
        lambda: start_safety_backup(parts.database, running.claimed, sealer=parts.sealer),
    )
    if save_order is None:
        return
    await parts.step(Step.SAFETY_BACKUP_BEGUN)
    claimed = ClaimedRun(run=save_order.run, instance=save_order.instance, leftover=None)
    carried = Running(claimed, running.clock, carrier=running)
    parts_of_it = structlog.contextvars.bound_contextvars(run=str(carried.id))
    with parts_of_it, running.carrying(carried):
        outcome = await _work(parts, carried, save_order)
        await _end(parts, carried, save_order, outcome)
    if not isinstance(outcome, GatewayError):
        await parts.step(Step.SAFETY_BACKUP_RECORDED)
        await Watch(parts, running).phase(RestorePhase.PREPARING)
    else:
        reason = "that was cancelled." if isinstance(outcome, Canceled) else outcome.message
        raise SafetyBackupFailed(
            f"The instance could not be saved first, so the restore did not begin: {reason}"
        )


async def _end(
    parts: Parts,
    running: Running,
    order: Order,
    outcome: Outcome,
) -> None:
    if isinstance(outcome, Fenced):
        raise outcome
    await end_progress(parts, running)
    await end_log(parts, running)
    database, run_id, epoch = parts.database, running.id, running.epoch
    exit_code = running.output.exit_code if running.output else None
    if isinstance(outcome, HandedOff):
        if not running.touched:
            await persist(running, lambda: endings.requeue_run(database, run_id, epoch))
            log.info("run was handed off")
            return
        outcome = Interrupted()
    if isinstance(outcome, GatewayError):
        error = outcome
        log.info("run ended", code=error.code)
        if isinstance(error, Canceled):
            await persist(running, lambda: endings.cancel_ended(database, run_id, epoch, exit_code))
        else:
            await persist(
                running,
                lambda: endings.fail_run(database, run_id, epoch, error=error, exit_code=exit_code),
            )
            await look_soon(parts, order.storage.integration_id, error)
    elif isinstance(outcome, StoredBackup) and isinstance(order, SaveOrder):
        stored = outcome
        await persist(running, lambda: endings.finish_backup(database, order, stored))
        log.info("backup is live", bytes=stored.size_bytes)
    elif isinstance(order, RestoreOrder):
        await persist(running, lambda: endings.finish_restore(database, order, 0))
        log.info("restore succeeded", bytes=order.object.size_bytes)
    elif isinstance(order, VerificationOrder):
        await persist(running, lambda: endings.finish_verification(database, order, exit_code))
        log.info("verification passed", proves=order.verification.level)
