"""Labels: what they say of a container, and what is wrong with them."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.model.labels import LABELS, MARK, PREFIX, PROBLEM_CODES, read_labels
from app.model.policies import check_policy
from app.model.schedules import InstanceSelection
from app.model.sources import POLICY_VALUES, ValueSource

WHOLE = {
    "container": "orders",
    "name": "Orders",
    "stateful": "true",
    "user": "postgres",
    "folder": "/data",
    "backup.integration": "b2",
    "backup.command": "pg_dump",
    "backup.timeout": "1h30m",
    "backup.cron": "@daily",
    "backup.time-zone": "Europe/Berlin",
    "backup.instances": "FIRST_RUNNING",
    "backup.min-bytes": "100",
    "backup.enabled": "false",
    "backup.overdue-after": "PT2H",
    "restore.command": "pg_restore",
    "restore.timeout": "2h",
    "restore.check": "true",
    "restore.safety-backup": "true",
    "retention.max-age": "90d",
    "retention.pre-restore-max-age": "7d",
    "retention.keep-last": "1",
    "retention.keep-hourly": "2",
    "retention.keep-daily": "3",
    "retention.keep-weekly": "4",
    "retention.keep-monthly": "5",
    "retention.keep-yearly": "6",
}


def read(**labels):
    """Labels by their names without the prefix, `__` for a dot and `_` for a hyphen."""
    named = {name.replace("__", ".").replace("_", "-"): text for name, text in labels.items()}
    return read_labels({PREFIX + name: text for name, text in named.items()}, "shop-db-1")


def test_every_label_is_read():
    labelled, problems = read_labels(
        {PREFIX + name: text for name, text in WHOLE.items()}, "shop-db-1"
    )
    assert problems == []
    assert labelled is not None
    assert (labelled.identifier, labelled.name, labelled.stateful) == ("orders", "Orders", True)
    assert (labelled.user, labelled.folder) == ("postgres", "/data")
    assert labelled.policy is not None
    policy = labelled.policy.policy
    assert labelled.policy.integration == "b2"
    assert (policy.backup_command, policy.backup_timeout) == ("pg_dump", timedelta(minutes=90))
    assert (policy.cron, policy.time_zone) == ("@daily", "Europe/Berlin")
    assert (policy.instances, policy.min_bytes) == (InstanceSelection.FIRST_RUNNING, 100)
    assert (policy.enabled, policy.overdue_after) == (False, timedelta(hours=2))
    assert (policy.restore_command, policy.restore_timeout) == ("pg_restore", timedelta(hours=2))
    assert (policy.restore_check, policy.restore_safety_backup) == ("true", True)
    kept = policy.retention
    assert (kept.max_age, kept.pre_restore_max_age) == (timedelta(days=90), timedelta(days=7))
    assert (kept.keep_last, kept.keep_hourly, kept.keep_daily) == (1, 2, 3)
    assert (kept.keep_weekly, kept.keep_monthly, kept.keep_yearly) == (4, 5, 6)
    assert {*WHOLE, "recipe"} == {label.name for label in LABELS}
    # Each value of a policy but the verification can be said, and its source is known.
    assert set(labelled.policy.sources) == set(POLICY_VALUES) - {"verification"}


def test_without_more_than_the_identifier_it_has_no_policy():
    labelled, problems = read(container="orders")
    assert problems == []
    assert labelled is not None
    assert (labelled.name, labelled.stateful, labelled.policy) == ("orders", True, None)
    assert labelled.sources == {"identifier": ValueSource.LABEL}
    assert not labelled.is_policy_broken


@pytest.mark.parametrize(
    ("labels", "code", "label"),
    [
        ({"name": " "}, "INVALID_LABEL", "name"),
        ({"stateful": "1"}, "INVALID_LABEL", "stateful"),
        ({"user": "a b"}, "INVALID_LABEL", "user"),
        ({"folder": "data"}, "INVALID_LABEL", "folder"),
        ({"backup__cron": "@daily"}, "MISSING_LABEL", "backup.command"),
        ({"backup__command": "x", "backup__corn": "@daily"}, "UNKNOWN_LABEL", None),
        ({"backup__command": "x\0"}, "INVALID_LABEL", "backup.command"),
        ({"backup__command": "x", "backup__cron": "at noon"}, "INVALID_LABEL", "backup.cron"),
        (
            {"backup__command": "x", "backup__time_zone": "here"},
            "INVALID_LABEL",
            "backup.time-zone",
        ),
        ({"backup__command": "x", "backup__timeout": "soon"}, "INVALID_LABEL", "backup.timeout"),
        ({"backup__command": "x", "backup__timeout": "0s"}, "INVALID_LABEL", "backup.timeout"),
        ({"backup__command": "x", "backup__min_bytes": "-1"}, "INVALID_LABEL", "backup.min-bytes"),
        ({"backup__command": "x", "backup__min_bytes": "²"}, "INVALID_LABEL", "backup.min-bytes"),
        ({"backup__command": "x", "backup__instances": "ALL"}, "INVALID_LABEL", "backup.instances"),
        ({"backup__command": "x", "backup__enabled": "yes"}, "INVALID_LABEL", "backup.enabled"),
        ({"backup__command": "echo 'x"}, "COMMAND_SYNTAX", "backup.command"),
        ({"backup__command": "x", "restore__check": "y"}, "MISSING_LABEL", "restore.command"),
        (
            {"backup__command": "x", "retention__keep_last": "0"},
            "INVALID_LABEL",
            "retention.keep-last",
        ),
        (
            {"backup__command": "x", "retention__max_age": "1h"},
            "INVALID_LABEL",
            "retention.max-age",
        ),
    ],
)
def test_what_cannot_be_is_told_and_the_rest_counts(labels, code, label):
    labelled, problems = read(container="orders", **labels)
    assert labelled is not None
    assert labelled.identifier == "orders"
    [problem] = problems
    assert (problem.code, problem.container) == (code, "shop-db-1")
    assert problem.label == (None if label is None else PREFIX + label)
    about_policy = label is not None and "." in label and code != "COMMAND_SYNTAX"
    assert labelled.is_policy_broken == about_policy
    assert (labelled.policy is None) == (about_policy or "backup__command" not in labels)


@pytest.mark.parametrize("identifier", ["", "Orders", "a/b", "-a", "a" * 64, "a\0", "ä"])
def test_without_a_good_identifier_it_is_no_container(identifier):
    labelled, [problem] = read(container=identifier, backup__command="x")
    assert labelled is None
    assert (problem.code, problem.label) == ("INVALID_LABEL", MARK)


def test_what_has_no_data_has_no_policy():
    labelled, problems = read(container="web", stateful="false", backup__command="x")
    assert labelled is not None
    assert (labelled.stateful, labelled.policy, labelled.is_policy_broken) == (False, None, False)
    assert problems == []


names = st.sampled_from([label.full_name for label in LABELS]) | st.text().map(PREFIX.__add__)
texts = st.text() | st.sampled_from([*WHOLE.values(), "redis", "0", "x\0", "\ud800", "9" * 30])


@given(st.dictionaries(names | st.text(), texts), st.sampled_from(["orders", "", "x\n"]))
def test_whatever_labels_say_it_can_be_kept_or_is_told(labels, identifier):
    labelled, problems = read_labels(labels | {MARK: identifier}, "box")
    for problem in problems:
        assert problem.code in PROBLEM_CODES
        assert problem.message.isprintable()
        assert "\0" not in problem.message
        assert problem.message.encode()
        assert problem.label is None or problem.label in {label.full_name for label in LABELS}
    assert (labelled is None) == (identifier != "orders")
    if labelled is None:
        return
    kept = [labelled.name, labelled.user or "", labelled.folder or ""]
    if labelled.policy is not None:
        check_policy(replace(labelled.policy.policy))
        kept.append(labelled.policy.integration or "")
        assert {f"{PREFIX}backup.command", f"{PREFIX}recipe"} & labels.keys()
    assert not any("\0" in text for text in kept)
    assert all(text.encode() is not None for text in kept)
    # The order does not count, nor do labels of others.
    ours = {name: text for name, text in reversed(labels.items()) if name.startswith(PREFIX)}
    assert read_labels(ours | {MARK: identifier}, "box") == (labelled, problems)
