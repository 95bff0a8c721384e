"""What the tests of drift ask of the product, and what is put into its bucket behind its back."""

import asyncio
import json
from typing import Any, Self
from uuid import UUID, uuid4

from app.model.ids import decode_id
from app.storage.b2 import B2Storage
from app.storage.threads import StorageThreads
from tests.product import BUCKET, ERRORS, PATIENCE, PREFIX, Product

RECONCILE = """running phase startedAt finishedAt objects records missing mismatches orphans
unfinished foreign found contradicted error { code message }"""
RECOVERY = """running phase finishedAt objects recovered known skipped error { code message }"""
DRIFT = """id kind detail name fileId sizeBytes resolution adopting bytesRead error { code message }
backup { id }"""


def uuid_of(identifier: str) -> UUID:
    decoded = decode_id(identifier)
    assert decoded is not None
    return decoded[1]


async def reconcile(
    product: Product, *, believe: bool = False, work: bool = True
) -> dict[str, Any]:
    """Ask for a reconcile and wait for its end, with a worker of its own; what it says then."""
    await product.mutate(
        "reconcileStorage",
        f"""mutation ($id: ID!, $believe: Boolean!) {{
          reconcileStorage(integrationId: $id, believeListing: $believe) {{ {ERRORS} }} }}""",
        id=product.integration,
        believe=believe,
    )
    if not work:
        return await scanned(product, "reconcile")
    async with product.working():
        return await scanned(product, "reconcile")


async def recover(product: Product, *, former_hub: str | None = None) -> dict[str, Any]:
    """Ask for a recovery and wait for its end, with a worker of its own; what it says then."""
    await product.mutate(
        "recoverBackups",
        f"""mutation ($id: ID!, $former: String) {{
          recoverBackups(integrationId: $id, formerHubId: $former) {{ {ERRORS} }} }}""",
        id=product.integration,
        former=former_hub,
    )
    async with product.working():
        return await scanned(product, "recovery")


async def scanned(product: Product, field: str) -> dict[str, Any]:
    """What the integration says of a scan, once it does not run or cannot go on."""
    fields = RECONCILE if field == "reconcile" else RECOVERY
    async with asyncio.timeout(PATIENCE):
        while True:
            data = await product.ask(
                f"""query ($id: ID!) {{ node(id: $id) {{ ... on Integration {{
                  {field} {{ {fields} }} }} }} }}""",
                id=product.integration,
            )
            found: dict[str, Any] = data["node"][field]
            if not found["running"] or found["error"]:
                return found
            await asyncio.sleep(0.02)


async def drifts(product: Product, *kinds: str) -> list[dict[str, Any]]:
    """What disagrees, by kind and name."""
    data = await product.ask(
        f"""query ($kinds: [DriftKind!]) {{ hub {{ storageDrift(filter: {{ kinds: $kinds }},
          first: 100) {{ nodes {{ {DRIFT} }} }} }} }}""",
        kinds=list(kinds) or None,
    )
    found: list[dict[str, Any]] = data["hub"]["storageDrift"]["nodes"]
    return sorted(found, key=lambda drift: (drift["kind"], drift["name"]))


async def events(product: Product) -> list[tuple[str, dict[str, Any]]]:
    """What people were told of drift, oldest first: kinds, and the data that are not 0."""
    async with product.owner.connection() as connection:
        rows = await connection.fetch(
            """
            select kind, data from events where kind in ('DRIFT_FOUND', 'SUSPECT_LISTING')
            order by number
            """
        )
    return [(row["kind"], {k: v for k, v in row["data"].items() if v}) for row in rows]


async def statuses(product: Product) -> dict[str, str]:
    """What the records say of their objects, by the ids of the backups."""
    async with product.owner.connection() as connection:
        rows = await connection.fetch("select id, storage_status from backups order by created_at")
    return {str(row["id"]): row["storage_status"] for row in rows}


async def installation(product: Product) -> UUID:
    async with product.owner.connection() as connection:
        id: UUID = await connection.fetchval("select id from installation")
    return id


class Bucket:
    """The bucket as somebody else reaches it."""

    def __init__(self, product: Product) -> None:
        self._product = product
        self._threads = StorageThreads(4)
        self.storage = B2Storage(
            realm=product.b2.url,
            key_id=product.b2.key_id,
            key=product.b2.key,
            bucket=BUCKET,
            prefix=PREFIX,
            threads=self._threads,
            user_agent="test",
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.storage.aclose()
        self._threads.close()

    async def put(self, name: str, data: bytes = b"x") -> str:
        stored = await self.storage.put(name, data, info={}, content_type="text/plain")
        return stored.file_id

    def file_ids(self, name: str) -> list[str]:
        """All versions of exactly this name."""
        return [
            version["fileId"]
            for version in self._product.b2.versions(self._product.bucket_id, name)
            if version["fileName"] == name
        ]

    def remove(self, name: str) -> None:
        """Take a name out of the bucket, and tell nobody."""
        for file_id in self.file_ids(name):
            self._product.b2.faults.remove(file_id)


async def our_name(product: Product, *, hub: UUID | None = None, at: UUID | None = None) -> str:
    """The name of an object that only the gateway gives, of a backup that nobody knows."""
    place = at or await installation(product)
    return f"{PREFIX}/{place}/{hub or product.hub_id}/{uuid4()}/{uuid4()}-0a1b2c3d-1"


async def a_manifest(product: Product) -> bytes:
    """One of a backup that was made."""
    async with product.owner.connection() as connection:
        file_id = await connection.fetchval("select manifest_file_id from backups")
    return product.b2.read(file_id)


async def plant(bucket: Bucket, manifest: bytes, *, hub: UUID) -> dict[str, Any]:
    """An object with a manifest that fits it, of a backup of this hub."""
    document = json.loads(manifest)
    document |= {"hub": str(hub), "backup": str(uuid4()), "epoch": 1}
    place = "/".join(document[word] for word in ("installation", "hub", "container"))
    document["objectName"] = f"{PREFIX}/{place}/{document['backup']}-{document['token']}-1"
    document["fileId"] = await bucket.put(document["objectName"], b"data\n")
    await bucket.put(document["objectName"] + ".json", json.dumps(document).encode())
    return document
