"""The log rule, what is kept of a long log, and the removal of secrets."""

import itertools
import re

from hypothesis import given
from hypothesis import strategies as st

from app.model.logs import (
    ENTRY_BYTES,
    HEAD_BYTES,
    REPLACEMENT,
    STDOUT_TAIL_BYTES,
    TAIL_BYTES,
    Redactor,
    StderrLog,
    StdoutTail,
    as_text,
    shows_stdout,
)
from app.model.runs import LogStream

letters = st.text(alphabet="ab", min_size=6, max_size=9).map(str.encode)


def _chunked(data, cuts):
    places = sorted({0, len(data), *(c % (len(data) + 1) for c in cuts)})
    return [data[a:b] for a, b in itertools.pairwise(places)]


def _kept(pieces, change):
    start = change.drop_before
    return [p for p in pieces if start is None or p.sequence < HEAD_BYTES or p.sequence >= start]


@given(
    secrets=st.lists(letters, max_size=3),
    data=st.text(alphabet="abc", max_size=80).map(str.encode),
    cuts=st.lists(st.integers(0, 80), max_size=6),
)
def test_a_secret_never_comes_out_however_the_stream_is_cut(secrets, data, cuts):
    redactor = Redactor(secrets)
    shown = b"".join(redactor.feed(c) for c in _chunked(data, cuts)) + redactor.end()
    assert not any(s in part for s in secrets for part in shown.split(REPLACEMENT))
    known = sorted(secrets, key=len, reverse=True)
    once = re.sub(b"|".join(known), REPLACEMENT, data) if known else data
    assert shown == once


def test_a_secret_of_five_bytes_is_left():
    redactor = Redactor([b"abcde"])
    assert redactor.feed(b"xabcdex") + redactor.end() == b"xabcdex"


def test_a_line_without_a_secret_is_shown_at_once():
    assert Redactor([b"password"]).feed(b"working\n") == b"working\n"


@given(
    lines=st.lists(st.binary(min_size=1, max_size=40_000), max_size=20),
    takes=st.sets(st.integers(0, 19)),
)
def test_the_first_64_and_the_last_192_kib_stay_and_the_rest_is_counted(lines, takes):
    log, pieces = StderrLog(Redactor([])), []
    for index, line in enumerate(lines):
        log.feed(line)
        if index in takes:
            change = log.take()
            pieces = _kept(pieces, change) + list(change.pieces)
    log.end()
    change = log.take(last=True)
    pieces = _kept(pieces + list(change.pieces), change)
    whole = b"".join(lines)
    assert change.total_bytes == len(whole)
    assert log.is_empty == (not whole)
    assert all(whole[p.sequence : p.sequence + len(p.data)] == p.data for p in pieces)
    assert all(0 < len(p.data) <= ENTRY_BYTES for p in pieces)
    kept = {i for p in pieces for i in range(p.sequence, p.sequence + len(p.data), 997)}
    if not change.truncated:
        assert b"".join(p.data for p in pieces) == whole
    else:
        head = b"".join(p.data for p in pieces if p.sequence < HEAD_BYTES)
        tail = b"".join(p.data for p in pieces if p.sequence >= HEAD_BYTES)
        assert head == whole[:HEAD_BYTES]
        assert TAIL_BYTES <= len(tail) <= TAIL_BYTES + ENTRY_BYTES
        assert whole.endswith(tail)
        assert kept


def test_100_mb_of_stderr_that_nobody_takes_stay_small():
    log = StderrLog(Redactor([]))
    for _ in range(100):
        log.feed(b"x" * 1_000_000)
    assert log.total_bytes == 100_000_000
    assert sum(len(p.data) for p in log.take(last=True).pieces) <= HEAD_BYTES + 2 * TAIL_BYTES


def test_a_character_is_not_cut_in_two():
    log = StderrLog(Redactor([]))
    log.feed(("x" + "\N{EURO SIGN}" * 10_000).encode())
    texts = [as_text(p.data) for p in log.take(last=True).pieces]
    assert len(texts) > 1
    assert "\ufffd" not in "".join(texts)


def test_an_unfinished_line_waits_for_its_end():
    log = StderrLog(Redactor([]))
    log.feed(b"one\ntw")
    assert [p.data for p in log.take().pieces] == [b"one\n"]
    log.feed(b"o\n")
    assert [(p.sequence, p.data) for p in log.take().pieces] == [(4, b"two\n")]


@given(chunks=st.lists(st.binary(max_size=3000), max_size=8))
def test_the_tail_of_stdout_is_its_last_1024_bytes(chunks):
    tail = StdoutTail(Redactor([]))
    for chunk in chunks:
        tail.feed(chunk)
    change = tail.take()
    assert b"".join(p.data for p in change.pieces) == b"".join(chunks)[-STDOUT_TAIL_BYTES:]
    assert all(p.stream is LogStream.STDOUT_TAIL for p in change.pieces)


def test_a_secret_at_the_edge_of_the_tail_does_not_come_out():
    tail = StdoutTail(Redactor([b"password"]))
    tail.feed(b"password" + b"x" * (STDOUT_TAIL_BYTES - 4))
    assert b"word" not in tail.take().pieces[0].data


def test_stdout_stands_in_only_for_an_empty_stderr_of_a_failed_command():
    assert shows_stdout(failed=True, stderr_is_empty=True)
    assert not shows_stdout(failed=True, stderr_is_empty=False)
    assert not shows_stdout(failed=False, stderr_is_empty=True)


def test_broken_utf8_and_nul_are_shown_as_replacement_characters():
    assert as_text(b"a\xff\0b") == "a\ufffd\ufffdb"
