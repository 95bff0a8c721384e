"""What a backup policy may ask for."""

from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import InvalidInput
from app.model.policies import NewPolicy, check_policy

POLICY = NewPolicy(integration_id=UUID(int=1), backup_command="tar c .")


def refuse(policy: NewPolicy) -> tuple[str, ...] | None:
    try:
        check_policy(policy)
    except InvalidInput as refusal:
        return refusal.path
    return ()


def test_the_defaults_are_twelve_hours_and_at_least_one_byte():
    check_policy(POLICY)
    assert POLICY.backup_timeout == POLICY.restore_timeout == timedelta(hours=12)
    assert POLICY.min_bytes == 1
    assert POLICY.restore_command is None


@given(st.timedeltas())
def test_timeouts_go_from_one_second_to_seven_days(timeout):
    allowed = timedelta(seconds=1) <= timeout <= timedelta(days=7)
    backup, restore = ("policy", "backup", "timeout"), ("policy", "restore", "timeout")
    assert refuse(replace(POLICY, backup_timeout=timeout)) == (() if allowed else backup)
    assert refuse(replace(POLICY, restore_timeout=timeout)) == (() if allowed else restore)


@pytest.mark.parametrize("timeout", [timedelta(seconds=1), timedelta(days=7)])
def test_the_longest_and_the_shortest_timeout_are_allowed(timeout):
    assert refuse(replace(POLICY, backup_timeout=timeout, restore_timeout=timeout)) == ()


@given(st.integers())
def test_the_floor_of_bytes_is_never_negative(min_bytes):
    path = () if 0 <= min_bytes < 2**53 else ("policy", "backup", "minBytes")
    assert refuse(replace(POLICY, min_bytes=min_bytes)) == path


@pytest.mark.parametrize("command", ["", "  \n", "a\0", "\ud800", "x" * 65537])
def test_a_command_that_cannot_run_is_refused(command):
    assert refuse(replace(POLICY, backup_command=command)) == ("policy", "backup", "command")
    assert refuse(replace(POLICY, restore_command=command)) == ("policy", "restore", "command")
