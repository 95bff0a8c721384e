"""The demo's bucket in the embedded B2, and a key that reaches nothing else."""

import httpx

from app.demo.hub import BUCKET, DemoKey
from app.errors import StartError

PREFIX = "demo"
CAPABILITIES = ("listBuckets", "listFiles", "readFiles", "writeFiles", "deleteFiles")
API = "/b2api/v4"


async def make_bucket(url: str, key_id: str, key: str) -> DemoKey:
    """Make the private bucket where it is missing, and a new key for it. Raises StartError."""
    try:
        async with httpx.AsyncClient(base_url=url, timeout=10, trust_env=False) as client:
            return await _make_bucket(client, key_id, key)
    except (httpx.HTTPError, KeyError) as error:
        raise StartError(f"The embedded B2 does not answer as it should: {error}") from error


async def _make_bucket(client: httpx.AsyncClient, key_id: str, key: str) -> DemoKey:
    answer = await client.get(f"{API}/b2_authorize_account", auth=(key_id, key))
    account = answer.raise_for_status().json()
    client.headers["Authorization"] = account["authorizationToken"]

    async def call(operation: str, **fields: object) -> dict[str, object]:
        answer = await client.post(
            f"{API}/{operation}", json={"accountId": account["accountId"], **fields}
        )
        result: dict[str, object] = answer.raise_for_status().json()
        return result

    buckets = await call("b2_list_buckets", bucketName=BUCKET)
    found = buckets["buckets"]
    if isinstance(found, list) and found:
        bucket = found[0]
    else:
        bucket = await call("b2_create_bucket", bucketName=BUCKET, bucketType="allPrivate")
    made = await call(
        "b2_create_key",
        keyName="demo",
        capabilities=list(CAPABILITIES),
        bucketIds=[bucket["bucketId"]],
        namePrefix=f"{PREFIX}/",
    )
    return DemoKey(
        key_id=str(made["applicationKeyId"]), key=str(made["applicationKey"]), prefix=PREFIX
    )
