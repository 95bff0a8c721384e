"""Opaque ids and cursors: one spelling, checked strictly."""

import base64
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.model.backups import BackupFilter, BackupState
from app.model.ids import (
    MAX_ID_LENGTH,
    decode_cursor,
    decode_id,
    decode_id_of,
    decode_sequence,
    describe_list,
    encode_cursor,
    encode_id,
    encode_sequence,
)
from app.model.paging import Cursor

SOME_ID = UUID("0191d2c4-7f6e-7c3a-9b1d-4f0a6c2e8d5b")
MOMENT = datetime(2026, 5, 4, 3, 2, 1, 123456, tzinfo=UTC)


@given(id=st.uuids())
def test_an_id_comes_back_as_what_it_was_made_of(id: UUID) -> None:
    text = encode_id("Backup", id)
    assert decode_id(text) == ("Backup", id)
    assert decode_id_of("Backup", text) == id
    assert decode_id_of("Restore", text) is None
    assert len(text) <= MAX_ID_LENGTH


@given(text=st.text(max_size=100))
def test_no_other_text_is_an_id(text: str) -> None:
    decoded = decode_id(text)
    assert decoded is None or encode_id(*decoded) == text


def test_an_id_has_one_spelling_only() -> None:
    text = encode_id("Backup", SOME_ID)
    spoilt = [
        text + "=",
        text + "!!",
        " " + text,
        text + "\n",
        text[:-1],
        text.swapcase(),
        text + "A" * 200,
        "",
        "QmFja3VwOjE",
        encode_id("backup", SOME_ID),
        encode_id("A:B", SOME_ID),
    ]
    assert [decode_id(other) for other in spoilt] == [None] * len(spoilt)
    assert decode_id(text) == ("Backup", SOME_ID)


@given(at=st.datetimes(timezones=st.just(UTC)), id=st.uuids())
def test_a_cursor_comes_back_to_the_microsecond(at: datetime, id: UUID) -> None:
    cursor = Cursor(at=at, id=id)
    assert decode_cursor("list", encode_cursor("list", cursor)) == cursor


def test_a_cursor_of_another_list_order_or_filter_is_none() -> None:
    wanted = BackupFilter(states=(BackupState.LIVE,))
    scope = describe_list("backups:1", "NEWEST_FIRST", wanted)
    cursor = encode_cursor(scope, Cursor(at=MOMENT, id=SOME_ID))
    others = [
        describe_list("backups:2", "NEWEST_FIRST", wanted),
        describe_list("backups:1", "OLDEST_FIRST", wanted),
        describe_list("backups:1", "NEWEST_FIRST", BackupFilter()),
        describe_list("backups:1", "NEWEST_FIRST", replace(wanted, instance_id=SOME_ID)),
    ]
    assert decode_cursor(scope, cursor) is not None
    assert [decode_cursor(other, cursor) for other in others] == [None] * 4


def test_a_list_is_described_by_what_narrows_it_alone() -> None:
    wanted = BackupFilter(states=(BackupState.LIVE,), created_after=MOMENT)
    assert describe_list("backups", "NEWEST_FIRST", wanted) == (
        "backups|NEWEST_FIRST|states=(<BackupState.LIVE: 'LIVE'>,)"
        "|created_after=2026-05-04 03:02:01.123456+00:00"
    )


@given(sequence=st.integers(min_value=0, max_value=2**53 - 1))
def test_a_sequence_comes_back_and_is_no_place_in_time(sequence: int) -> None:
    text = encode_sequence("log", sequence)
    assert decode_sequence("log", text) == sequence
    assert decode_sequence("other", text) is None
    assert decode_cursor("log", text) is None


@pytest.mark.parametrize("text", ["", "AAAA", "!!", "A" * 43, "A" * 201])
def test_rubbish_is_no_cursor(text: str) -> None:
    assert decode_cursor("list", text) is None
    assert decode_sequence("list", text) is None


def test_a_cursor_beyond_the_calendar_is_none() -> None:
    cursor = encode_cursor("list", Cursor(at=datetime.max.replace(tzinfo=UTC), id=SOME_ID))
    # Rewrite the ticks to the largest number, under the right scope.
    data = base64.urlsafe_b64decode(cursor + "==")[:8] + b"\x7f" + b"\xff" * 7 + SOME_ID.bytes
    text = base64.urlsafe_b64encode(data).rstrip(b"=").decode()
    assert decode_cursor("list", text) is None
