"""Whether anything can be restored into an instance, as far as its configuration says."""

from dataclasses import dataclass
from typing import Final

from app.errors import InvalidState
from app.model.containers import Container, ContainerState, Instance, InstanceState
from app.model.engines import EngineRecord, EngineState
from app.model.policies import BackupPolicy
from app.model.runs import OpenRun


@dataclass(frozen=True, slots=True, kw_only=True)
class Obstacle:
    """Why not; `code` is the one that `restoreBackup` would refuse with."""

    code: str
    message: str


REACHED: Final = frozenset({EngineState.VERIFYING, EngineState.LIVE})


def require_reached(engine: EngineRecord) -> None:
    """Raises InvalidState (ENGINE_NOT_LIVE)."""
    if engine.state not in REACHED:
        raise InvalidState(_tell(engine), code="ENGINE_NOT_LIVE", path=("instanceId",))


def _tell(engine: EngineRecord) -> str:
    since = engine.unreachable_since
    told = "" if since is None else f" since {since:%Y-%m-%dT%H:%M:%SZ}"
    return f"The instance's engine is {engine.state}{told}: {engine.error_message or 'see there'}"


def find_obstacle(
    container: Container,
    instance: Instance,
    policy: BackupPolicy | None,
    engine: EngineRecord | None = None,
    run: OpenRun | None = None,
) -> Obstacle | None:
    """What would have to change first; None where a restore may be asked for."""
    found: Obstacle | None = None
    if container.state is not ContainerState.LIVE:
        found = Obstacle(code="CONTAINER_DELETING", message="The container is being deleted.")
    elif not container.stateful:
        found = Obstacle(code="CONTAINER_NOT_STATEFUL", message="The container is not stateful.")
    elif instance.removed_at is not None or instance.state is not InstanceState.RUNNING:
        found = Obstacle(
            code="INSTANCE_NOT_RUNNING", message=f"The instance is {instance.state}, not RUNNING."
        )
    elif engine is not None and engine.state not in REACHED:
        found = Obstacle(code="ENGINE_NOT_LIVE", message=_tell(engine))
    elif policy is None:
        found = Obstacle(code="NO_BACKUP_POLICY", message="The container has no backup policy.")
    elif policy.restore_command is None:
        found = Obstacle(
            code="NO_RESTORE_COMMAND", message="The backup policy has no restore command."
        )
    elif run is not None:
        found = Obstacle(
            code="INSTANCE_BUSY",
            message=f"The instance is busy with {run}; wait for its end or cancel it.",
        )
    return found
