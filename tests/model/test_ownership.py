"""Who holds a place: told by the marks of all versions that are there."""

from uuid import UUID, uuid4

from hypothesis import given
from hypothesis import strategies as st

from app.model.ownership import (
    Holder,
    OwnerObject,
    explain,
    find_holder,
    next_generation,
    owner_name,
    read_owner,
)

owners = st.builds(
    OwnerObject,
    installation_id=st.none() | st.uuids(),
    generation=st.none() | st.integers(0, 10**17),
    mark=st.none() | st.uuids(),
)


@given(st.lists(owners), st.lists(st.uuids()), st.integers(0, 5))
def test_we_hold_it_only_where_all_that_is_there_is_ours(seen, marks, generation):
    known = [*marks, *(one.mark for one in seen[::2] if one.mark)]
    holder = find_holder(seen, marks=known, generation=generation)
    if not seen:
        assert holder is (Holder.LOST if generation else Holder.NOBODY)
    else:
        assert (holder is Holder.WE) == all(one.mark in known for one in seen)
        assert holder in {Holder.WE, Holder.OTHERS}


@given(st.lists(owners), st.integers(0, 10**9))
def test_a_generation_is_above_all_that_are_there(seen, generation):
    following = next_generation(seen, generation)
    assert following > generation
    assert all(following > (one.generation or 0) for one in seen)


@given(st.dictionaries(st.sampled_from(["installation", "generation", "mark", "x"]), st.text()))
def test_whatever_stands_there_can_be_read(info):
    read_owner(info)


@given(st.uuids(), st.integers(0, 10**17), st.uuids())
def test_what_was_written_is_read(installation_id, generation, mark):
    owner = OwnerObject(installation_id=installation_id, generation=generation, mark=mark)
    assert read_owner(owner.info()) == owner


def test_the_reason_tells_another_installation_from_a_copy():
    us, mark = uuid4(), uuid4()
    copy = OwnerObject(installation_id=us, generation=3, mark=mark)
    other = OwnerObject(installation_id=UUID(int=1), generation=3, mark=mark)
    assert "another installation" in explain(Holder.OTHERS, [copy, other], us).lower()
    assert "copy of this database" in explain(Holder.OTHERS, [copy], us)
    assert "not in the bucket any more" in explain(Holder.LOST, [], us)
    assert (owner_name("a/b"), owner_name("")) == ("a/b/owner", "owner")
