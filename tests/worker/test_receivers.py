"""Receivers of webhooks: reached over TLS at allowed addresses only, and never quoted."""

import asyncio
import ssl
from ipaddress import ip_network
from pathlib import Path

import pytest

from app.errors import WebhookFailed, WebhookGone
from app.model.webhooks import Message
from app.worker import receivers
from app.worker.receivers import Receivers
from tests.fakes.webhook_receiver import Receiver, receiving, write_certificate

LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
MESSAGE = Message(headers={"webhook-id": "evt_1"}, body=b"{}")


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    return write_certificate(tmp_path)


def make_receivers(*, trusted: Path | None = None, allowed=LOOPBACK) -> Receivers:
    tls = ssl.create_default_context(cafile=trusted)
    return Receivers(allowed=allowed, tls=tls, user_agent="the agent")


async def refuse(receivers: Receivers, receiver: Receiver, url: str | None = None) -> str:
    """What a message is refused with."""
    with pytest.raises(WebhookFailed) as refused:
        await receivers.post(url or receiver.url, MESSAGE)
    return refused.value.message


async def test_a_message_arrives_over_tls_as_it_was_written(certificate: Path) -> None:
    async with receiving(certificate) as receiver:
        await make_receivers(trusted=certificate).post(receiver.url, MESSAGE)
        [got] = receiver.received
    assert (got.path, got.body) == ("/hook?of=acme", b"{}")
    assert got.headers["host"] == receiver.url.split("/")[2]
    assert got.headers["user-agent"] == "the agent"
    assert got.headers["webhook-id"] == "evt_1"
    assert not {"cookie", "authorization"} & set(got.headers)


async def test_a_certificate_that_is_not_trusted_or_of_another_name_ends_it(
    certificate: Path, tmp_path: Path
) -> None:
    other = write_certificate(tmp_path, name="other.example")
    for shown, trusted in ((certificate, None), (other, other)):
        async with receiving(shown) as receiver:
            told = await refuse(make_receivers(trusted=trusted), receiver)
            assert told == "Its TLS certificate is not valid."
            assert receiver.received == []


async def test_a_private_address_is_not_called_unless_the_operator_listed_it(
    certificate: Path,
) -> None:
    """By name or by number, however that is written; and what is listed must hold all of them."""
    own = make_receivers(trusted=certificate, allowed=())
    async with receiving(certificate) as receiver:
        port = receiver.url.split(":")[2].split("/")[0]
        for host in ("localhost", "127.0.0.1", "127.1", "2130706433", "[::ffff:127.0.0.1]"):
            url = f"https://{host}:{port}/"
            told = await refuse(own, receiver, url)
            assert told == "Its address is private, and the operator did not allow it.", host
        assert receiver.received == []


async def test_without_tls_only_what_the_operator_listed_is_called() -> None:
    async with receiving() as receiver:
        await make_receivers().post(receiver.url, MESSAGE)
        assert len(receiver.received) == 1
        elsewhere = make_receivers(allowed=(ip_network("10.0.0.0/8"),))
        told = await refuse(elsewhere, receiver)
        assert told == "Its address is private, and the operator did not allow it."
        assert len(receiver.received) == 1


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"500 Oops, the password is x", "It answered 500."),
        (
            b"302 Found\r\nlocation: http://127.0.0.1/",
            "It answered 302; redirects are not followed.",
        ),
        (b"404 Not Found", "It answered 404."),
        (b"no HTTP at all", "The connection to it broke."),
    ],
)
async def test_what_a_receiver_answers_is_not_quoted(answer: bytes, told: str) -> None:
    async with receiving() as receiver:
        receiver.answers = [answer]
        assert await refuse(make_receivers(), receiver) == told
        assert len(receiver.received) == 1


async def test_a_receiver_that_is_gone_says_so() -> None:
    async with receiving() as receiver:
        receiver.answers = [b"410 Gone"]
        with pytest.raises(WebhookGone):
            await make_receivers().post(receiver.url, MESSAGE)


async def test_a_receiver_that_is_not_there_or_says_nothing_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with receiving() as receiver:
        monkeypatch.setattr(receivers, "POST_SECONDS", 0.2)
        receiver.silent = True
        async with asyncio.timeout(5):
            told = await refuse(make_receivers(), receiver)
    assert told == "It did not answer within 0.2 s."
    assert await refuse(make_receivers(), receiver) == "It cannot be reached."
    told = await refuse(make_receivers(), receiver, "https://nowhere.invalid/")
    assert told == "Its host's name cannot be resolved."
