"""Verifications for tests, through the services."""

from datetime import timedelta
from uuid import UUID

from app.model.backups import Backup
from app.model.containers import Instance
from app.model.orders import VerificationOrder
from app.model.verifications import Verification, VerificationLevel
from app.postgres.pool import Database
from app.queries import verifications
from app.service.runs import start_run
from app.service.verifications import verify_backup
from tests.builders import SEALER, START_WITHIN, TTL, Stage, a_claim


async def a_queued_verification(
    gateway: Database,
    stage: Stage,
    backup: Backup,
    *,
    level: VerificationLevel = VerificationLevel.STORED,
    instance: Instance | None = None,
    start_within: timedelta = START_WITHIN,
) -> Verification:
    return await verify_backup(
        gateway,
        stage.admin,
        backup_id=backup.id,
        level=level,
        instance_id=None if instance is None else instance.id,
        start_within=start_within,
    )


async def a_started_verification(
    gateway: Database,
    worker: Database,
    stage: Stage,
    backup: Backup,
    *,
    level: VerificationLevel = VerificationLevel.STORED,
    instance: Instance | None = None,
    ttl: timedelta = TTL,
) -> VerificationOrder:
    """A verification that a worker carries out now."""
    made = await a_queued_verification(gateway, stage, backup, level=level, instance=instance)
    claimed = await a_claim(worker, made.id, ttl=ttl)
    order = await start_run(worker, claimed, sealer=SEALER)
    assert isinstance(order, VerificationOrder)
    return order


async def read_verification(database: Database, stage: Stage, id: UUID) -> Verification:
    """The verification as it is now."""
    async with database.connection(stage.admin.hub_id) as connection:
        verification = await verifications.get(connection, stage.admin.hub_id, id)
    assert verification is not None
    return verification
