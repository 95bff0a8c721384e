"""The local B2, served on a free port while a test runs: in a thread, or as a child process."""

import asyncio
import contextlib
import json
import os
import resource
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import httpx

from app.errors import StartError
from app.storage.local import Faults, create_local_b2, local_credentials
from app.storage.local_access import MASTER_KEY_FILE, new_key_id, new_secret
from app.storage.local_server import LocalServer, bind

API = "/b2api/v4"
START_SECONDS = 20


class LocalB2Server:
    """`with LocalB2Server(folder) as b2`: b2.url, b2.key_id, b2.key, b2.faults, b2.bucket(name).

    In a thread `faults` are the real switches; with `child=True` the same methods go over HTTP.
    Its own calls (`call`, `bucket`, `versions`, ...) authorise first: they count in `faults.calls`
    and use up planned faults like any other. `part_size` is the recommended part size, and the
    minimum where none is given.
    """

    def __init__(
        self,
        folder: Path,
        *,
        part_size: int = 100_000,
        minimum_part_size: int | None = None,
        child: bool = False,
        durable: bool = False,
        port: int = 0,
        clock: Callable[[], float] = time.time,
        with_faults: bool = True,
        file_size_limit: int | None = None,
    ) -> None:
        self.folder = folder
        self.key_id, self.key = _make_credentials(folder)
        self.url = ""
        self._client: httpx.Client | None = None
        self._part_size = part_size
        self._minimum = minimum_part_size or part_size
        self._durable = durable
        self._port = port
        self._clock = clock
        self._with_faults = with_faults
        self._file_size_limit = file_size_limit
        self._served: _Thread | _Child
        if child:
            self._served = _Child(self)
            self.faults: Any = _RemoteFaults(self)
        else:
            self.faults = Faults()
            self._served = _Thread(self)

    def __enter__(self) -> Self:
        # Without `verify=False` each client reads all certificates of the machine first.
        self._client = httpx.Client(trust_env=False, verify=False, timeout=60)
        self.url = self._served.start()
        self._port = int(self.url.rpartition(":")[2])  # a second start is found where the first was
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None
        self._served.stop()

    @property
    def pid(self) -> int:
        """The child's process id."""
        assert isinstance(self._served, _Child)
        assert self._served.process is not None
        return self._served.process.pid

    def call(self, operation: str, **fields: object) -> dict[str, Any]:
        """Call an operation with the master key; raises httpx.HTTPStatusError."""
        auth, client = self._authorize()
        account = {"accountId": auth["accountId"]}
        headers = {"Authorization": auth["authorizationToken"]}
        url = f"{self.url}{API}/{operation}"
        answer = client.post(url, json={**account, **fields}, headers=headers)
        found: dict[str, Any] = answer.raise_for_status().json()
        return found

    def _authorize(self) -> tuple[dict[str, Any], httpx.Client]:
        assert self._client is not None, "the server does not run"
        url = f"{self.url}{API}/b2_authorize_account"
        auth = self._client.get(url, auth=(self.key_id, self.key)).raise_for_status()
        return auth.json(), self._client

    def bucket(self, name: str, **settings: object) -> str:
        """Create a bucket, private unless the settings say otherwise; returns its id."""
        made = self.call(
            "b2_create_bucket", **{"bucketName": name, "bucketType": "allPrivate", **settings}
        )
        return str(made["bucketId"])

    def create_key(
        self, capabilities: list[str], *, bucket_id: str | None = None, prefix: str | None = None
    ) -> tuple[str, str]:
        """An application key as (key id, key)."""
        made = self.call(
            "b2_create_key",
            capabilities=capabilities,
            keyName="test",
            bucketIds=None if bucket_id is None else [bucket_id],
            namePrefix=prefix,
        )
        return made["applicationKeyId"], made["applicationKey"]

    def versions(self, bucket_id: str, prefix: str = "") -> list[dict[str, Any]]:
        """All versions, hide markers and unfinished files below the prefix (10,000 at most)."""
        found = self.call(
            "b2_list_file_versions", bucketId=bucket_id, prefix=prefix, maxFileCount=10_000
        )
        return list(found["files"])

    def unfinished(self, bucket_id: str) -> list[dict[str, Any]]:
        return list(self.call("b2_list_unfinished_large_files", bucketId=bucket_id)["files"])

    def read(self, file_id: str) -> bytes:
        """The bytes of a finished version."""
        auth, client = self._authorize()
        headers = {"Authorization": auth["authorizationToken"]}
        url = f"{self.url}{API}/b2_download_file_by_id"
        answer = client.get(url, params={"fileId": file_id}, headers=headers)
        return answer.raise_for_status().content

    def blobs(self) -> list[Path]:
        """The files on disk that hold bytes."""
        return sorted(path for path in (self.folder / "data").glob("*/*"))


class _Server(LocalServer):
    """Ends at once: hundreds of tests wait for it, and uvicorn itself looks every 0.1 s.

    Only for a server whose faults are down: whoever is still connected is let go anyway.
    """

    _loop: asyncio.AbstractEventLoop | None = None

    def end(self) -> None:
        """Callable from another thread."""
        self.should_exit = True
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # it has ended already
                self._loop.call_soon_threadsafe(self._ended.set)

    async def main_loop(self) -> None:
        self._ended = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await self._ended.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for bound in sockets or []:
            bound.close()
        state = self.server_state
        for connection in list(state.connections):
            connection.shutdown()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.config.timeout_graceful_shutdown):
                while state.connections or state.tasks:  # uvicorn tells nobody
                    await asyncio.sleep(0.005)
        for task in state.tasks:
            task.cancel()


class _Thread:
    def __init__(self, owner: LocalB2Server) -> None:
        self._owner = owner

    def start(self) -> str:
        owner = self._owner
        self._socket = bind("127.0.0.1", owner._port)
        app = create_local_b2(
            owner.folder,
            key_id=owner.key_id,
            key=owner.key,
            minimum_part_size=owner._minimum,
            recommended_part_size=owner._part_size,
            faults=owner.faults,
            durable=owner._durable,
            clock=owner._clock,
        )
        started = threading.Event()
        self._server = _Server(app, on_start=started.set, grace_seconds=1)
        self._thread = threading.Thread(target=self._serve, args=(started,), name="local-b2-server")
        self._faults: list[StartError] = []
        self._thread.start()
        assert started.wait(START_SECONDS), "the local B2 did not start"
        for fault in self._faults:
            self.stop()
            raise fault
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def _serve(self, started: threading.Event) -> None:
        try:
            self._server.serve_app(self._socket)
        except StartError as fault:
            self._faults.append(fault)
            started.set()

    def stop(self) -> None:
        self._owner.faults.go_down()
        self._server.end()
        self._thread.join()
        self._socket.close()
        self._owner.faults.come_back()


class _Child:
    def __init__(self, owner: LocalB2Server) -> None:
        self._owner = owner
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> str:
        owner = self._owner
        command = [sys.executable, "-m", "app.storage.local_server", str(owner.folder)]
        command += ["--port", str(owner._port), "--parent", str(os.getpid())]
        command += ["--recommended-part-size", str(owner._part_size)]
        command += ["--minimum-part-size", str(owner._minimum)]
        if not owner._durable:
            command.append("--not-durable")
        if owner._with_faults:
            command.append("--faults")
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        if owner._file_size_limit is not None:  # the nearest to a full disk without being root
            limit = (owner._file_size_limit, owner._file_size_limit)
            resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, limit)
        line = _output(self.process).readline()
        assert line, "the local B2 did not start"
        return str(json.loads(line)["url"])

    def stop(self) -> None:
        if self.process is not None:
            with self.process as process:
                process.terminate()


class _RemoteFaults:
    """The switches of a child's Faults."""

    def __init__(self, owner: LocalB2Server) -> None:
        self._owner = owner

    def __getattr__(self, switch: str) -> Any:
        def call(*args: object, **kwargs: object) -> Any:
            names = [
                name for name in Faults.__dict__[switch].__code__.co_varnames if name != "self"
            ]
            arguments = {**dict(zip(names, args, strict=False)), **kwargs}
            url = f"{self._owner.url}/faults/{switch}"
            answer = httpx.post(url, json=arguments, trust_env=False, verify=False, timeout=60)
            return answer.raise_for_status().json()["result"]

        return call


def _make_credentials(folder: Path) -> tuple[str, str]:
    """As on a first start, but without waiting for the disk."""
    path = folder / MASTER_KEY_FILE
    if not path.exists():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.write_text(json.dumps({"key_id": new_key_id(), "key": new_secret()}))
    return local_credentials(folder)


def _output(process: subprocess.Popen[str]) -> IO[str]:
    assert process.stdout is not None
    return process.stdout
