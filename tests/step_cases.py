"""What the tests of named steps share: the commands, and what becomes of a restore at each step."""

import asyncio
from pathlib import Path

from app.model.steps import Step

SIZE = 20_000_000
LARGE = f"head -c {SIZE} /dev/zero"
"""More than one part: a large file with an upload of its own."""
KEEP = "cat >> got; echo done >> ends"
READS = {"level": "READABLE", "every": "P1D", "check": "cat > /dev/null"}
AWAKE_SECONDS = 3
"""Long enough for a worker that wakes up to write what it must not."""
ABSENT_SECONDS = 3
"""Shorter than any patience: whoever is cut off for so long goes on."""
HEALED_SECONDS = 30
"""What the product promises, from the start of a healthy worker on."""

RUN_STEPS = tuple(
    step for step in Step if step.startswith(("BACKUP_", "RESTORE_", "VERIFICATION_", "RECLAIM_"))
)
"""Those of one run, and of what is left of it; tests/step_stories.py has the others."""

AGAIN = {Step.RESTORE_CLAIMED, Step.RESTORE_STARTED, Step.RESTORE_COMMAND_STARTED}
"""Nothing was delivered: the next worker restores."""
COMMITTED = {Step.RESTORE_TRANSFERRED, Step.RESTORE_RECORDED}
"""The command saw the end of its input."""


async def wait_for_file(path: Path, *, seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not path.exists():
            await asyncio.sleep(0.05)
