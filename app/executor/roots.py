"""The folders that the operator gave to hubs: where, and as whom, their commands may run."""

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from app.errors import ExecutorNotAllowed, ExecutorUnavailable, StartError

SETTING = "BACKUP_GATEWAY_PROCESS_ROOTS"
_SEVERAL = 2
_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessRoot:
    """A hub's folder. `owner`: the uid and gid of its commands; None: those of the worker."""

    hub_id: UUID
    path: Path
    owner: tuple[int, int] | None

    def open_folder(self, folder: str) -> int:
        """Open a folder below the root (`.`: the root itself) and return its descriptor.

        Each part is opened by itself and without following symlinks, so that what was checked is
        what the command runs in. Raises ExecutorNotAllowed, ExecutorUnavailable.
        """
        parts = split_folder(folder)
        try:
            descriptor = os.open(self.path, _OPEN_FOLDER)
        except OSError as error:
            raise ExecutorUnavailable(
                f"The hub's folder cannot be opened: {error.strerror}."
            ) from error
        try:
            self._check_owner(descriptor)
            for part in parts:
                below = _open_part(descriptor, part, folder)
                os.close(descriptor)
                descriptor = below
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _check_owner(self, descriptor: int) -> None:
        status = os.fstat(descriptor)
        if self.owner is not None and (status.st_uid, status.st_gid) != self.owner:
            raise ExecutorUnavailable(
                "The hub's folder has another owner than when the worker was started."
            )


def split_folder(folder: str) -> list[str]:
    """The parts of an instance's folder. Raises ExecutorNotAllowed where it could lead out."""
    parts = [part for part in folder.split("/") if part not in {"", "."}]
    if folder.startswith("/") or ".." in parts or "\0" in folder:
        raise ExecutorNotAllowed(
            f"The folder {folder!r} must be a path below the hub's folder, without '..'."
        )
    return parts


def _open_part(descriptor: int, part: str, folder: str) -> int:
    try:
        return os.open(part, _OPEN_FOLDER, dir_fd=descriptor)
    except FileNotFoundError as error:
        raise ExecutorUnavailable(f"The folder {folder!r} does not exist.") from error
    except OSError as error:
        if _is_symlink(descriptor, part):
            raise ExecutorNotAllowed(
                f"The folder {folder!r} leads through a symbolic link."
            ) from error
        raise ExecutorUnavailable(
            f"The folder {folder!r} cannot be opened: {error.strerror}."
        ) from error


def _is_symlink(descriptor: int, part: str) -> bool:
    try:
        os.readlink(part, dir_fd=descriptor)
    except OSError:
        return False
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessRoots:
    """The checked setting. `warning`: what the operator must know, told at the start."""

    roots: Mapping[UUID, ProcessRoot]
    warning: str | None = None

    def of(self, hub_id: UUID) -> ProcessRoot:
        """The hub's root. Raises ExecutorNotAllowed."""
        root = self.roots.get(hub_id)
        if root is None:
            raise ExecutorNotAllowed(f"{SETTING} gives no folder of this host to this hub.")
        return root


def parse_roots(text: str) -> list[tuple[UUID, Path]]:
    """Read `HUB_ID=FOLDER,...` (or one a line). Raises StartError naming every fault."""
    entries: list[tuple[UUID, Path]] = []
    faults: list[str] = []
    for entry in text.replace("\n", ",").split(","):
        hub, is_pair, folder = (part.strip() for part in entry.partition("="))
        if not entry.strip():
            continue
        try:
            hub_id = UUID(hub)
        except ValueError:
            faults.append(f"{entry.strip()!r} does not begin with a hub's id and '='")
            continue
        if is_pair and folder.startswith("/"):
            entries.append((hub_id, Path(folder)))
        else:
            faults.append(f"{entry.strip()!r} does not name an absolute path")
    _refuse(faults)
    return entries


def check_roots(
    entries: Iterable[tuple[UUID, Path]], *, worker_uid: int, reserved: Mapping[int, str]
) -> ProcessRoots:
    """Check the operator's choice as a whole. Raises StartError naming every fault.

    `reserved`: uids that no hub may have, with whose they are (PostgreSQL's).
    """
    faults: list[str] = []
    roots: list[ProcessRoot] = []
    for hub_id, folder in entries:
        root = _check_root(hub_id, folder, is_root=worker_uid == 0, faults=faults)
        if root is not None:
            roots.append(root)
    faults += _find_shared(roots)
    if worker_uid == 0:
        faults += _find_bad_owners(roots, {0: "root", **reserved})
        faults += _find_open(roots)
    elif len(roots) > 1:
        faults.append("only a worker that runs as root can keep more than one hub apart")
    _refuse(faults)
    warning = None
    if roots and worker_uid != 0:
        warning = (
            "The worker does not run as root: the commands of the hub in "
            f"{SETTING} can read everything that the gateway can."
        )
    return ProcessRoots(roots={root.hub_id: root for root in roots}, warning=warning)


def _check_root(
    hub_id: UUID, folder: Path, *, is_root: bool, faults: list[str]
) -> ProcessRoot | None:
    try:
        resolved = folder.resolve(strict=True)
        status = resolved.stat()
    except (OSError, RuntimeError) as error:
        faults.append(f"{folder} cannot be used: {getattr(error, 'strerror', error)}")
        return None
    if not resolved.is_dir():
        faults.append(f"{folder} is not a folder")
        return None
    if resolved != Path(os.path.normpath(folder)):
        faults.append(f"{folder} leads through a symbolic link; name {resolved}")
        return None
    owner = (status.st_uid, status.st_gid) if is_root else None
    return ProcessRoot(hub_id=hub_id, path=resolved, owner=owner)


def _find_shared(roots: list[ProcessRoot]) -> Iterator[str]:
    for index, root in enumerate(roots):
        for other in roots[:index]:
            if other.hub_id == root.hub_id:
                yield f"the hub {root.hub_id} is listed twice"
            if root.path.is_relative_to(other.path) or other.path.is_relative_to(root.path):
                yield f"{other.path} and {root.path} are not apart"
            if root.owner is None or other.owner is None:
                continue
            if root.owner[0] == other.owner[0]:
                yield f"{other.path} and {root.path} have the same owner, uid {root.owner[0]}"
            elif root.owner[1] == other.owner[1]:
                yield f"{other.path} and {root.path} have the same group, gid {root.owner[1]}"


def _find_bad_owners(roots: list[ProcessRoot], reserved: Mapping[int, str]) -> Iterator[str]:
    for root in roots:
        if root.owner is None:
            continue
        uid, gid = root.owner
        if uid in reserved:
            yield (
                f"{root.path} belongs to {reserved[uid]} (uid {uid}); give it a uid of its own: "
                f"chown -R NUMBER:NUMBER {root.path}"
            )
        elif gid == 0:
            yield (
                f"the group of {root.path} is root's; give it one of its own: "
                f"chgrp -R {uid} {root.path}"
            )


def _find_open(roots: list[ProcessRoot]) -> Iterator[str]:
    """A folder that everybody may enter is no secret from another hub's commands."""
    if len(roots) < _SEVERAL:
        return
    for root in roots:
        if root.path.stat().st_mode & stat.S_IRWXO:
            yield f"{root.path} is open to other hubs; close it: chmod o-rwx {root.path}"


def _refuse(faults: list[str]) -> None:
    if faults:
        raise StartError(f"{SETTING}: " + "; ".join(faults) + ".")
