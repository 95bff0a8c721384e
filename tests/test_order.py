"""The order of a run: it does not end with a slow test, and leaves none out."""

import hypothesis.strategies as st
from hypothesis import given

from tests.conftest import spread


@given(st.lists(st.sampled_from([0.0, 0.0, 0.0, 30.0, 60.0, 180.0])))
def test_each_test_comes_once_the_slow_ones_from_the_slowest_on_the_others_as_they_were(patience):
    order = spread(patience)
    assert sorted(order) == list(range(len(patience)))
    slow = [patience[place] for place in order if patience[place]]
    assert slow == sorted(slow, reverse=True)
    quick = [place for place in order if not patience[place]]
    assert quick == sorted(quick)


def test_the_slow_ones_are_spread_over_the_first_three_quarters():
    order = spread([0.0] * 90 + [60.0] * 10)
    assert [number for number, place in enumerate(order) if place >= 90] == [
        0, 8, 16, 24, 31, 39, 47, 55, 62, 70,
    ]  # fmt: skip
