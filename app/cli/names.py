"""Names: what people type for a container, an instance or a run, and what it stands for."""

from collections.abc import Iterable

from app.cli import documents
from app.cli.client import Client, Json
from app.errors import NameUnclear

SHORT = 12
"""Characters at the end of an id that tables show; any unique end of at least 4 is understood."""
SHORTEST = 4
LATEST = "latest"
CONTAINERS = 25
"""Containers a page: each brings its instances, and an operation's cost is bounded."""


def shorten(identifier: str) -> str:
    return identifier[-SHORT:]


def list_containers(client: Client) -> list[Json]:
    return list(client.page(documents.LIST_CONTAINERS, {}, "containers", size=CONTAINERS))


def find_container(client: Client, name: str) -> Json:
    """Find it by identifier or id; raises NameUnclear."""
    containers = list_containers(client)
    for container in containers:
        if name in {container["id"], container["identifier"]}:
            return container
    known = ", ".join(sorted(c["identifier"] for c in containers)) or "none yet"
    raise NameUnclear(f"There is no container {name}; there are: {known}.")


def find_integration(client: Client, name: str) -> Json:
    """Find it by name or id; raises NameUnclear."""
    known = list(client.page(documents.LIST_INTEGRATIONS, {}, "hub", "integrations"))
    found = [one for one in known if name in {one["id"], one["name"]}]
    if len(found) > 1:
        raise NameUnclear(f"{len(found)} integrations are called {name}: name it by its id.")
    if not found:
        names = ", ".join(sorted(one["name"] for one in known)) or "none yet"
        raise NameUnclear(f"There is no integration {name}; there are: {names}.")
    return found[0]


def find_instance(containers: Iterable[Json], name: str) -> tuple[Json, Json]:
    """Find a container's instance by hostname or id; raises NameUnclear."""
    found = [
        (container, instance)
        for container in containers
        for instance in container["instances"]["nodes"]
        if name in {instance["id"], instance["hostname"]}
    ]
    if not found:
        raise NameUnclear(f"There is no instance {name}.")
    if len(found) > 1:
        owners = ", ".join(container["identifier"] for container, _ in found)
        raise NameUnclear(f"{name} is an instance of each of {owners}: name it by its id.")
    return found[0]


def find_backup(client: Client, name: str, containers: Iterable[Json]) -> Json:
    """Find it by its id or the end of it; raises NameUnclear."""
    data = client.execute(documents.SHOW_BACKUP, {"id": name}) if len(name) > SHORT else {}
    if backup := data.get("backup"):
        whole: Json = backup
        return whole
    return _choose(
        name, "backup", _end(client, documents.LIST_BACKUPS, "backups", name, containers)
    )


def find_latest_backup(client: Client, container: Json) -> Json:
    """Find the newest one that can be restored; raises NameUnclear."""
    variables = {"container": container["id"]}
    backups = client.page(documents.LIST_BACKUPS, variables, "container", "backups", size=25)
    for backup in backups:
        if backup["state"] == "LIVE":
            return backup
    raise NameUnclear(f"{container['identifier']} has no backup that can be restored.")


def find_run(client: Client, name: str) -> tuple[str, str]:
    """Find a backup, restore or verification by its id or the end of it: its type and id.

    Of verifications the last one of each backup is found by the end. Raises NameUnclear.
    """
    if len(name) > SHORT:
        node = client.execute(documents.NAME_NODE, {"id": name})["node"]
        if node is not None and node["__typename"] in {"Backup", "Restore", "Verification"}:
            return node["__typename"], node["id"]
    containers = list_containers(client)
    backups = _end(client, documents.LIST_BACKUPS, "backups", name, containers)
    restores = _end(client, documents.LIST_RESTORES, "restores", name, containers)
    verifications = _end_of_verifications(client, name, containers)
    found = [*backups, *restores, *verifications]
    run = _choose(name, "backup, restore or verification", found)
    if run in verifications:
        return "Verification", run["id"]
    return ("Backup" if run in backups else "Restore"), run["id"]


def _end_of_verifications(client: Client, name: str, containers: Iterable[Json]) -> list[Json]:
    if len(name) < SHORTEST:
        return []
    return [
        backup["verification"]
        for container in containers
        for backup in client.page(
            documents.LIST_BACKUPS, {"container": container["id"]}, "container", "backups"
        )
        if backup["verification"] and backup["verification"]["id"].endswith(name)
    ]


def _end(
    client: Client, document: str, field: str, name: str, containers: Iterable[Json]
) -> list[Json]:
    if len(name) < SHORTEST:
        return []
    return [
        node
        for container in containers
        for node in client.page(document, {"container": container["id"]}, "container", field)
        if node["id"].endswith(name)
    ]


def _choose(name: str, kind: str, found: list[Json]) -> Json:
    if not found:
        raise NameUnclear(f"There is no {kind} {name}.")
    if len(found) > 1:
        raise NameUnclear(f"{len(found)} ids end in {name}: give more of it.")
    return found[0]
