"""Makes the parts of workers from the settings, and what gateways share with them."""

import base64
import os
import pwd
import secrets
import socket
import ssl
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit
from uuid import UUID

import httpx
import structlog

from app import __version__
from app.errors import StartError
from app.executor.docker import DockerExecutor
from app.executor.engine import Engine
from app.executor.port import Executor
from app.executor.process import ProcessExecutor
from app.executor.roots import ProcessRoots, check_roots
from app.model.containers import Instance
from app.model.engines import AllowedEngines
from app.model.runs import ANYWHERE, place_of
from app.postgres.listen import ListenHub
from app.postgres.migrate import check_migrated
from app.postgres.pool import Database
from app.postgres.queue import Queue
from app.service import engines, hubs
from app.service.secrets import Sealer
from app.settings import Settings
from app.storage.buckets import Buckets
from app.worker.parts import Parts as WorkerParts
from app.worker.parts import Times
from app.worker.receivers import Receivers

USER_AGENT = f"backup-gateway/{__version__}"
HASHING_THREADS = 4
SPARE_WORKER_CONNECTIONS = 6
UNREAD_MILLISECONDS = 20_000
"""After this long a connection ends whose peer takes nothing of what was sent."""

log = structlog.get_logger()


def make_sealer(settings: Settings, stored: list[str] | None) -> Sealer:
    """By the operator's keys, else those beside the embedded data (`stored`). Raises StartError."""
    if settings.secret_key:
        return Sealer([f"{k.id}:{base64.b64encode(k.key).decode()}" for k in settings.secret_key])
    if stored is None:
        raise StartError(
            "With DATABASE_URL the secrets in the database need BACKUP_GATEWAY_SECRET_KEY."
            " Make a key once, keep it safe, and give the same one to every process:\n"
            "  export BACKUP_GATEWAY_SECRET_KEY=$(backup-gateway secret-key)"
        )
    return Sealer(stored)


async def find_roots(
    settings: Settings, database: Database, demo: tuple[UUID, Path] | None
) -> ProcessRoots:
    """The folders of the setting, with hubs by id; and the demo's. Raises StartError."""
    entries = [demo] if demo else []
    for root in settings.process_roots:
        hub = await hubs.find_hub(database, root.hub)
        if hub is None:
            # It may have been deleted by those whose it was: the other hubs need their workers.
            log.warning(
                "BACKUP_GATEWAY_PROCESS_ROOTS: there is no such hub; make it by"
                " `backup-gateway hub create`, or take it out of the setting",
                hub=root.hub,
            )
            continue
        entries.append((hub.id, root.folder))
    reserved = {os.geteuid(): "the gateway"}
    for account in ("postgres", "nobody"):
        try:
            reserved[pwd.getpwnam(account).pw_uid] = account
        except KeyError:
            continue
    return check_roots(entries, worker_uid=os.geteuid(), reserved=reserved)


async def find_engines(settings: Settings, database: Database) -> AllowedEngines:
    """The addresses of the setting, with hubs by id."""
    patterns: dict[UUID, tuple[str, ...]] = {}
    for name, pattern in settings.engines:
        hub = await hubs.find_hub(database, name)
        if hub is None:
            log.warning("BACKUP_GATEWAY_ENGINES: there is no such hub", hub=name)
            continue
        patterns[hub.id] = (*patterns.get(hub.id, ()), pattern)
    return AllowedEngines(patterns=patterns)


def make_buckets(settings: Settings, embedded_realm: str | None) -> Buckets:
    """The storage of the integrations; the caller closes it."""
    return Buckets(
        realm=settings.b2_realm,
        embedded_realm=embedded_realm,
        user_agent=USER_AGENT,
        tls=trust_for_storage(),
    )


@cache
def trust_for_storage() -> ssl.SSLContext:
    """One for a process: to read all certificates takes longer than all else that is made here."""
    return httpx.create_ssl_context(trust_env=False)


@cache
def trust_for_receivers() -> ssl.SSLContext:
    """The machine's own certificates, so that a company's receivers are trusted as well."""
    return ssl.create_default_context()


@asynccontextmanager
async def make_worker_parts(
    settings: Settings,
    dsn: str,
    *,
    sealer: Sealer,
    embedded_realm: str | None,
    demo: tuple[UUID, Path] | None,
) -> AsyncIterator[WorkerParts]:
    """What a worker needs. Raises StartError."""
    role = settings.worker_role
    owner = f"{settings.host_name}/{os.getpid()}/{secrets.token_hex(4)}"
    buckets = make_buckets(settings, embedded_realm)
    threads = ThreadPoolExecutor(HASHING_THREADS, thread_name_prefix="hashing")
    try:
        async with Database.open(
            dsn,
            role=role,
            application_name="backup-gateway worker",
            max_size=settings.runs + SPARE_WORKER_CONNECTIONS,
        ) as database:
            await check_migrated(database)
            roots = await find_roots(settings, database, demo)
            if roots.warning:
                log.warning(roots.warning)

            allowed = await find_engines(settings, database)

            async def find_engine(hub_id: UUID, engine_id: UUID) -> Engine:
                access = await engines.open_access(database, sealer, engine_id)
                allowed.require(hub_id, access.address)
                return Engine(access)

            async def find_executor(instance: Instance) -> Executor:
                if instance.engine_id is None:
                    folder = instance.folder or "."
                    return ProcessExecutor(roots.of(instance.hub_id), folder=folder)
                assert instance.engine_container is not None
                return DockerExecutor(
                    await find_engine(instance.hub_id, instance.engine_id),
                    container=instance.engine_container,
                    user=instance.user,
                    folder=instance.folder,
                )

            yield WorkerParts(
                owner=owner,
                places=(place_of(settings.host_name), ANYWHERE),
                database=database,
                listener=ListenHub(dsn, role=role),
                queue=Queue(dsn, role=role),
                sealer=sealer,
                executor_of=find_executor,
                engine_of=find_engine,
                serves=allowed.allows,
                storage_of=buckets.open,
                receivers=Receivers(
                    allowed=settings.webhook_networks,
                    tls=trust_for_receivers(),
                    user_agent=USER_AGENT,
                ),
                threads=threads,
                times=_read_times(settings),
                runs=settings.runs,
                runs_per_hub=settings.runs_per_hub,
                hidden=_find_hidden(settings, dsn),
            )
    finally:
        await buckets.aclose()
        threads.shutdown(wait=False, cancel_futures=True)


def _find_hidden(settings: Settings, dsn: str) -> dict[str, str]:
    """The operator's secrets, which a command of a worker that is not root could find and print."""
    hidden = {}
    if password := urlsplit(dsn).password:
        hidden["DATABASE_URL"] = unquote(password)
    for key in settings.secret_key:
        hidden[f"BACKUP_GATEWAY_SECRET_KEY {key.id}"] = base64.b64encode(key.key).decode()
    return hidden


def _read_times(settings: Settings) -> Times:
    return Times(
        lease=settings.lease_seconds,
        renew=settings.lease_renew_seconds,
        give_up=settings.lease_give_up_seconds,
        drain=settings.drain.total_seconds(),
        output_close=settings.output_close_seconds,
        delete_grace=settings.delete_grace,
        keep_ended=settings.keep_ended,
        start_within=settings.start_within,
        schedule_jitter=settings.schedule_jitter,
    )


def bind(host: str, port: int) -> socket.socket:
    """A listening socket. Raises StartError with what to do."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        family, kind, protocol, _, address = found[0]
        # With its protocol: only then asyncio knows it for TCP, and sends small answers at once.
        listening = socket.socket(family, kind, protocol)
    except OSError as error:
        raise StartError(f"HOST={host} is no address of this machine: {error.strerror}.") from error
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Connections inherit it. Without it one whose reader has stopped stays for hours.
        if timeout := getattr(socket, "TCP_USER_TIMEOUT", None):
            listening.setsockopt(socket.IPPROTO_TCP, timeout, UNREAD_MILLISECONDS)
        listening.bind(address)
        listening.listen(1024)
    except OSError as error:
        listening.close()
        raise StartError(
            f"Port {port} of {host} cannot be used: {error.strerror}."
            " Choose another one: PORT=8080 make up"
        ) from error
    return listening
