"""A partner's program: the README's tour with a generated client, which lies beside it.

Runs in the generator's venv, with nothing of the product: `tour.py URL KEY VIEWER_KEY LOST
GATE`. Prints what it saw as JSON. LOST: a backup whose object is gone. GATE: a path; the restore
command waits until something is there.
"""

import asyncio
import hashlib
import json
import sys
from datetime import timedelta
from pathlib import Path
from urllib.parse import urljoin

import httpx
from gateway_client import Client, GraphQLClientGraphQLMultiError
from gateway_client.enums import BackupState, RestoreState, StorageStatus

ENDED = {RestoreState.SUCCEEDED, RestoreState.FAILED, RestoreState.CANCELED}

WAIT_SECONDS = 60
"""For a backup or restore to end: then something has gone wrong, and that is what is told."""


def open_client(url: str, key: str) -> Client:
    authorization = {"Authorization": f"Bearer {key}"}
    return Client(
        url=url,
        headers=authorization,
        ws_url=url.replace("http", "ws", 1),
        ws_connection_init_payload=authorization,
    )


def explain(error) -> str:
    """As `schema.graphql` tells clients to: a switch with a default branch."""
    match error.typename__:
        case "NotFoundError":
            advice = "look again"
        case "InvalidInputError":
            advice = f"mend {'.'.join(error.path or ['the call'])}"
        case "InvalidStateError":
            advice = "not now"
        case "ConflictError":
            advice = "in the way"
        case "NotPermittedError":
            advice = "ask an administrator"
        case "StorageError":
            advice = "look at the bucket"
        case _:
            return error.message
    return f"{advice}: {error.code}"


async def back_up(client: Client, container: str, instance: str):
    payload = (await client.back_up(container, instance)).create_backup
    assert payload.errors == [], payload
    return await wait_for(client, payload.backup.id, {BackupState.LIVE, BackupState.FAILED})


async def wait_for(client: Client, backup_id: str, states: set[BackupState]):
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            backup = (await client.backup_now(backup_id)).backup
            if backup.state in states:
                return backup
            await asyncio.sleep(0.05)


async def restore(client: Client, backup_id: str, instance: str, gate: Path) -> list:
    payload = (await client.restore(backup_id, instance)).restore_backup
    assert payload.errors == [], payload
    seen = []
    async with asyncio.timeout(WAIT_SECONDS):
        async for event in client.follow(payload.restore.id):
            seen.append(event.restore_progress)
            gate.touch()
    assert seen[-1].state in ENDED
    return [
        {"state": one.state.value, "bytes": one.progress.bytes_delivered}
        for one in seen
        if one.state in ENDED or one is seen[0]
    ]


async def download(client: Client, backup_id: str) -> int:
    """The number of bytes."""
    payload = (await client.download(backup_id)).create_download
    assert payload.errors == [], payload
    async with httpx.AsyncClient(trust_env=False) as http:
        answer = await http.get(urljoin(client.url, payload.download.address))
    assert hashlib.sha256(answer.content).hexdigest() == payload.download.backup.sha_256
    return len(answer.content)


async def meet_refusals(
    client: Client, viewer: Client, container, backup_id: str, lost: str
) -> dict:
    """One refusal of each type."""
    first, second = (instance.id for instance in container.instances.nodes)
    assert (await client.look_now(lost)).backup.storage.status is StorageStatus.MISSING
    conflict = await client.back_up_again(container.id, second, "monday")
    refusals = {
        "unknown": (await client.back_up_again("nothing", first, "a")).create_backup,
        "too many": (await client.delete_many([f"x{n}" for n in range(101)])).delete_backups,
        "deleted": (await client.restore(backup_id, first)).restore_backup,
        "key reused": conflict.create_backup,
        "lost": (await client.restore(lost, first)).restore_backup,
        "viewer": (await viewer.back_up_again(container.id, first, "b")).create_backup,
    }
    return {name: explain(payload.errors[0]) for name, payload in refusals.items()}


async def fail_validation(client: Client) -> str:
    """A top-level error: what a client could not have known to handle."""
    try:
        client.get_data(await client.execute("{ nothing }"))
    except GraphQLClientGraphQLMultiError as error:
        return error.errors[0].extensions["code"]
    raise AssertionError("no error")


async def main(url: str, key: str, viewer_key: str, lost: str, gate: str) -> None:
    async with open_client(url, key) as client, open_client(url, viewer_key) as viewer:
        [container] = (await client.containers()).containers.nodes
        first, second = (instance.id for instance in container.instances.nodes)
        saved = await back_up(client, container.id, first)
        assert isinstance(saved.duration, timedelta)
        listed = (await client.containers()).containers.nodes[0].backups.nodes
        restored = await restore(client, saved.id, second, Path(gate))
        downloaded = await download(client, saved.id)
        deleted = (await client.delete([saved.id])).delete_backups.results
        await wait_for(client, saved.id, {BackupState.DELETED})
        seen = {
            "container": container.identifier,
            "backup": [saved.state.value, saved.size_bytes, saved.created_at.tzname()],
            "log": [[entry.stream.value, entry.text] for entry in saved.logs.nodes],
            "listed": [backup.id in {saved.id, lost} for backup in listed],
            "restore": restored,
            "downloaded": downloaded,
            "deleted": [[result.id == saved.id, result.accepted] for result in deleted],
            "refusals": await meet_refusals(client, viewer, container, saved.id, lost),
            "top level": await fail_validation(client),
        }
    sys.stdout.write(json.dumps(seen))


asyncio.run(main(*sys.argv[1:]))
