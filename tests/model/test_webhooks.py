"""Webhooks: what may be reached, and messages that the published library accepts."""

import json
from datetime import UTC, datetime
from ipaddress import ip_address, ip_network
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook as Verifier
from standardwebhooks.webhooks import WebhookVerificationError

from app.errors import InvalidInput
from app.model.events import Event
from app.model.ids import encode_id
from app.model.webhooks import (
    Delivery,
    check_url,
    is_public,
    may_reach,
    write_message,
    write_secret,
)

PRIVATE = [
    "127.0.0.1",
    "127.9.9.9",
    "0.0.0.0",
    "10.1.2.3",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "192.0.0.8",
    "192.0.2.1",
    "198.18.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "fe80::1",
    "fc00::1",
    "fd12::1",
    "fec0::1",
    "ff02::1",
    "2001:db8::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::808:808",
    "2002:7f00:1::",
    "2002:808:808::",
    "2001:0:1::1",
    "100::1",
]
PUBLIC = [
    "8.8.8.8",
    "93.184.216.34",
    "172.15.0.1",
    "172.32.0.1",
    "2600:1901:0:1::1",
    "::ffff:8.8.8.8",
]


@pytest.mark.parametrize("text", PRIVATE)
def test_a_private_address_is_not_public(text: str) -> None:
    assert not is_public(ip_address(text))


@pytest.mark.parametrize("text", PUBLIC)
def test_an_address_of_the_internet_is_public(text: str) -> None:
    assert is_public(ip_address(text))


def test_one_bad_address_of_a_host_is_enough_to_refuse_it() -> None:
    public, private = ip_address("8.8.8.8"), ip_address("10.0.0.1")
    listed = [ip_network("10.0.0.0/8")]
    for addresses, allowed, tls, may in (
        ([public], [], True, True),
        ([public, private], [], True, False),
        ([public, private], listed, True, True),
        ([public, private], listed, False, False),
        ([private], listed, False, True),
        ([ip_address("::ffff:10.0.0.1")], listed, True, True),
        ([public], [], False, False),
        ([], listed, True, False),
    ):
        assert may_reach(addresses, allowed, tls=tls) is may, (addresses, allowed, tls)


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com",
        "https://example.com:8443/a/b?c=d",
        "https://8.8.8.8/x",
        "https://[2600:1901:0:1::1]/",
    ],
)
def test_an_https_address_is_taken(url: str) -> None:
    check_url(url, http=False)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com",
        "http://example.com/",
        "ftp://example.com/",
        "https://",
        "https://:443/",
        "https://user:secret@example.com/",
        "https://user@example.com/",
        "https://example.com/#x",
        "https://example.com:0/",
        "https://example.com:99999/",
        "https://exa mple.com/",
        "https://ex\u00e4mple.com/",
        "https://example.com/\n",
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://example.com/" + "a" * 2000,
    ],
)
def test_any_other_address_is_refused_and_not_quoted(url: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        check_url(url, http=False)
    assert refused.value.path == ("url",)
    assert "secret" not in refused.value.message


def test_where_networks_are_listed_an_address_in_them_may_be_given() -> None:
    check_url("http://10.0.0.1:8000/", http=True)
    check_url("https://127.0.0.1/", http=True)


def a_delivery(message: str, *, secrets: list[bytes], at: datetime) -> Delivery:
    event = Event(
        id=UUID(int=1),
        hub_id=UUID(int=2),
        kind="BACKUP_FAILED",
        message=message,
        container_id=UUID(int=3),
        instance_id=None,
        backup_id=UUID(int=4),
        restore_id=None,
        verification_id=None,
        integration_id=None,
        data={"code": "X", "bytes": 7},
        created_at=datetime(2026, 1, 2, 3, 4, 5, 600, tzinfo=UTC),
    )
    return Delivery(
        id=UUID(int=5),
        webhook_id=UUID(int=6),
        hub_id=UUID(int=2),
        url="https://example.com",
        secrets=secrets,
        event=event,
        at=at,
    )


@given(message=st.text(), secret=st.binary(min_size=24, max_size=64))
def test_the_published_library_accepts_every_message(message: str, secret: bytes) -> None:
    other = b"\1" * 32
    written = write_message(a_delivery(message, secrets=[other, secret], at=datetime.now(UTC)))
    for one in (secret, other):
        verified = Verifier(write_secret(one)).verify(written.body, written.headers)
        assert verified == {
            "type": "BACKUP_FAILED",
            "timestamp": "2026-01-02T03:04:05.000600Z",
            "data": {
                "id": encode_id("Event", UUID(int=1)),
                "hub": encode_id("Hub", UUID(int=2)),
                "message": message,
                "container": encode_id("Container", UUID(int=3)),
                "backup": encode_id("Backup", UUID(int=4)),
                "details": {"code": "X", "bytes": 7},
            },
        }
    assert json.loads(written.body)["type"] == "BACKUP_FAILED"
    with pytest.raises(WebhookVerificationError):
        Verifier(write_secret(b"\2" * 32)).verify(written.body, written.headers)
    with pytest.raises(WebhookVerificationError):
        Verifier(write_secret(secret)).verify(written.body + b" ", written.headers)
