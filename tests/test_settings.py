"""Settings: what a variable may say, and that every fault is told at once, by name."""

import base64
import os
from dataclasses import fields
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path

import pytest
from pydantic import ValidationError

from app import settings
from app.api.limits import Limits
from app.errors import StartError
from app.settings import ProcessRoot, SealingKey, read_settings


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the developer has set, it does not reach these tests."""
    for name in os.environ:
        if name.startswith(settings.PREFIX) or name in settings.list_variables():
            monkeypatch.delenv(name)


def list_faults() -> list[str]:
    with pytest.raises(StartError) as error:
        read_settings()
    first, *faults = error.value.message.splitlines()
    assert first == "The settings are wrong:"
    return [fault.removeprefix("  - ") for fault in faults]


def test_every_fault_is_listed_at_once(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOST", "0.0.0.0")
    monkeypatch.setenv("PORT", "eighty")
    monkeypatch.setenv("BACKUP_GATEWAY_RUNS", "0")
    monkeypatch.setenv("BACKUP_GATEWAY_DRAIN", "soon")
    monkeypatch.setenv("BACKUP_GATEWAY_LEASE_SECONDS", "3")
    monkeypatch.setenv("BACKUP_GATEWAY_DELETE_GRAZE", "1h")
    assert [fault.partition(": ")[0] for fault in list_faults()] == [
        "BACKUP_GATEWAY_DELETE_GRAZE",
        "PORT",
        "BACKUP_GATEWAY_RUNS",
        "BACKUP_GATEWAY_DRAIN",
        "BACKUP_GATEWAY_ALLOW_REMOTE",
        "BACKUP_GATEWAY_LEASE_GIVE_UP_SECONDS",
    ]


@pytest.mark.parametrize("key", ["k1", "k1:?", "k1:c2VjcmV0", "k/1:c2VjcmV0", "secret"])
def test_a_wrong_sealing_key_is_told_without_quoting_it(monkeypatch: pytest.MonkeyPatch, key: str):
    monkeypatch.setenv("BACKUP_GATEWAY_SECRET_KEY", key)
    (fault,) = list_faults()
    assert fault.startswith("BACKUP_GATEWAY_SECRET_KEY: ")
    assert "c2VjcmV0" not in fault
    assert "secret" not in fault


def test_sealing_keys_are_read_newest_first_and_never_shown(monkeypatch: pytest.MonkeyPatch):
    new = settings.make_sealing_key()
    old = "old:" + base64.b64encode(b"\xfb" * 32).decode()
    monkeypatch.setenv("BACKUP_GATEWAY_SECRET_KEY", f"{new},{old}")
    monkeypatch.setenv("DATABASE_URL", "postgresql://me:passw0rd@db/x")
    read = read_settings()
    assert [key.id for key in read.secret_key] == [new.partition(":")[0], "old"]
    assert read.secret_key[1] == SealingKey(id="old", key=b"\xfb" * 32)
    assert "passw0rd" not in repr(read)
    assert "secret_key" not in repr(read)


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("30s", timedelta(seconds=30)),
        ("1h30m", timedelta(minutes=90)),
        ("7d", timedelta(days=7)),
        ("PT30S", timedelta(seconds=30)),
        ("P1DT2H", timedelta(days=1, hours=2)),
    ],
)
def test_a_duration_is_written_short_or_as_iso_8601(
    monkeypatch: pytest.MonkeyPatch, text: str, duration: timedelta
):
    monkeypatch.setenv("BACKUP_GATEWAY_DRAIN", text)
    assert read_settings().drain == duration


@pytest.mark.parametrize("text", ["0s", "P", "PT", "-1h", "30", "1.5h", "1m1h"])
def test_another_duration_is_refused(monkeypatch: pytest.MonkeyPatch, text: str):
    monkeypatch.setenv("BACKUP_GATEWAY_DRAIN", text)
    assert list_faults() == [
        "BACKUP_GATEWAY_DRAIN: is a duration such as 30s, 1h30m, 7d or PT30S, longer than nothing"
    ]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_needs_no_permission(host: str):
    assert read_settings(host=host).host == host


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.com", "127.0.0.1.example"])
def test_a_host_that_others_reach_must_be_allowed(monkeypatch: pytest.MonkeyPatch, host: str):
    monkeypatch.setenv("HOST", host)
    (fault,) = list_faults()
    assert fault.startswith(f"BACKUP_GATEWAY_ALLOW_REMOTE: HOST={host} can be reached by others")
    assert read_settings(allow_remote=True).host == host
    monkeypatch.setenv("BACKUP_GATEWAY_ALLOW_REMOTE", "1")
    assert read_settings().host == host


def test_process_roots_name_a_hub_and_a_folder(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("BACKUP_GATEWAY_PROCESS_ROOTS", "demo=/srv/a/../b, demo=/srv/b/c,x=y=/srv/d")
    assert read_settings().process_roots == (
        ProcessRoot(hub="demo", folder=Path("/srv/b")),
        ProcessRoot(hub="demo", folder=Path("/srv/b/c")),
        ProcessRoot(hub="x=y", folder=Path("/srv/d")),
    )


@pytest.mark.parametrize(
    "roots", ["a=/srv,b=/srv", "a=/srv/x,b=/srv", "a=srv", "/srv", "a=/", "=/x"]
)
def test_a_folder_belongs_to_one_hub_and_is_absolute(monkeypatch: pytest.MonkeyPatch, roots: str):
    monkeypatch.setenv("BACKUP_GATEWAY_PROCESS_ROOTS", roots)
    (fault,) = list_faults()
    assert fault.startswith("BACKUP_GATEWAY_PROCESS_ROOTS: ")


def test_lists_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("BACKUP_GATEWAY_ALLOWED_ORIGINS", "https://a.example, http://b.example:81")
    monkeypatch.setenv("BACKUP_GATEWAY_TRUSTED_PROXIES", "10.0.0.0/8,::1")
    read = read_settings()
    assert read.allowed_origins == ("https://a.example", "http://b.example:81")
    assert read.trusted_proxies == (ip_network("10.0.0.0/8"), ip_network("::1/128"))


def test_an_empty_variable_is_not_set(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DATABASE_URL", "")
    monkeypatch.setenv("BACKUP_GATEWAY_RUNS", "")
    read = read_settings()
    assert (read.database_url, read.runs) == (None, 4)


def test_the_command_line_goes_before_the_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PORT", "1")
    assert read_settings(port=2).port == 2
    assert read_settings().port == 1


def test_an_ordinary_user_has_a_data_folder_of_their_own(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_DATA_HOME", "/somewhere")
    assert settings.find_home(1000) == Path("/somewhere/backup-gateway")
    monkeypatch.setenv("XDG_DATA_HOME", "not/absolute")
    monkeypatch.setenv("HOME", "/home/me")
    assert settings.find_home(1000) == Path("/home/me/.local/share/backup-gateway")
    assert settings.find_home(0) == Path("/var/lib/backup-gateway")
    assert read_settings().home == settings.find_home(os.geteuid())


def test_settings_never_change():
    read = read_settings()
    with pytest.raises(ValidationError):
        read.port = 1


def test_limits_are_named_one_by_one(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("BACKUP_GATEWAY_LIMITS", "depth=20, cost = 7,depth=21")
    assert read_settings().limits == (("depth", 21), ("cost", 7))


@pytest.mark.parametrize("text", ["deep=1", "depth", "depth=", "depth=0", "depth=-1", "depth=1e3"])
def test_a_limit_that_is_none_is_told(monkeypatch: pytest.MonkeyPatch, text: str):
    monkeypatch.setenv("BACKUP_GATEWAY_LIMITS", text)
    [fault] = list_faults()
    assert fault.startswith("BACKUP_GATEWAY_LIMITS: ")


@pytest.mark.parametrize("text", ["page=24", "page=101", "nesting=0", "nesting=201"])
def test_what_no_program_could_keep_is_no_limit(monkeypatch: pytest.MonkeyPatch, text: str):
    monkeypatch.setenv("BACKUP_GATEWAY_LIMITS", text)
    [fault] = list_faults()
    assert text.partition("=")[0] in fault
    monkeypatch.setenv("BACKUP_GATEWAY_LIMITS", "page=25,nesting=200")
    assert read_settings().limits == (("page", 25), ("nesting", 200))


def test_the_limits_that_can_be_set_are_those_that_there_are():
    """And the README says what they are by default."""
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    numbers = [field for field in fields(Limits) if field.name != "introspection"]
    assert tuple(field.name for field in numbers) == settings.LIMITS
    for field in numbers:
        assert f"`{field.name}={field.default}" in readme


@pytest.mark.parametrize(
    "realm", ["http://b2.internal.example", "http://127.0.0.1.evil.com", "http://2130706433"]
)
def test_a_realm_that_would_be_told_keys_in_the_clear_is_refused(
    monkeypatch: pytest.MonkeyPatch, realm: str
):
    monkeypatch.setenv("BACKUP_GATEWAY_B2_REALM", realm)
    (fault,) = list_faults()
    assert fault.startswith("BACKUP_GATEWAY_B2_REALM: must be https, or http on loopback")


@pytest.mark.parametrize(
    "realm", ["https://api.example", "http://127.0.0.1:9000", "http://[::1]:9000"]
)
def test_a_realm_by_https_or_on_loopback_is_taken(monkeypatch: pytest.MonkeyPatch, realm: str):
    monkeypatch.setenv("BACKUP_GATEWAY_B2_REALM", realm)
    assert read_settings().b2_realm == realm


def test_the_jitter_of_schedules_can_be_switched_off(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("BACKUP_GATEWAY_SCHEDULE_JITTER", "0s")
    assert read_settings().schedule_jitter == timedelta(0)
