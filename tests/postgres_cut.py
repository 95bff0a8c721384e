"""The way to PostgreSQL of one process, which a test may cut for good."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

from tests.fakes.tcp_proxy import TcpProxy, proxied


@dataclass
class Way:
    """`url`: PostgreSQL by this way."""

    url: str
    _proxy: TcpProxy
    _is_cut: asyncio.Event = field(default_factory=asyncio.Event)

    def cut(self) -> None:
        """End what is connected, and refuse everything from now on."""
        self._is_cut.set()
        self._proxy.cut()


@asynccontextmanager
async def way_to(dsn: str) -> AsyncIterator[Way]:
    url = urlsplit(dsn)
    folder = parse_qs(url.query).get("host")
    is_cut = asyncio.Event()

    async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if is_cut.is_set():
            raise ConnectionRefusedError
        if folder:
            return await asyncio.open_unix_connection(f"{folder[0]}/.s.PGSQL.5432")
        return await asyncio.open_connection(url.hostname, url.port or 5432)

    async with proxied(connect) as proxy:
        login = url.netloc.rpartition("@")[0]
        here = url._replace(netloc=f"{login}@127.0.0.1:{proxy.port}", query="")
        yield Way(here.geturl(), proxy, is_cut)
