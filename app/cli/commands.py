"""The client's commands: they use the public API only; exit codes say what came out."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, TypeVar

import click

from app.errors import (
    ClientError,
    GatewayError,
    GatewayUnreachable,
    KeyRejected,
    NameUnclear,
    RunUnsuccessful,
    StartError,
)

REFUSED = 1
USAGE = 2
UNREACHABLE = 3
MOST_IDS = 100
SUCCESSES = frozenset({"LIVE", "SUCCEEDED", "PASSED"})
"""What one `deleteBackups` takes."""

Json = dict[str, Any]
Command = TypeVar("Command", bound=Callable[..., object])


def choose_exit_code(error: GatewayError) -> int:
    if isinstance(error, GatewayUnreachable | KeyRejected):
        return UNREACHABLE
    if isinstance(error, NameUnclear | StartError):
        return USAGE
    return REFUSED


@contextmanager
def told_as_sentences() -> Iterator[None]:
    """Turn expected failures into sentences and exit codes; defects keep their trace."""
    try:
        yield
    except GatewayError as error:
        click.echo(f"Error: {error.message}", err=True)
        raise click.exceptions.Exit(choose_exit_code(error)) from None


@contextmanager
def connected(context: click.Context) -> Iterator[Any]:
    """Open the client that the command line asks for."""
    from app.cli.client import Client
    from app.cli.credentials import find_credentials

    options = context.obj or {}
    with told_as_sentences():
        credentials = find_credentials(url=options.get("url"), token=options.get("token"))
        with Client(credentials) as client:
            yield client


def take_connection(command: Command) -> Command:
    """Give a command --url, --token and --json."""

    def remember(context: click.Context, parameter: click.Parameter, value: object) -> None:
        context.ensure_object(dict)[parameter.name] = value

    options: dict[str, Any] = {"expose_value": False, "callback": remember}
    for add in (
        click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table."),
        click.option(
            "--token", metavar="KEY", help="API key; else BACKUP_GATEWAY_TOKEN.", **options
        ),
        click.option("--url", metavar="URL", help="Gateway; else BACKUP_GATEWAY_URL.", **options),
    ):
        command = add(command)
    return command


def take_key(command: Command) -> Command:
    """Give a mutation --idempotency-key."""
    return click.option(
        "--idempotency-key",
        "key",
        metavar="KEY",
        help="The same key does it once, however often it is said. [default: a new one]",
    )(command)


def load() -> tuple[ModuleType, ModuleType, ModuleType]:
    """Import what a command needs and `--help` does not."""
    from app.cli import documents, names, show

    return documents, names, show


@click.command(short_help="List the containers and their instances.")
@take_connection
@click.pass_context
def containers(context: click.Context, *, as_json: bool) -> None:
    """List the containers, their instances and the newest backup of each."""
    _, names, show = load()
    with connected(context) as client:
        found = names.list_containers(client)
    if as_json:
        show.print_json(found)
    else:
        show.print_containers(found)


@click.command(short_help="List a container's backups, newest first.")
@click.argument("container")
@click.option("--limit", type=click.IntRange(min=1), default=25, show_default=True)
@take_connection
@click.pass_context
def backups(context: click.Context, container: str, *, limit: int, as_json: bool) -> None:
    """List the backups of CONTAINER (identifier or id), newest first."""
    from itertools import islice

    documents, names, show = load()
    with connected(context) as client:
        variables = {"container": names.find_container(client, container)["id"]}
        size = min(limit, MOST_IDS)
        pages = client.page(documents.LIST_BACKUPS, variables, "container", "backups", size=size)
        found = list(islice(pages, limit))
    if as_json:
        show.print_json(found)
    else:
        show.print_backups(found)


@click.command(short_help="Back up an instance now.")
@click.argument("container")
@click.argument("instance", required=False)
@click.option("--follow", is_flag=True, help="Stay until it ended, and show how it gets on.")
@take_key
@take_connection
@click.pass_context
def backup(
    context: click.Context,
    container: str,
    instance: str | None,
    *,
    follow: bool,
    key: str | None,
    as_json: bool,
) -> None:
    """Back up CONTAINER now: its INSTANCE (hostname or id), or the only one that runs."""
    from app.cli.follow import follow_backup

    documents, names, show = load()
    with connected(context) as client:
        owner = names.find_container(client, container)
        chosen = names.find_instance([owner], instance)[1]["id"] if instance else None
        variables = {"container": owner["id"], "instance": chosen}
        made: Json = client.mutate(documents.CREATE_BACKUP, variables, key)["backup"]
        if follow:
            made = stay(show, follow_backup(client, made["id"]), made)
        tell(show, made, as_json=as_json, followed=follow)


@click.command(short_help="Restore a backup into an instance.")
@click.argument("backup")
@click.argument("instance")
@click.option("--follow", is_flag=True, help="Stay until it ended, with bytes, rate and ETA.")
@click.option("--other-container", is_flag=True, help="Allow an instance of another container.")
@click.option(
    "--changed-command",
    is_flag=True,
    help="Accept that the backup command changed since the backup was made.",
)
@click.option(
    "--safety-backup/--no-safety-backup",
    default=None,
    help="Save the instance first, and stop where that fails. [default: as the policy says]",
)
@take_key
@take_connection
@click.pass_context
def restore(
    context: click.Context,
    backup: str,
    instance: str,
    *,
    follow: bool,
    other_container: bool,
    changed_command: bool,
    safety_backup: bool | None,
    key: str | None,
    as_json: bool,
) -> None:
    """Restore BACKUP into INSTANCE (hostname or id), over what is there.

    BACKUP is an id, the end of one as `backups` shows it, or `latest`: the newest backup of the
    instance's container that can be restored.
    """
    from app.cli.follow import follow_restore

    documents, names, show = load()
    with connected(context) as client:
        known = names.list_containers(client)
        if backup == names.LATEST:
            owner, target = names.find_instance(known, instance)
            source = names.find_latest_backup(client, owner)
        else:
            source = names.find_backup(client, backup, known)
            home = [c for c in known if c["id"] == source["container"]["id"]]
            _, target = names.find_instance(known if other_container else home, instance)
        variables = {
            "backup": source["id"],
            "instance": target["id"],
            "other": other_container,
            "changed": changed_command,
            "safety": safety_backup,
        }
        made: Json = client.mutate(documents.RESTORE_BACKUP, variables, key)["restore"]
        if follow:
            made = stay(show, follow_restore(client, made["id"]), made)
        tell(show, made, as_json=as_json, followed=follow)


@click.command(short_help="Prove that a backup could be put back.")
@click.argument("backup")
@click.argument("instance", required=False)
@click.option(
    "--level",
    type=click.Choice(["stored", "readable", "restorable"], case_sensitive=False),
    default="stored",
    show_default=True,
    help="Read every byte again; or let the check read it; or restore it into a scratch instance.",
)
@click.option("--follow", is_flag=True, help="Stay until it ended, with bytes, rate and ETA.")
@take_key
@take_connection
@click.pass_context
def verify(
    context: click.Context,
    backup: str,
    instance: str | None,
    *,
    level: str,
    follow: bool,
    key: str | None,
    as_json: bool,
) -> None:
    """Verify BACKUP (an id, or the end of one as `backups` shows it).

    Commands run in INSTANCE (hostname or id), or in one that is chosen: a scratch one first.
    """
    from app.cli.follow import follow_verification

    documents, names, show = load()
    with connected(context) as client:
        known = names.list_containers(client)
        source = names.find_backup(client, backup, known)
        home = [c for c in known if c["id"] == source["container"]["id"]]
        chosen = names.find_instance(home, instance)[1]["id"] if instance else None
        variables = {"backup": source["id"], "level": level.upper(), "instance": chosen}
        made: Json = client.mutate(documents.VERIFY_BACKUP, variables, key)["verification"]
        if follow:
            made = stay(show, follow_verification(client, made["id"]), made)
        tell(show, made, as_json=as_json, followed=follow)


@click.command(short_help="Write a backup's bytes into a file.")
@click.argument("backup")
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    help="The file to make; `-` is stdout. [default: one here that says container and time]",
)
@take_connection
@click.pass_context
def download(context: click.Context, backup: str, *, output: str | None, as_json: bool) -> None:
    """Write the bytes of BACKUP (an id, or the end of one as `backups` shows it) into a file.

    The file appears once all of it is there and its SHA-256 is right. Into a pipe the bytes go as
    they come: mind the exit code.
    """
    from app.cli.downloads import STDOUT
    from app.cli.downloads import download as carry_out

    _, names, show = load()
    with connected(context) as client:
        source = names.find_backup(client, backup, names.list_containers(client))
        with show.LiveLine() as line:
            done = carry_out(client, source, output, line)
    if output == STDOUT:
        return
    if as_json:
        show.print_json(done)
    else:
        click.echo(f"{done['file']}: {show.write_size(done['sizeBytes'])}")


@click.command(short_help="Delete backups.")
@click.argument("backups", nargs=-1, required=True, metavar="BACKUP...")
@take_key
@take_connection
@click.pass_context
def delete(
    context: click.Context, backups: tuple[str, ...], *, key: str | None, as_json: bool
) -> None:
    """Delete each BACKUP (an id, or the end of one as `backups` shows it).

    Each is answered for by itself; the exit code is 1 where one was refused.
    """
    documents, names, show = load()
    if names.LATEST in backups:
        raise click.UsageError("`latest` names another backup tomorrow: delete it by its id.")
    with connected(context) as client:
        known = names.list_containers(client)
        ids = [names.find_backup(client, name, known)["id"] for name in backups]
        results: list[Json] = []
        for start in range(0, len(ids), MOST_IDS):
            chunk = ids[start : start + MOST_IDS]
            chunk_key = f"{key}:{start}" if key and start else key
            payload = client.mutate(documents.DELETE_BACKUPS, {"ids": chunk}, chunk_key)
            results += payload["results"]
    if as_json:
        show.print_json(results)
    else:
        show.print_table(("BACKUP", "RESULT"), map(show.describe_deletion, results))
    if not all(result["accepted"] for result in results):
        context.exit(REFUSED)


@click.command(short_help="Show what a run printed.")
@click.argument("run")
@take_connection
@click.pass_context
def logs(context: click.Context, run: str, *, as_json: bool) -> None:
    """Show the log of RUN: the id of a backup, restore or verification, or the end of one."""
    documents, names, show = load()
    with connected(context) as client:
        _, identifier = names.find_run(client, run)
        entries = list(client.page(documents.SHOW_LOGS, {"id": identifier}, "node", "logs"))
    if as_json:
        show.print_json(entries)
    else:
        show.print_log(entries)


@click.command(short_help="Cancel a backup, restore or verification.")
@click.argument("run")
@take_key
@take_connection
@click.pass_context
def cancel(context: click.Context, run: str, *, key: str | None, as_json: bool) -> None:
    """Cancel RUN: a backup, restore or verification that has not ended (its id, or the end of one).

    A restore that is cancelled in the middle leaves part of itself in the instance.
    """
    documents, names, show = load()
    with connected(context) as client:
        kind, identifier = names.find_run(client, run)
        document = getattr(documents, f"CANCEL_{kind.upper()}")
        ended: Json = client.mutate(document, {"id": identifier}, key)[kind.lower()]
    tell(show, ended, as_json=as_json, followed=False)


COMMANDS = (containers, backups, backup, restore, verify, download, delete, logs, cancel)


def stay(show: ModuleType, states: Iterator[Json], run: Json) -> Json:
    """Follow a run to its end; gives its last state. Ctrl-C leaves the run going on."""
    try:
        with show.LiveLine() as line:
            return line.follow(states) or run
    except KeyboardInterrupt:
        raise ClientError(
            f"No longer followed; it goes on. To end it: backup-gateway cancel {run['id']}"
        ) from None


def tell(show: ModuleType, run: Json, *, as_json: bool, followed: bool) -> None:
    """Print a run; raises RunUnsuccessful where it was followed to an end that is no success."""
    if as_json:
        show.print_json(run)
    elif not followed or run["state"] in SUCCESSES:
        click.echo(show.describe_run(run))
    if followed and run["state"] not in SUCCESSES:
        raise RunUnsuccessful(
            f"{show.describe_run(run)}\nWhat it printed: backup-gateway logs {run['id']}"
        )
