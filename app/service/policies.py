"""Backup policies: set as a whole, or removed; backups stay."""

from dataclasses import fields, is_dataclass
from datetime import timedelta
from typing import Final
from uuid import UUID

from app.errors import InvalidState, NotFound
from app.model.access import Capability, Principal
from app.model.containers import Container
from app.model.integrations import Integration, IntegrationState
from app.model.policies import BackupPolicy, NewPolicy, check_policy
from app.model.schedules import MOST_JITTER
from app.model.shell_syntax import find_syntax_error
from app.model.sources import set_by_api
from app.postgres.pool import Connection, Database
from app.queries import containers, instances, integrations, policies
from app.service.containers import require_live
from app.service.idempotency import claim, keep
from app.service.schedules import end_schedule, set_schedule

MOST: Final = 100
"""How many instances are looked at for a warning."""


async def configure_backups(
    database: Database,
    principal: Principal,
    *,
    container_id: UUID,
    policy: NewPolicy | None,
    most_jitter: timedelta = MOST_JITTER,
    idempotency_key: str | None = None,
) -> tuple[BackupPolicy | None, list[str]]:
    """Replace the container's policy; None removes it. The warnings say what will not work yet.

    Raises NotPermitted, NotFound, InvalidInput, InvalidState (CONTAINER_NOT_STATEFUL,
    CONTAINER_DELETING, INTEGRATION_DELETED).
    """
    principal.require(Capability.CONFIGURE)
    if policy is not None:
        check_policy(policy)
    call = (principal, "configureBackups", idempotency_key)
    arguments = {"containerId": str(container_id), "policy": _write(policy)}
    async with database.transaction(principal.hub_id) as connection:
        done = await claim(connection, *call, arguments)
        if done is not None:
            return await _get(connection, principal, container_id), list(done["warnings"])
        container = await containers.lock(connection, principal.hub_id, container_id)
        require_live(container, path=("containerId",))
        assert container is not None
        configured, warnings = None, list[str]()
        if policy is None:
            await end_schedule(connection, principal.hub_id, container_id)
            await policies.remove(connection, principal.hub_id, container_id)
        else:
            before = await _get(connection, principal, container_id)
            configured, warnings = await _put(connection, container, policy)
            await set_schedule(connection, configured, before=before, most_jitter=most_jitter)
        if container.sources:
            sources = set_by_api(container.sources, ["backupPolicy"])
            await containers.set_sources(connection, principal.hub_id, container_id, sources)
        await keep(connection, *call, {"warnings": warnings})
        return configured, warnings


async def _put(
    connection: Connection, container: Container, new: NewPolicy
) -> tuple[BackupPolicy, list[str]]:
    if not container.stateful:
        raise InvalidState(
            f"The container {container.identifier} is not stateful: it has nothing to back up.",
            code="CONTAINER_NOT_STATEFUL",
            path=("containerId",),
        )
    path = ("policy", "integrationId")
    integration = await integrations.hold(connection, container.hub_id, new.integration_id)
    if integration is None:
        raise NotFound("There is no such integration.", path=path)
    if integration.state in {IntegrationState.DELETING, IntegrationState.DELETED}:
        raise InvalidState(
            "The integration was deleted; choose another one.",
            code="INTEGRATION_DELETED",
            path=path,
        )
    policy = await policies.put(connection, container.hub_id, container.id, new, {})
    return policy, await _warn(connection, container, new, integration)


async def _warn(
    connection: Connection, container: Container, new: NewPolicy, integration: Integration
) -> list[str]:
    warnings = []
    if new.restore_command is None:
        warnings.append("There is no restore command: backups cannot be restored.")
    for what, command in (
        ("backup command", new.backup_command),
        ("restore command", new.restore_command),
        ("restore's check", new.restore_check),
        ("verification's check", new.verification.check if new.verification else None),
    ):
        if command is not None and (fault := find_syntax_error(command)) is not None:
            warnings.append(f"The {what} will fail: {fault}.")
    running = await instances.running(connection, container.hub_id, container.id, limit=MOST)
    if all(instance.scratch for instance in running):
        warnings.append("No instance of the container is running: there is nothing to back up.")
    if integration.state is not IntegrationState.LIVE:
        warnings.append(
            f"The integration {integration.name} is {integration.state}, not LIVE:"
            " backups are refused until its check has passed."
        )
    return warnings


def _write(policy: NewPolicy | None) -> dict[str, object] | None:
    """All of a policy as JSON, so that a repeated call can be told from another one."""
    return None if policy is None else _write_fields(policy)


def _write_fields(value: object) -> dict[str, object]:
    assert is_dataclass(value)
    return {field.name: _write_value(getattr(value, field.name)) for field in fields(value)}


def _write_value(value: object) -> object:
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, UUID):
        return str(value)
    return _write_fields(value) if is_dataclass(value) else value


async def _get(
    connection: Connection, principal: Principal, container_id: UUID
) -> BackupPolicy | None:
    found = await policies.by_containers(connection, principal.hub_id, [container_id])
    return found.get(container_id)
