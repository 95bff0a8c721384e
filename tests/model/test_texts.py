"""What every text of a client must be."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import InvalidInput
from app.model.texts import (
    LONGEST_COMMAND_BYTES,
    check_command,
    check_hostname,
    check_identifier,
    check_name,
    check_path,
    check_text,
)

PATH = ("it",)
ANYTHING = st.text(st.characters(exclude_categories=()), max_size=80)


def accepts(check, value, **limits) -> bool:
    refusal = None
    try:
        check(value, what="It", path=PATH, **limits)
    except InvalidInput as error:
        refusal = error
    if refusal is not None:
        assert refusal.path == PATH
        assert refusal.message.startswith("It ")
        assert refusal.message.endswith(".")
    return refusal is None


@given(ANYTHING)
def test_a_text_is_refused_exactly_for_nul_lone_surrogates_and_its_length(value):
    well_formed = "\0" not in value and value == value.encode("utf-8", "ignore").decode()
    assert accepts(check_text, value, longest=40, shortest=2) == (
        well_formed and 2 <= len(value) <= 40
    )


@given(st.one_of(ANYTHING, st.text("ab0-_.", max_size=70)))
def test_an_identifier_is_what_the_pattern_says(value):
    pattern = r"[a-z0-9]([-a-z0-9_.]*[a-z0-9])?\Z"
    assert accepts(check_identifier, value) == (
        len(value) <= 63 and re.match(pattern, value) is not None
    )


@pytest.mark.parametrize("value", ["notes", "1", "a.b_c-d", "a" * 63])
def test_an_identifier_is_accepted(value):
    assert accepts(check_identifier, value)


@pytest.mark.parametrize("value", ["", "A", "-a", "a-", "a b", "a\n", "ä", "a" * 64, "a/b", "."])
def test_an_identifier_is_refused(value):
    assert not accepts(check_identifier, value)


@pytest.mark.parametrize("value", ["1.db", "Db-2", "x" * 253])
def test_a_hostname_is_accepted(value):
    assert accepts(check_hostname, value)


@pytest.mark.parametrize("value", ["", ".db", "db.", "a/b", "a b", "1.db\n", "x" * 254])
def test_a_hostname_is_refused(value):
    assert not accepts(check_hostname, value)


@pytest.mark.parametrize("value", ["", " a", "a ", "a\nb", "\x7f", "a\u2028b", "x" * 201])
def test_a_name_is_refused(value):
    assert not accepts(check_name, value)


@given(st.text(max_size=40))
def test_a_path_never_leaves_its_folder(value):
    if accepts(check_path, value, longest_bytes=30):
        assert len(value.encode()) <= 30
        segments = value.split("/")
        assert not {"", ".", ".."} & set(segments)
        assert not re.search(r"[\x00-\x1f\x7f\\]", value)


@pytest.mark.parametrize("value", ["a", "a/b", "a.b/..c", "ä/ö", " a"])
def test_a_path_is_accepted(value):
    assert accepts(check_path, value, longest_bytes=30)


@pytest.mark.parametrize(
    "value", ["", "/a", "a/", "..", "a/../b", "a//b", "./a", "a\\b", "a\nb", "ä" * 16]
)
def test_a_path_is_refused(value):
    assert not accepts(check_path, value, longest_bytes=30)


def test_a_command_may_have_lines_and_exactly_64_kib():
    assert accepts(check_command, "set -e\n\tcat data\n")
    assert accepts(check_command, "ä" * (LONGEST_COMMAND_BYTES // 2))


@pytest.mark.parametrize(
    "value", ["", " \n\t", "a\0b", "a\ud800", "ä" * (LONGEST_COMMAND_BYTES // 2) + "x"]
)
def test_a_command_is_refused(value):
    assert not accepts(check_command, value)
