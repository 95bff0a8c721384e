"""States of backups and restores: every history is a legal one, and an end is an end."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.model import backups, restores
from app.model.backups import BackupState
from app.model.restores import RestoreState

HISTORIES = st.lists(st.integers(0, 7), max_size=20)


def walk(moves, state, choices):
    """A history: at each state one of the moves from there, until there is none."""
    history = [state]
    for choice in choices:
        ways = sorted(moves[history[-1]])
        if not ways:
            break
        history.append(ways[choice % len(ways)])
    return history


def test_every_state_says_where_it_leads():
    assert set(backups.MOVES) == set(BackupState)
    assert set(restores.MOVES) == set(RestoreState)


@given(HISTORIES)
def test_a_backup_is_live_only_out_of_a_save(choices):
    history = walk(backups.MOVES, BackupState.QUEUED, choices)
    for before, after in itertools.pairwise(history):
        backups.check_move(before, after)
        if after is BackupState.LIVE:
            assert before in {BackupState.SAVING, BackupState.DELETING}
    if BackupState.LIVE in history:
        first = history.index(BackupState.LIVE)
        assert history[first - 1] is BackupState.SAVING


@given(HISTORIES)
def test_what_is_deleted_stays_deleted(choices):
    history = walk(backups.MOVES, BackupState.LIVE, choices)
    if BackupState.DELETED in history:
        assert history.index(BackupState.DELETED) == len(history) - 1
    assert not backups.OPEN & set(history)


@given(HISTORIES)
def test_what_failed_never_becomes_a_backup(choices):
    for state in (BackupState.FAILED, BackupState.CANCELED, BackupState.SKIPPED):
        history = walk(backups.MOVES, state, choices)
        assert set(history) <= {state, BackupState.DELETED}


@given(HISTORIES)
def test_an_ended_restore_never_moves_again(choices):
    history = walk(restores.MOVES, RestoreState.QUEUED, choices)
    ends = [n for n, state in enumerate(history) if state in restores.ENDED]
    assert ends in ([], [len(history) - 1])
    if RestoreState.SUCCEEDED in history:
        assert history[-2] is RestoreState.RUNNING


@given(st.sampled_from(BackupState), st.sampled_from(BackupState))
def test_a_backup_moves_only_where_a_move_is_named(old, new):
    if new in backups.MOVES[old]:
        backups.check_move(old, new)
        return
    with pytest.raises(ValueError, match=f"{old} to {new}"):
        backups.check_move(old, new)


@given(st.sampled_from(RestoreState), st.sampled_from(RestoreState))
def test_a_restore_moves_only_where_a_move_is_named(old, new):
    if new in restores.MOVES[old]:
        restores.check_move(old, new)
        return
    with pytest.raises(ValueError, match=f"{old} to {new}"):
        restores.check_move(old, new)
