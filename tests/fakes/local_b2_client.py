"""Plain requests to a local B2, as its documentation writes them."""

import hashlib
from collections.abc import Sequence
from typing import Any

import httpx


def open_client(url: str) -> httpx.Client:
    """A client of this server; reading the machine's certificates would take longer than a test."""
    return httpx.Client(base_url=url, trust_env=False, verify=False, timeout=60)


def login(client: httpx.Client, key_id: str, key: str, *, version: int = 4) -> dict[str, Any]:
    """Authorise the client; returns what B2 answered."""
    answer = client.get(f"/b2api/v{version}/b2_authorize_account", auth=(key_id, key))
    found: dict[str, Any] = answer.raise_for_status().json()
    client.headers["Authorization"] = found["authorizationToken"]
    return found


def call(client: httpx.Client, operation: str, **fields: object) -> httpx.Response:
    return client.post(f"/b2api/v4/{operation}", json=fields)


def refusal(answer: httpx.Response) -> tuple[int, str]:
    """Status and code of an error, whose body must be B2's."""
    body = answer.json()
    assert set(body) == {"status", "code", "message"}
    assert body["status"] == answer.status_code
    assert isinstance(body["message"], str)
    return answer.status_code, body["code"]


def upload(
    client: httpx.Client,
    bucket_id: str,
    name: str,
    data: bytes,
    *,
    sha1: str | None = None,
    headers: dict[str, str] | None = None,
) -> httpx.Response:
    """A plain upload; the name is sent as it is."""
    url = call(client, "b2_get_upload_url", bucketId=bucket_id).raise_for_status().json()
    sent = {
        "Authorization": url["authorizationToken"],
        "X-Bz-File-Name": name,
        "X-Bz-Content-Sha1": sha1_of(data) if sha1 is None else sha1,
        "Content-Type": "b2/x-auto",
    }
    return client.post(url["uploadUrl"], content=data, headers={**sent, **(headers or {})})


def stored(client: httpx.Client, bucket_id: str, name: str, data: bytes = b"x") -> dict[str, Any]:
    """Upload and return what B2 says about the version."""
    found: dict[str, Any] = upload(client, bucket_id, name, data).raise_for_status().json()
    return found


def start(client: httpx.Client, bucket_id: str, name: str) -> str:
    answer = call(
        client, "b2_start_large_file", bucketId=bucket_id, fileName=name, contentType="b2/x-auto"
    )
    return str(answer.raise_for_status().json()["fileId"])


def upload_part(
    client: httpx.Client, file_id: str, number: int, data: bytes, *, sha1: str | None = None
) -> httpx.Response:
    url = call(client, "b2_get_upload_part_url", fileId=file_id).raise_for_status().json()
    headers = {
        "Authorization": url["authorizationToken"],
        "X-Bz-Part-Number": str(number),
        "X-Bz-Content-Sha1": sha1_of(data) if sha1 is None else sha1,
    }
    return client.post(url["uploadUrl"], content=data, headers=headers)


def finish(client: httpx.Client, file_id: str, parts: Sequence[bytes]) -> httpx.Response:
    hashes = [sha1_of(part) for part in parts]
    return call(client, "b2_finish_large_file", fileId=file_id, partSha1Array=hashes)


def download(client: httpx.Client, file_id: str, **headers: str) -> httpx.Response:
    return client.get(
        "/b2api/v4/b2_download_file_by_id", params={"fileId": file_id}, headers=headers
    )


def sha1_of(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()
