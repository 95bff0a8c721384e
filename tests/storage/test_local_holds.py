"""A held call of the local B2 waits before its work until it is released."""

from concurrent.futures import ThreadPoolExecutor

import httpx

from tests.fakes.local_b2_client import call, stored
from tests.fakes.local_b2_server import LocalB2Server


def test_a_held_call_works_only_after_its_release(
    b2: LocalB2Server, client: httpx.Client, bucket_id: str
):
    made = stored(client, bucket_id, "name")
    b2.faults.hold("b2_delete_file_version")
    names = {"fileId": made["fileId"], "fileName": "name"}
    with ThreadPoolExecutor(1) as threads:
        deleting = threads.submit(call, client, "b2_delete_file_version", **names)
        while b2.faults.count("b2_delete_file_version") == 0:
            assert not deleting.done()
        assert [found["fileId"] for found in b2.versions(bucket_id)] == [made["fileId"]]
        assert not deleting.done()
        b2.faults.release()
        assert deleting.result().json() == names
    assert b2.versions(bucket_id) == []
