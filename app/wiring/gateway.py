"""The gateway as a program. Apart from the worker's, which then starts without GraphQL."""

import asyncio
import gc
import socket
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

from starlette.applications import Starlette

from app.api.context import Parts
from app.api.limits import Limits
from app.api.schema import export
from app.postgres.listen import ListenHub
from app.postgres.migrate import check_migrated
from app.postgres.pool import Database
from app.service.secrets import Sealer
from app.settings import Settings
from app.storage.local_access import EMBEDDED_KEY_PREFIX
from app.transfer.objects import Objects
from app.web.app import create_app
from app.wiring.operator import need_database_url
from app.wiring.parts import HASHING_THREADS, bind, make_buckets, make_sealer
from app.wiring.programs import configure_logs, make_server, stopping_on_signals
from app.wiring.trusted_documents import make_trusted_documents

CONNECTIONS = 20
_COLLECT_AFTER = (50_000, 20, 20)
"""New objects, and collections of each younger generation."""


def make_limits(settings: Settings) -> Limits:
    """What a request may hold, where the operator wants it otherwise."""
    return Limits(introspection=settings.introspection, **dict(settings.limits))


@asynccontextmanager
async def make_api_parts(
    settings: Settings, dsn: str, *, sealer: Sealer, embedded_realm: str | None
) -> AsyncIterator[Parts]:
    """What requests need. Raises StartError."""
    role = settings.gateway_role
    buckets = make_buckets(settings, embedded_realm)
    threads = ThreadPoolExecutor(HASHING_THREADS, thread_name_prefix="hashing")
    try:
        async with Database.open(
            dsn, role=role, application_name="backup-gateway", max_size=CONNECTIONS
        ) as database:
            await check_migrated(database)
            yield Parts(
                database=database,
                listen=ListenHub(dsn, role=role),
                sealer=sealer,
                delete_grace=settings.delete_grace,
                start_within=settings.start_within,
                schedule_jitter=settings.schedule_jitter,
                embedded_key_prefix=EMBEDDED_KEY_PREFIX if embedded_realm else None,
                default_host=settings.host_name,
                webhooks_without_tls=bool(settings.webhook_networks),
                objects=Objects(buckets.open, threads, streams=settings.downloads),
            )
    finally:
        await buckets.aclose()
        threads.shutdown(wait=False, cancel_futures=True)


def make_app(settings: Settings, parts: Parts) -> Starlette:
    """The gateway as the operator wants it. Raises StartError."""
    app = create_app(
        parts,
        allowed_origins=settings.allowed_origins,
        limits=make_limits(settings),
        trusted=make_trusted_documents(settings),
    )
    _relax_collector()
    return app


def _relax_collector() -> None:
    """Keep the collector of garbage from looking at all that the program consists of.

    By default a large operation has it do so again and again: it took more than half of the time,
    and held all other requests up for as long as a second.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECT_AFTER)


def serve(settings: Settings) -> None:
    """Answer requests until stopped. Raises StartError."""
    configure_logs(settings)
    dsn, sealer = need_database_url(settings), make_sealer(settings, None)
    with bind(settings.host, settings.port) as listening:
        asyncio.run(_serve(settings, dsn, sealer, listening))


async def _serve(settings: Settings, dsn: str, sealer: Sealer, listening: socket.socket) -> None:
    async with make_api_parts(settings, dsn, sealer=sealer, embedded_realm=None) as parts:
        server = make_server(make_app(settings, parts))
        with stopping_on_signals(server.stop):
            async with asyncio.TaskGroup() as tasks:
                listener = tasks.create_task(parts.listen.run())
                await server.serve(sockets=[listening])
                listener.cancel()


def schema() -> str:
    """The text of `schema.graphql`."""
    return export()
