"""The pool: connections in the right role, bound to a hub, that survive restarts of the server."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, Self, cast
from uuid import UUID

import asyncpg
import orjson

from app.errors import DatabaseUnavailable, StartError

OLDEST_SERVER = 15
STATEMENT_SECONDS = 30
# A paused process must not hold row locks for longer than a lease lasts: others have to take over.
IDLE_TRANSACTION_SECONDS = 8
# Later than the server's own timeout: by then the server does not answer at all.
ANSWER_SECONDS = STATEMENT_SECONDS + 5
CONNECT_SECONDS = 5
ACQUIRE_SECONDS = 10

_BIND: Final = "select set_config('app.hub', $1, false)"

_GONE: Final = (
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    # A server that stops said so, and the end of the connection is still on its way.
    asyncpg.InternalClientError,
    TimeoutError,
)
_BUSY: Final = (OSError, asyncpg.TooManyConnectionsError, *_GONE)


class Connection(asyncpg.Connection):
    """A connection in a role of ours. `hub` is the hub that row-level security lets it see."""

    __slots__ = ("hub",)
    hub: UUID | None

    async def bind(self, hub_id: UUID | None) -> None:
        """Show exactly this hub's rows from now on; None: no hub's."""
        await self.execute(_BIND, "" if hub_id is None else str(hub_id))
        self.hub = hub_id


class Database:
    """What services and queries are given: connections and transactions in one role."""

    def __init__(
        self, dsn: str, *, role: str | None, application_name: str, min_size: int, max_size: int
    ) -> None:
        self.dsn = dsn
        self.role = role
        self.application_name = application_name
        self._min_size = min_size
        self._slots = asyncio.Semaphore(max_size)
        self._idle: deque[Connection] = deque()
        self._used: set[Connection] = set()
        self._closed = False

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        dsn: str,
        *,
        role: str | None,
        application_name: str = "backup-gateway",
        min_size: int = 1,
        max_size: int = 10,
        wait_seconds: float = 30,
    ) -> AsyncIterator[Self]:
        """Open the pool; role None stays the login user (migrations, the operator's commands).

        Waits up to `wait_seconds` for a server that is starting. Raises StartError.
        """
        database = cls(
            dsn,
            role=role,
            application_name=application_name,
            min_size=min_size,
            max_size=max_size,
        )
        try:
            await database.warm_up(wait_seconds)
            yield database
        finally:
            await database.aclose()

    async def warm_up(self, wait_seconds: float) -> None:
        """Open the first connections. Raises StartError where the server cannot be used."""
        while len(self._idle) < self._min_size:
            connection = await connect_patiently(
                self.dsn,
                role=self.role,
                application_name=self.application_name,
                wait_seconds=wait_seconds,
            )
            self._idle.append(connection)

    async def aclose(self) -> None:
        """Close every connection; those in use are cut."""
        self._closed = True
        for connection in self._used:
            connection.terminate()
        while self._idle:
            connection = self._idle.pop()
            try:
                await connection.close(timeout=CONNECT_SECONDS)
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                connection.terminate()

    @asynccontextmanager
    async def connection(self, hub_id: UUID | None = None) -> AsyncIterator[Connection]:
        """Lend a connection that sees the hub's rows (None: what the role sees without a hub).

        Raises DatabaseUnavailable where the server cannot be reached or goes away meanwhile.
        """
        async with self._slot():
            connection: Connection | None = None
            try:
                connection = await self._take(hub_id)
                self._used.add(connection)
                if connection.hub != hub_id:
                    await connection.bind(hub_id)
                yield connection
            except asyncpg.InsufficientResourcesError as error:
                # A full disk, say: as good as away, until somebody makes room.
                raise DatabaseUnavailable(f"The database has no room left: {error}.") from error
            except _BUSY as error:
                if connection is not None and isinstance(error, _GONE):
                    connection.terminate()
                if connection is None or connection.is_closed():
                    raise DatabaseUnavailable from error
                raise
            except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                if connection is not None and connection.is_closed():
                    raise DatabaseUnavailable from error
                raise
            finally:
                if connection is not None:
                    self._used.discard(connection)
                    self._give_back(connection)

    @asynccontextmanager
    async def transaction(self, hub_id: UUID | None = None) -> AsyncIterator[Connection]:
        """Lend a connection inside a transaction, committed when the block ends without an error.

        Raises DatabaseUnavailable as `connection` does: then it is unknown whether it committed.
        """
        async with self.connection(hub_id) as connection, connection.transaction():
            yield connection

    @asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        try:
            # Not `wait_for`: in Python 3.11 it swallows a cancel that comes with a free place.
            async with asyncio.timeout(ACQUIRE_SECONDS):
                await self._slots.acquire()
        except TimeoutError as error:
            raise DatabaseUnavailable("All connections to the database are in use.") from error
        try:
            yield
        finally:
            self._slots.release()

    async def _take(self, hub_id: UUID | None) -> Connection:
        """The freshest idle connection of the hub, else of none, else the stalest of another."""
        if self._closed:
            raise DatabaseUnavailable("The program is stopping.")
        for connection in [idle for idle in self._idle if idle.is_closed()]:
            self._idle.remove(connection)
        for wanted in (hub_id, None):
            for connection in reversed(self._idle):
                if connection.hub == wanted:
                    self._idle.remove(connection)
                    return connection
        if self._idle:
            return self._idle.popleft()
        return await connect(self.dsn, role=self.role, application_name=self.application_name)

    def _give_back(self, connection: Connection) -> None:
        if self._closed or (not connection.is_closed() and connection.is_in_transaction()):
            # Its rollback was cut short: what state it is in is anybody's guess.
            connection.terminate()
        if not connection.is_closed():
            self._idle.append(connection)


async def log_in(
    dsn: str, *, role: str | None, application_name: str, answer_seconds: float = ANSWER_SECONDS
) -> Connection:
    """Connect, take the role and set the timeouts; values stay in PostgreSQL's text. Close it."""
    settings = {
        "application_name": application_name,
        "statement_timeout": f"{STATEMENT_SECONDS}s",
        "idle_in_transaction_session_timeout": f"{IDLE_TRANSACTION_SECONDS}s",
        "timezone": "UTC",
        "jit": "off",
    }
    if role is not None:
        settings["role"] = role
    connection = cast(
        "Connection",
        await asyncpg.connect(
            dsn,
            server_settings=settings,
            connection_class=Connection,
            timeout=CONNECT_SECONDS,
            command_timeout=answer_seconds,
            statement_cache_size=512,
            max_cached_statement_lifetime=0,
        ),
    )
    connection.hub = None
    return connection


async def connect(dsn: str, *, role: str | None, application_name: str) -> Connection:
    """Log in, with jsonb as Python values. The caller closes it."""
    connection = await log_in(dsn, role=role, application_name=application_name)
    try:
        await connection.set_type_codec(
            "jsonb",
            schema="pg_catalog",
            encoder=_encode_jsonb,
            decoder=_decode_jsonb,
            format="binary",
        )
    except BaseException:
        connection.terminate()
        raise
    return connection


async def connect_patiently(
    dsn: str, *, role: str | None, application_name: str, wait_seconds: float
) -> Connection:
    """Connect to a server that may still be starting, and check that it can be used.

    Raises StartError with what to do about it.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + wait_seconds
    connection: Connection | None = None
    while connection is None:
        try:
            connection = await connect(dsn, role=role, application_name=application_name)
        except _BUSY as error:
            if loop.time() > end:
                raise StartError(f"The database cannot be reached: {_describe(error)}") from error
            await asyncio.sleep(0.1)
        except asyncpg.InvalidParameterValueError as error:
            raise StartError(
                f"The database has no role {role}: run `backup-gateway migrate` first."
            ) from error
        except (asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as error:
            raise StartError(f"The database refuses the connection: {_describe(error)}") from error
    version = connection.get_server_version()
    if version.major < OLDEST_SERVER:
        await connection.close()
        raise StartError(
            f"The database is PostgreSQL {version.major}; {OLDEST_SERVER} or newer is needed."
        )
    return connection


def _describe(error: BaseException) -> str:
    return str(error) or type(error).__name__


def _encode_jsonb(value: Any) -> bytes:  # noqa: ANN401 - any JSON value
    return b"\x01" + orjson.dumps(value)


def _decode_jsonb(data: bytes) -> Any:  # noqa: ANN401 - any JSON value
    return orjson.loads(memoryview(data)[1:])
