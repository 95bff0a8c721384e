"""What people decide about drift: an orphan adopted or deleted, a loss accepted."""

from typing import Final
from uuid import UUID

from app.errors import InvalidInput, InvalidState, NotFound
from app.model.access import Capability, Principal
from app.model.backups import Backup, BackupState, StorageStatus
from app.model.drifts import Drift, DriftDetail, DriftKind, DriftResolution, base_of
from app.model.integrations import IntegrationState
from app.model.objects import manifest_name, parse_object_name
from app.model.texts import check_hostname
from app.postgres.listen import notify
from app.postgres.pool import Connection, Database
from app.queries import backups, containers, drifts, integrations, runs
from app.service.backups import require_stateful
from app.service.idempotency import claim, keep
from app.service.topics import list_of

ADOPTIONS: Final = "duty:adoptions"


async def adopt_orphan(
    database: Database,
    principal: Principal,
    *,
    id: UUID,
    container_id: UUID | None = None,
    instance_hostname: str | None = None,
    idempotency_key: str | None = None,
) -> Drift:
    """Have a backup made of an orphaned object; a worker reads all of it where it must.

    Raises NotPermitted, NotFound, InvalidInput, InvalidState (DRIFT_RESOLVED, NOT_AN_ORPHAN,
    HAS_RECORD, INTEGRATION_NOT_LIVE, CONTAINER_DELETING, CONTAINER_NOT_STATEFUL).
    """
    principal.require(Capability.CONFIGURE)
    if instance_hostname is not None:
        check_hostname(instance_hostname, what="The hostname", path=("instanceHostname",))
    hub_id = principal.hub_id
    call = (principal, "adoptOrphan", idempotency_key)
    arguments = {"id": id, "container": container_id, "hostname": instance_hostname}
    async with database.transaction(hub_id) as connection:
        if await claim(connection, *call, arguments) is None:
            drift = await _lock(connection, hub_id, id)
            _require_object(drift)
            await _require_live(connection, drift)
            if container_id is not None:
                found = await containers.hold(connection, hub_id, container_id)
                require_stateful(found, path=("containerId",))
            await _require_free(connection, drift)
            await drifts.request_adoption(
                connection, drift, container_id=container_id, hostname=instance_hostname
            )
            await notify(connection, [ADOPTIONS])
            await keep(connection, *call, {"id": str(id)})
        return await _get(connection, hub_id, id)


async def delete_orphan(
    database: Database,
    principal: Principal,
    *,
    id: UUID,
    foreign: bool = False,
    idempotency_key: str | None = None,
) -> Drift:
    """Have exactly this version, or this unfinished upload, removed from the bucket.

    With the last version of an orphaned object its orphaned manifests go, too. What is FOREIGN goes
    only where `foreign` says so. Raises NotPermitted, NotFound, InvalidState (DRIFT_RESOLVED,
    NOT_AN_ORPHAN, FOREIGN_OBJECT, HAS_RECORD, ADOPTING).
    """
    principal.require(Capability.CONFIGURE)
    hub_id = principal.hub_id
    call = (principal, "deleteOrphan", idempotency_key)
    async with database.transaction(hub_id) as connection:
        if await claim(connection, *call, {"id": id, "foreign": foreign}) is None:
            drift = await _lock(connection, hub_id, id)
            _require_deletable(drift, foreign=foreign)
            if await drifts.is_recorded(connection, drift, base_of(drift.name)):
                raise _has_record()
            await _reclaim(connection, drift)
            await notify(connection, ["duty:reclaims"])
            await keep(connection, *call, {"id": str(id)})
        return await _get(connection, hub_id, id)


async def accept_loss(
    database: Database,
    principal: Principal,
    *,
    backup_id: UUID,
    idempotency_key: str | None = None,
) -> Backup:
    """The backup's object is gone for good, and nobody needs to be told of it again.

    The record stays, and nothing in the bucket is touched. One whose loss was accepted before is
    answered as it is. Raises NotPermitted, NotFound, InvalidState (NOT_MISSING).
    """
    principal.require(Capability.CONFIGURE)
    hub_id = principal.hub_id
    call = (principal, "acceptLoss", idempotency_key)
    async with database.transaction(hub_id) as connection:
        if await claim(connection, *call, {"backupId": backup_id}) is None:
            locked = await runs.lock_backups(connection, hub_id, [backup_id])
            backup = await _backup(connection, hub_id, backup_id)
            is_accepted = backup.storage_status is StorageStatus.LOSS_ACCEPTED
            if not is_accepted and not await drifts.accept_loss(connection, hub_id, backup_id):
                raise InvalidState(
                    f"The backup is {backup.state}, its object {backup.storage_status}: only the"
                    " loss of a LIVE backup's MISSING object can be accepted.",
                    code="NOT_MISSING",
                    path=("backupId",),
                )
            await drifts.resolve_of_backup(
                connection, hub_id, backup_id, DriftResolution.LOSS_ACCEPTED
            )
            place = locked[backup_id].container_id
            await notify(connection, [f"run:{backup_id}", list_of(place, backup_id)])
            await keep(connection, *call, {"id": str(backup_id)})
        return await _backup(connection, hub_id, backup_id)


async def _reclaim(connection: Connection, drift: Drift) -> None:
    kind = "UPLOAD" if drift.detail is DriftDetail.UPLOAD else "OBJECT"
    await drifts.reclaim(connection, drift, kind=kind, name=drift.name, file_id=drift.file_id)
    is_object = (drift.kind, drift.detail) == (DriftKind.ORPHAN, DriftDetail.OBJECT)
    if is_object and not await drifts.has_other_objects(connection, drift):
        manifest = manifest_name(drift.name)
        for id, file_id in await drifts.manifests_of(connection, drift, manifest):
            await drifts.reclaim(connection, drift, kind="OBJECT", name=manifest, file_id=file_id)
            await drifts.resolve(connection, drift.hub_id, id, DriftResolution.RECLAIMED)
    await drifts.resolve(connection, drift.hub_id, drift.id, DriftResolution.RECLAIMED)


def _require_object(drift: Drift) -> None:
    if (drift.kind, drift.detail) != (DriftKind.ORPHAN, DriftDetail.OBJECT):
        raise InvalidState(
            f"It is {drift.kind}, {drift.detail}; only an orphaned object can be adopted.",
            code="NOT_AN_ORPHAN",
            path=("id",),
        )
    if not drift.size_bytes:
        raise InvalidState(
            "The object is empty: it is no backup.", code="NOT_AN_ORPHAN", path=("id",)
        )


def _require_deletable(drift: Drift, *, foreign: bool) -> None:
    if drift.kind is DriftKind.FOREIGN:
        if not foreign:
            raise InvalidState(
                "The object is not the gateway's: it may be somebody's only copy of something. To"
                " delete it all the same, say so by `foreign`.",
                code="FOREIGN_OBJECT",
                path=("foreign",),
            )
    elif drift.kind not in {DriftKind.ORPHAN, DriftKind.UNFINISHED}:
        raise InvalidState(
            f"It is {drift.kind}: there is no orphan to be deleted.",
            code="NOT_AN_ORPHAN",
            path=("id",),
        )
    if drift.adopting:
        raise InvalidState(
            "The orphan is being adopted; wait for the end of that.", code="ADOPTING", path=("id",)
        )


async def _require_live(connection: Connection, drift: Drift) -> None:
    integration = await integrations.hold(connection, drift.hub_id, drift.integration_id)
    if integration is None or integration.state is not IntegrationState.LIVE:
        state = "gone" if integration is None else integration.state
        raise InvalidState(
            f"The integration is {state}, not LIVE.", code="INTEGRATION_NOT_LIVE", path=("id",)
        )


async def _require_free(connection: Connection, drift: Drift) -> None:
    """Raise InvalidState where the backup that the object would be has a record."""
    integration = await integrations.get(connection, drift.hub_id, drift.integration_id)
    assert integration is not None
    place = parse_object_name(integration.prefix, drift.name)
    if place is None:
        raise InvalidInput("The object's name is none of a backup.", path=("id",))
    if await backups.get(connection, drift.hub_id, place.backup_id) is not None:
        raise _has_record()


def _has_record() -> InvalidState:
    return InvalidState(
        "There is a record of this backup by now; reconcile to see what is left to do.",
        code="HAS_RECORD",
        path=("id",),
    )


async def _lock(connection: Connection, hub_id: UUID, id: UUID) -> Drift:
    drift = await drifts.lock(connection, hub_id, id)
    if drift is None:
        raise NotFound(path=("id",))
    if drift.resolved_at is not None:
        raise InvalidState(
            f"This was settled already: {drift.resolution}.", code="DRIFT_RESOLVED", path=("id",)
        )
    return drift


async def _get(connection: Connection, hub_id: UUID, id: UUID) -> Drift:
    drift = (await drifts.by_ids(connection, hub_id, [id])).get(id)
    if drift is None:
        raise NotFound(path=("id",))
    return drift


async def _backup(connection: Connection, hub_id: UUID, id: UUID) -> Backup:
    backup = await backups.get(connection, hub_id, id)
    if backup is None or backup.state is BackupState.DELETED:
        raise NotFound(path=("backupId",))
    return backup
