"""A container engine through the Docker Engine API: what Docker and Podman have in common."""

import asyncio
import contextlib
import os
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any
from urllib.parse import quote

import h11
import httpx
import orjson

from app.errors import ExecutorUnavailable
from app.executor.wires import Wire, open_tcp, open_tls, open_unix
from app.model.containers import InstanceState
from app.model.discovery import EngineContainer, name_state
from app.model.engines import EngineAccess, EngineTls

TIMEOUT = 30.0
_FRAME_HEADER = 8
_MOST_OF_A_MESSAGE = 300
_MOST_OF_A_VERSION = 60
_BAD = 400
_SILENCE = 600.0
"""Seconds without an event after which it is asked anew: the connection may be dead."""
_NO_CHANGES = {"attach", "detach", "exec_create", "exec_detach", "exec_die", "exec_died"} | {
    "exec_start",
    "exec",
    "export",
    "health_status",
    "resize",
    "top",
    "cleanup",
    "sync",
    "init",
}
STDOUT = 1
STDERR = 2
NOT_FOUND = 404


class EngineRefused(ExecutorUnavailable):
    """The container engine refused a request."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"The container engine refused: {message}")
        self.status = status


def make_tls(tls: EngineTls) -> ssl.SSLContext:
    """Raises ExecutorUnavailable where a certificate or key cannot be used."""
    try:
        context = ssl.create_default_context(cadata=tls.authority)
        if tls.certificate and tls.key:
            # The library takes files only, and the key shall be in none.
            memory = os.memfd_create("engine")
            try:
                os.write(memory, f"{tls.certificate}\n{tls.key}\n".encode())
                context.load_cert_chain(f"/proc/self/fd/{memory}")
            finally:
                os.close(memory)
    except (ssl.SSLError, ValueError) as error:
        raise ExecutorUnavailable("The engine's certificates or key cannot be used.") from error
    return context


class Engine:
    """One engine. Each request has a connection of its own: they are few."""

    def __init__(self, access: EngineAccess, *, timeout: float = TIMEOUT) -> None:
        self._address = access.address
        self._tls = make_tls(access.tls) if access.address.is_tls else None
        self._timeout = timeout
        self._version: str | None = None

    async def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:  # noqa: ANN401 - the engine's JSON
        """One request; gives the answer's JSON, None where there is none.

        Raises EngineRefused, ExecutorUnavailable (it cannot be reached).
        """
        return await self._ask(method, await self._versioned(path), body)

    async def version(self) -> Mapping[str, Any]:
        """What the engine says of itself. Raises as `ask` does."""
        answer = await self._ask("GET", "/version", None)
        return answer if isinstance(answer, dict) else {}

    async def describe(self) -> str:
        said = await self.version()
        parts = said.get("Components") or [{}]
        name = "Podman" if "podman" in str(parts[0].get("Name", "")).lower() else "Docker"
        return f"{name} {str(said.get('Version', ''))[:_MOST_OF_A_VERSION]}".strip()

    async def inspect(self, container: str) -> Mapping[str, Any] | None:
        """What the engine knows of a container; None: it has none. Raises as `ask` does."""
        try:
            found: Mapping[str, Any] = await self.ask(
                "GET", f"/containers/{quote(container, safe='')}/json"
            )
        except EngineRefused as error:
            if error.status == NOT_FOUND:
                return None
            raise
        return found

    async def state_of(self, container: str) -> InstanceState:
        found = await self.inspect(container)
        if found is None:
            return InstanceState.GONE
        state = found["State"]
        if state.get("Paused"):
            return InstanceState.PAUSED
        is_up = state.get("Running") and not state.get("Restarting")
        return InstanceState.RUNNING if is_up else InstanceState.STOPPED

    async def list_labelled(self, label: str) -> list[EngineContainer]:
        filters = quote(orjson.dumps({"label": [label]}))
        listed = await self.ask("GET", f"/containers/json?all=1&filters={filters}")
        try:
            return [_read_container(one) for one in listed or ()]
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise ExecutorUnavailable("What answers there is no container engine.") from error

    async def changes(self, label: str) -> AsyncGenerator[None]:
        # Podman takes a label only with its value here.
        filters = quote(orjson.dumps({"type": ["container"]}))
        path = await self._versioned(f"/events?filters={filters}")
        patience = httpx.Timeout(self._timeout, read=_SILENCE)
        try:
            async with (
                self._open_client() as client,
                client.stream("GET", path, timeout=patience) as answer,
            ):
                if answer.status_code >= _BAD:
                    raise EngineRefused(answer.status_code, _read_message(await answer.aread()))
                yield
                async for line in answer.aiter_lines():
                    if _is_change(line, label):
                        yield
        except httpx.ReadTimeout:
            return
        except (httpx.HTTPError, OSError) as error:
            raise _unreachable(error) from error

    async def _versioned(self, path: str) -> str:
        if self._version is None:
            self._version = str((await self.version()).get("ApiVersion", "1.41"))
        return f"/v{self._version}{path}"

    async def _ask(self, method: str, path: str, body: Mapping[str, Any] | None) -> Any:  # noqa: ANN401
        try:
            async with self._open_client() as client:
                answer = await client.request(
                    method, path, content=None if body is None else orjson.dumps(body)
                )
        except (httpx.HTTPError, OSError) as error:
            raise _unreachable(error) from error
        if answer.status_code >= _BAD:
            raise EngineRefused(answer.status_code, _read_message(answer.content))
        try:
            return orjson.loads(answer.content) if answer.content.strip() else None
        except orjson.JSONDecodeError as error:
            raise ExecutorUnavailable("What answers there is no container engine.") from error

    def _open_client(self) -> httpx.AsyncClient:
        path = self._address.path
        verify = self._tls if self._tls is not None else False
        transport = httpx.AsyncHTTPTransport(uds=path) if path else None
        return httpx.AsyncClient(
            transport=transport,
            base_url="http://engine" if path else str(self._address),
            verify=verify,
            trust_env=False,
            timeout=self._timeout,
            headers={"Content-Type": "application/json"},
        )

    async def create_exec(self, container: str, spec: Mapping[str, Any]) -> str:
        """Prepare a command in a container; gives the exec's id. Raises as `ask` does."""
        answer = await self.ask("POST", f"/containers/{quote(container, safe='')}/exec", spec)
        return str(answer["Id"])

    async def start_exec(self, exec_id: str) -> tuple[Wire, bytes]:
        """Start it; gives its streams, and what came of them already. Raises as `ask` does."""
        path = await self._versioned(f"/exec/{exec_id}/start")
        try:
            async with asyncio.timeout(self._timeout):
                wire = await self._open_wire()
                try:
                    return wire, await _upgrade(wire, path)
                except BaseException:
                    wire.close()
                    raise
        except (OSError, h11.RemoteProtocolError) as error:
            raise _unreachable(error) from error

    async def _open_wire(self) -> Wire:
        address = self._address
        if address.path is not None:
            return await open_unix(address.path)
        assert address.host is not None
        assert address.port is not None
        if self._tls is not None:
            return await open_tls(address.host, address.port, self._tls)
        return await open_tcp(address.host, address.port)


def _read_container(listed: Mapping[str, Any]) -> EngineContainer:
    names = listed.get("Names") or [str(listed["Id"])[:12]]
    labels = listed.get("Labels") or {}
    return EngineContainer(
        id=str(listed["Id"]),
        # A container that others link to has more names, with slashes in them.
        name=min((str(name).lstrip("/") for name in names), key=lambda name: ("/" in name, name)),
        state=name_state(str(listed.get("State", "")).lower()),
        created=_read_created(listed.get("Created", 0)),
        labels={str(name): str(value) for name, value in labels.items()},
    )


def _read_created(created: object) -> int:
    return created if isinstance(created, int) else 0


def _is_change(line: str, label: str) -> bool:
    """Whether an event tells that a container with the label changed, and not a command in it."""
    try:
        event = orjson.loads(line)
        action = str(event.get("Action") or event.get("status") or "")
        attributes = (event.get("Actor") or {}).get("Attributes")
    except (orjson.JSONDecodeError, AttributeError):
        return bool(line.strip())
    if isinstance(attributes, dict) and label not in attributes:
        return False
    return action.partition(":")[0] not in _NO_CHANGES


def _unreachable(error: Exception) -> ExecutorUnavailable:
    # Never what an answer held: it may be of a service that is none of the hub's business.
    reason = getattr(error, "strerror", None) or type(error).__name__
    return ExecutorUnavailable(f"The container engine cannot be reached: {reason}.")


def _read_message(body: bytes) -> str:
    try:
        message = str(orjson.loads(body)["message"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return "its answer is none of a container engine"
    return message[:_MOST_OF_A_MESSAGE]


async def _upgrade(wire: Wire, path: str) -> bytes:
    """Ask for the raw streams of an exec; gives the bytes that came behind the answer's head."""
    connection = h11.Connection(our_role=h11.CLIENT)
    body = orjson.dumps({"Detach": False, "Tty": False})
    request = h11.Request(
        method="POST",
        target=path,
        headers=[
            ("Host", "engine"),
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(body))),
            ("Connection", "Upgrade"),
            ("Upgrade", "tcp"),
        ],
    )
    parts = (request, h11.Data(data=body), h11.EndOfMessage())
    await wire.send(b"".join(connection.send(part) or b"" for part in parts))
    while (event := connection.next_event()) is h11.NEED_DATA:
        connection.receive_data(await wire.receive())
    assert isinstance(event, (h11.InformationalResponse, h11.Response))
    if event.status_code in {101, 200}:
        return bytes(connection.trailing_data[0])
    status, message = event.status_code, bytearray()
    while isinstance(event := connection.next_event(), h11.Data) or event is h11.NEED_DATA:
        if isinstance(event, h11.Data):
            message += event.data
        else:
            connection.receive_data(await wire.receive())
    raise EngineRefused(status, _read_message(bytes(message)))


async def read_frames(wire: Wire, begun: bytes) -> AsyncIterator[tuple[int, bytes]]:
    """Which stream, and its bytes; ends with the connection. Raises OSError for a broken frame."""
    buffer = bytearray(begun)
    while True:
        while len(buffer) < _FRAME_HEADER:
            if not (more := await _receive(wire)):
                if buffer:
                    raise ConnectionResetError("cut within a frame")
                return
            buffer += more
        kind, size = buffer[0], int.from_bytes(buffer[4:_FRAME_HEADER])
        while len(buffer) < _FRAME_HEADER + size:
            if not (more := await _receive(wire)):
                raise ConnectionResetError("cut within a frame")
            buffer += more
        data = bytes(memoryview(buffer)[_FRAME_HEADER : _FRAME_HEADER + size])
        del buffer[: _FRAME_HEADER + size]
        yield kind, data


async def _receive(wire: Wire) -> bytes:
    # Podman resets where input is left that nobody reads; all of the output came before.
    with contextlib.suppress(ConnectionResetError):
        return await wire.receive()
    return b""
