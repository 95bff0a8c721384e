"""Containers that a worker found on an engine, without one."""

from app.model.containers import InstanceState
from app.model.discovery import EngineContainer, find
from app.model.engines import EngineRecord
from app.model.labels import Problem
from app.postgres.pool import Database
from app.service.discovery import resync


async def find_one(worker: Database, engine: EngineRecord, *, integration: str) -> list[Problem]:
    """The container `found`, of the service `db` of the Compose project `shop`."""
    listed = EngineContainer(
        id="c" * 64,
        name="shop-db-1",
        state=InstanceState.RUNNING,
        created=1,
        labels={
            "backup-gateway.container": "found",
            "backup-gateway.user": "no user",
            "backup-gateway.backup.integration": integration,
            "backup-gateway.backup.command": "cat data",
            "com.docker.compose.project": "shop",
            "com.docker.compose.service": "db",
        },
    )
    found, problems = find([listed])
    return problems + await resync(worker, engine, found)
