"""The data folder of `up`: who may read what in it, the sealing key, the client's credentials."""

import contextlib
import os
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from app.errors import StartError
from app.service.secrets import Sealer, make_key
from app.storage.local_access import MASTER_KEY_FILE

# As root PostgreSQL and the demo's commands run as other accounts and must get through.
OPEN_MODE = 0o711
PRIVATE_MODE = 0o600


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """A data folder and the places in it."""

    path: Path

    @property
    def postgres(self) -> Path:
        return self.path / "postgres"

    @property
    def b2(self) -> Path:
        return self.path / "b2"

    @property
    def demo(self) -> Path:
        return self.path / "demo"

    @property
    def demo_is_made(self) -> Path:
        return self.path / "demo-is-made"

    @property
    def credentials(self) -> Path:
        return self.path / "credentials.toml"

    @property
    def secret_key(self) -> Path:
        return self.path / "secret.key"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredCredentials:
    url: str
    token: str = field(repr=False)


def open_home(path: Path) -> Home:
    """Make the data folder where it is missing. Raises StartError with what is wrong with it."""
    try:
        path.mkdir(mode=OPEN_MODE, parents=True, exist_ok=True)
        if path.stat().st_uid == os.geteuid():
            path.chmod(OPEN_MODE)
        probe = path / ".probe"
        write_private(probe, "")
        probe.unlink()
    except FileExistsError as error:
        raise StartError(f"The data folder {path} is a file, not a folder.") from error
    except OSError as error:
        raise StartError(
            f"The data folder {path} cannot be used: {error.strerror}."
            " Name another one by BACKUP_GATEWAY_HOME."
        ) from error
    return Home(path=path)


def check_whole(home: Home) -> None:
    """Raise StartError where a part is gone of what an earlier start has made.

    A new one in its place would look like a gateway that has lost every backup.
    """
    if not home.demo_is_made.exists():
        return
    for part in (home.postgres / "data", home.b2 / MASTER_KEY_FILE, home.b2 / "data"):
        if not part.exists():
            raise StartError(
                f"{part} is missing, but an earlier start has made it: bring it back, or begin"
                " anew in another folder by BACKUP_GATEWAY_HOME."
            )


def write_private(path: Path, text: str) -> None:
    """Replace a file that only this account may read; whole, or not at all. Raises OSError."""
    new = path.with_name(path.name + ".new")
    with contextlib.suppress(FileNotFoundError):
        new.unlink()
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_MODE)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(descriptor)
    new.replace(path)


def read_sealing_keys(home: Home) -> list[str]:
    """The keys beside the embedded data, made at the first start. Raises StartError."""
    file = home.secret_key
    try:
        if not file.exists():
            if (home.postgres / "data").exists():
                raise StartError(
                    f"{file} is missing, but the stored secrets were sealed by it: bring it back."
                )
            write_private(file, make_key() + "\n")
        found = file.read_text(errors="replace").split()
    except OSError as error:
        raise StartError(f"{file} cannot be read: {error.strerror}.") from error
    if not found:
        raise StartError(f"{file} is empty, but the stored secrets were sealed by it.")
    try:
        Sealer(found)
    except StartError:
        raise StartError(
            f"{file} is damaged, but the stored secrets were sealed by it: bring it back."
        ) from None
    return found


def read_credentials(home: Home) -> StoredCredentials | None:
    """What `write_credentials` wrote; None where it is missing or unreadable: make a new key."""
    try:
        content = tomllib.loads(home.credentials.read_text())
        return StoredCredentials(url=str(content["url"]), token=str(content["token"]))
    except (OSError, ValueError, KeyError):
        return None


def write_credentials(home: Home, credentials: StoredCredentials) -> None:
    """Tell the command-line client where the gateway is, and its key. Raises OSError."""
    lines = (
        "# Where `backup-gateway` finds the gateway that `make up` started. Keep it private.",
        f'url = "{credentials.url}"',
        f'token = "{credentials.token}"',
    )
    write_private(home.credentials, "\n".join(lines) + "\n")
