"""The loader of named statements: what is not in its form is refused."""

from pathlib import Path

import pytest

from app.postgres.statements import DB, load


def test_statements_are_found_by_name_without_their_comments(tmp_path: Path):
    (tmp_path / "things.sql").write_text(
        """-- Cross hubs: because.

-- name: first
-- What it is for.
select 1;

-- name: second
-- A purpose.
select ';' as semicolon -- a comment; with one
from things;
"""
    )
    assert load("things", tmp_path) == {
        "first": "select 1",
        "second": "select ';' as semicolon -- a comment; with one\nfrom things",
    }


def test_what_was_loaded_cannot_be_changed():
    with pytest.raises(TypeError):
        load("hubs")["get"] = ""  # type: ignore[index]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "holds no statement"),
        ("select 1;", "holds no statement"),
        ("-- name: x\n-- Purpose.\nselect 1", "must be one statement"),
        ("-- name: x\n-- Purpose.\nselect 1; select 2;", "must be one statement"),
        ("-- name: x\nselect 1;", "the first line must say what it is for"),
        ("-- name: x\n--\nselect 1;", "the first line must say what it is for"),
        ("-- name: X\n-- Purpose.\nselect 1;", "lower case words"),
        ("-- name: a-b\n-- Purpose.\nselect 1;", "lower case words"),
        ("-- name: x\n-- P.\nselect 1;\n-- name: x\n-- P.\nselect 1;", "this name is taken"),
    ],
)
def test_another_form_is_refused_with_its_place(tmp_path: Path, text: str, fault: str):
    (tmp_path / "things.sql").write_text(text)
    with pytest.raises(ValueError, match=rf"^things\.sql: .*{fault}"):
        load("things", tmp_path)


def test_every_file_can_be_loaded():
    files = sorted((DB / "queries").glob("*.sql"))
    assert len(files) > 10
    for path in files:
        assert load(path.stem)
