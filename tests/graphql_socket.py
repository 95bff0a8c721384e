"""A client of graphql-transport-ws that sends and reads single messages."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import orjson
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

PROTOCOL = "graphql-transport-ws"


@dataclass(frozen=True)
class Socket:
    connection: ClientConnection

    async def send(self, message: Any) -> None:
        text = message if isinstance(message, str | bytes) else orjson.dumps(message).decode()
        await self.connection.send(text)

    async def read(self) -> dict[str, Any]:
        message: dict[str, Any] = orjson.loads(await self.connection.recv())
        return message

    async def exchange(self, message: Any) -> dict[str, Any]:
        await self.send(message)
        return await self.read()

    async def init(self, token: str) -> None:
        payload = {"Authorization": f"Bearer {token}"}
        answer = await self.exchange({"type": "connection_init", "payload": payload})
        assert answer == {"type": "connection_ack"}

    async def subscribe(self, id: str, query: str, /, **variables: Any) -> None:
        payload = {"query": query, "variables": variables}
        await self.send({"type": "subscribe", "id": id, "payload": payload})

    async def wait_closed(self) -> tuple[int, str]:
        """The code and reason that the server closes with; what comes before is dropped."""
        with contextlib.suppress(ConnectionClosed):
            while True:
                await self.connection.recv()
        assert self.connection.close_code is not None
        return self.connection.close_code, self.connection.close_reason or ""


@contextlib.asynccontextmanager
async def open_socket(place: str, **options: Any) -> AsyncIterator[Socket]:
    options.setdefault("subprotocols", [PROTOCOL])
    async with connect(f"ws://{place}/graphql", proxy=None, **options) as connection:
        yield Socket(connection)
