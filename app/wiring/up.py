"""`up`: gateway and worker in one process, with PostgreSQL, B2 and a demo where none is named."""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from uuid import UUID

import click

from app.api.context import Parts as ApiParts
from app.demo.bucket import make_bucket
from app.demo.engine import find_socket, make_engine
from app.demo.hub import find_demo, is_settled, make_demo
from app.demo.instances import check_programs, make_instances
from app.errors import DatabaseUnavailable, StartError
from app.model.access import Role
from app.postgres.embedded import EmbeddedPostgres
from app.postgres.migrate import migrate as apply_migrations
from app.postgres.pool import Database
from app.service import keys
from app.service.secrets import Sealer
from app.settings import Settings
from app.storage.local_access import local_credentials
from app.wiring.embedded import EmbeddedB2, run_embedded_b2
from app.wiring.gateway import make_api_parts, make_app
from app.wiring.home import (
    Home,
    StoredCredentials,
    check_whole,
    open_home,
    read_credentials,
    read_sealing_keys,
    write_credentials,
    write_private,
)
from app.wiring.parts import bind, make_sealer, make_worker_parts
from app.wiring.programs import (
    Server,
    bind_metrics,
    configure_logs,
    make_server,
    stopping_on_signals,
    tell_metrics,
)
from app.worker.loop import Worker

QUERY = "{ containers { nodes { identifier instances { nodes { hostname state } } } } }"

SETTLE_SECONDS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class _Embedded:
    """What runs in here because nothing else was named."""

    postgres: EmbeddedPostgres
    b2: EmbeddedB2
    demo: tuple[UUID, Path]
    token: str


def up(settings: Settings) -> None:
    """Run everything until Ctrl-C. Raises StartError."""
    configure_logs(settings)
    failed: StartError | None = None
    with bind(settings.host, settings.port) as listening:
        try:
            asyncio.run(_up(settings, listening))
        except* StartError as group:
            failed = _first(group)
    if failed is not None:  # raised above it would be put into a group again
        raise failed


class _CtrlC:
    """What a SIGINT or SIGTERM does now: end the start, stop the programs, or nothing more."""

    def __init__(self, act: Callable[[], object]) -> None:
        self.act = act

    def press(self) -> None:
        self.act()

    def ignore(self) -> None:
        """What is being ended already must not be cut short."""
        self.act = _do_nothing


def _do_nothing() -> None:
    return


async def _up(settings: Settings, listening: socket.socket) -> None:
    start = asyncio.current_task()
    assert start is not None
    is_given_up = False

    def give_up() -> None:
        nonlocal is_given_up
        is_given_up = True
        ctrl_c.ignore()
        start.cancel()

    ctrl_c = _CtrlC(give_up)
    with stopping_on_signals(ctrl_c.press):
        try:
            await _start_and_run(settings, listening, ctrl_c)
        except asyncio.CancelledError:
            if not is_given_up:
                raise
            click.echo("Stopped before everything had started; the next start goes on from here.")
        else:
            click.echo("Stopped. Everything is kept for the next start.")


async def _start_and_run(settings: Settings, listening: socket.socket, ctrl_c: _CtrlC) -> None:
    url = f"http://{_show_host(settings.host)}:{listening.getsockname()[1]}/graphql"
    async with AsyncExitStack() as stack:
        if settings.database_url is None:
            home = open_home(settings.home)
            check_whole(home)
            sealer = make_sealer(settings, read_sealing_keys(home))
            embedded = await _start_embedded(stack, settings, home, sealer=sealer, url=url)
            dsn = embedded.postgres.dsn
        else:
            embedded, dsn = None, settings.database_url
            sealer = make_sealer(settings, None)
            await _migrate(settings, dsn)
        api = await stack.enter_async_context(
            make_api_parts(
                settings,
                dsn,
                sealer=sealer,
                embedded_realm=embedded.b2.url if embedded else None,
            )
        )
        if settings.docker not in {None, "0"}:
            assert settings.docker is not None
            settings = await _show_engine(settings, settings.docker, api, embedded)
        work = await stack.enter_async_context(
            make_worker_parts(
                settings,
                dsn,
                sealer=sealer,
                embedded_realm=embedded.b2.url if embedded else None,
                demo=embedded.demo if embedded else None,
            )
        )
        server = make_server(make_app(settings, api))
        token = embedded.token if embedded else None

        async def greet() -> None:
            await server.answers.wait()
            if embedded is not None:
                await _settle(api.database, embedded.demo[0])
            _greet(url, token, settings.home)

        programs = _Programs(settings, api, Worker(work), embedded, server)
        await programs.run(listening, ctrl_c, greet)


async def _show_engine(
    settings: Settings, wanted: str, api: ApiParts, embedded: _Embedded | None
) -> Settings:
    """Give the demo's hub the engine of this machine, and allow it. Raises StartError."""
    if embedded is None:
        raise StartError(
            "DOCKER is for the demo, which there is none of with DATABASE_URL: use createEngine and"
            " BACKUP_GATEWAY_ENGINES."
        )
    address = f"unix://{find_socket(wanted)}"
    admin = await keys.authenticate(api.database, embedded.token)
    assert admin is not None
    await make_engine(api.database, admin, address, sealer=api.sealer, host=settings.host_name)
    allowed = (*settings.engines, (str(admin.hub_id), address))
    return settings.model_copy(update={"engines": allowed})


async def _settle(gateway: Database, hub_id: UUID) -> None:
    """Wait until the demo can be used as soon as it is shown; not for ever."""
    with contextlib.suppress(TimeoutError, DatabaseUnavailable):
        async with asyncio.timeout(SETTLE_SECONDS):
            while not await is_settled(gateway, hub_id):  # noqa: ASYNC110 - the row knows
                await asyncio.sleep(0.1)


@dataclass(frozen=True, slots=True)
class _Programs:
    """Gateway and worker, and what they need to run."""

    settings: Settings
    api: ApiParts
    worker: Worker
    embedded: _Embedded | None
    server: Server

    async def run(
        self,
        listening: socket.socket,
        ctrl_c: _CtrlC,
        greet: Callable[[], Coroutine[None, None, None]],
    ) -> None:
        """Until Ctrl-C: then let the runs end, or hand them off."""
        with bind_metrics(self.settings) as metrics:
            await self._run(listening, metrics, ctrl_c, greet)

    async def _run(
        self,
        listening: socket.socket,
        metrics: socket.socket | None,
        ctrl_c: _CtrlC,
        greet: Callable[[], Coroutine[None, None, None]],
    ) -> None:
        async with asyncio.TaskGroup() as support:
            loops = [
                support.create_task(tell_metrics(self.worker.database, metrics)),
                support.create_task(self.api.listen.run()),
                support.create_task(self.worker.listener.run()),
            ]
            if self.embedded is not None:
                loops.append(support.create_task(self.embedded.postgres.watch()))
                loops.append(support.create_task(self.embedded.b2.watch()))
            async with asyncio.TaskGroup() as programs:
                greeting = programs.create_task(greet())

                def stop() -> None:
                    greeting.cancel()
                    self._stop()

                ctrl_c.act = stop
                programs.create_task(self.server.serve(sockets=[listening]))
                programs.create_task(self.worker.run())
            ctrl_c.ignore()
            for loop in loops:
                loop.cancel()

    def _stop(self) -> None:
        worker = self.worker
        if worker.is_stopping:
            worker.hurry()
            return
        click.echo()
        if runs := worker.runs:
            click.echo(
                f"Stopping once {runs} run(s) have ended, at the latest in"
                f" {self.settings.drain.total_seconds():g} s; Ctrl-C again stops them now."
            )
        worker.stop()
        self.server.stop()


async def _start_embedded(
    stack: AsyncExitStack, settings: Settings, home: Home, *, sealer: Sealer, url: str
) -> _Embedded:
    check_programs()
    postgres = await stack.enter_async_context(
        EmbeddedPostgres(home.postgres, pg_bin=settings.pg_bin)
    )
    if not postgres.is_owner:
        raise StartError(
            f"Another `up` runs in {home.path}; stop it, or name another folder by"
            " BACKUP_GATEWAY_HOME."
        )
    await _migrate(settings, postgres.dsn)
    b2 = await stack.enter_async_context(run_embedded_b2(home.b2))
    try:
        make_instances(home.demo)
        hub_id, token = await _make_demo(settings, home, postgres.dsn, b2, sealer=sealer)
        write_credentials(home, StoredCredentials(url=url, token=token))
    except OSError as error:
        raise StartError(f"The demo cannot be made in {home.path}: {error}") from error
    return _Embedded(postgres=postgres, b2=b2, demo=(hub_id, home.demo), token=token)


async def _make_demo(
    settings: Settings, home: Home, dsn: str, b2: EmbeddedB2, *, sealer: Sealer
) -> tuple[UUID, str]:
    """The demo hub's id and a token of its; what a start that was cut off lacked is made now."""
    async with (
        Database.open(dsn, role=None) as owner,
        Database.open(dsn, role=settings.gateway_role) as gateway,
    ):
        hub_id = await find_demo(owner)
        stored = read_credentials(home)
        if hub_id is not None and home.demo_is_made.exists():
            if stored is not None and await _is_key_of(gateway, hub_id, stored.token):
                return hub_id, stored.token
            _, token = await keys.create_key(owner, hub_id=hub_id, name="demo", role=Role.ADMIN)
            return hub_id, token
        master = local_credentials(home.b2)
        key = await make_bucket(b2.url, *master)
        hub_id, token = await make_demo(owner, gateway, key, sealer=sealer, host=settings.host_name)
        write_private(home.demo_is_made, "")
        return hub_id, token


async def _is_key_of(gateway: Database, hub_id: UUID, token: str) -> bool:
    """Say if the stored token still works: it may be revoked, or of a database that is gone."""
    principal = await keys.authenticate(gateway, token)
    return principal is not None and principal.hub_id == hub_id


async def _migrate(settings: Settings, dsn: str) -> None:
    await apply_migrations(
        dsn, gateway_role=settings.gateway_role, worker_role=settings.worker_role
    )


def _greet(url: str, token: str | None, home: Path) -> None:
    lines = ["", f"GraphQL:  {url}"]
    if token is not None:
        lines += [
            f"API key:  {token}",
            f"Data:     {home}",
            "",
            "Ask something:",
            f"  curl -s {url} -H 'Authorization: Bearer {token}' \\",
            "    -H 'Content-Type: application/json' \\",
            f'    -d \'{{"query": "{QUERY}"}}\'',
            "",
            "Or in another terminal: .venv/bin/backup-gateway containers",
        ]
    else:
        lines.append("Keys:     backup-gateway hub create NAME; backup-gateway key create NAME")
    lines += ["", "Ctrl-C stops everything."]
    click.echo("\n".join(lines))


def _show_host(host: str) -> str:
    """The host as an address that can be called: one that stands for all is none."""
    with contextlib.suppress(ValueError):
        if (address := ip_address(host)).is_unspecified:
            host = "127.0.0.1" if address.version == 4 else "::1"  # noqa: PLR2004
    return f"[{host}]" if ":" in host else host


def _first(group: BaseExceptionGroup[StartError]) -> StartError:
    error = group.exceptions[0]
    return error if isinstance(error, StartError) else _first(error)
