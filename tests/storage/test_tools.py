"""The tools that people have, `b2` and `rclone`, work against the local B2."""

import hashlib
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fakes.local_b2_server import LocalB2Server

pytestmark = pytest.mark.timeout(180)  # each command of the b2 tool takes seconds to start

CHUNK = 5 << 20  # the smallest that rclone takes

Tool = Callable[..., bytes]


@pytest.fixture
def b2(tmp_path: Path):
    """A local B2 with the part size that rclone insists on."""
    with LocalB2Server(tmp_path / "b2", part_size=5_000_000) as server:
        yield server


@pytest.fixture
def b2_tool(b2: LocalB2Server, program: Callable[[str], Path], tmp_path: Path) -> Tool:
    """Runs the b2 tool with the master key and returns what it printed."""
    return runner(
        program("b2"),
        B2_ENVIRONMENT=b2.url,
        B2_APPLICATION_KEY_ID=b2.key_id,
        B2_APPLICATION_KEY=b2.key,
        B2_ACCOUNT_INFO=str(tmp_path / "account"),
        HOME=str(tmp_path),
    )


@pytest.fixture
def rclone(b2: LocalB2Server, program: Callable[[str], Path], tmp_path: Path) -> Tool:
    """Runs rclone, for which the remote `local:` is the local B2."""
    return runner(
        program("rclone"),
        RCLONE_CONFIG=str(tmp_path / "rclone.conf"),
        RCLONE_CONFIG_LOCAL_TYPE="b2",
        RCLONE_CONFIG_LOCAL_ACCOUNT=b2.key_id,
        RCLONE_CONFIG_LOCAL_KEY=b2.key,
        RCLONE_CONFIG_LOCAL_ENDPOINT=b2.url,
        RCLONE_B2_CHUNK_SIZE=str(CHUNK),
        RCLONE_B2_UPLOAD_CUTOFF=str(CHUNK),
        RCLONE_RETRIES="1",
        HOME=str(tmp_path),
    )


def runner(path: Path, **environment: str) -> Tool:
    def run(*arguments: str, stdin: bytes = b"") -> bytes:
        done = subprocess.run(
            [path, *arguments],
            input=stdin,
            capture_output=True,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", **environment},
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    return run


def names(b2: LocalB2Server, bucket_id: str) -> list[tuple[str, str, int]]:
    return [(file["fileName"], file["action"], file["size"]) for file in b2.versions(bucket_id)]


def test_the_b2_tool_uploads_lists_downloads_and_removes(
    b2: LocalB2Server, b2_tool: Tool, tmp_path: Path
):
    bucket_id = b2.bucket("backups-of-tests")
    small, large = os.urandom(1000), os.urandom(11_000_001)
    (tmp_path / "small").write_bytes(small)
    (tmp_path / "large").write_bytes(large)
    b2_tool("account", "authorize")
    b2_tool("file", "upload", "backups-of-tests", str(tmp_path / "small"), "a/small ü")
    b2_tool(
        *("file", "upload", "--min-part-size", "5000000"),
        *("backups-of-tests", str(tmp_path / "large"), "a/large"),
    )
    assert names(b2, bucket_id) == [
        ("a/large", "upload", 11_000_001),
        ("a/small ü", "upload", 1000),
    ]
    assert b2.faults.count("b2_upload_part") > 1
    listed = b2_tool("ls", "--recursive", "b2://backups-of-tests").decode().splitlines()
    assert listed == ["a/large", "a/small ü"]
    for name, data in (("small ü", small), ("large", large)):
        target = tmp_path / "downloaded"
        b2_tool("file", "download", f"b2://backups-of-tests/a/{name}", str(target))
        assert hashlib.sha256(target.read_bytes()).digest() == hashlib.sha256(data).digest()
    b2_tool("rm", "--recursive", "--versions", "b2://backups-of-tests/a")
    assert (names(b2, bucket_id), b2.blobs()) == ([], [])


def test_the_b2_tool_works_with_a_limited_key(b2: LocalB2Server, b2_tool: Tool, tmp_path: Path):
    bucket_id = b2.bucket("backups-of-tests")
    rights = ["listBuckets", "listFiles", "readFiles", "writeFiles", "deleteFiles"]
    key_id, key = b2.create_key(rights, bucket_id=bucket_id, prefix="p/")
    b2_tool("account", "authorize", key_id, key)
    (tmp_path / "file").write_bytes(b"abc")
    b2_tool("file", "upload", "backups-of-tests", str(tmp_path / "file"), "p/file")
    assert b2_tool("file", "cat", "b2://backups-of-tests/p/file") == b"abc"


def test_rclone_copies_a_tree_there_and_back(b2: LocalB2Server, rclone: Tool, tmp_path: Path):
    bucket_id = b2.bucket("backups-of-tests")
    tree = {"a": b"", "b c/ü": os.urandom(1000), "b c/large": os.urandom(2 * CHUNK + 1)}
    for name, data in tree.items():
        path = tmp_path / "there" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    rclone("copy", str(tmp_path / "there"), "local:backups-of-tests/tree")
    assert names(b2, bucket_id) == [
        ("tree/a", "upload", 0),
        ("tree/b c/large", "upload", 2 * CHUNK + 1),
        ("tree/b c/ü", "upload", 1000),
    ]
    rclone("copy", "local:backups-of-tests/tree", str(tmp_path / "back"))
    assert {name: (tmp_path / "back" / name).read_bytes() for name in tree} == tree


def test_rclone_streams_and_deletes(b2: LocalB2Server, rclone: Tool):
    bucket_id = b2.bucket("backups-of-tests")
    small, large = b"small", os.urandom(2 * CHUNK + 17)
    rclone("rcat", "local:backups-of-tests/small", stdin=small)
    rclone("rcat", "local:backups-of-tests/large", stdin=large)
    assert rclone("cat", "local:backups-of-tests/small") == small
    assert rclone("cat", "local:backups-of-tests/large") == large
    assert b2.unfinished(bucket_id) == []
    rclone("deletefile", "local:backups-of-tests/small")
    assert names(b2, bucket_id) == [
        ("large", "upload", len(large)),
        ("small", "hide", 0),
        ("small", "upload", 5),
    ]
    rclone("deletefile", "--b2-hard-delete", "local:backups-of-tests/large")
    assert names(b2, bucket_id) == [("small", "hide", 0), ("small", "upload", 5)]
