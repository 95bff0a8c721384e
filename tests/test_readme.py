"""The README says what is: its tables, its commands and its queries."""

import re
import shlex

import click
import pytest
from graphql import build_schema, parse, validate

from app.__main__ import main
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
