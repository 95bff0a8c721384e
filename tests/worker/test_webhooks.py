"""Webhooks: an event's transaction fills the outbox, and a worker sends until it is taken."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook as Verifier
from standardwebhooks.webhooks import WebhookVerificationError

from app.errors import InvalidInput, InvalidState, NotFound, NotPermitted
from app.model.access import Principal
from app.model.events import EventFilter, EventKind, NewEvent
from app.model.ids import encode_id
from app.model.paging import Page
from app.model.webhooks import MOST_WEBHOOKS, Webhook
from app.postgres.pool import Database
from app.queries import events, webhooks
from app.service.events import record_event
from app.service.webhooks import create_webhook, delete_webhook, update_webhook
from app.settings import Settings
from app.wiring.parts import make_worker_parts
from app.worker.parts import Parts
from app.worker.receivers import Receivers
from app.worker.webhooks import carry_out_due
from tests.builders import SEALER, a_hub, a_viewer, an_admin
from tests.conftest import GATEWAY_ROLE, WORKER_ROLE
from tests.fakes.webhook_receiver import Receiver, receiving, write_certificate

NETWORKS = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
Tell = Callable[..., Awaitable[None]]


@pytest.fixture
async def admin(owner: Database) -> Principal:
    return an_admin(await a_hub(owner))


@pytest.fixture
async def parts(dsn: str, owner: Database) -> AsyncIterator[Parts]:
    """A worker's parts, whose webhooks may reach this machine."""
    settings = Settings(
        database_url=dsn,
        gateway_role=GATEWAY_ROLE,
        worker_role=WORKER_ROLE,
        webhook_networks=NETWORKS,
    )
    async with make_worker_parts(
        settings, owner.dsn, sealer=SEALER, embedded_realm=None, demo=None
    ) as made:
        yield made


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as opened:
        yield opened


@pytest.fixture
def tell(worker_database: Database, admin: Principal) -> Tell:
    async def record(*messages: str, kind: EventKind = EventKind.BACKUP_FAILED) -> None:
        async with worker_database.transaction(None) as connection:
            for message in messages:
                new = NewEvent(kind=kind, message=message)
                await record_event(connection, admin.hub_id, new)

    return record


@pytest.fixture
def make(gateway_database: Database, admin: Principal, receiver: Receiver):
    """Make a webhook to the receiver; gives it with its secret."""

    async def create(**given: Any) -> tuple[Webhook, str]:
        asked = {"url": receiver.url, "kinds": None, **given}
        webhook, secret = await create_webhook(
            gateway_database, admin, sealer=SEALER, http=True, **asked
        )
        assert secret is not None
        return webhook, secret

    return create


async def update(gateway: Database, admin: Principal, webhook: Webhook, **changes: Any):
    return await update_webhook(
        gateway,
        admin,
        id=webhook.id,
        replace_secret=changes.pop("replace_secret", False),
        changes=changes,
        sealer=SEALER,
        http=True,
    )


async def read(gateway: Database, webhook: Webhook) -> Webhook:
    async with gateway.connection(webhook.hub_id) as connection:
        found = await webhooks.get(connection, webhook.hub_id, webhook.id)
    assert found is not None
    return found


async def count_pending(gateway: Database, webhook: Webhook) -> int:
    async with gateway.connection(webhook.hub_id) as connection:
        return (await webhooks.pending(connection, webhook.hub_id, [webhook.id]))[webhook.id]


async def make_due(owner: Database, *, age: str = "0") -> None:
    """Let the time pass for which deliveries were put off."""
    async with owner.connection() as connection:
        await connection.execute(
            "update webhook_deliveries"
            " set not_before = now(), created_at = created_at - $1::text::interval",
            age,
        )


async def test_every_event_is_sent_once_over_tls_and_verified(
    *, gateway_database: Database, admin: Principal, parts: Parts, tell: Tell, tmp_path: Path
) -> None:
    certificate = write_certificate(tmp_path)
    tls = ssl.create_default_context(cafile=certificate)
    trusting = replace(parts, receivers=Receivers(allowed=NETWORKS, tls=tls, user_agent="agent"))
    async with receiving(certificate) as receiver:
        webhook, secret = await create_webhook(
            gateway_database, admin, url=receiver.url, kinds=None, sealer=SEALER, http=False
        )
        assert secret is not None
        await tell("1", "2", "3")
        assert await count_pending(gateway_database, webhook) == 3
        assert await carry_out_due(trusting) == 3
        assert await carry_out_due(trusting) == 0
    verified = [Verifier(secret).verify(got.body, got.headers) for got in receiver.received]
    assert sorted(message["data"]["message"] for message in verified) == ["1", "2", "3"]
    assert {message["type"] for message in verified} == {"BACKUP_FAILED"}
    assert len({got.headers["webhook-id"] for got in receiver.received}) == 3
    after = await read(gateway_database, webhook)
    assert (after.failing_since, after.last_error) == (None, None)
    assert after.last_delivered_at is not None


async def test_the_outbox_is_part_of_the_events_transaction(
    gateway_database: Database, admin: Principal, parts: Parts, make, receiver: Receiver
) -> None:
    webhook, _ = await make()

    async def fail() -> None:
        async with gateway_database.transaction(admin.hub_id) as connection:
            new = NewEvent(kind=EventKind.BACKUP_FAILED, message="never was")
            await record_event(connection, admin.hub_id, new)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert await count_pending(gateway_database, webhook) == 0
    assert (await carry_out_due(parts), receiver.received) == (0, [])


async def test_a_webhook_gets_the_kinds_and_the_hub_that_it_is_for(
    *,
    owner: Database,
    worker_database: Database,
    parts: Parts,
    make,
    tell: Tell,
    receiver: Receiver,
) -> None:
    await make(kinds=["RECLAIM_STUCK", "DRIFT_FOUND"])
    await tell("another kind")
    await tell("mine", kind=EventKind.RECLAIM_STUCK)
    other = await a_hub(owner)
    async with worker_database.transaction(None) as connection:
        new = NewEvent(kind=EventKind.RECLAIM_STUCK, message="another hub's")
        await record_event(connection, other.id, new)
    assert await carry_out_due(parts) == 1
    assert [b'"mine"' in got.body for got in receiver.received] == [True]


async def test_what_is_not_taken_is_sent_again_with_the_same_id_and_growing_pauses(
    *,
    owner: Database,
    gateway_database: Database,
    parts: Parts,
    make,
    tell: Tell,
    receiver: Receiver,
) -> None:
    webhook, secret = await make()
    await tell("1")
    receiver.answers = [b"500 Oops"] * 3
    pauses = []
    for _ in range(3):
        assert await carry_out_due(parts) == 1
        assert await carry_out_due(parts) == 0
        async with owner.connection() as connection:
            pauses.append(
                await connection.fetchval(
                    "select extract(epoch from not_before - now()) from webhook_deliveries"
                )
            )
        failing = await read(gateway_database, webhook)
        assert (failing.last_error, failing.enabled) == ("It answered 500.", True)
        assert failing.failing_since is not None
        await make_due(owner)
    for base, pause in zip((5, 20, 80), pauses, strict=True):
        assert base * 0.5 < pause < base * 1.3
    assert await carry_out_due(parts) == 1
    assert len({got.headers["webhook-id"] for got in receiver.received}) == 1
    for got in receiver.received:
        Verifier(secret).verify(got.body, got.headers)
    well = await read(gateway_database, webhook)
    assert (well.failing_since, well.last_error) == (None, None)
    assert await count_pending(gateway_database, webhook) == 0


async def test_a_failure_leaves_the_rest_of_that_webhook_for_later_and_other_webhooks_alone(
    *, gateway_database: Database, parts: Parts, make, tell: Tell, receiver: Receiver
) -> None:
    async with receiving() as broken:
        broken.answers = [b"503 Busy"] * 100
        failing, _ = await make(url=broken.url)
        await make()
        await tell(*(str(number) for number in range(30)))
        await carry_out_due(parts)
        assert 1 <= len(broken.received) <= 4
    assert len(receiver.received) == 30
    assert await count_pending(gateway_database, failing) == 30


async def test_a_message_is_given_up_after_a_day(
    *,
    owner: Database,
    gateway_database: Database,
    parts: Parts,
    make,
    tell: Tell,
    receiver: Receiver,
) -> None:
    webhook, _ = await make()
    await tell("old")
    receiver.answers = [b"500 Oops"] * 2
    await make_due(owner, age="27 hours")
    await carry_out_due(parts)
    assert await count_pending(gateway_database, webhook) == 1
    await make_due(owner, age="2 hours")
    await carry_out_due(parts)
    assert await count_pending(gateway_database, webhook) == 0


@pytest.mark.parametrize("gone", [True, False])
async def test_a_hopeless_webhook_is_switched_off_and_that_is_an_event(
    *,
    owner: Database,
    gateway_database: Database,
    admin: Principal,
    parts: Parts,
    make,
    tell: Tell,
    receiver: Receiver,
    gone: bool,
) -> None:
    webhook, _ = await make()
    await tell("1", "2")
    if not gone:
        async with owner.connection() as connection:
            await connection.execute(
                "update webhooks set failing_since = now() - interval '73 hours'"
            )
    receiver.answers = [b"410 Gone" if gone else b"500 Oops"] * 2
    await carry_out_due(parts)
    off = await read(gateway_database, webhook)
    assert (off.enabled, await count_pending(gateway_database, webhook)) == (False, 0)
    async with gateway_database.connection(admin.hub_id) as connection:
        wanted = EventFilter(kinds=("WEBHOOK_DISABLED",))
        [event] = (await events.page(connection, admin.hub_id, wanted, Page())).items
    assert event.data == {"webhook": encode_id("Webhook", webhook.id)}
    assert receiver.url not in event.message
    await tell("3")
    assert await count_pending(gateway_database, webhook) == 0
    on, _ = await update(gateway_database, admin, webhook, enabled=True)
    assert (on.enabled, on.failing_since, on.last_error) == (True, None, None)


async def test_a_replaced_secret_signs_beside_the_new_one_for_a_day(
    *,
    owner: Database,
    gateway_database: Database,
    admin: Principal,
    parts: Parts,
    make,
    tell: Tell,
    receiver: Receiver,
) -> None:
    webhook, former = await make()
    changed, new = await update(gateway_database, admin, webhook, replace_secret=True)
    assert new is not None
    assert changed.former_until is not None
    await tell("1")
    await carry_out_due(parts)
    [got] = receiver.received
    for secret in (former, new):
        Verifier(secret).verify(got.body, got.headers)
    async with owner.connection() as connection:
        await connection.execute("update webhooks set former_until = now()")
    await tell("2")
    await carry_out_due(parts)
    got = receiver.received[-1]
    Verifier(new).verify(got.body, got.headers)
    with pytest.raises(WebhookVerificationError):
        Verifier(former).verify(got.body, got.headers)


async def test_a_webhook_that_is_switched_off_or_deleted_is_sent_nothing(
    *,
    gateway_database: Database,
    admin: Principal,
    parts: Parts,
    make,
    tell: Tell,
    receiver: Receiver,
) -> None:
    off, _ = await make()
    gone, _ = await make()
    await tell("1")
    await update(gateway_database, admin, off, enabled=False)
    await delete_webhook(gateway_database, admin, id=gone.id)
    await tell("2")
    assert (await carry_out_due(parts), receiver.received) == (0, [])
    with pytest.raises(NotFound):
        await delete_webhook(gateway_database, admin, id=gone.id)
    with pytest.raises(NotFound):
        await update(gateway_database, admin, gone, enabled=True)


async def test_what_cannot_be_is_refused_and_changes_nothing(
    owner: Database, gateway_database: Database, admin: Principal, make
) -> None:
    async def create(principal: Principal = admin, **given: Any) -> None:
        asked = {"url": "https://example.com", "kinds": None, "http": False, **given}
        await create_webhook(gateway_database, principal, sealer=SEALER, **asked)

    with pytest.raises(NotPermitted):
        await create(a_viewer(admin.hub_id))
    for given in (
        {"url": "http://example.com"},
        {"kinds": ["BACKUP_FELL_OVER"]},
        {"kinds": []},
    ):
        with pytest.raises(InvalidInput):
            await create(**given)
    webhook, _ = await make()
    stranger = an_admin(await a_hub(owner))
    with pytest.raises(NotFound):
        await update(gateway_database, stranger, webhook, enabled=False)
    with pytest.raises(NotFound):
        await delete_webhook(gateway_database, stranger, id=webhook.id)
    assert await read(gateway_database, webhook) == webhook
    for _ in range(MOST_WEBHOOKS - 1):
        await make()
    with pytest.raises(InvalidState, match="at most 20 webhooks") as refused:
        await create()
    assert refused.value.reason == "TOO_MANY_WEBHOOKS"


async def test_two_workers_send_nothing_twice(
    *, parts: Parts, make, tell: Tell, receiver: Receiver
) -> None:
    await make()
    await tell(*(str(number) for number in range(40)))
    taken = await asyncio.gather(*(carry_out_due(parts) for _ in range(3)))
    assert sum(taken) == 40
    assert len(receiver.received) == 40
