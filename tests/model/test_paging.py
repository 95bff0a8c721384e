"""Keyset pages: whoever walks a list sees everything in it once, in order, from either end."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from app.model.paging import Cursor, Page, cut_slice, open_window

START = datetime(2026, 1, 1, tzinfo=UTC)

# Few times and many ids: ties in time are the rule.
PLACES = st.lists(
    st.builds(
        lambda minute, id: Cursor(at=START + timedelta(minutes=minute), id=UUID(int=id)),
        st.integers(0, 4),
        st.integers(1, 2**128 - 2),
    ),
    unique=True,
    max_size=12,
)


def place(cursor):
    return cursor.at, cursor.id


def read(rows, page, **bounds):
    """What a table would answer for a page's window."""
    window = open_window(page, **bounds)
    inside = [row for row in rows if place(window.lower) < place(row) < place(window.upper)]
    inside.sort(key=place, reverse=window.newest_first)
    return cut_slice(inside[: window.limit], page)


@given(PLACES, st.integers(1, 5), st.booleans())
def test_walking_forwards_sees_everything_once_and_in_order(rows, limit, ascending):
    seen, after = [], None
    while True:
        found = read(rows, Page(limit=limit, after=after, ascending=ascending))
        assert found.has_previous == (after is not None)
        seen += found.items
        if not found.has_next:
            break
        assert len(found.items) == limit
        after = found.items[-1]
    assert seen == sorted(rows, key=place, reverse=not ascending)


@given(PLACES, st.integers(1, 5), st.booleans())
def test_walking_backwards_sees_the_same(rows, limit, ascending):
    seen, before = [], None
    while True:
        page = Page(limit=limit, before=before, backwards=True, ascending=ascending)
        found = read(rows, page)
        assert found.has_next == (before is not None)
        seen = [*found.items, *seen]
        if not found.has_previous:
            break
        before = found.items[0]
    assert seen == sorted(rows, key=place, reverse=not ascending)


@given(PLACES, st.integers(0, 5), st.integers(0, 5))
def test_times_bound_a_list_at_or_after_one_and_before_another(rows, first, last):
    after, before = START + timedelta(minutes=first), START + timedelta(minutes=last)
    found = read(rows, Page(limit=50), created_after=after, created_before=before)
    assert {place(row) for row in found.items} == {
        place(row) for row in rows if after <= row.at < before
    }


@given(PLACES.filter(lambda rows: len(rows) > 1), st.booleans())
def test_both_ends_together_bound_the_window(rows, ascending):
    ordered = sorted(rows, key=place, reverse=not ascending)
    page = Page(limit=50, after=ordered[0], before=ordered[-1], ascending=ascending)
    assert read(rows, page).items == ordered[1:-1]
