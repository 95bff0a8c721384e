"""Sealed secrets: bound to their row, opened by any key that is still configured."""

from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import SecretUnreadable, StartError
from app.model.integrations import Realm, SealedAccess
from app.service.secrets import (
    Sealer,
    make_key,
    open_access,
    open_variables,
    seal_key,
    seal_variables,
)

KEY = make_key()


@given(st.binary(max_size=200), st.text(max_size=50))
def test_what_was_sealed_is_opened_in_its_context(plain, context):
    sealer = Sealer([KEY])
    assert sealer.open(sealer.seal(plain, context=context), context=context) == plain


def test_the_same_secret_is_never_sealed_to_the_same_bytes():
    sealer = Sealer([KEY])
    assert sealer.seal(b"secret", context="a") != sealer.seal(b"secret", context="a")


def test_a_secret_is_not_opened_in_another_context():
    sealer = Sealer([KEY])
    sealed = sealer.seal(b"secret", context="integrations/1")
    with pytest.raises(SecretUnreadable):
        sealer.open(sealed, context="integrations/2")


def test_a_change_of_any_byte_is_noticed():
    sealer = Sealer([KEY])
    sealed = sealer.seal(b"secret", context="a")
    for place in range(len(sealed)):
        changed = sealed[:place] + bytes([sealed[place] ^ 1]) + sealed[place + 1 :]
        with pytest.raises(SecretUnreadable):
            sealer.open(changed, context="a")


def test_every_shorter_text_is_refused():
    sealer = Sealer([KEY])
    sealed = sealer.seal(b"secret", context="a")
    for size in range(len(sealed)):
        with pytest.raises(SecretUnreadable):
            sealer.open(sealed[:size], context="a")


def test_a_new_key_seals_and_the_old_one_still_opens():
    old, new = make_key(), make_key()
    sealed = Sealer([old]).seal(b"secret", context="a")
    both = Sealer([new, old])
    assert both.open(sealed, context="a") == b"secret"
    fresh = both.seal(b"secret", context="a")
    assert Sealer([new]).open(fresh, context="a") == b"secret"
    with pytest.raises(SecretUnreadable):
        Sealer([old]).open(fresh, context="a")


def test_another_key_of_the_same_id_opens_nothing():
    id, _, encoded = KEY.partition(":")
    _, _, other = make_key().partition(":")
    sealed = Sealer([f"{id}:{encoded}"]).seal(b"secret", context="a")
    with pytest.raises(SecretUnreadable):
        Sealer([f"{id}:{other}"]).open(sealed, context="a")


def test_fingerprints_tell_secrets_apart_and_need_the_key():
    sealer = Sealer([KEY])
    print_of_a = sealer.fingerprint(b"a", context="x")
    assert sealer.fingerprint(b"a", context="x") == print_of_a
    assert sealer.fingerprint(b"b", context="x") != print_of_a
    assert sealer.fingerprint(b"a", context="y") != print_of_a
    assert Sealer([make_key()]).fingerprint(b"a", context="x") != print_of_a


@pytest.mark.parametrize(
    "keys",
    [[], [""], ["a"], ["a:"], ["a:AAAA"], [":" + KEY], ["ä:" + KEY], [KEY, KEY], [KEY + "x"]],
)
def test_a_bad_key_is_a_start_error_that_does_not_quote_it(keys):
    with pytest.raises(StartError) as error:
        Sealer(keys)
    assert KEY.partition(":")[2] not in error.value.message


def test_a_sealer_shows_the_ids_of_its_keys_only():
    id, _, encoded = KEY.partition(":")
    assert repr(Sealer([KEY])) == f"Sealer({id})"
    assert encoded not in repr(Sealer([KEY]))


def test_a_key_of_storage_is_bound_to_its_integration():
    sealer, id = Sealer([KEY]), uuid4()
    place = {"realm": Realm.BACKBLAZE, "key_id": "k", "bucket": "my-bucket", "prefix": "p"}
    sealed = seal_key(sealer, id, "application key")
    access = open_access(sealer, SealedAccess(integration_id=id, sealed_key=sealed, **place))
    assert access.key == "application key"
    assert access.integration_id == id
    assert "application key" not in repr(access)
    with pytest.raises(SecretUnreadable):
        open_access(sealer, SealedAccess(integration_id=uuid4(), sealed_key=sealed, **place))


def test_variables_are_bound_to_their_instance():
    sealer, id = Sealer([KEY]), uuid4()
    sealed = seal_variables(sealer, id, {"PASSWORD": "hunter2 ä\n"})
    assert open_variables(sealer, id, sealed) == {"PASSWORD": "hunter2 ä\n"}
    assert b"hunter2" not in sealed
    with pytest.raises(SecretUnreadable):
        open_variables(sealer, uuid4(), sealed)


def test_no_variables_need_no_secret():
    sealer, id = Sealer([KEY]), uuid4()
    assert seal_variables(sealer, id, {}) is None
    assert open_variables(sealer, id, None) == {}
