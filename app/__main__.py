"""The program `backup-gateway`: parse the command line, call wiring, nothing else."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

from app import __version__
from app.cli.commands import COMMANDS, told_as_sentences
from app.cli.scan_commands import SCAN_COMMANDS

OF_USERS = (*COMMANDS, *SCAN_COMMANDS)
ROLES = ("VIEWER", "OPERATOR", "ADMIN")
Command = TypeVar("Command", bound=Callable[..., object])


class Sections(click.Group):
    """A help page with what users type apart from what operators type, in the order of use."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        for title, of_users in (("See and do", True), ("Run the gateway", False)):
            rows = [
                (name, command.get_short_help_str(limit=80))
                for name, command in self.commands.items()
                if (command in OF_USERS) == of_users and not command.hidden
            ]
            with formatter.section(title):
                formatter.write_dl(rows)


ABOUT = """See, make, restore and delete the backups of stateful containers.

\b
  backup-gateway containers
  backup-gateway backup ledger 1.ledger --follow
  backup-gateway restore latest 2.ledger --follow

These talk to a running gateway. What `make up` started they find by themselves; for another
one give --url and --token, or set BACKUP_GATEWAY_URL and BACKUP_GATEWAY_TOKEN.
"""


@click.group(
    cls=Sections,
    help=ABOUT,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 1 refused or failed, 2 wrong command line or settings, "
    "3 gateway unreachable or key not accepted.",
)
@click.version_option(__version__, prog_name="backup-gateway")
def main() -> None:
    pass


for _command in OF_USERS:
    main.add_command(_command)


def take_address(command: Command) -> Command:
    """Give a command --host, --port and --allow-remote."""
    for add in (
        click.option(
            "--allow-remote",
            is_flag=True,
            default=None,
            help="Allow a host that others can reach.",
        ),
        click.option("--port", type=int, help="Port to listen on; else PORT, else 8000."),
        click.option("--host", help="Address to listen on; else HOST, else 127.0.0.1."),
    ):
        command = add(command)
    return command


@main.command(short_help="Gateway, worker, embedded PostgreSQL and B2 in one.")
@take_address
def up(*, host: str | None, port: int | None, allow_remote: bool | None) -> None:
    """Start everything: the gateway, a worker and, without DATABASE_URL, PostgreSQL and B2.

    The first start makes a demo to try; its key is printed, and stored for the client commands.

    All data is in the folder that BACKUP_GATEWAY_HOME names. Without it: as root in
    /var/lib/backup-gateway, whatever HOME is; as any other user in $XDG_DATA_HOME/backup-gateway,
    which is ~/.local/share/backup-gateway where that is not set.
    """
    from app.settings import read_settings
    from app.wiring import up as program

    with told_as_sentences():
        program.up(read_settings(host=host, port=port, allow_remote=allow_remote))


@main.command(short_help="The gateway alone.")
@take_address
def serve(*, host: str | None, port: int | None, allow_remote: bool | None) -> None:
    """Answer GraphQL requests; the database is DATABASE_URL's. Any number may run."""
    from app.settings import read_settings
    from app.wiring import gateway

    with told_as_sentences():
        gateway.serve(read_settings(host=host, port=port, allow_remote=allow_remote))


@main.command(short_help="A worker alone.")
def worker() -> None:
    """Carry out backups and restores; the database is DATABASE_URL's. Any number may run."""
    from app.settings import read_settings
    from app.wiring import programs

    with told_as_sentences():
        programs.work(read_settings())


@main.command(short_help="Bring the database up to date.")
def migrate() -> None:
    """Apply the migrations that DATABASE_URL lacks, as a user who owns the database."""
    from app.settings import read_settings
    from app.wiring import operator

    with told_as_sentences():
        applied = operator.migrate(read_settings())
    click.echo("\n".join(applied) if applied else "Nothing to do.")


@main.group(short_help="Make a hub: a tenant.")
def hub() -> None:
    """Hubs: the tenants. Everything belongs to one hub."""


@hub.command("create", short_help="Make a hub.")
@click.argument("name")
def create_hub(name: str) -> None:
    """Make the hub NAME and print its id; `key create` makes its first key."""
    from app.settings import read_settings
    from app.wiring import operator

    with told_as_sentences():
        identifier = operator.create_hub(read_settings(), name)
    click.echo(identifier)


@main.group(short_help="Make an API key.")
def key() -> None:
    """API keys: each belongs to one hub."""


@key.command("create", short_help="Make an API key and print it once.")
@click.argument("hub")
@click.option("--role", type=click.Choice(ROLES, case_sensitive=False), default="ADMIN")
@click.option("--name", default="command line", help="What lists and the audit call it.")
def create_key(hub: str, *, role: str, name: str) -> None:
    """Make an API key of HUB (name or id) and print it: it cannot be shown again."""
    from app.settings import read_settings
    from app.wiring import operator

    with told_as_sentences():
        token = operator.create_key(read_settings(), hub, role=role.upper(), name=name)
    click.echo(token)


@main.command(short_help="Make this database the owner of a bucket again.")
@click.argument("integration", required=False)
@click.option("--all", "every", is_flag=True, help="Every integration that needs it.")
def claim(*, integration: str | None, every: bool) -> None:
    """Say that the backups of INTEGRATION (name or id) are this database's to delete.

    Needed where NOT_THE_OWNER is told: after the database was restored from a dump or moved, or
    where a copy of it has taken the bucket. Whoever held it until now deletes nothing there any
    more. A worker carries it out.
    """
    from app.settings import read_settings
    from app.wiring import operator

    if every is (integration is not None):
        raise click.UsageError("Name one integration, or give --all.")
    with told_as_sentences():
        settings = read_settings()
        if integration is None:
            count = operator.claim_all(settings)
            click.echo(f"{count} claimed; a worker writes it into the buckets.")
        else:
            name = operator.claim(settings, integration)
            click.echo(f"{name} is claimed; a worker writes it into the bucket.")


@main.command("secret-key", short_help="Make a key that seals stored secrets.")
def secret_key() -> None:
    """Print a new `id:base64` for BACKUP_GATEWAY_SECRET_KEY; older ones stay behind it."""
    from app.settings import make_sealing_key

    click.echo(make_sealing_key())


@main.command("local-b2", short_help="A B2 in a folder, for tests and trials.")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=int, default=0, help="0 takes a free one, and says which.")
def local_b2(folder: Path, *, host: str, port: int) -> None:
    """Serve Backblaze B2's native API over the files of FOLDER."""
    from app.wiring import operator

    with told_as_sentences():
        operator.local_b2(folder, host=host, port=port)


@main.command(short_help="Print schema.graphql.")
def schema() -> None:
    """Print the GraphQL schema, as it stands in schema.graphql."""
    from app.wiring import gateway

    click.echo(gateway.schema(), nl=False)


if __name__ == "__main__":
    main(prog_name="backup-gateway")
