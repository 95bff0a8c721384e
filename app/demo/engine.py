"""The engine of this machine, for the demo's hub: its labelled containers show up by themselves."""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from app.errors import StartError
from app.model.access import Principal
from app.model.engines import NewEngine
from app.model.paging import Page
from app.postgres.pool import Database
from app.queries import engines as read_engines
from app.service import engines
from app.service.secrets import Sealer

NAME: Final = "this host"
SOCKETS: Final = ("/var/run/docker.sock", "/run/podman/podman.sock")


def find_socket(wanted: str, usual: Iterable[str] = SOCKETS) -> Path:
    """The socket that is named by its path, else the usual one that is there. Raises StartError."""
    places = [wanted] if wanted.startswith("/") else list(usual)
    for place in places:
        if Path(place).is_socket():
            return Path(place)
    raise StartError(
        f"DOCKER={wanted}: there is no socket {' or '.join(places)}."
        " Start Docker or Podman, or name its socket: DOCKER=/path/to/docker.sock"
    )


async def make_engine(
    gateway: Database, admin: Principal, address: str, *, sealer: Sealer, host: str
) -> None:
    """Make the engine known to the hub, unless a former start or somebody else did."""
    async with gateway.connection(admin.hub_id) as connection:
        known = (await read_engines.page(connection, admin.hub_id, Page())).items
    if any(engine.address == address for engine in known):
        return
    await engines.create_engine(
        gateway,
        admin,
        new=NewEngine(
            name=NAME, address=address, host=None, authority=None, certificate=None, key=None
        ),
        default_host=host,
        sealer=sealer,
    )
