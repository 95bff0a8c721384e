"""Whether anything can be restored into an instance, as far as its configuration says."""

from dataclasses import dataclass

from app.model.containers import Container, ContainerState, Instance, InstanceState
from app.model.policies import BackupPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class Obstacle:
    """Why not; `code` is the one that `restoreBackup` would refuse with."""

    code: str
    message: str


def find_obstacle(
    container: Container, instance: Instance, policy: BackupPolicy | None
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
    elif policy is None:
        found = Obstacle(code="NO_BACKUP_POLICY", message="The container has no backup policy.")
    elif policy.restore_command is None:
        found = Obstacle(
            code="NO_RESTORE_COMMAND", message="The backup policy has no restore command."
        )
    return found
