"""The LISTEN hub: one connection per process that tells many subscribers to look at something.

A wake-up says which topic changed and, in a few bytes, perhaps how; facts are in the tables. Each
subscriber has a mailbox in which the latest value of a key wins. RESYNC means that wake-ups may be
missing: read again. Subscribe first, then read the snapshot, then follow the mailbox: no gap.
"""

import asyncio
import random
from collections import OrderedDict
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Self

import asyncpg
import orjson
import structlog

from app.postgres.pool import Connection, log_in

CHANNEL: Final = "backup_gateway"

MAILBOX_KEYS: Final = 64
PAYLOAD_BYTES: Final = 7999
PROBE_SECONDS: Final = 15
ANSWER_SECONDS: Final = 5
_LONGEST_PAUSE: Final = 2.0

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Wake:
    """Something of the topic changed. `key` and `value` are the notifier's: the latest wins."""

    topic: str
    key: str = ""
    value: Any = None


class Resync:
    """Wake-ups may be missing: read again what they are about."""

    def __repr__(self) -> str:
        return "RESYNC"


RESYNC: Final = Resync()


class Mailbox:
    """One subscriber's wake-ups, at most one a key; iterate over it until the hub ends."""

    def __init__(self, topic: str, keys: int = MAILBOX_KEYS) -> None:
        self.topic = topic
        self._keys = keys
        self._wakes: OrderedDict[str, Wake] = OrderedDict()
        self._resync = False
        self._filled = asyncio.Event()
        self._ended = False

    def put(self, wake: Wake) -> None:
        if self._resync:
            return  # Everything will be read again anyway.
        self._wakes.pop(wake.key, None)
        self._wakes[wake.key] = wake
        if len(self._wakes) > self._keys:
            self.resync()
        self._filled.set()

    def resync(self) -> None:
        """Forget the wake-ups: the subscriber reads again."""
        self._wakes.clear()
        self._resync = True
        self._filled.set()

    def end(self) -> None:
        self._ended = True
        self._filled.set()

    async def wait(self, seconds: float) -> bool:
        """Wait for any wake-up, at most so long, and take all there are. False: there was none."""
        return bool(await self.take(seconds))

    async def take(self, seconds: float) -> Sequence[Wake | Resync]:
        """Wait for any wake-up, at most so long, and take all there are."""
        try:
            async with asyncio.timeout(seconds):
                await self._filled.wait()
        except TimeoutError:
            return ()
        if self._ended:
            await asyncio.sleep(seconds)  # Nothing will come: do not make the caller spin.
            return ()
        taken = (RESYNC,) if self._resync else tuple(self._wakes.values())
        self._wakes.clear()
        self._resync = False
        self._filled.clear()
        return taken

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Wake | Resync:
        await self._filled.wait()
        if self._ended:
            raise StopAsyncIteration
        if self._resync:
            self._resync = False
            wake: Wake | Resync = RESYNC
        else:
            _, wake = self._wakes.popitem(last=False)
        if not self._wakes:
            self._filled.clear()
        return wake


class ListenHub:
    """Passes notifications of one channel on to the mailboxes of their topics."""

    def __init__(
        self,
        dsn: str,
        *,
        role: str,
        channel: str = CHANNEL,
        application_name: str = "backup-gateway listen",
        probe_seconds: float = PROBE_SECONDS,
        answer_seconds: float = ANSWER_SECONDS,
    ) -> None:
        self._dsn = dsn
        self._role = role
        self._channel = channel
        self._application_name = application_name
        self._probe_seconds = probe_seconds
        self._answer_seconds = answer_seconds
        self._mailboxes: dict[str, set[Mailbox]] = {}
        self._listening = asyncio.Event()
        self._ended = False

    @property
    def is_listening(self) -> bool:
        return self._listening.is_set()

    async def run(self) -> None:
        """Listen for ever, over lost connections. The mailboxes end when this is cancelled."""
        pause = 0.05
        try:
            while True:
                try:
                    await self._listen()
                except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                    _log.warning("listen_unavailable", error=str(error) or type(error).__name__)
                if self._listening.is_set():
                    self._listening.clear()
                    pause = 0.05
                await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - spreads replicas
                pause = min(pause * 2, _LONGEST_PAUSE)
        finally:
            self._ended = True
            for mailbox in self._each_mailbox():
                mailbox.end()

    async def wait_until_listening(self) -> None:
        """Return once notifications arrive. Who does not wait is sent a RESYNC then."""
        await self._listening.wait()

    @contextmanager
    def subscribe(self, topic: str) -> Iterator[Mailbox]:
        """Open a mailbox. One that is opened while there is no connection gets a RESYNC later."""
        mailbox = Mailbox(topic)
        if self._ended:
            mailbox.end()
        self._mailboxes.setdefault(topic, set()).add(mailbox)
        try:
            yield mailbox
        finally:
            subscribers = self._mailboxes[topic]
            subscribers.discard(mailbox)
            if not subscribers:
                del self._mailboxes[topic]

    async def _listen(self) -> None:
        connection = await log_in(
            self._dsn,
            role=self._role,
            application_name=self._application_name,
            answer_seconds=self._answer_seconds,
        )
        lost = asyncio.Event()
        try:
            connection.add_termination_listener(lambda _: lost.set())
            await connection.add_listener(self._channel, self._receive)
            # What was sent while nobody listened is missing, the first time as well: whoever
            # subscribed before now took its snapshot without us.
            self._listening.set()
            for mailbox in self._each_mailbox():
                mailbox.resync()
            while not lost.is_set():
                try:
                    async with asyncio.timeout(self._probe_seconds):
                        await lost.wait()
                except TimeoutError:
                    # A half-open connection stays silent for ever: ask it something.
                    await connection.execute("select 1")
        finally:
            connection.terminate()

    def _receive(self, connection: object, pid: int, channel: str, payload: object) -> None:
        del connection, pid, channel
        try:
            wakes = [Wake(*part) for part in orjson.loads(str(payload))["topics"]]
        except (ValueError, TypeError, KeyError):
            _log.warning("strange_notification", payload=str(payload)[:200])
            return
        for wake in wakes:
            for mailbox in self._mailboxes.get(wake.topic, ()):
                mailbox.put(wake)

    def _each_mailbox(self) -> list[Mailbox]:
        return [mailbox for mailboxes in self._mailboxes.values() for mailbox in mailboxes]


async def notify(
    connection: Connection, wakes: Collection[str | Wake], *, channel: str = CHANNEL
) -> None:
    """Wake the subscribers of the topics once the transaction commits, by as few NOTIFYs as fit."""
    payloads = pack(wakes)
    if payloads:
        await connection.execute(
            "select pg_notify($1, payload) from unnest($2::text[]) as payload", channel, payloads
        )


def pack(wakes: Collection[str | Wake]) -> Sequence[str]:
    """Payloads of at most 7,999 bytes. Raises ValueError for a wake-up that does not fit in one."""
    start, end = b'{"topics":[', b"]}"
    payloads: list[str] = []
    parts: list[bytes] = []
    size = len(start) + len(end)
    for wake in wakes:
        part = _encode(Wake(wake) if isinstance(wake, str) else wake)
        if len(start) + len(part) + len(end) > PAYLOAD_BYTES:
            raise ValueError(f"a wake-up has {len(part)} bytes")
        if parts and size + len(part) + 1 > PAYLOAD_BYTES:
            payloads.append((start + b",".join(parts) + end).decode())
            parts, size = [], len(start) + len(end)
        size += len(part) + bool(parts)
        parts.append(part)
    if parts:
        payloads.append((start + b",".join(parts) + end).decode())
    return payloads


def _encode(wake: Wake) -> bytes:
    if wake.value is not None:
        return orjson.dumps((wake.topic, wake.key, wake.value))
    return orjson.dumps((wake.topic, wake.key) if wake.key else (wake.topic,))
