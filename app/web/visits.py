"""Visits: how many sockets and streams are open, and when those of a key have to end."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import UUID

from app.api.context import Parts
from app.api.limits import Limits
from app.errors import GatewayError
from app.model.access import Principal
from app.web.authentication import find_principal

RECHECK_SECONDS = 30.0
"""So often a key is looked at again where nobody said that it had changed."""


class TooMany(Exception):
    """The key, or all keys together, have as much open as they may."""

    def __init__(self, code: str, what: str, *, limit: int, of_all: bool = False) -> None:
        super().__init__(f"{what}; the limit is {limit}.")
        self.code = code
        self.limit = limit
        self.actual = limit + 1
        self.of_all = of_all


class Visits:
    """Counts what is open at this gateway. Nothing is counted twice or for longer than it lasts."""

    def __init__(
        self,
        parts: Parts,
        limits: Limits,
        *,
        recheck_seconds: float = RECHECK_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.stopping = asyncio.Event()
        """Set when the server stops: streams end, so that it need not wait for them."""
        self._parts = parts
        self._limits = limits
        self._recheck_seconds = recheck_seconds
        self._clock = clock
        self._connections = 0
        self._sockets: Counter[UUID] = Counter()
        self._subscriptions: Counter[UUID] = Counter()

    @contextmanager
    def connection(self) -> Iterator[None]:
        """One more socket or stream. Raises TooMany."""
        limit = self._limits.connections
        if self._connections >= limit:
            raise TooMany(
                "CONNECTIONS_LIMIT",
                "The gateway has too many sockets and streams",
                limit=limit,
                of_all=True,
            )
        self._connections += 1
        try:
            yield
        finally:
            self._connections -= 1

    @contextmanager
    def socket(self, principal: Principal) -> Iterator[None]:
        """One more socket of a key. Raises TooMany."""
        limit = self._limits.sockets
        if self._sockets[principal.key_id] >= limit:
            raise TooMany("SOCKETS_LIMIT", "Your API key has too many sockets", limit=limit)
        with _count(self._sockets, principal.key_id):
            yield

    @contextmanager
    def subscription(self, principal: Principal) -> Iterator[None]:
        """One more subscription of a key, over whatever transport. Raises TooMany."""
        limit = self._limits.subscriptions
        if self._subscriptions[principal.key_id] >= limit:
            raise TooMany(
                "SUBSCRIPTIONS_LIMIT", "Your API key has too many subscriptions", limit=limit
            )
        with _count(self._subscriptions, principal.key_id):
            yield

    async def wait_until_invalid(self, principal: Principal, given: object) -> str:
        """Return once the key has expired or was revoked, with a sentence that says so.

        `given`: the `Authorization` value that it came in.
        """
        with self._parts.listen.subscribe(f"key:{principal.key_id}") as mailbox:
            while True:
                seconds = self._recheck_seconds
                if principal.expires_at is not None:
                    left = principal.expires_at.timestamp() - self._clock()
                    if left <= 0:
                        return "The API key has expired"
                    seconds = min(seconds, left)
                try:
                    if await find_principal(self._parts.database, given) is None:
                        return "Unauthorized"
                except GatewayError:
                    pass  # Nobody knows: the next time tells.
                await mailbox.wait(seconds)


@contextmanager
def _count(counter: Counter[UUID], key_id: UUID) -> Iterator[None]:
    counter[key_id] += 1
    try:
        yield
    finally:
        counter[key_id] -= 1
        if not counter[key_id]:
            del counter[key_id]
