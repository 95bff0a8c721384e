"""What containers and instances may be made of."""

from dataclasses import replace
from uuid import UUID

import pytest

from app.errors import InvalidInput
from app.model.containers import (
    LONGEST_VARIABLES_BYTES,
    MOST_LABELS,
    InstanceState,
    NewContainer,
    NewInstance,
    check_container,
    check_instance,
    check_labels,
    check_variables,
)

INSTANCE = NewInstance(
    container_id=UUID(int=1),
    hostname="1.db",
    state=InstanceState.RUNNING,
    executor="process",
    host=None,
    folder="db/1",
    variables={"PGHOST": "/run/db"},
    scratch=False,
)


def refuse_instance(**changes) -> InvalidInput:
    with pytest.raises(InvalidInput) as refusal:
        check_instance(replace(INSTANCE, **changes))
    return refusal.value


def test_an_instance_of_the_process_executor_is_accepted_with_and_without_a_host():
    check_instance(INSTANCE)
    check_instance(replace(INSTANCE, host="vm-1.example"))


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"hostname": "-"}, ("hostname",)),
        ({"folder": None}, ("folder",)),
        ({"folder": "../other"}, ("folder",)),
        ({"folder": "/etc"}, ("folder",)),
        ({"folder": ""}, ("folder",)),
        ({"host": "a b"}, ("host",)),
        ({"host": ""}, ("host",)),
        ({"executor": "ssh"}, ("executor",)),
        ({"variables": {"A": "a\0b"}}, ("variables", "A")),
        ({"variables": {"A": "\udfff"}}, ("variables", "A")),
        ({"variables": {"1A": "a"}}, ("variables",)),
        ({"variables": {"A\n": "a"}}, ("variables",)),
        ({"variables": {"": "a"}}, ("variables",)),
        ({"variables": {"BACKUP_GATEWAY_RUN": "a"}}, ("variables", "BACKUP_GATEWAY_RUN")),
    ],
)
def test_an_instance_is_refused_with_the_argument_named(changes, path):
    assert refuse_instance(**changes).path == path


@pytest.mark.parametrize("state", InstanceState)
def test_a_client_sets_only_states_that_it_can_know(state):
    settable = {"RUNNING", "PAUSED", "STOPPED", "GONE"}
    if state in settable:
        check_instance(replace(INSTANCE, state=state))
    else:
        assert refuse_instance(state=state).path == ("state",)


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"engine_id": None}, "engineId"),
        ({"engine_container": None}, "engineContainer"),
        ({"engine_container": "../x"}, "engineContainer"),
        ({"engine_container": "a/b"}, "engineContainer"),
        ({"host": "there"}, "host"),
        ({"user": "a b"}, "user"),
        ({"folder": "relative"}, "folder"),
    ],
)
def test_a_container_of_an_engine_is_named_in_full(changes, path):
    right = {
        "executor": "docker",
        "engine_id": UUID(int=1),
        "engine_container": "shop-db-1",
        "folder": "/data",
        "host": None,
        "user": "1000:1000",
    }
    check_instance(replace(INSTANCE, **right))
    assert refuse_instance(**(right | changes)).path == (path,)


def test_a_process_has_nothing_of_an_engine():
    assert refuse_instance(engine_container="shop-db-1").path == ("engineContainer",)


def test_variables_take_64_kib_and_not_a_byte_more():
    check_variables({"A": "x" * (LONGEST_VARIABLES_BYTES - 3), "B": "x"})
    with pytest.raises(InvalidInput, match="65537 bytes"):
        check_variables({"A": "x" * (LONGEST_VARIABLES_BYTES - 3), "B": "xx"})


def test_a_refused_variable_never_shows_its_value():
    with pytest.raises(InvalidInput) as refusal:
        check_variables({"A": "hunter2\0"})
    assert "hunter2" not in refusal.value.message


def test_a_new_instance_never_shows_its_variables():
    assert "/run/db" not in repr(INSTANCE)


@pytest.mark.parametrize(
    ("identifier", "name", "path"),
    [("Notes", "Notes", ("identifier",)), ("notes", " ", ("name",)), ("notes", "", ("name",))],
)
def test_a_container_is_refused_with_the_argument_named(identifier, name, path):
    new = NewContainer(identifier=identifier, name=name, stateful=True, labels={})
    with pytest.raises(InvalidInput) as refusal:
        check_container(new)
    assert refusal.value.path == path


def test_labels_are_bounded():
    check_labels({f"label-{number}": "" for number in range(MOST_LABELS)})
    for labels in (
        {f"label-{number}": "" for number in range(MOST_LABELS + 1)},
        {"": "a"},
        {"a": "x" * 1001},
        {"a": "b\0"},
        {"a\ud800": "b"},
    ):
        with pytest.raises(InvalidInput):
            check_labels(labels)
