"""Serves the local B2 over HTTP, in a process of its own or in a thread."""

import argparse
import asyncio
import ctypes
import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.errors import StartError
from app.storage.local import (
    MINIMUM_PART_SIZE,
    RECOMMENDED_PART_SIZE,
    Faults,
    create_local_b2,
    local_credentials,
)
from app.storage.local_exchange import TRANSPORT

_PR_SET_PDEATHSIG = 1
_GRACE_SECONDS = 5
_BACKLOG = 256


class DroppableProtocol(HttpToolsProtocol):
    """Hands the connection to the app, which may have to drop it without an answer."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {TRANSPORT: {"connection": self.transport}}


class LocalServer(uvicorn.Server):
    """A server for the app that can drop connections and says when it begins to answer."""

    def __init__(
        self, app: Starlette, *, on_start: Callable[[], None], grace_seconds: int = _GRACE_SECONDS
    ) -> None:
        config = uvicorn.Config(
            app,
            http=DroppableProtocol,
            ws="none",
            lifespan="off",  # `serve_app` does it: uvicorn would swallow a StartError
            log_config=None,
            log_level="error",
            access_log=False,
            proxy_headers=False,
            timeout_graceful_shutdown=grace_seconds,
        )
        super().__init__(config)
        self._app = app
        self._on_start = on_start

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_start()

    def serve_app(self, bound: socket.socket) -> None:
        """Open the app and serve until `should_exit` or a signal; raises StartError."""
        with asyncio.Runner(loop_factory=self.config.get_loop_factory()) as runner:
            runner.run(self._serve_opened(bound))

    async def _serve_opened(self, bound: socket.socket) -> None:
        async with self._app.router.lifespan_context(self._app):
            await self.serve(sockets=[bound])


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises StartError."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        with ExitStack() as on_failure:
            bound = on_failure.enter_context(socket.socket(family, socket.SOCK_STREAM))
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind((host, port))
            bound.listen(_BACKLOG)
            on_failure.pop_all()
    except OSError as fault:
        raise StartError(f"The local B2 cannot listen on {host} port {port}: {fault}") from fault
    return bound


def run_local_b2(
    folder: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    minimum_part_size: int = MINIMUM_PART_SIZE,
    recommended_part_size: int = RECOMMENDED_PART_SIZE,
    faults: Faults | None = None,
    durable: bool = True,
) -> None:
    """Serve the folder until SIGTERM or SIGINT (see `die_with_parent` for a child process).

    Once it can answer it writes one line of JSON to stdout: {"url", "port", "key_id"}. The key is
    not told: whoever may read the folder finds it by `local_credentials`. Raises StartError.
    """
    key_id, key = local_credentials(folder)
    app = create_local_b2(
        folder,
        key_id=key_id,
        key=key,
        minimum_part_size=minimum_part_size,
        recommended_part_size=recommended_part_size,
        faults=faults,
        durable=durable,
    )
    with bind(host, port) as bound:
        announced = bound.getsockname()[1]
        shown = f"[{host}]" if ":" in host else host
        line = {"url": f"http://{shown}:{announced}", "port": announced, "key_id": key_id}
        server = LocalServer(app, on_start=lambda: _tell(line))
        # uvicorn sends the signal to itself again when it is done: then it must not kill.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: setattr(server, "should_exit", True))
        server.serve_app(bound)


def _tell(line: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def die_with_parent(parent: int) -> None:
    """Have this process end when its parent does: by the kernel on Linux, and by stdin's end."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it went before the line above
            os.kill(os.getpid(), signal.SIGTERM)
    threading.Thread(target=_end_with_stdin, daemon=True).start()


def _end_with_stdin() -> None:
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line of the child process and serve."""
    parser = argparse.ArgumentParser(prog="python -m app.storage.local_server")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--minimum-part-size", type=int, default=MINIMUM_PART_SIZE)
    parser.add_argument("--recommended-part-size", type=int, default=RECOMMENDED_PART_SIZE)
    parser.add_argument("--parent", type=int, help="end when this process, the parent, is gone")
    parser.add_argument("--faults", action="store_true", help="for tests: POST /faults/<switch>")
    parser.add_argument("--not-durable", action="store_true", help="for tests: flush nothing")
    told = parser.parse_args(arguments)
    if told.parent is not None:
        die_with_parent(told.parent)
    try:
        run_local_b2(
            told.folder,
            host=told.host,
            port=told.port,
            minimum_part_size=told.minimum_part_size,
            recommended_part_size=told.recommended_part_size,
            faults=Faults() if told.faults else None,
            durable=not told.not_durable,
        )
    except StartError as fault:
        sys.stderr.write(f"{fault.message}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
