"""Engines: which addresses there are, and that none passes by what the operator allowed."""

from uuid import UUID

import pytest

from app.errors import ExecutorNotAllowed, InvalidInput
from app.model.engines import AllowedEngines, NewEngine, check_engine, parse_address

HUB = UUID(int=1)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("unix:///run/docker.sock", "unix:///run/docker.sock"),
        ("http://127.0.0.1", "http://127.0.0.1:2375"),
        ("http://[::1]:99/", "http://[::1]:99"),
        ("https://Engine.example", "https://engine.example:2376"),
    ],
)
def test_an_address_has_one_spelling(text, address):
    assert str(parse_address(text)) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "run/docker.sock",
        "unix://run/docker.sock",
        "unix:///run/allowed/../docker.sock",
        "unix:///run//docker.sock",
        "tcp://127.0.0.1:2375",
        "http://engine.example:2375",
        "http://127.0.0.1.example:2375",
        "https://user:password@engine.example",
        "https://engine.example/path",
        "https://engine.example?x",
        "https://engine.example:99999",
        "https://engine.example\n",
    ],
)
def test_what_is_no_address_of_an_engine_is_refused(text):
    with pytest.raises(InvalidInput) as refusal:
        parse_address(text)
    assert refusal.value.path == ("address",)


def test_only_what_the_operator_allowed_to_the_very_hub_is_reached():
    allowed = AllowedEngines(patterns={HUB: ("unix:///run/user/*", "https://*.example:2376")})
    allowed.require(HUB, parse_address("unix:///run/user/docker.sock"))
    allowed.require(HUB, parse_address("https://A.example"))
    for hub, text in (
        (HUB, "unix:///run/docker.sock"),
        (HUB, "https://example.com"),
        (UUID(int=2), "unix:///run/user/docker.sock"),
    ):
        with pytest.raises(ExecutorNotAllowed, match="BACKUP_GATEWAY_ENGINES"):
            allowed.require(hub, parse_address(text))


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"certificate": "-----BEGIN X"}, "key"),
        ({"key": "-----BEGIN X"}, "certificate"),
        ({"authority": "none"}, "authority"),
        ({"address": "unix:///run/docker.sock", "authority": "-----BEGIN X"}, "authority"),
        ({"name": ""}, "name"),
    ],
)
def test_what_cannot_be_an_engine_is_refused(changes, path):
    new = {
        "name": "docker",
        "address": "https://engine.example",
        "host": None,
        "authority": None,
        "certificate": None,
        "key": None,
    }
    check_engine(NewEngine(**new))
    with pytest.raises(InvalidInput) as refusal:
        check_engine(NewEngine(**(new | changes)))
    assert refusal.value.path == (path,)
