"""The LISTEN hub: nothing is missed without a RESYNC, mailboxes are bounded, the latest wins."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, urlsplit

import orjson
import pytest

from app.postgres.listen import (
    MAILBOX_KEYS,
    PAYLOAD_BYTES,
    RESYNC,
    ListenHub,
    Mailbox,
    Resync,
    Wake,
    notify,
    pack,
)
from app.postgres.pool import Database
from tests.fakes.tcp_proxy import Streams, TcpProxy, proxied


@pytest.fixture
def make_hub(gateway_database: Database) -> Callable[..., ListenHub]:
    def make(**options: float) -> ListenHub:
        assert gateway_database.role is not None
        return ListenHub(
            gateway_database.dsn,
            role=gateway_database.role,
            application_name="test listen",
            **options,
        )

    return make


@asynccontextmanager
async def running(hub: ListenHub) -> AsyncIterator[ListenHub]:
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(hub.run())
        await hub.wait_until_listening()
        yield hub
        task.cancel()


async def say(database: Database, *wakes: str | Wake) -> None:
    async with database.transaction() as connection:
        await notify(connection, wakes)


async def cut(owner: Database) -> None:
    async with owner.connection() as connection:
        cut = await connection.fetchval(
            """
            select count(pg_terminate_backend(pid, 5000)) from pg_stat_activity
            where application_name = 'test listen'
            """
        )
    assert cut == 1


async def test_every_subscriber_of_a_topic_is_woken_and_no_other(
    make_hub: Callable[..., ListenHub], worker_database: Database
):
    async with running(make_hub()) as hub:
        with hub.subscribe("a") as one, hub.subscribe("a") as two, hub.subscribe("b") as other:
            await say(worker_database, "a")
            await say(worker_database, Wake("b", "key", {"bytes": 1}))
            assert await anext(one) == Wake("a")
            assert await anext(two) == Wake("a")
            assert await anext(other) == Wake("b", "key", {"bytes": 1})


async def test_nothing_is_said_before_the_transaction_commits(
    make_hub: Callable[..., ListenHub], worker_database: Database
):
    async def fail() -> None:
        async with worker_database.transaction() as connection:
            await notify(connection, ["a"])
            raise ZeroDivisionError

    async with running(make_hub()) as hub:
        with hub.subscribe("a") as mailbox:
            with pytest.raises(ZeroDivisionError):
                await fail()
            await say(worker_database, Wake("a", "committed"))
            assert await anext(mailbox) == Wake("a", "committed")


async def test_the_latest_value_of_a_key_wins(
    make_hub: Callable[..., ListenHub], worker_database: Database
):
    async with running(make_hub()) as hub:
        with hub.subscribe("a") as mailbox, hub.subscribe("end") as end:
            for value in range(5):
                await say(worker_database, Wake("a", "x", value), Wake("a", "y", value * 10))
            await say(worker_database, "end")
            await anext(end)
            assert await anext(mailbox) == Wake("a", "x", 4)
            assert await anext(mailbox) == Wake("a", "y", 40)
            assert not await mailbox.wait(0)


async def test_a_full_mailbox_becomes_one_resync():
    mailbox = Mailbox("a")
    for key in range(MAILBOX_KEYS + 5):
        mailbox.put(Wake("a", str(key)))
    assert await anext(mailbox) is RESYNC
    assert not await mailbox.wait(0)
    mailbox.put(Wake("a", "next"))
    assert await anext(mailbox) == Wake("a", "next")


async def test_a_full_mailbox_holds_all_its_keys():
    mailbox = Mailbox("a")
    wakes = [Wake("a", str(key)) for key in range(MAILBOX_KEYS)]
    for wake in wakes:
        mailbox.put(wake)
    assert [await anext(mailbox) for _ in wakes] == wakes


async def test_a_lost_connection_is_a_resync_for_everybody_and_then_goes_on(
    make_hub: Callable[..., ListenHub], worker_database: Database, owner: Database
):
    async with running(make_hub()) as hub:
        with hub.subscribe("a") as one, hub.subscribe("b") as two:
            await cut(owner)
            for mailbox in (one, two):
                assert await anext(mailbox) is RESYNC
            await say(worker_database, "a")
            assert await anext(one) == Wake("a")


async def test_who_subscribed_before_the_first_connection_reads_again(
    make_hub: Callable[..., ListenHub],
):
    hub = make_hub()
    with hub.subscribe("a") as mailbox:
        async with running(hub):
            assert await anext(mailbox) is RESYNC


async def test_the_connection_is_asked_whether_it_lives(
    make_hub: Callable[..., ListenHub], owner: Database
):
    async with (
        owner.connection() as connection,
        running(make_hub(probe_seconds=0.02)),
    ):
        asked = """
            select query from pg_stat_activity
            where application_name = 'test listen' and state = 'idle' and query = 'select 1'
        """
        while not await connection.fetchval(asked):
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("fault", [TcpProxy.hold, TcpProxy.cut])
async def test_a_connection_that_is_silently_dead_is_noticed_and_replaced(
    gateway_database: Database,
    worker_database: Database,
    fault: Callable[[TcpProxy], None],
):
    url = urlsplit(gateway_database.dsn)
    folder = parse_qs(url.query).get("host")

    async def connect() -> Streams:
        if folder:
            return await asyncio.open_unix_connection(f"{folder[0]}/.s.PGSQL.5432")
        return await asyncio.open_connection(url.hostname, url.port or 5432)

    async with proxied(connect) as proxy:
        login = url.netloc.rpartition("@")[0]
        here = url._replace(netloc=f"{login}@127.0.0.1:{proxy.port}", query="")
        hub = ListenHub(
            here.geturl(),
            role=str(gateway_database.role),
            probe_seconds=0.05,
            answer_seconds=0.5,
        )
        async with running(hub):
            with hub.subscribe("a") as mailbox:
                fault(proxy)
                assert await anext(mailbox) is RESYNC
                await say(worker_database, "a")
                assert await anext(mailbox) == Wake("a")


async def test_the_mailboxes_end_with_the_hub(make_hub: Callable[..., ListenHub]):
    hub = make_hub()
    with hub.subscribe("a") as before:
        async with running(hub):
            assert await anext(before) is RESYNC
        assert [wake async for wake in before] == []
    with hub.subscribe("a") as after:
        assert [wake async for wake in after] == []


async def test_waiting_takes_everything_there_is():
    mailbox = Mailbox("a")
    assert not await mailbox.wait(0)
    mailbox.put(Wake("a", "x"))
    mailbox.put(Wake("a", "y"))
    assert await mailbox.wait(60)
    assert not await mailbox.wait(0)


async def test_a_left_mailbox_is_forgotten(make_hub: Callable[..., ListenHub]):
    hub = make_hub()
    with hub.subscribe("a"), hub.subscribe("a"), hub.subscribe("b"):
        pass
    assert hub._mailboxes == {}


async def test_more_than_one_payload_holds_arrives_whole(
    make_hub: Callable[..., ListenHub], worker_database: Database
):
    wakes = [Wake("a", f"{number}", "ä" * 300) for number in range(40)]
    assert len(pack(wakes)) == 4
    async with running(make_hub()) as hub:
        with hub.subscribe("a") as mailbox:
            await say(worker_database, *wakes)
            assert [await anext(mailbox) for _ in wakes] == wakes


@pytest.mark.parametrize("length", [*range(3950, 4000), 7981, 1, 100])
def test_payloads_are_within_the_limit_and_complete(length: int):
    wakes = [Wake("x" * length), Wake("y" * length), Wake("z")]
    payloads = pack(wakes)
    assert all(len(payload.encode()) <= PAYLOAD_BYTES for payload in payloads)
    assert [
        Wake(*part) for payload in payloads for part in orjson.loads(payload)["topics"]
    ] == wakes


def test_a_payload_is_as_full_as_it_may_be():
    overhead = len('{"topics":[["x"]]}') - 1
    assert [len(p) for p in pack(["x" * (PAYLOAD_BYTES - overhead)])] == [PAYLOAD_BYTES]
    with pytest.raises(ValueError, match="a wake-up has"):
        pack(["x" * (PAYLOAD_BYTES - overhead + 1)])


def test_nothing_to_say_is_no_payload():
    assert pack([]) == []


async def test_a_strange_notification_is_ignored(
    make_hub: Callable[..., ListenHub], worker_database: Database, owner: Database
):
    async with running(make_hub()) as hub:
        with hub.subscribe("a") as mailbox:
            async with owner.connection() as connection:
                for payload in (
                    "",
                    "[]",
                    "{}",
                    '{"topics": 1}',
                    '{"topics": [1]}',
                    '{"topics":[[]]}',
                ):
                    await connection.execute("select pg_notify('backup_gateway', $1)", payload)
            await say(worker_database, "a")
            wake: Wake | Resync = await anext(mailbox)
            assert wake == Wake("a")
