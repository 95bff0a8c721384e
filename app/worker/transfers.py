"""The work of each kind of run: an order becomes a transfer between a command and storage."""

from datetime import UTC, datetime

from app.executor.port import Command
from app.model.backups import StoredBackup
from app.model.logs import Redactor
from app.model.objects import Manifest, ManifestPolicy
from app.model.orders import Order, RestoreOrder, SaveOrder, VerificationOrder
from app.model.restores import Restore as RestoreRecord
from app.model.runs import run_mark
from app.storage.port import StoredObject
from app.transfer.pipe import CHECK, Output
from app.transfer.restore import Restore
from app.transfer.save import Hashes, Save
from app.transfer.verify import Rereading
from app.worker.parts import Parts
from app.worker.persistence import Watch
from app.worker.running import Running


async def save(parts: Parts, running: Running, order: SaveOrder) -> StoredBackup:
    output = make_output(parts, running, order)
    started_at = _now()

    def make_manifest(stored: StoredObject, hashes: Hashes) -> bytes:
        return Manifest(
            place=order.place,
            object_name=order.object_name,
            file_id=stored.file_id,
            size=stored.size,
            sha256=hashes.sha256,
            chunk_hashes=hashes.chunk_hashes,
            container_identifier=order.container.identifier,
            instance_hostname=order.backup.instance_hostname,
            trigger=order.backup.trigger,
            created_at=order.backup.created_at,
            started_at=started_at,
            finished_at=_now(),
            policy=ManifestPolicy(
                backup_command=order.backup.backup_command,
                backup_timeout=order.run.timeout,
                min_bytes=order.min_bytes,
                restore_command=order.backup.restore_command,
                restore_timeout=order.policy.restore_timeout if order.policy else None,
            ),
        ).encode()

    work = Save(
        command=_make_command(running, order, order.run.command),
        object_name=order.object_name,
        info=order.place.file_info(),
        min_bytes=order.min_bytes,
        make_manifest=make_manifest,
        output=output,
        counters=running.counters,
        watch=Watch(parts, running),
        close_seconds=parts.times.output_close,
    )
    executor = await parts.executor_of(order.instance)
    return await work.carry_out(executor, parts.storage_of(order.storage), parts.threads)


async def restore(parts: Parts, running: Running, order: RestoreOrder) -> int:
    """Feed the object to the restore command, then run the check. Returns the exit code, 0."""
    output = make_output(parts, running, order)
    work = _feed(running, order, output, Watch(parts, running), record=order.restore)
    executor = await parts.executor_of(order.instance)
    return await work.carry_out(executor, parts.storage_of(order.storage), parts.threads)


async def verify(parts: Parts, running: Running, order: VerificationOrder) -> int | None:
    """Read the object again, by a command where the level asks for one. Returns its exit code."""
    output = make_output(parts, running, order)
    storage = parts.storage_of(order.storage)
    if order.instance is None:
        stored = order.object
        rereading = Rereading(
            name=stored.name,
            file_id=stored.file_id,
            size=stored.size_bytes,
            sha256=stored.sha256,
            chunk_hashes=stored.chunk_hashes,
            counters=running.counters,
        )
        await rereading.carry_out(storage, parts.threads)
        return None
    watch = Watch(parts, running, restores=order.restore is not None)
    work = _feed(running, order, output, watch, record=order.restore)
    executor = await parts.executor_of(order.instance)
    return await work.carry_out(executor, storage, parts.threads)


def make_output(parts: Parts, running: Running, order: Order) -> Output:
    """Where the log of this try goes; every secret that is known is left out of it."""
    if running.output is None:
        known = [*order.variables.values(), *parts.hidden.values(), order.storage.key]
        secrets = [value.encode() for value in known]
        running.output = Output((Redactor(secrets), Redactor(secrets)))
    return running.output


def _feed(
    running: Running,
    order: RestoreOrder | VerificationOrder,
    output: Output,
    watch: Watch,
    *,
    record: RestoreRecord | None,
) -> Restore:
    """The object into the run's command; `record` None: the command only checks what it reads."""
    check = None if record is None else record.check_command
    return Restore(
        command=_make_command(running, order, order.run.command),
        check=None if check is None else _make_command(running, order, check),
        what=CHECK if record is None else "restore",
        file_id=order.object.file_id,
        size=order.object.size_bytes,
        sha256=order.object.sha256,
        chunk_hashes=order.object.chunk_hashes,
        output=output,
        counters=running.counters,
        watch=watch,
    )


def _now() -> datetime:
    # Only shown in the manifest; what decides anything is told by the database's clock.
    return datetime.now(UTC)  # noqa: TID251


def _make_command(running: Running, order: Order, shell: str) -> Command:
    # Who takes the instance over kills by the mark of the run that had its lease.
    holder = running.holder
    return Command(
        shell=shell, variables=order.variables, run_mark=run_mark(holder.id, holder.epoch)
    )
