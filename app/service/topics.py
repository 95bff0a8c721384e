"""Topics: how writers name what has changed, for those who follow it."""

from uuid import UUID

from app.postgres.listen import Wake


def list_of(container_id: UUID, backup_id: UUID) -> Wake:
    """One backup of a container's list is new or changed. An id of another run does no harm."""
    return Wake(f"container:{container_id}", str(backup_id))


def events_of(hub_id: UUID) -> Wake:
    """The hub has new events."""
    return Wake(f"hub:{hub_id}")
