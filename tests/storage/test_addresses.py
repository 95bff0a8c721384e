"""A realm may send us only to addresses that the operator's setting covers."""

import pytest

from app.storage.addresses import Addresses

BACKBLAZE = "https://api.backblazeb2.com"
EMBEDDED = "http://127.0.0.1:8123"


@pytest.mark.parametrize(
    ("realm", "url", "api", "upload"),
    [
        (BACKBLAZE, "https://api005.backblazeb2.com", True, True),
        (BACKBLAZE, "https://f005.backblazeb2.com/path", True, True),
        (BACKBLAZE, "https://backblazeb2.com", True, True),
        (BACKBLAZE, "https://BackblazeB2.com.", True, True),
        (BACKBLAZE, "https://pod-000-1016-09.backblaze.com/b2api", False, True),
        (BACKBLAZE, "https://notbackblazeb2.com", False, True),
        (BACKBLAZE, "https://backblazeb2.com.example.org", False, True),
        (BACKBLAZE, "https://api005.backblazeb2.com@example.org", False, False),
        (BACKBLAZE, "http://api005.backblazeb2.com", False, False),
        (BACKBLAZE, "http://127.0.0.1:8123", False, False),
        (BACKBLAZE, "file:///etc/passwd", False, False),
        (BACKBLAZE, "https://", False, False),
        (BACKBLAZE, "", False, False),
        ("https://example.org", "https://a.example.org", True, True),
        ("https://example.org", "https://org", False, True),
        ("https://203.0.113.7", "https://203.0.113.7", True, True),
        ("https://203.0.113.7", "https://113.7", False, True),
        (EMBEDDED, "http://127.0.0.1:8123/b2api", True, True),
        (EMBEDDED, "http://127.0.0.1:8124", False, False),
        (EMBEDDED, "http://127.0.0.2:8123", False, False),
        (EMBEDDED, "http://localhost:8123", False, False),
        (EMBEDDED, "https://127.0.0.1:8123", False, False),
        (EMBEDDED, "http://x@127.0.0.1:8123", False, False),
        (EMBEDDED, "https://api005.backblazeb2.com", False, False),
        ("http://[::1]:8123", "http://[::1]:8123/x", True, True),
        ("http://localhost:8123", "http://localhost:8123/x", True, True),
    ],
)
def test_an_address_is_allowed_by_its_realm_alone(realm, url, api, upload):
    addresses = Addresses(realm)
    assert (addresses.allow(url), addresses.allow_upload(url)) == (api, upload)


@pytest.mark.parametrize(
    "realm",
    [
        "http://api.backblazeb2.com",
        "http://10.0.0.1:8123",
        "http://127.0.0.1.example.org",
        "https://user@api.backblazeb2.com",
        "ftp://127.0.0.1",
        "api.backblazeb2.com",
        "",
    ],
)
def test_a_realm_is_https_or_on_loopback(realm):
    with pytest.raises(ValueError, match="a realm is"):
        Addresses(realm)
