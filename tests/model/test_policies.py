"""What a backup policy may ask for."""

from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import InvalidInput
from app.model.policies import NewPolicy, check_policy
from app.model.retention import Retention
from app.model.verifications import VerificationLevel, VerificationPlan

STORED, READABLE = VerificationLevel.STORED, VerificationLevel.READABLE

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


def test_what_is_left_out_has_the_documented_defaults():
    assert (POLICY.enabled, POLICY.cron, POLICY.time_zone) == (True, None, "UTC")
    assert (POLICY.instances, POLICY.overdue_after) == ("EACH", timedelta(hours=1))
    assert (POLICY.restore_check, POLICY.restore_safety_backup) == (None, False)
    assert POLICY.retention == Retention(
        max_age=timedelta(days=365), pre_restore_max_age=timedelta(days=30)
    )
    assert POLICY.verification is None


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"cron": "0 3 * * * *"}, "backup.cron"),
        ({"cron": "@reboot"}, "backup.cron"),
        ({"time_zone": "Mars/Olympus"}, "backup.timeZone"),
        ({"restore_check": " "}, "restore.check"),
        ({"overdue_after": timedelta(seconds=59)}, "overdueAfter"),
        ({"overdue_after": timedelta(days=31)}, "overdueAfter"),
        ({"retention": Retention(max_age=timedelta(hours=23))}, "retention.maxAge"),
        (
            {"retention": Retention(pre_restore_max_age=timedelta(days=36_501))},
            "retention.preRestoreMaxAge",
        ),
        ({"retention": Retention(keep_last=0)}, "retention.keepLast"),
        ({"retention": Retention(keep_hourly=-1)}, "retention.keepHourly"),
        ({"retention": Retention(keep_daily=10_001)}, "retention.keepDaily"),
        ({"retention": Retention(keep_weekly=0)}, "retention.keepWeekly"),
        ({"retention": Retention(keep_monthly=0)}, "retention.keepMonthly"),
        ({"retention": Retention(keep_yearly=0)}, "retention.keepYearly"),
        ({"verification": VerificationPlan(level=STORED)}, "verification"),
        (
            {"verification": VerificationPlan(level=STORED, every=timedelta(hours=23))},
            "verification.every",
        ),
        (
            {"verification": VerificationPlan(level=READABLE, after_each=True)},
            "verification.check",
        ),
        (
            {"verification": VerificationPlan(level=READABLE, after_each=True, check="\0")},
            "verification.check",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused_where_it_stands(change, path):
    assert refuse(replace(POLICY, **change)) == ("policy", *path.split("."))


def test_a_whole_policy_is_allowed():
    whole = replace(
        POLICY,
        cron="30 2 * * *",
        time_zone="Europe/Berlin",
        restore_check="test -s data",
        restore_safety_backup=True,
        retention=Retention(keep_last=1, keep_hourly=24, keep_yearly=10_000),
        verification=VerificationPlan(
            level=VerificationLevel.RESTORABLE, every=timedelta(days=1), after_each=True
        ),
    )
    assert refuse(whole) == ()
