"""A local B2 for each test, and clients that speak to it as others do."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from b2sdk.v3 import B2Api, Bucket, InMemoryAccountInfo

from tests.fakes.local_b2_client import login, open_client
from tests.fakes.local_b2_server import LocalB2Server


@pytest.fixture
def b2(tmp_path: Path) -> Iterator[LocalB2Server]:
    """A local B2 with parts of 1,000 bytes and more."""
    with LocalB2Server(tmp_path / "b2", part_size=1000) as server:
        yield server


@pytest.fixture
def bucket_id(b2: LocalB2Server) -> str:
    """The private bucket `backups-of-tests`."""
    return b2.bucket("backups-of-tests")


@pytest.fixture
def client(b2: LocalB2Server) -> Iterator[httpx.Client]:
    """An HTTP client that is authorised with the master key."""
    with open_client(b2.url) as client:
        login(client, b2.key_id, b2.key)
        yield client


@pytest.fixture
def sdk(b2: LocalB2Server) -> B2Api:
    """b2sdk with the master key."""
    api = B2Api(InMemoryAccountInfo())
    api.authorize_account(b2.key_id, b2.key, realm=b2.url)
    return api


@pytest.fixture
def bucket(sdk: B2Api, bucket_id: str) -> Bucket:
    """The bucket `backups-of-tests` as b2sdk sees it."""
    return sdk.get_bucket_by_id(bucket_id)
