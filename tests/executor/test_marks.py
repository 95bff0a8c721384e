"""The guard's words in the streams of a command: found wherever they were cut, and nothing else."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from app.executor.marks import Ending, Reports

MARK = "abcabd"
"""One that begins again within itself."""
PRINTED = st.lists(st.sampled_from([b"a", b"ab", b"abc", b"abcab", b"x", b"\n", b"\0"])).map(
    b"".join
)
CUTS = st.lists(st.integers(0, 200))


def cut_at(data, places):
    edges = sorted({0, len(data), *(place for place in places if place < len(data))})
    return [data[start:end] for start, end in pairwise(edges)]


@given(st.lists(st.tuples(PRINTED, st.sampled_from(["exit 0", "taken", ""]))), PRINTED, CUTS)
def test_reports_are_taken_out_and_all_else_stays(pairs, last, cuts):
    stream, printed = b"", b""
    for text, word in pairs:
        stream += text + f"{MARK} {word}\n".encode()
        printed += text
    # What the command prints cannot hold the mark, but by what was cut out around a report.
    if any(MARK.encode() in text for text in [*(text for text, _ in pairs), last]):
        return
    reports, seen, said = Reports(MARK), b"", []
    for part in cut_at(stream + last, cuts):
        text, words = reports.feed(part)
        seen += text
        said += words
    assert seen + reports.end() == printed + last
    assert said == [word for _, word in pairs]


@given(PRINTED, CUTS, st.booleans())
def test_an_output_is_whole_only_with_the_mark_at_its_end(printed, cuts, is_whole):
    if MARK.encode() in printed:
        return
    ending, seen = Ending(MARK), b""
    for part in cut_at(printed + (MARK.encode() if is_whole else b""), cuts):
        seen += ending.feed(part)
    assert ending.is_whole == is_whole
    assert seen + ending.end() == printed


def test_what_cannot_be_a_mark_is_not_held_back():
    ending, reports = Ending(MARK), Reports(MARK)
    assert (ending.feed(b"started\n"), reports.feed(b"started\n")) == (
        b"started\n",
        (b"started\n", []),
    )
    assert (ending.feed(b"abca"), reports.feed(b"abca")) == (b"", (b"", []))
    assert ending.feed(b"x") == b"abcax"
