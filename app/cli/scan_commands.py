"""The client's commands about the truth of a bucket: compare, rebuild, list what disagrees."""

import time
from collections.abc import Iterator
from itertools import islice
from typing import Any

import click

from app.cli.commands import connected, load, take_connection, take_key
from app.errors import RunUnsuccessful

POLL_SECONDS = 0.5

Json = dict[str, Any]


@click.command(short_help="Compare a bucket with the records.")
@click.argument("integration")
@click.option("--follow", is_flag=True, help="Stay until it ended, and show how it gets on.")
@click.option(
    "--believe-listing",
    is_flag=True,
    help="The listing is right although it misses many objects at once.",
)
@take_key
@take_connection
@click.pass_context
def reconcile(
    context: click.Context,
    integration: str,
    *,
    follow: bool,
    believe_listing: bool,
    key: str | None,
    as_json: bool,
) -> None:
    """Compare the bucket of INTEGRATION (name or id) with the records, as is done daily."""
    documents, names, show = load()
    with connected(context) as client:
        variables = {
            "id": names.find_integration(client, integration)["id"],
            "believe": believe_listing,
        }
        made: Json = client.mutate(documents.RECONCILE_STORAGE, variables, key)["integration"]
        if follow:
            made = _stay(client, show, made, "reconcile")
        _tell(show, made, "reconcile", as_json=as_json, followed=follow)


@click.command(short_help="Rebuild records from a bucket.")
@click.argument("integration")
@click.option("--follow", is_flag=True, help="Stay until it ended, and show how it gets on.")
@click.option(
    "--former-hub",
    metavar="UUID",
    help="Whose the backups were, where there are some of several lost hubs.",
)
@take_key
@take_connection
@click.pass_context
def recover(
    context: click.Context,
    integration: str,
    *,
    follow: bool,
    former_hub: str | None,
    key: str | None,
    as_json: bool,
) -> None:
    """Rebuild the records of the backups in the bucket of INTEGRATION (name or id) that lack one.

    For the time after the database was lost: make a hub and an integration with the same bucket
    and prefix first.
    """
    documents, names, show = load()
    with connected(context) as client:
        variables = {
            "id": names.find_integration(client, integration)["id"],
            "former": former_hub,
        }
        made: Json = client.mutate(documents.RECOVER_BACKUPS, variables, key)["integration"]
        if follow:
            made = _stay(client, show, made, "recovery")
        _tell(show, made, "recovery", as_json=as_json, followed=follow)


@click.command(short_help="List where buckets and records disagree.")
@click.option("--limit", type=click.IntRange(min=1), default=25, show_default=True)
@take_connection
@click.pass_context
def drift(context: click.Context, *, limit: int, as_json: bool) -> None:
    """List where buckets and records disagree, newest first."""
    documents, _, show = load()
    with connected(context) as client:
        pages = client.page(documents.LIST_DRIFT, {}, "hub", "storageDrift", size=min(limit, 100))
        found = list(islice(pages, limit))
    if as_json:
        show.print_json(found)
    else:
        show.print_table(("KIND", "WHAT", "SIZE", "NAME"), map(show.describe_drift, found))


def _stay(client: Any, show: Any, integration: Json, field: str) -> Json:  # noqa: ANN401 - imported late
    """Follow a scan to its end; gives the integration as it is then."""
    for current in _poll(client, integration["id"]):
        words = show.describe_scan(current[field])
        if current != integration:
            click.echo(words, err=True)
        integration = current
        if not current[field]["running"] or current[field]["error"]:
            break
    return integration


def _poll(client: Any, identifier: str) -> Iterator[Json]:  # noqa: ANN401 - imported late
    documents, _, _ = load()
    while True:
        found: Json = client.execute(documents.SHOW_SCANS, {"id": identifier})["node"]
        yield found
        time.sleep(POLL_SECONDS)


def _tell(show: Any, integration: Json, field: str, *, as_json: bool, followed: bool) -> None:  # noqa: ANN401 - imported late
    """Print a scan; raises RunUnsuccessful where it was followed and could not be carried out."""
    scan = integration[field]
    if as_json:
        show.print_json(integration)
    elif not followed:
        click.echo(f"{integration['name']}: asked for; --follow shows how it gets on")
    elif not scan["error"]:
        click.echo(f"{integration['name']}: {show.describe_scan(scan)}")
    if followed and scan["error"]:
        raise RunUnsuccessful(f"{scan['error']['code']}: {scan['error']['message']}")


SCAN_COMMANDS = (reconcile, recover, drift)
