"""What an engine lists, as containers with instances."""

from hypothesis import given
from hypothesis import strategies as st

from app.model.containers import InstanceState
from app.model.discovery import MOST_FOUND, EngineContainer, find, name_state
from app.model.labels import MARK

RUNNING, STOPPED = InstanceState.RUNNING, InstanceState.STOPPED


def box(id, identifier="orders", *, state=RUNNING, created=1, number=None, **more):
    labels = {MARK: identifier}
    if number is not None:
        labels |= {
            "com.docker.compose.project": more.pop("project", "shop"),
            "com.docker.compose.service": more.pop("service", "db"),
            "com.docker.compose.container-number": str(number),
        }
    more = {name.replace("__", "."): value for name, value in more.items()}
    return EngineContainer(
        id=id, name=f"name-{id}", state=state, created=created, labels=labels | more
    )


def show(found):
    return [
        (
            one.project,
            one.service,
            one.labelled.identifier,
            [(r.number, r.id) for r in one.replicas],
        )
        for one in found
    ]


def test_a_service_is_one_container_with_its_replicas():
    found, problems = find([box("b", number=2), box("a", number=1), box("c", "plain")])
    assert show(found) == [
        ("shop", "db", "orders", [(1, "a"), (2, "b")]),
        (None, None, "plain", [(1, "c")]),
    ]
    assert [replica.hostname for replica in found[0].replicas] == ["1.orders", "2.orders"]
    assert problems == []


def test_a_container_of_compose_run_is_no_replica():
    found, _ = find([box("a", number=1), box("b", number=1, com__docker__compose__oneoff="True")])
    assert show(found) == [("shop", "db", "orders", [(1, "a")])]


def test_the_replica_that_was_created_last_says_what_counts():
    name = "backup-gateway__name"
    old = box("a", number=1, created=5, **{name: "Old"})
    for number, created, wanted in ((2, 6, "New"), (2, 4, "Old"), (2, 5, "New")):
        new = box("A", number=number, created=created, **{name: "New"})
        for listed in ([old, new], [new, old]):
            [one], _ = find(listed)
            assert one.labelled.name == wanted


def test_who_runs_is_the_replica_else_the_oldest():
    stopped = box("a", state=STOPPED, created=1)
    first, second = box("b", created=2), box("c", created=3)
    found, problems = find([second, first, stopped])
    assert show(found) == [(None, None, "orders", [(1, "b")])]
    # Its labels count, and not those of one that only says that it is the same.
    other = box("c", created=3, **{"backup-gateway__name": "Other"})
    [one], _ = find([first, other])
    assert one.labelled.name == "orders"
    # One that is left over is no problem, another one that runs is.
    assert [(one.code, one.container) for one in problems] == [("DUPLICATE_CONTAINER", "name-c")]


def test_an_identifier_is_of_one_service_only():
    found, problems = find(
        [box("a", number=1), box("b", number=1, service="cache", created=2), box("c", created=3)]
    )
    assert show(found) == [("shop", "db", "orders", [(1, "a")])]
    assert [(one.code, one.container) for one in problems] == [
        ("DUPLICATE_CONTAINER", "name-b"),
        ("DUPLICATE_CONTAINER", "name-c"),
    ]


def test_what_is_an_instance_of_the_api_stays_that_only():
    id = "0123456789abcdef" * 4
    listed = [box(id), box("b", "other")]
    for of_api in ([id], [id[:12]], [f"name-{id}"]):
        found, problems = find(listed, of_api)
        assert show(found) == [(None, None, "other", [(1, "b")])]
        assert [(one.code, one.container) for one in problems] == [
            ("INSTANCE_OF_API", f"name-{id}")
        ]
    # A short name is no id.
    assert len(find(listed, [id[:2], "name", ""])[0]) == 2


def test_what_is_too_much_is_left_out_and_told():
    found, problems = find([box(f"{n:04}", f"c{n}") for n in range(MOST_FOUND + 1)])
    assert len(found) == MOST_FOUND
    assert [one.code for one in problems] == ["TOO_MANY"]


def test_states_of_engines_are_those_of_instances():
    said = ["running", "paused", "exited", "created", "restarting", "dead", "stopped", ""]
    assert [name_state(one) for one in said] == [RUNNING, InstanceState.PAUSED] + [STOPPED] * 6


boxes = st.builds(
    box,
    st.text("abcdef", min_size=1, max_size=3),
    st.sampled_from(["orders", "other", "BAD"]),
    state=st.sampled_from([RUNNING, STOPPED]),
    created=st.integers(0, 3),
    number=st.none() | st.sampled_from(["1", "2", "0", "x", "9" * 9]),
    service=st.sampled_from(["db", "cache", ""]),
)


@given(st.lists(boxes, unique_by=lambda one: one.id), st.randoms())
def test_each_container_is_one_instance_at_most_in_whatever_order(listed, random):
    found, problems = find(listed)
    shown = show(found)
    ids = [id for *_, replicas in shown for _, id in replicas]
    assert len(set(ids)) == len(ids)
    identifiers = [identifier for _, _, identifier, _ in shown]
    assert identifiers == sorted(set(identifiers))
    for one in found:
        numbers = [replica.number for replica in one.replicas]
        assert numbers == sorted(set(numbers))
        assert min(numbers) > 0
    # Who runs and is left out is told.
    told = {problem.container for problem in problems}
    for one in listed:
        assert one.id in ids or one.state is STOPPED or one.name in told
    random.shuffle(listed)
    assert show(find(listed)[0]) == shown
