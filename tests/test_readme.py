"""The README says what is: its tables, its commands and its queries."""

import json
import os
import re
import shlex
import subprocess

import click
import pytest
from graphql import build_schema, parse, validate

from app.__main__ import main
from app.api.trusted_documents import find_faults, find_outdated
from tests.fakes.new_user import NewUser, make_user
from tests.readme_tables import README, TABLES, find_block

ROOT = README.parent
TEXT = README.read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", TEXT, re.DOTALL)
SHELL = [
    line.strip()
    for language, block in BLOCKS
    if language == "sh"
    for line in block.replace("\\\n", " ").splitlines()
    if line.strip() and not line.startswith("#")
]
QUERIES = [block for language, block in BLOCKS if language == "graphql"]
OURS = re.compile(r"(?:\w+=\S* )*(?:\.venv/bin/)?backup-gateway (.*)")


@pytest.mark.parametrize("name", TABLES)
def test_the_table_is_what_the_code_says(name: str):
    """`make tables` writes it anew."""
    found = find_block(TEXT, name)
    assert found.group() == found[1] + TABLES[name]() + found[2]


def test_every_make_target_that_is_named_exists():
    makefile = (ROOT / "Makefile").read_text()
    named = set(re.findall(r"\bmake ([a-z]+)\b", "\n".join([*SHELL, *re.findall("`.*?`", TEXT)])))
    assert {"up", "test"} <= named
    assert [name for name in named if not re.search(rf"^{name}:", makefile, re.MULTILINE)] == []


@pytest.mark.parametrize("line", [line for line in SHELL if OURS.match(line)])
def test_the_command_is_one_that_the_program_takes(line: str):
    """Parsed to the end by the program itself, and not run."""
    found = OURS.match(line)
    assert found
    command: click.Command = main
    arguments = shlex.split(found[1], comments=True)
    while isinstance(command, click.Group):
        command = command.commands[arguments.pop(0)]
    command.make_context(command.name, arguments)


@pytest.mark.parametrize("query", QUERIES)
def test_the_query_is_valid(query: str):
    schema = build_schema((ROOT / "schema.graphql").read_text())
    assert validate(schema, parse(query)) == []


def test_there_is_something_to_check():
    assert len(QUERIES) >= 4
    assert len([line for line in SHELL if OURS.match(line)]) >= 6


TOUR = [
    block
    for language, block in BLOCKS
    if language == "sh" and "make" not in block and "curl" not in block
]
STREAM = next(block for language, block in BLOCKS if language == "sh" and "curl" in block)
JSON = [block for language, block in BLOCKS if language == "json"]
OWN = next(block for language, block in BLOCKS if "export DATABASE_URL" in block)
UNTIL_GREETED = """
.venv/bin/backup-gateway up > told & up=$!
until grep -q "Ctrl-C stops" told; do kill -0 $up; sleep 0.1; done
kill -TERM $up; wait $up; cat told
"""


def run_as_written(user: NewUser, block: str, **more: str) -> str:
    """Run a block as a person pastes it, in a checkout whose venv is there."""
    program = user.top / ".venv/bin/backup-gateway"
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_text(f'#!/bin/sh\nexec "{user.python}" -m app "$@"\n')
    program.chmod(0o755)
    done = subprocess.run(
        ("sh", "-eu", "-c", block),
        env=user.environment(**more),
        cwd=user.top,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_list_of_trusted_documents_is_one():
    schema = build_schema((ROOT / "schema.graphql").read_text())
    [documents] = map(json.loads, JSON)
    assert find_faults(documents) == []
    assert find_outdated(documents, schema) == {}


@pytest.mark.needs("curl")
@pytest.mark.timeout(300)  # a whole program starts, on a busy machine
def test_the_tour_runs_as_it_is_written():
    user = make_user()
    try:
        up = user.start().greeted()
        told = [run_as_written(user, block) for block in TOUR[:1]]
        id = json.loads(user.run("backups", "ledger", "--json").stdout)[0]["id"]
        stream = STREAM.replace("http://127.0.0.1:8000/graphql", up.url)
        assert stream != STREAM
        events = run_as_written(user, stream, KEY=up.token, id=id)
        assert 'data: {"data":{"backupProgress":{"state":"LIVE","sizeBytes":' in events
        assert events.endswith("event: complete\ndata:\n\n")
        told += [run_as_written(user, block) for block in TOUR[1:]]
        assert len(told) == 2
        assert "LIVE" in told[0]
        assert "SUCCEEDED" in told[0]
        assert "DELETING" in told[1]
        assert (user.top / "ledger.db").read_bytes().startswith(b"SQLite format 3")
    finally:
        user.end()


@pytest.mark.timeout(300)  # a whole program starts, on a busy machine
def test_the_way_to_a_database_of_ones_own_is_as_it_is_written(dsn: str):
    """Only the names that a reader replaces are replaced, and `make` does not make the venv."""
    user = make_user()
    folder = user.top / "acme"
    folder.mkdir(mode=0o700)
    if os.geteuid() == 0:
        os.chown(folder, 40_001, 40_001)
    block = OWN
    for written, real in (
        ("postgresql://user:password@host/database", shlex.quote(dsn)),
        ("/srv/acme", str(folder)),
        ("make up\n", UNTIL_GREETED),
    ):
        assert block.count(written) == 1
        block = block.replace(written, real)
    try:
        told = run_as_written(user, block)
        assert "GraphQL:  http://127.0.0.1:" in told
        assert "Stopped." in told
    finally:
        user.end()
