"""Events: every kind has a meaning, and a word that is none is refused."""

import pytest

from app.errors import InvalidInput
from app.model.events import MEANINGS, EventKind, read_kinds


def test_every_kind_has_a_meaning() -> None:
    assert list(MEANINGS) == list(EventKind)


def test_kinds_are_read_once_each_in_their_order() -> None:
    words = ["RECLAIM_STUCK", "BACKUP_FAILED", "RECLAIM_STUCK"]
    assert read_kinds(words, path=("kinds",)) == (EventKind.BACKUP_FAILED, EventKind.RECLAIM_STUCK)
    assert read_kinds([], path=("kinds",)) == ()
    with pytest.raises(InvalidInput, match="A kind of event is one of BACKUP_FAILED, "):
        read_kinds(["BACKUP_FAILED", "backup_failed"], path=("kinds",))
