"""The local B2 as a process: how it starts, ends, dies, fills the disk, and what it keeps."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import psutil
import pytest

from app.errors import StartError
from app.storage.local import local_credentials
from app.storage.local_server import bind, main
from tests.fakes.local_b2_client import (
    call,
    download,
    finish,
    login,
    open_client,
    refusal,
    start,
    stored,
    upload,
    upload_part,
)
from tests.fakes.local_b2_server import LocalB2Server

SERVER = [sys.executable, "-m", "app.storage.local_server"]
STDINS = ["None", "subprocess.PIPE"] if sys.platform == "linux" else ["subprocess.PIPE"]
PARENT = """
import os, subprocess, sys
child = subprocess.Popen([*sys.argv[1:], "--parent", str(os.getpid())], stdin={stdin})
print(child.pid, flush=True)
sys.stdin.read()
"""


def launch(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*SERVER, str(folder), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def announced(process: subprocess.Popen[str]) -> dict[str, object]:
    assert process.stdout is not None
    found: dict[str, object] = json.loads(process.stdout.readline())
    return found


def test_it_announces_its_address_and_ends_cleanly_on_a_signal(tmp_path: Path):
    for number in (signal.SIGTERM, signal.SIGINT):
        with launch(tmp_path / "b2") as process:
            line = announced(process)
            key_id, key = local_credentials(tmp_path / "b2")
            assert line == {
                "url": f"http://127.0.0.1:{line['port']}",
                "port": line["port"],
                "key_id": key_id,
            }
            with open_client(str(line["url"])) as client:
                assert login(client, key_id, key)["accountId"]
            process.send_signal(number)
            output, errors = process.communicate(timeout=15)
        assert (process.returncode, output, errors) == (0, "", "")


def test_it_ends_with_its_stdin_while_the_parent_lives(tmp_path: Path):
    with launch(tmp_path / "b2", "--parent", str(os.getpid())) as process:
        assert announced(process)["port"]
        output, errors = process.communicate(timeout=15)  # closes stdin
    assert (process.returncode, output, errors) == (0, "", "")


@pytest.mark.parametrize("stdin", STDINS)
def test_it_ends_when_its_parent_is_killed(tmp_path: Path, stdin: str):
    """By the kernel where stdin stays open (Linux), by the end of stdin elsewhere."""
    code = PARENT.format(stdin=stdin)
    reader, writer = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-c", code, *SERVER, str(tmp_path / "b2")],
        stdin=reader,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        url = json.loads(parent.stdout.readline())["url"]
        parent.kill()
        parent.wait()
    gone, alive = psutil.wait_procs([child], timeout=15)
    assert (len(gone), alive) == (1, [])
    os.close(reader)
    os.close(writer)
    with pytest.raises(httpx.ConnectError):
        httpx.get(url, verify=False)


def test_a_fault_at_the_start_is_one_sentence(tmp_path: Path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with launch(tmp_path / "b2", "--port", str(port)) as process:
            output, errors = process.communicate(timeout=15)
    assert (process.returncode, output) == (1, "")
    assert errors.startswith(f"The local B2 cannot listen on 127.0.0.1 port {port}: ")
    assert errors.count("\n") == 1


def test_a_second_server_on_a_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with LocalB2Server(tmp_path / "b2"):
        assert main([str(tmp_path / "b2")]) == 1
    assert capsys.readouterr().err == (
        f"Another local B2 already uses the folder {tmp_path / 'b2'}.\n"
    )


def test_a_bad_address_is_told():
    with pytest.raises(StartError, match=r"cannot listen on 192\.0\.2\.1"):
        bind("192.0.2.1", 0)


def test_everything_is_there_after_a_restart(tmp_path: Path):
    folder = tmp_path / "b2"
    parts = [b"a" * 1000, b"b"]
    with LocalB2Server(folder, part_size=1000) as b2, open_client(b2.url) as client:
        login(client, b2.key_id, b2.key)
        bucket_id = b2.bucket("backups")
        plain = stored(client, bucket_id, "plain", b"abc")
        large = start(client, bucket_id, "large")
        upload_part(client, large, 1, parts[0]).raise_for_status()
        url = call(client, "b2_get_upload_part_url", fileId=large).json()
        token = client.headers["Authorization"]
        b2.__exit__(None, None, None)
        b2.__enter__()
        # Tokens and upload URLs are as good as before: the address is the same.
        client.headers["Authorization"] = token
        assert upload_part(client, large, 2, parts[1]).status_code == 200
        assert url["uploadUrl"].startswith(b2.url)
        finish(client, large, parts).raise_for_status()
        assert download(client, plain["fileId"]).content == b"abc"
        assert download(client, large).content == b"".join(parts)


@pytest.mark.timeout(60)  # five starts of a process
def test_a_kill_at_any_time_leaves_what_was_confirmed_and_nothing_else(tmp_path: Path):
    """Each time another upload is under way, held at another byte, when the process is killed."""
    folder = tmp_path / "b2"
    confirmed: dict[str, bytes] = {}
    for turn in range(4):
        with (
            LocalB2Server(folder, part_size=1000, child=True, durable=True) as b2,
            open_client(b2.url) as client,
        ):
            login(client, b2.key_id, b2.key)
            found = call(client, "b2_list_buckets").json()["buckets"]
            bucket_id = found[0]["bucketId"] if found else b2.bucket("backups")
            name, data = f"file-{turn}", os.urandom(1000 + turn)
            confirmed[stored(client, bucket_id, name, data)["fileId"]] = data
            kill_during_upload(b2, client, bucket_id, sent=turn * 700_000)
    with LocalB2Server(folder, part_size=1000) as b2:
        versions = b2.versions(bucket_id)
        assert {found["fileId"] for found in versions} == set(confirmed)
        assert {file_id: b2.read(file_id) for file_id in confirmed} == confirmed
        assert sorted(path.read_bytes() for path in b2.blobs()) == sorted(confirmed.values())


def kill_during_upload(
    b2: LocalB2Server, client: httpx.Client, bucket_id: str, *, sent: int
) -> None:
    url = call(client, "b2_get_upload_url", bucketId=bucket_id).json()
    headers = {
        "Authorization": url["authorizationToken"],
        "X-Bz-File-Name": "never",
        "X-Bz-Content-Sha1": "do_not_verify",
        "Content-Length": "3000000",
    }

    def body():
        yield b"x" * sent
        os.kill(b2.pid, signal.SIGKILL)
        yield b"x" * (3_000_000 - sent)

    with pytest.raises(httpx.TransportError):
        client.post(url["uploadUrl"], content=body(), headers=headers)


def test_a_kill_between_bytes_and_index_leaves_no_orphan(tmp_path: Path):
    folder = tmp_path / "b2"
    with LocalB2Server(folder) as b2, open_client(b2.url) as client:
        login(client, b2.key_id, b2.key)
        stored(client, b2.bucket("backups"), "kept", b"abc")
        kept = b2.blobs()
    orphan = kept[0].with_name(kept[0].name[:2] + "0" * 30)
    orphan.write_bytes(b"nobody's")
    with LocalB2Server(folder) as b2:
        assert b2.blobs() == kept


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path):
    """A limit of the file size stands for the full disk: it needs no root and no mount."""
    with (
        LocalB2Server(tmp_path / "b2", child=True, file_size_limit=2_000_000) as b2,
        open_client(b2.url) as client,
    ):
        login(client, b2.key_id, b2.key)
        bucket_id = b2.bucket("backups")
        answer = upload(client, bucket_id, "big", b"x" * 3_000_000)
        assert refusal(answer) == (503, "service_unavailable")
        assert answer.json()["message"] == "The disk of the local B2 is full"
        assert b2.versions(bucket_id) == []
        made = stored(client, bucket_id, "small", b"abc")
        assert download(client, made["fileId"]).content == b"abc"
    assert [path.read_bytes() for path in b2.blobs()] == [b"abc"]


def test_memory_stays_small_while_much_goes_through(tmp_path: Path):
    """256 MB in and out of a process that may not grow by 64."""
    with LocalB2Server(tmp_path / "b2", child=True) as b2, open_client(b2.url) as client:
        login(client, b2.key_id, b2.key)
        bucket_id = b2.bucket("backups")
        stored(client, bucket_id, "first", b"x" * 3_000_000)
        server = psutil.Process(b2.pid)
        before = server.memory_info().rss
        block = os.urandom(1 << 20)
        url = call(client, "b2_get_upload_url", bucketId=bucket_id).json()
        headers = {
            "Authorization": url["authorizationToken"],
            "X-Bz-File-Name": "big",
            "X-Bz-Content-Sha1": "do_not_verify",
            "Content-Length": str(256 << 20),
        }
        sizes = []

        def body():
            for _ in range(256):
                yield block
                sizes.append(server.memory_info().rss)

        made = client.post(url["uploadUrl"], content=body(), headers=headers).json()
        got = 0
        with client.stream("GET", "/file/backups/big") as answer:
            for piece in answer.iter_raw(1 << 20):
                got += len(piece)
                sizes.append(server.memory_info().rss)
        assert (made["size"], got) == (256 << 20, 256 << 20)
        assert max(sizes) - before < 64 << 20
