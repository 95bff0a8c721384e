"""compose.yaml and the Dockerfile say what the program and the labels really know.

The image itself is built where an engine can reach a registry: by hand.
"""

import re
import shlex
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from app.__main__ import main
from app.model.labels import read_labels
from app.settings import Settings, parse_engines

ROOT = Path(__file__).parents[1]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = [name for name, service in SERVICES.items() if service.get("build")]


def names_of_settings() -> set[str]:
    prefix = str(Settings.model_config["env_prefix"])
    return {
        str(field.validation_alias or f"{prefix}{name}".upper())
        for name, field in Settings.model_fields.items()
    }


def test_the_services_are_those_of_a_whole_deployment():
    assert set(SERVICES) == {"postgres", "migrate", "hub", "gateway", "worker", "example"}
    assert set(OURS) == {"migrate", "hub", "gateway", "worker"}


@pytest.mark.parametrize("name", OURS)
def test_what_a_service_runs_and_is_told_is_known(name: str):
    service = SERVICES[name]
    told = service["environment"]
    assert set(told) - names_of_settings() == set()
    entry = service.get("entrypoint") or ["backup-gateway", *service["command"]]
    words = shlex.split(entry[-1]) if entry[0] == "sh" else entry
    assert words[0] == "backup-gateway"
    command: click.Command = main
    for word in words[1:3]:
        if isinstance(command, click.Group):
            found = command.get_command(click.Context(command), word)
            assert found is not None, word
            command = found


def test_only_the_worker_reaches_the_engine_and_only_loopback_the_gateway():
    reaching = [name for name in SERVICES if "docker.sock" in str(SERVICES[name].get("volumes"))]
    assert reaching == ["worker"]
    allowed = SERVICES["worker"]["environment"]["BACKUP_GATEWAY_ENGINES"]
    assert parse_engines(allowed) == (("acme", "unix:///var/run/docker.sock"),)
    assert [name for name in SERVICES if SERVICES[name].get("ports")] == ["gateway"]
    assert SERVICES["gateway"]["ports"] == ["127.0.0.1:8000:8000"]


def test_the_example_is_backed_up_by_its_labels():
    labelled, problems = read_labels(SERVICES["example"]["labels"], "example")
    assert problems == []
    assert labelled is not None
    assert labelled.policy is not None
    policy = labelled.policy.policy
    assert policy.cron == "@daily"
    assert policy.backup_command.startswith("pg_dump ")
    assert policy.restore_command is not None


def test_the_image_has_all_that_the_program_reads_and_ends_as_nobody_special():
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE)
    assert {name for line in copied for name in line.split()} >= {
        *("requirements.txt", "pyproject.toml", "app", "db")
    }
    assert "--require-hashes" in text
    assert re.findall(r"^USER (.+)$", text, re.MULTILINE) == ["backup-gateway"]
    assert re.findall(r"^ENTRYPOINT (.+)$", text, re.MULTILINE) == ['["backup-gateway"]']
