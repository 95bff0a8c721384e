"""What integrations may be made of."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import InvalidInput
from app.model.integrations import (
    NewIntegration,
    Realm,
    check_integration,
    check_prefix,
    realm_of,
)
from app.model.objects import below

INTEGRATION = NewIntegration(
    name="B2", key_id="0012ab", key="K001-secret", bucket="my-bucket", prefix="backups/db"
)


def test_an_integration_is_accepted():
    check_integration(INTEGRATION)
    check_integration(replace(INTEGRATION, prefix="", bucket="abcdef"))
    check_integration(replace(INTEGRATION, bucket="a" * 63))


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"name": ""}, ("name",)),
        ({"key_id": ""}, ("keyId",)),
        ({"key_id": "a b"}, ("keyId",)),
        ({"key": ""}, ("key",)),
        ({"key": "ä"}, ("key",)),
        ({"key": "a\n"}, ("key",)),
        ({"bucket": "abcde"}, ("bucket",)),
        ({"bucket": "a" * 64}, ("bucket",)),
        ({"bucket": "b2-bucket"}, ("bucket",)),
        ({"bucket": "B2-bucket"}, ("bucket",)),
        ({"bucket": "my_bucket"}, ("bucket",)),
        ({"bucket": "my-bucket\n"}, ("bucket",)),
        ({"prefix": "/a"}, ("prefix",)),
        ({"prefix": "a/"}, ("prefix",)),
        ({"prefix": "a/../b"}, ("prefix",)),
        ({"prefix": "a\x1fb"}, ("prefix",)),
        ({"prefix": "a\ud800"}, ("prefix",)),
        ({"prefix": "x" * 251}, ("prefix",)),
        ({"prefix": "/".join(["x" * 99] * 6)}, ("prefix",)),
    ],
)
def test_an_integration_is_refused_with_the_argument_named(changes, path):
    with pytest.raises(InvalidInput) as refusal:
        check_integration(replace(INTEGRATION, **changes))
    assert refusal.value.path == path


def test_neither_a_refusal_nor_a_repr_shows_the_key():
    with pytest.raises(InvalidInput) as refusal:
        check_integration(replace(INTEGRATION, key="my secret"))
    assert "secret" not in refusal.value.message
    assert "secret" not in repr(INTEGRATION)


@given(st.text(max_size=300))
def test_names_below_an_accepted_prefix_are_names_that_b2_takes(prefix):
    try:
        check_prefix(prefix)
    except InvalidInput:
        return
    name = below(prefix, "x" * 170)
    assert len(name.encode()) <= 1024
    assert "//" not in name
    assert not name.startswith("/")
    assert all(character >= " " and character != "\x7f" for character in name)


def test_the_realm_goes_by_the_key_id():
    assert realm_of("embedded123", "embedded") is Realm.EMBEDDED
    assert realm_of("0012ab", "embedded") is Realm.BACKBLAZE
    assert realm_of("embedded123", None) is Realm.BACKBLAZE
    assert realm_of("embedded123", "") is Realm.BACKBLAZE
