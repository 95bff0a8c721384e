"""The worker as a program, and what every program needs: a server, signals, logs, metrics."""

import asyncio
import logging
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog
import uvicorn
from starlette.applications import Starlette

from app.postgres.pool import Database
from app.service.secrets import Sealer
from app.settings import Settings
from app.web.cutting import Cutting
from app.web.metrics import create_metrics_app
from app.wiring.connections import Connection, SocketConnection
from app.wiring.operator import need_database_url
from app.wiring.parts import bind, make_sealer, make_worker_parts
from app.worker.loop import Worker

GRACE_SECONDS = 5
HURRY_SECONDS = 2
"""Within which a client takes something of its answer once the server stops."""
# Longer than clients and balancers (5 to 60 s) keep an idle connection: who closes first while the
# other sends loses a request that nobody may repeat.
KEEP_ALIVE_SECONDS = 75
LARGEST_MESSAGE = 256 * 1024
log = structlog.get_logger()
STOPPING = (signal.SIGINT, signal.SIGTERM)


class Server(uvicorn.Server):
    """An HTTP server that leaves the signals to whoever runs it, and says when it answers."""

    def __init__(self, config: uvicorn.Config, stopping: asyncio.Event) -> None:
        """`stopping` is set when no more is taken on: whoever streams must end then."""
        super().__init__(config)
        self._stopping = stopping
        self.answers = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def stop(self) -> None:
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._stopping.set()
        for offered in self._find_offers():
            offered["hurry"](HURRY_SECONDS)
        # Cut, a response ends by itself; cancelled, it would be a defect in the log.
        cutting = asyncio.get_running_loop().call_later(GRACE_SECONDS - 1, self._cut_all)
        try:
            await super().shutdown(sockets)
        finally:
            cutting.cancel()

    def _find_offers(self) -> list[Cutting]:
        return [
            connection.offer()
            for connection in self.server_state.connections
            if isinstance(connection, Connection | SocketConnection)
        ]

    def _cut_all(self) -> None:
        for offered in self._find_offers():
            offered["cut"]()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.answers.set()


def make_server(app: Starlette) -> Server:
    """A server for sockets that are bound already."""
    return Server(
        uvicorn.Config(
            app,
            http=Connection,
            ws=SocketConnection,
            ws_max_size=LARGEST_MESSAGE,
            # Some hundred bytes would become megabytes before anybody could count them.
            ws_per_message_deflate=False,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=GRACE_SECONDS,
        ),
        app.state.stopping,
    )


def configure_logs(settings: Settings) -> None:
    """Lines for people on a terminal, JSON lines elsewhere; on stderr, which is the log."""
    is_terminal = sys.stderr.isatty()
    level = logging.getLevelNamesMapping()[settings.log_level.value]
    logging.basicConfig(stream=sys.stderr, level=max(level, logging.WARNING), format="%(message)s")
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            # No locals in traces: they can hold secrets.
            structlog.processors.ExceptionRenderer(
                structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
            )
            if not is_terminal
            else structlog.processors.format_exc_info,
            structlog.dev.ConsoleRenderer(
                exception_formatter=structlog.dev.plain_traceback, pad_event_to=0
            )
            if is_terminal
            else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


@contextmanager
def stopping_on_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Call `stop` for each SIGINT and SIGTERM while the block lasts."""
    loop = asyncio.get_running_loop()
    for number in STOPPING:
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in STOPPING:
            loop.remove_signal_handler(number)


def work(settings: Settings) -> None:
    """Carry out runs until stopped. Raises StartError."""
    configure_logs(settings)
    dsn, sealer = need_database_url(settings), make_sealer(settings, None)
    asyncio.run(_work(settings, dsn, sealer))


async def _work(settings: Settings, dsn: str, sealer: Sealer) -> None:
    async with make_worker_parts(
        settings, dsn, sealer=sealer, embedded_realm=None, demo=None
    ) as parts:
        worker = Worker(parts)
        with stopping_on_signals(worker.stop), bind_metrics(settings) as listening:
            async with asyncio.TaskGroup() as tasks:
                listener = tasks.create_task(parts.listener.run())
                metrics = tasks.create_task(tell_metrics(parts.database, listening))
                await worker.run()
                metrics.cancel()
                listener.cancel()


@contextmanager
def bind_metrics(settings: Settings) -> Iterator[socket.socket | None]:
    """The socket of the metrics, on loopback; None where there is to be none. Raises StartError."""
    if settings.metrics_port is None:
        yield None
        return
    with bind("127.0.0.1", settings.metrics_port) as listening:
        log.info("metrics are told", port=listening.getsockname()[1])
        yield listening


async def tell_metrics(database: Database, listening: socket.socket | None) -> None:
    """Answer Prometheus until this is cancelled. `database` is in the worker's role."""
    if listening is None:
        return
    server = make_server(create_metrics_app(database))
    async with asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(server.serve(sockets=[listening]))
        try:
            await asyncio.shield(serving)
        except asyncio.CancelledError:
            # A server that is cancelled itself leaves its sockets and connections open.
            server.stop()
            await serving
            raise
