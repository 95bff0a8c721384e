"""Recoveries: records rebuilt from the manifests in a bucket, after a database was lost."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from app.errors import GatewayError, InvalidInput
from app.model.access import Capability, Principal
from app.model.containers import Container, ContainerState, NewContainer
from app.model.integrations import Integration
from app.model.objects import BackupPlace, Manifest, manifest_name
from app.model.scans import ScanCounts, ScanKind, ScanPhase, ScanStep
from app.model.texts import check_hostname, check_identifier
from app.postgres.listen import notify
from app.postgres.pool import Connection, Database
from app.queries import containers, integrations, reconciles, recoveries, scans
from app.queries.recoveries import RecoveredBackup
from app.service.idempotency import claim, keep
from app.service.ownership import claim_in
from app.service.scans import TOPICS, describe, require_live, require_own
from app.service.topics import list_of


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundBackup:
    """An object with its manifest; both were seen in the bucket, and agree."""

    manifest: Manifest
    manifest_file_id: str


async def recover_backups(
    database: Database,
    principal: Principal,
    *,
    id: UUID,
    former_hub_id: UUID | None = None,
    idempotency_key: str | None = None,
) -> Integration:
    """Have the records rebuilt of all backups under the integration's prefix that have none.

    `former_hub_id`: whose they were, where the bucket holds backups of several lost hubs. One that
    is under way goes on. Raises NotPermitted, NotFound, InvalidState (INTEGRATION_NOT_LIVE).
    """
    principal.require(Capability.CONFIGURE)
    call = (principal, "recoverBackups", idempotency_key)
    hub_id = principal.hub_id
    async with database.transaction(hub_id) as connection:
        if await claim(connection, *call, {"id": id, "formerHubId": former_hub_id}) is None:
            await require_live(connection, principal, id)
            await scans.request(
                connection,
                hub_id,
                id,
                ScanKind.RECOVER,
                believed=former_hub_id is not None,
                former_hub_id=former_hub_id,
            )
            await notify(connection, [TOPICS[ScanKind.RECOVER]])
            await keep(connection, *call, {"id": str(id)})
        integration = await integrations.get(connection, hub_id, id)
        assert integration is not None
        return integration


async def other_hubs(
    database: Database, step: ScanStep, hub_ids: Collection[UUID]
) -> frozenset[UUID]:
    """Which of these are hubs of this database, beside the scan's own: never to be recovered."""
    async with database.connection(None) as connection:
        return await scans.other_hubs(connection, hub_ids, step.hub_id)


async def looked(
    database: Database, step: ScanStep, following: str | None, former_hub_id: UUID | None
) -> None:
    """The names up to `following` (None: all) hold backups of this lost hub at most.

    Raises Fenced.
    """
    async with database.transaction(None) as connection:
        await require_own(connection, step)
        await scans.advance(
            connection,
            step,
            phase=ScanPhase.READING if following is None else ScanPhase.LOOKING,
            cursor=following,
            counts=step.counts,
            former_hub_id=former_hub_id,
        )


async def give_up(database: Database, step: ScanStep, error: GatewayError) -> None:
    """Nothing is recovered before somebody has said whose backups these are. Raises Fenced."""
    async with database.transaction(None) as connection:
        await require_own(connection, step)
        await scans.end(
            connection, step, step.counts, error=describe(error), again_in=None, forget_hub=True
        )


async def find_known(
    database: Database, step: ScanStep, places: Collection[tuple[str, BackupPlace]]
) -> frozenset[UUID]:
    """Which of these backups have a record, or are about to be removed."""
    async with database.connection(None) as connection:
        return await _find_known(connection, step.integration_id, places)


async def record_found(
    database: Database,
    step: ScanStep,
    found: Sequence[FoundBackup],
    following: str | None,
    counts: ScanCounts,
) -> None:
    """Make the records of what was found up to the name `following` (None: the end).

    Twice makes nothing twice. Raises Fenced.
    """
    async with database.transaction(None) as connection:
        await require_own(connection, step)
        known = await _find_known(
            connection,
            step.integration_id,
            [(one.manifest.object_name, one.manifest.place) for one in found],
        )
        made = skipped = 0
        for one in found:
            if one.manifest.place.backup_id in known:
                continue
            container = await find_container(connection, step.hub_id, one.manifest)
            if container is not None and await make_record(
                connection, step.integration_id, container, one
            ):
                made += 1
            else:
                skipped += 1
        if made and not step.counts.recovered:
            # What is ours from now on, nobody else may delete by itself.
            await claim_in(connection, step.hub_id, step.integration_id)
        counts = replace(
            counts,
            recovered=counts.recovered + made,
            known=counts.known + len(found) - made - skipped,
            skipped=counts.skipped + skipped,
        )
        if following is None:
            await scans.end(connection, step, counts, again_in=None)
            await scans.reconcile_now(connection, step.integration_id)
            await notify(connection, [TOPICS[ScanKind.RECONCILE]])
        else:
            await scans.advance(
                connection, step, phase=ScanPhase.READING, cursor=following, counts=counts
            )


async def find_container(
    connection: Connection, hub_id: UUID, manifest: Manifest
) -> Container | None:
    """The container of a manifest: by id, else by identifier, else a new one.

    Nobody deletes it until the transaction ends. None: it is being deleted, or cannot be.
    """
    try:
        check_identifier(manifest.container_identifier, what="The identifier", path=())
        check_hostname(manifest.instance_hostname, what="The hostname", path=())
    except InvalidInput:
        return None
    identifier = manifest.container_identifier
    found = await containers.hold(connection, hub_id, manifest.place.container_id)
    if found is None or found.state is ContainerState.DELETED:
        new = NewContainer(identifier=identifier, name=identifier, stateful=True, labels={})
        made = await containers.create(connection, hub_id, new)
        found = made or await containers.hold_identifier(connection, hub_id, identifier)
    return found if found is not None and found.state is ContainerState.LIVE else None


async def make_record(
    connection: Connection, integration_id: UUID, container: Container, found: FoundBackup
) -> bool:
    """A LIVE record of an object and its manifest. False: the backup's id is taken."""
    made = await recoveries.recover_backup(
        connection,
        container.hub_id,
        RecoveredBackup(
            container_id=container.id,
            integration_id=integration_id,
            manifest=found.manifest,
            manifest_file_id=found.manifest_file_id,
        ),
    )
    if made:
        await notify(connection, [list_of(container.id, found.manifest.place.backup_id)])
    return made


async def _find_known(
    connection: Connection, integration_id: UUID, places: Collection[tuple[str, BackupPlace]]
) -> frozenset[UUID]:
    taken = await reconciles.taken_ids(connection, [place.backup_id for _, place in places])
    names = {name: place.backup_id for name, place in places}
    names |= {manifest_name(name): id for name, id in names.items()}
    pending = await reconciles.pending(connection, integration_id, names)
    return taken | {names[one.name] for one in pending}
