"""Why a run waits: absent workers first, then the engine, and no word where it is its turn."""

from datetime import UTC, datetime, timedelta

import pytest

from app.model.engines import EngineState
from app.model.runs import ANYWHERE, CARRIED, place_of
from app.model.waiting import ABSENT_AFTER, Waiting, explain

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
DOWN = {
    "engine": "shop",
    "engine_state": EngineState.UNREACHABLE,
    "engine_error": "Nobody answers.",
    "unreachable_since": NOW - timedelta(hours=1),
}


@pytest.mark.parametrize(
    ("waiting", "reason"),
    [
        (Waiting(place=place_of("a"), seen_at=NOW - ABSENT_AFTER), None),
        (Waiting(place=CARRIED, seen_at=None), None),
        (
            Waiting(place=place_of("a"), seen_at=None),
            (
                "No worker on the host a has been seen yet:"
                " start one there, with BACKUP_GATEWAY_HOST_NAME=a."
            ),
        ),
        (
            Waiting(place=ANYWHERE, seen_at=NOW - timedelta(minutes=1), **DOWN),
            "No worker has been seen since 2026-05-04T11:59:00Z: start one.",
        ),
        (
            Waiting(place=ANYWHERE, seen_at=NOW, **DOWN),
            "The engine shop is UNREACHABLE since 2026-05-04T11:00:00Z: Nobody answers.",
        ),
        (Waiting(place=ANYWHERE, seen_at=NOW, **DOWN | {"engine_state": EngineState.LIVE}), None),
    ],
)
def test_the_reason(waiting: Waiting, reason: str | None) -> None:
    assert explain(waiting, now=NOW) == reason
